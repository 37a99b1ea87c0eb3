//! `linux`: namespaces, mappings, sysctl, seccomp and the rest.

use super::super::namespaces::{IdMapWriter, Namespace};
use super::super::options::{Propagation, PropagationKind};
use super::super::seccomp::{Action, Compare};
use super::{check, check_on, plan_on, planned};
use crate::host::Host;
use serde_json::{Value, json};

fn linux(patch: Value) -> Value {
    json!({ "linux": patch })
}

/// All of the base's namespaces and one more.
fn with(namespace: Value) -> Value {
    json!([{ "type": "pid" }, { "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "network" }, namespace])
}

fn mapping(container: u32, host: u32, size: u32) -> Value {
    json!({ "containerID": container, "hostID": host, "size": size })
}

#[test]
fn namespaces() {
    check(&[
        (
            linux(json!({ "namespaces": with(json!({ "type": "pid" })) })),
            &["linux.namespaces[5].type: is the same as that of linux.namespaces[0]; a kind may be listed once only"],
        ),
        (
            linux(json!({ "namespaces": with(json!({ "type": "cgroup", "path": "ns/c" })) })),
            &[r#"linux.namespaces[5].path: "ns/c" is not an absolute path"#],
        ),
        (
            linux(json!({ "namespaces": with(json!({ "type": "cgroup", "path": "/x\u{0}" })) })),
            &["linux.namespaces[5].path: contains a NUL character"],
        ),
        (
            linux(json!({ "namespaces": "all" })),
            &[r#"linux.namespaces: invalid type: string "all", expected an array"#],
        ),
        (
            linux(json!({ "namespaces": [], "maskedPaths": ["/x"] })),
            &["hostname: needs a uts namespace, and linux.namespaces has none"],
        ),
    ]);
    let plan = planned(linux(json!({ "namespaces": with(json!({ "type": "cgroup", "path": "/run/c" })) })));
    assert_eq!(plan.namespaces.cgroup, Namespace::Join("/run/c".into()));
    assert_eq!((plan.namespaces.pid, plan.namespaces.user), (Namespace::New, Namespace::Inherit));
    let plan = planned(linux(json!({ "namespaces": with(json!({ "type": "cgroup", "path": "" })) })));
    assert_eq!(plan.namespaces.cgroup, Namespace::New);
}

#[test]
fn user_namespace_mappings() {
    let user = |uid: Value, gid: Value| {
        linux(json!({ "namespaces": with(json!({ "type": "user" })), "uidMappings": uid, "gidMappings": gid }))
    };
    let good = json!([mapping(0, 100_000, 65536)]);
    let many: Vec<Value> = (0..341).map(|i| mapping(i, 1000 + i, 1)).collect();
    check(&[
        (user(good.clone(), Value::Null), &["linux.gidMappings: is required for a new user namespace"]),
        (user(json!([]), good.clone()), &["linux.uidMappings: is required for a new user namespace"]),
        (
            linux(json!({ "uidMappings": good })),
            &["linux.uidMappings: needs a user namespace, and linux.namespaces has none"],
        ),
        (
            user(json!([mapping(1, 1000, 10)]), good.clone()),
            &[
                "linux.uidMappings: does not map id 0 of the container, its root",
                "process.user.uid: 0 is not mapped by linux.uidMappings",
            ],
        ),
        (
            user(json!([mapping(0, 5, 1), mapping(1, 9, 0)]), good.clone()),
            &["linux.uidMappings[1].size: must not be 0"],
        ),
        (
            user(json!([mapping(0, 5, 10), mapping(9, 100, 1)]), good.clone()),
            &["linux.uidMappings[1].containerID: overlaps the ids of linux.uidMappings[0]"],
        ),
        (
            user(good.clone(), json!([mapping(0, 5, 10), mapping(20, 1, 5)])),
            &["linux.gidMappings[1].hostID: overlaps the ids of linux.gidMappings[0]"],
        ),
        (
            user(json!([mapping(0, 4294967295, 1)]), good.clone()),
            &["linux.uidMappings[0].hostID: 4294967295 and the size of 1 run past the last id, 4294967294"],
        ),
        (user(json!([mapping(0, 0, 4294967295)]), good.clone()), &[]),
        (user(json!(many), good.clone()), &["linux.uidMappings: has 341 entries, and the kernel takes 340"]),
        (
            user(json!([{ "containerID": 0, "hostID": -1, "size": 1 }]), good.clone()),
            &["linux.uidMappings[0].hostID: invalid value: integer `-1`, expected a number from 0 to 4294967295"],
        ),
    ]);
    let mut outside = user(good.clone(), json!([mapping(0, 1, 10)]));
    outside["process"] = json!({ "user": { "uid": 65536, "gid": 10, "additionalGids": [9, 11] } });
    check(&[(
        outside,
        &[
            "process.user.uid: 65536 is not mapped by linux.uidMappings",
            "process.user.gid: 10 is not mapped by linux.gidMappings",
            "process.user.additionalGids[1]: 11 is not mapped by linux.gidMappings",
        ],
    )]);
    let map = planned(user(good.clone(), good)).namespaces.id_map.unwrap();
    assert_eq!(map.writer, IdMapWriter::Runtime);
    assert_eq!((map.host_uid(0), map.host_uid(65535), map.host_gid(65536)), (Some(100_000), Some(165_535), None));
    let joined = linux(json!({ "namespaces": with(json!({ "type": "user", "path": "/run/u" })) }));
    assert_eq!(planned(joined).namespaces.id_map, None);
}

#[test]
fn without_root() {
    let host = Host { uid: 1000, gid: 1000, ..Host::example() };
    let user = |mappings: Value| {
        linux(
            json!({ "namespaces": with(json!({ "type": "user" })), "uidMappings": mappings, "gidMappings": mappings }),
        )
    };
    let writer = |patch| plan_on(&host, &patch).unwrap().namespaces.id_map.unwrap().writer;
    assert_eq!(writer(user(json!([mapping(0, 1000, 1)]))), IdMapWriter::Runtime);
    assert_eq!(writer(user(json!([mapping(0, 1001, 1)]))), IdMapWriter::Helpers);
    assert_eq!(writer(user(json!([mapping(0, 1000, 1), mapping(1, 100_000, 65536)]))), IdMapWriter::Helpers);
    let mut devices = user(json!([mapping(0, 1000, 1)]));
    devices["linux"]["netDevices"] = json!({ "eth0": {} });
    check_on(
        &host,
        &[
            (
                json!({}),
                &["linux.namespaces: a user namespace is needed, as uid 1000 runs the runtime without privileges"],
            ),
            (devices, &["linux.netDevices: moving a network device out of the host's network namespace needs root"]),
        ],
    );
}

#[test]
fn time_offsets() {
    let time = |offsets: Value| linux(json!({ "namespaces": with(json!({ "type": "time" })), "timeOffsets": offsets }));
    check(&[
        (
            linux(json!({ "timeOffsets": { "monotonic": { "secs": 1 } } })),
            &["linux.timeOffsets: needs a new time namespace, and linux.namespaces has no time namespace"],
        ),
        (
            linux(json!({
                "namespaces": with(json!({ "type": "time", "path": "/run/t" })), "timeOffsets": { "boottime": { "secs": 1 } }
            })),
            &["linux.timeOffsets: cannot be set in a time namespace that is joined by its path"],
        ),
        (
            time(json!({ "realtime": { "secs": 1 } })),
            &["linux.timeOffsets.realtime: is not a clock of a time namespace (monotonic, boottime)"],
        ),
        (
            time(json!({ "boottime": { "nanosecs": 1_000_000_000 } })),
            &["linux.timeOffsets.boottime.nanosecs: 1000000000 is above 999999999"],
        ),
        (
            time(json!({ "boottime": { "secs": 9223372037_i64 } })),
            &["linux.timeOffsets.boottime.secs: 9223372037 is out of range (-9223372036 to 9223372036)"],
        ),
    ]);
    let offsets =
        planned(time(json!({ "monotonic": { "secs": -5, "nanosecs": 7 }, "boottime": {} }))).namespaces.time_offsets;
    let values: Vec<_> = offsets.iter().map(|o| (o.clock.as_str(), o.seconds, o.nanoseconds)).collect();
    assert_eq!(values, [("boottime", 0, 0), ("monotonic", -5, 7)]);
}

#[test]
fn net_devices() {
    let devices = |patch: Value| linux(json!({ "netDevices": patch }));
    let not = "is not a name for a network device";
    check(&[
        (
            linux(json!({ "netDevices": { "e": {} }, "namespaces": [{ "type": "uts" }] })),
            &["linux.netDevices: needs a network namespace, and linux.namespaces has none"],
        ),
        (
            devices(json!({ "0123456789abcdef": {} })),
            &[&format!(
                r#"linux.netDevices["0123456789abcdef"]: "0123456789abcdef" {not}: it is longer than 15 bytes"#
            )],
        ),
        (devices(json!({ "a/b": {} })), &[&format!(r#"linux.netDevices["a/b"]: "a/b" {not}: it contains '/'"#)]),
        (devices(json!({ "": {} })), &[&format!(r#"linux.netDevices[""]: "" {not}: it is empty"#)]),
        (
            devices(json!({ "e": { "name": ".." } })),
            &[&format!(r#"linux.netDevices.e.name: ".." {not}: it is a directory"#)],
        ),
        (
            devices(json!({ "e": { "name": "a:1" } })),
            &[&format!(r#"linux.netDevices.e.name: "a:1" {not}: it contains ':'"#)],
        ),
        (
            devices(json!({ "e": { "name": "a b" } })),
            &[&format!(r#"linux.netDevices.e.name: "a b" {not}: it contains ' '"#)],
        ),
        (
            devices(json!({ "e": { "name": "a%s" } })),
            &[r#"linux.netDevices.e.name: "a%s" is not a template: one %d and no other % may be in it"#],
        ),
        (
            devices(json!({ "e": { "name": "x" }, "f": { "name": "x" } })),
            &[r#"linux.netDevices.f.name: "x" is the name of "e" already"#],
        ),
        (devices(json!({ "e": { "name": "x%d" }, "f": { "name": "x%d" } })), &[]),
    ]);
    let planned = planned(devices(json!({ "eth1": {}, "eth0": { "name": "c0" } }))).net_devices;
    let names: Vec<_> = planned.iter().map(|d| (d.host_name.as_str(), d.container_name.as_str())).collect();
    assert_eq!(names, [("eth0", "c0"), ("eth1", "eth1")]);
}

#[test]
fn sysctl() {
    let one = |key: &str| linux(json!({ "sysctl": { key: "1" } }));
    let host = "is not in a namespace: it would change the host";
    let out = "is not a key: a part of it is empty or leads out of /proc/sys";
    let row = |key: &str, message: &str| (one(key), format!("linux.sysctl[{key:?}]: {message}"));
    for (patch, message) in [
        row("kernel.core_pattern", host),
        row("vm.swappiness", host),
        row("kernel/panic", host),
        row("fs.file-max", host),
        row("kernel.shmmaxx", host),
        row("banana", host),
        row("net/../kernel/core_pattern", out),
        row("net.ipv4..x", out),
        row("/net/core/somaxconn", out),
        row("net.core.somaxconn.", out),
        row("kernel.hostname", "is what the property hostname is for"),
        row("kernel.pid_max", host),
        row("user.max_user_namespaces", "needs a user namespace, and linux.namespaces has none"),
    ] {
        // A key that is a name stands in the place as it is.
        check(&[(patch, &[message.replace(r#"["banana"]"#, ".banana").as_str()])]);
    }
    check(&[
        (
            linux(json!({ "namespaces": [{ "type": "uts" }], "sysctl": { "net.a": "1", "kernel.sem": "1" } })),
            &[
                r#"linux.sysctl["net.a"]: needs a network namespace, and linux.namespaces has none"#,
                r#"linux.sysctl["kernel.sem"]: needs an ipc namespace, and linux.namespaces has none"#,
            ],
        ),
        (
            linux(json!({
                "namespaces": [{ "type": "uts" }, { "type": "network", "path": "/proc/self/ns/net" }], "sysctl": { "net.a": "1" }
            })),
            &[r#"linux.sysctl["net.a"]: would be set in the host's namespace, "/proc/self/ns/net""#],
        ),
        (
            linux(json!({ "sysctl": { "net.ipv4.x": "1", "net/ipv4/x": "2" } })),
            &["linux.sysctl: has two keys for /proc/sys/net/ipv4/x"],
        ),
        (
            json!({ "domainname": "d", "linux": { "sysctl": { "kernel.domainname": "e" } } }),
            &[r#"linux.sysctl["kernel.domainname"]: conflicts with the property domainname"#],
        ),
        (
            linux(json!({ "sysctl": { "net.y": 1 } })),
            &[r#"linux.sysctl["net.y"]: invalid type: integer `1`, expected a string"#],
        ),
    ]);
    let plan = planned(linux(json!({ "sysctl": {
        "net.ipv4.conf.eth0/100.forwarding": "1", "net/ipv4/conf/eth1.200/forwarding": "2", "kernel.domainname": "d",
        "fs.mqueue.msg_max": "3", "kernel.shm_rmid_forced": "4"
    } })));
    let expected = [
        ("fs/mqueue/msg_max", "3"),
        ("kernel/domainname", "d"),
        ("kernel/shm_rmid_forced", "4"),
        ("net/ipv4/conf/eth0.100/forwarding", "1"),
        ("net/ipv4/conf/eth1.200/forwarding", "2"),
    ];
    assert_eq!(plan.sysctl, expected.map(|(file, value)| (file.to_string(), value.to_string())));
    check_on(&Host { kernel: (6, 14), ..Host::example() }, &[(one("kernel.pid_max"), &[])]);
}

#[test]
fn seccomp() {
    let seccomp = |patch: Value| {
        let mut config = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        super::merge(&mut config, &patch);
        linux(json!({ "seccomp": config }))
    };
    let rule = |rule: Value| seccomp(json!({ "syscalls": [rule] }));
    let all = super::super::seccomp::SPEC_ALLOW;
    check(&[
        (seccomp(json!({ "defaultAction": null })), &["linux.seccomp.defaultAction: is required"]),
        (
            seccomp(json!({ "defaultErrnoRet": 1 })),
            &["linux.seccomp.defaultErrnoRet: cannot be set with SCMP_ACT_ALLOW, which returns no errno"],
        ),
        (
            seccomp(json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096 })),
            &["linux.seccomp.defaultErrnoRet: 4096 is above 4095, the most for SCMP_ACT_ERRNO"],
        ),
        (seccomp(json!({ "defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 4096 })), &[]),
        (
            seccomp(json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s" })),
            &[
                "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default: handing over the listener needs syscalls itself",
            ],
        ),
        (
            seccomp(json!({ "listenerMetadata": "m" })),
            &["linux.seccomp.listenerMetadata: must not be set without listenerPath"],
        ),
        (
            seccomp(json!({ "flags": ["SECCOMP_FILTER_FLAG_LOG", "X"] })),
            &["linux.seccomp.flags[1]: unknown value `X`, expected one of `SECCOMP_FILTER_FLAG_LOG`, \
                `SECCOMP_FILTER_FLAG_TSYNC`, `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`"],
        ),
        (rule(json!({ "action": "SCMP_ACT_LOG" })), &["linux.seccomp.syscalls[0].names: is required"]),
        (
            rule(json!({ "names": [], "action": "SCMP_ACT_LOG" })),
            &["linux.seccomp.syscalls[0].names: must have at least one entry"],
        ),
        (
            rule(json!({ "names": ["a", ""], "action": "SCMP_ACT_LOG" })),
            &["linux.seccomp.syscalls[0].names[1]: must not be empty"],
        ),
        (
            rule(json!({ "names": ["a"], "action": "SCMP_ACT_KILL", "errnoRet": 1 })),
            &["linux.seccomp.syscalls[0].errnoRet: cannot be set with SCMP_ACT_KILL, which returns no errno"],
        ),
        (
            rule(json!({ "names": ["a", "write"], "action": "SCMP_ACT_NOTIFY" })),
            &[
                "linux.seccomp.listenerPath: is required with SCMP_ACT_NOTIFY",
                "linux.seccomp.syscalls[0].names[1]: write cannot have SCMP_ACT_NOTIFY: handing over the listener needs it",
            ],
        ),
        (
            rule(json!({ "names": ["a"], "action": "SCMP_ACT_LOG",
                "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 1 }] })),
            &[
                "linux.seccomp.syscalls[0].args[0].index: 6 is above 5, the last argument of a syscall",
                "linux.seccomp.syscalls[0].args[1].op: is required",
            ],
        ),
    ]);
    let plan = planned(seccomp(json!({
        "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_X86_64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_X86_64"],
        "listenerPath": "agent.sock", "listenerMetadata": "m", "flags": ["SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [
            { "names": ["a"], "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 2, "value": 7, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["b"], "action": "SCMP_ACT_NOTIFY" },
        ],
    })));
    let seccomp = plan.seccomp.unwrap();
    assert_eq!(seccomp.filter.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_MIPSEL64N32"]);
    assert_eq!((seccomp.flags, seccomp.filter.default_action), (1 << 5, Action::Allow));
    assert_eq!(seccomp.listener.unwrap().path, std::path::Path::new("/bundle/agent.sock"));
    let rule = &seccomp.filter.rules[0];
    assert_eq!((rule.action, rule.args[0].op, rule.args[0].value_two), (Action::Errno(1), Compare::MaskedEqual, 3));
    let plain = planned(linux(json!({ "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s" } })));
    let seccomp = plain.seccomp.unwrap();
    assert_eq!((seccomp.flags, seccomp.listener), (all, None));
}

#[test]
fn every_architecture_of_the_spec_keeps_its_name() {
    let names = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let names = names.map(|name| format!("SCMP_ARCH_{name}"));
    let plan = planned(linux(json!({ "seccomp": { "defaultAction": "SCMP_ACT_LOG", "architectures": names } })));
    assert_eq!(plan.seccomp.unwrap().filter.architectures, names);
}

#[test]
fn intel_rdt() {
    let rdt = |patch: Value| linux(json!({ "intelRdt": patch }));
    let single = "is not a single name: it contains a / or a line break";
    check(&[
        (rdt(json!({ "closID": "a/b" })), &[&format!(r#"linux.intelRdt.closID: "a/b" {single}"#)]),
        (rdt(json!({ "closID": "a\nb" })), &[&format!(r#"linux.intelRdt.closID: "a\nb" {single}"#)]),
        (rdt(json!({ "closID": ".." })), &[r#"linux.intelRdt.closID: ".." is not a name of a directory"#]),
        (rdt(json!({ "closID": "info" })), &[r#"linux.intelRdt.closID: "info" is a directory of resctrl itself"#]),
        (
            rdt(json!({ "memBwSchema": "L3:0=1\n" })),
            &[
                r#"linux.intelRdt.memBwSchema: must start with "MB:""#,
                "linux.intelRdt.memBwSchema: must not contain a line break",
            ],
        ),
        (
            rdt(json!({ "schemata": ["L2:0=1", "a\nb"] })),
            &["linux.intelRdt.schemata[1]: must be one line: it is empty or contains a line break"],
        ),
        (rdt(json!({ "closID": "/" })), &[]),
    ]);
    let patch = json!({ "l3CacheSchema": "L3:0=f\nL3:1=f\n", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"] });
    let planned_rdt = planned(rdt(patch)).intel_rdt.unwrap();
    assert_eq!((planned_rdt.clos_id.as_str(), planned_rdt.explicit, planned_rdt.monitoring), ("c1", false, false));
    assert_eq!(planned_rdt.schemata, ["L3:0=f", "L3:1=f", "MB:0=20", "L2:0=1"]);
    let explicit = planned(rdt(json!({ "closID": "gold", "enableMonitoring": true }))).intel_rdt.unwrap();
    assert!(explicit.explicit && explicit.monitoring && explicit.clos_id == "gold");
}

#[test]
fn propagation_and_hidden_paths() {
    check(&[
        (
            linux(json!({ "rootfsPropagation": "rbind" })),
            &[
                r#"linux.rootfsPropagation: "rbind" is none of shared, slave, private, unbindable (or these with an r in front)"#,
            ],
        ),
        (
            linux(json!({ "maskedPaths": ["/a", "b"], "readonlyPaths": [""] })),
            &["linux.maskedPaths[1]: is not an absolute path", "linux.readonlyPaths[0]: is not an absolute path"],
        ),
    ]);
    let propagation = |text: &str| planned(linux(json!({ "rootfsPropagation": text }))).rootfs.propagation;
    assert_eq!(propagation(""), None);
    assert_eq!(propagation("shared"), Some(Propagation { kind: PropagationKind::Shared, recursive: false }));
    assert_eq!(propagation("runbindable"), Some(Propagation { kind: PropagationKind::Unbindable, recursive: true }));
}
