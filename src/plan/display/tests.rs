use super::*;
use crate::plan::hooks::Hooks;
use crate::plan::namespaces::{IdMap, Namespaces, TimeOffset};
use crate::plan::options::{Propagation, PropagationKind};
use crate::plan::process::*;
use crate::plan::resources::property::Value;
use crate::plan::resources::unit::Property;
use crate::plan::seccomp::{Action, Filter, Listener, Rule, Seccomp};
use crate::plan::{IntelRdt, NetDevice, resources};
use std::collections::BTreeMap;

/// With something in every field.
fn plan() -> Plan {
    let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let hook = |kind: &str| Hook {
        inherits_env: false,
        place: format!("hooks.{kind}[0]"),
        path: "/bin/hook".into(),
        args: strings(&["hook", "a b"]),
        env: strings(&["K=V"]),
        timeout: Some(5),
    };
    let range = |container, host, size| IdRange { container, host, size };
    Plan {
        id: "demo".into(),
        oci_version: "1.3.0".into(),
        bundle: "/bundle".into(),
        annotations: BTreeMap::from([("b".into(), "line\nfeed \u{1b}[31m".into()), ("a".into(), "1".into())]),
        namespaces: Namespaces {
            user: Namespace::New,
            network: Namespace::Join("/run/netns/a".into()),
            time: Namespace::New,
            id_map: Some(IdMap {
                uid: vec![range(0, 1000, 1), range(1, 100_000, 65535)],
                gid: vec![range(0, 1000, 1)],
                writer: IdMapWriter::Helpers,
            }),
            time_offsets: vec![TimeOffset { clock: "boottime".into(), seconds: -7, nanoseconds: 3 }],
            ..Namespaces::default()
        },
        cgroup: resources::Cgroup {
            manager: Manager::Systemd,
            path: "/system.slice/docker-demo.scope".into(),
            place: resources::Place::Absolute,
            unit: Some(resources::Unit {
                name: "docker-demo.scope".into(),
                slice: "system.slice".into(),
                user: false,
                properties: vec![Property { name: "TasksMax".into(), value: Value::U64(5) }],
            }),
            owner: Some(1000),
            resources: limits(),
        },
        rootfs: Rootfs {
            path: "/bundle/rootfs".into(),
            readonly: true,
            propagation: Some(Propagation { kind: PropagationKind::Shared, recursive: true }),
            mount_label: Some("u:r:t:s0".into()),
        },
        mounts: Vec::new(),
        net_devices: vec![NetDevice { host_name: "eth1".into(), container_name: "eth0".into() }],
        hooks: Hooks { prestart: vec![hook("prestart")], poststop: vec![hook("poststop")], ..Hooks::default() },
        masks: Vec::new(),
        sysctl: vec![("net/ipv4/ip_forward".into(), "1".into())],
        hostname: Some("host".into()),
        domainname: Some("domain".into()),
        intel_rdt: Some(IntelRdt {
            clos_id: "gold".into(),
            explicit: true,
            schemata: strings(&["L3:0=f"]),
            fixed: 1,
            monitoring: true,
        }),
        new_keyring: false,
        root_change: RootChange::MoveMount,
        process: Some(process()),
        seccomp: Some(seccomp()),
        warnings: strings(&["process.capabilities: CAP_MADE_UP is unknown"]),
    }
}

fn process() -> Process {
    Process {
        terminal: true,
        console_size: Some((24, 80)),
        user: User { uid: 1, gid: 2, umask: Some(0o27), additional_gids: vec![3, 4], keep_groups: false },
        args: vec!["sh".into(), "-c".into(), "echo \"hi\"".into()],
        env: vec!["PATH=/bin".into(), "A=b c".into()],
        cwd: "/work".into(),
        capabilities: Some(Capabilities {
            bounding: 1 << 63 | 1 << 21 | 1,
            effective: 1 << 10,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { resource: 7, soft: 1024, hard: u64::MAX }, Rlimit { resource: 99, soft: 0, hard: 1 }],
        no_new_privileges: true,
        apparmor_profile: Some("profile".into()),
        selinux_label: Some("u:r:p:s0".into()),
        oom_score_adj: Some(-5),
        scheduler: Some(Scheduler { policy: 6, nice: 0, priority: 0, flags: 1, runtime: 1, deadline: 2, period: 3 }),
        io_priority: Some(IoPriority { class: 2, level: 4 }),
        cpu_affinity: Some(CpuAffinity { initial: Some(vec![0, 1]), last: None }),
        personality: Some(Personality::Linux32),
        memory_policy: Some(MemoryPolicy { mode: 0x8002, nodes: vec![0, 2] }),
    }
}

fn seccomp() -> Seccomp {
    let rule = |names: &[&str], action| Rule {
        names: names.iter().map(|s| s.to_string()).collect(),
        action,
        args: Vec::new(),
    };
    Seccomp {
        filter: Filter {
            default_action: Action::Errno(libc::EPERM as u16),
            architectures: vec!["SCMP_ARCH_X86_64".into(), "SCMP_ARCH_X86".into()],
            rules: vec![
                rule(&["read", "write"], Action::Allow),
                rule(&["bpf"], Action::Notify),
                rule(&["close"], Action::Allow),
                rule(&["kcmp"], Action::Errno(4000)),
            ],
        },
        flags: 0x1002,
        listener: Some(Listener { path: "/run/seccomp.sock".into(), metadata: "m".into() }),
    }
}

fn limits() -> resources::Resources {
    let rate = |n: u32| serde_json::json!([{ "major": 8, "minor": n, "rate": n }]);
    let config = serde_json::json!({
        "cpu": {
            "shares": 1, "quota": -1, "period": 2, "burst": 3, "idle": 1, "realtimeRuntime": 4, "realtimePeriod": 5,
            "cpus": "0-1", "mems": "0"
        },
        "memory": {
            "limit": 6, "reservation": 7, "swap": 8, "kernelTCP": 9, "swappiness": 10, "disableOOMKiller": true,
            "checkBeforeUpdate": true
        },
        "blockIO": {
            "weight": 11, "weightDevice": [{ "major": 8, "minor": 0, "weight": 12 }],
            "throttleReadBpsDevice": rate(13), "throttleWriteBpsDevice": rate(14),
            "throttleReadIOPSDevice": rate(15), "throttleWriteIOPSDevice": rate(16)
        },
        "pids": { "limit": 17 },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 18 }],
        "network": { "classID": 19, "priorities": [{ "name": "eth0", "priority": 20 }] },
        "rdma": { "mlx": { "hcaHandles": 21, "hcaObjects": 22 } },
        "unified": { "memory.high": "23\n24\n" },
        "devices": [
            { "allow": true, "access": "rwm" }, { "allow": false, "type": "b", "access": "rw" },
            { "allow": true, "type": "b", "major": 8, "minor": 1, "access": "r" }
        ]
    });
    resources::read("", &serde_json::from_value(config).unwrap(), &mut Vec::new(), &mut Vec::new())
}

#[test]
fn everything_is_printed() {
    let text = plan().to_string();
    let wanted = include_str!("full.plan");
    assert_eq!(text, wanted, "\n{text}");
}

#[test]
fn a_plan_is_json_too() {
    let json = serde_json::to_value(plan()).unwrap();
    assert_eq!(json["process"]["args"][0], "sh");
    assert_eq!(json["namespaces"]["network"]["join"], "/run/netns/a");
}
