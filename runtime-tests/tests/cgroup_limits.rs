//! `linux.resources`, each value read back from the files of a real container's cgroup. docs/cgroups.md names the rows.

use runtime_tests::cgroups::{
    Expected, Version, WeighedDisk, block_device, controller, device_weight, expect, hierarchies, is_v2_only,
    line_of_device, read, unified, weight_device_file, weight_file,
};
use runtime_tests::features::skip;
use runtime_tests::{Case, Value, json, needs, needs_machine};

/// Creates with these resources and compares what this machine has of `expected`. False: it has nothing of it.
fn check(resources: Value, expected: &[Expected]) -> bool {
    let here: Vec<&Expected> = expected
        .iter()
        .filter(|e| match e.here() {
            Ok((hierarchy, file, _)) => has_file(hierarchy, file),
            Err(why) => {
                skip(&why);
                false
            }
        })
        .collect();
    if here.is_empty() {
        return false;
    }
    let mut case = Case::new();
    case.set("/linux/resources", resources).pause().create().ok();
    for expected in &here {
        expected.check(&case);
    }
    true
}

/// A file that the kernel has only if it was built or booted so: looked for in a cgroup of the machine's own.
fn has_file(hierarchy: &runtime_tests::cgroups::Hierarchy, file: &str) -> bool {
    let mut probe = std::fs::read_dir(&hierarchy.root).into_iter().flatten().flatten();
    let below = probe.find(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path());
    // The root itself has fewer files on v2; what is below it may have fewer controllers.
    let there = hierarchy.root.join(file).exists() || below.is_some_and(|b| b.join(file).exists());
    let optional = ["rt_runtime_us", "memsw", "kmem.tcp", "bfq", "blkio.weight", "net_cls", "net_prio", "swap.max"];
    if !there && optional.iter().any(|o| file.contains(o)) {
        skip(&format!("this kernel has no {file}"));
        return false;
    }
    true
}

#[test]
fn cpu_shares() {
    for (shares, weight) in [(512, "59"), (1024, "100"), (2, "1"), (262_144, "10000")] {
        check(
            json!({ "cpu": { "shares": shares } }),
            &[expect("cpu", ("cpu.shares", &shares.to_string()), ("cpu.weight", weight))],
        );
    }
}

#[test]
fn cpu_quota_and_period() {
    let resources = json!({ "cpu": { "quota": 20000, "period": 50000 } });
    check(
        resources,
        &[
            expect("cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")),
            expect("cpu", ("cpu.cfs_period_us", "50000"), ("cpu.max", "20000 50000")),
        ],
    );
    check(json!({ "cpu": { "quota": -1 } }), &[expect("cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"))]);
}

#[test]
fn cpu_burst_and_idle() {
    needs!(Rvol);
    let burst = expect("cpu", ("cpu.cfs_burst_us", "5000"), ("cpu.max.burst", "5000"));
    check(json!({ "cpu": { "quota": 20000, "burst": 5000 } }), &[burst]);
    check(json!({ "cpu": { "idle": 1 } }), &[expect("cpu", ("cpu.idle", "1"), ("cpu.idle", "1"))]);
}

#[test]
fn cpu_realtime() {
    let Some(hierarchy) = controller("cpu").filter(|h| h.version == Version::V1) else {
        return skip("cgroup v1 only");
    };
    needs_machine!(has_file(hierarchy, "cpu.rt_runtime_us"), "no realtime groups");
    check(
        json!({ "cpu": { "realtimeRuntime": 1000, "realtimePeriod": 2_000_000 } }),
        &[
            expect("cpu", ("cpu.rt_runtime_us", "1000"), ("", "")),
            expect("cpu", ("cpu.rt_period_us", "2000000"), ("", "")),
        ],
    );
}

#[test]
fn realtime_is_an_error_on_v2() {
    needs!(Rvol);
    needs_machine!(is_v2_only(), "not on cgroup v1");
    let mut case = Case::new();
    case.set("/linux/resources/cpu/realtimeRuntime", json!(1000));
    case.create().fails().says("linux.resources.cpu.realtimeRuntime: cgroup v2 has no limits of realtime scheduling");
}

#[test]
fn cpusets() {
    check(
        json!({ "cpu": { "cpus": "0", "mems": "0" } }),
        &[
            expect("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
            expect("cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
        ],
    );
}

#[test]
fn memory() {
    check(
        json!({ "memory": { "limit": 33_554_432, "reservation": 16_777_216, "swap": 50_331_648 } }),
        &[
            expect("memory", ("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432")),
            expect("memory", ("memory.soft_limit_in_bytes", "16777216"), ("memory.low", "16777216")),
            expect("memory", ("memory.memsw.limit_in_bytes", "50331648"), ("memory.swap.max", "16777216")),
        ],
    );
    let none = (i64::MAX / 4096 * 4096).to_string();
    check(
        json!({ "memory": { "limit": -1 } }),
        &[expect("memory", ("memory.limit_in_bytes", &none), ("memory.max", "max"))],
    );
}

#[test]
fn memory_of_v1() {
    let v1 = controller("memory").is_some_and(|h| h.version == Version::V1);
    if v1 {
        check(json!({ "memory": { "swappiness": 7 } }), &[expect("memory", ("memory.swappiness", "7"), ("", ""))]);
        needs!(Rvol);
        let tcp = expect("memory", ("memory.kmem.tcp.limit_in_bytes", "1048576"), ("", ""));
        check(json!({ "memory": { "kernelTCP": 1_048_576 } }), &[tcp]);
        let mut case = Case::new();
        case.set("/linux/resources/memory/disableOOMKiller", json!(true)).pause().create().ok();
        let control = read(&controller("memory").unwrap().of(case.pid()), "memory.oom_control").unwrap();
        assert!(control.contains("oom_kill_disable 1"), "{control}");
        return;
    }
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    for (name, value) in [("swappiness", json!(7)), ("disableOOMKiller", json!(true)), ("kernelTCP", json!(1 << 20))] {
        let mut case = Case::new();
        case.set(&format!("/linux/resources/memory/{name}"), value);
        case.create().fails().says(&format!("linux.resources.memory.{name}: cgroup v2 has nothing like it"));
    }
}

#[test]
fn memory_is_checked_before_it_is_set() {
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 64 << 20, "checkBeforeUpdate": true }));
    case.script("dd if=/dev/zero of=/dev/shm/x bs=1048576 count=16; echo ready; probe pause");
    case.create_and_start().wait_for_line("ready");
    case.invoke(&["update", "--memory", "4m", &case.id]).fails().says("memory.limit");
    let file = expect("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
    file.check(&case);
    assert_eq!(case.status(), "running");
}

#[test]
fn tasks() {
    for (limit, text) in [(17, "17"), (-1, "max")] {
        check(json!({ "pids": { "limit": limit } }), &[expect("pids", ("pids.max", text), ("pids.max", text))]);
    }
}

#[test]
fn no_tasks_is_a_limit() {
    needs!(Rvol);
    needs_machine!(controller("pids").is_some(), "no pids controller");
    let mut case = Case::new();
    case.set("/linux/resources/pids/limit", json!(0));
    // Its own process is in; another one there cannot be.
    case.script("(true) && echo two; echo one");
    let outcome = case.run();
    assert!(!outcome.stdout.contains("two"), "{outcome}");
    check(json!({ "pids": { "limit": 0 } }), &[expect("pids", ("pids.max", "0"), ("pids.max", "0"))]);
}

#[test]
fn block_io_weights() {
    let Some(hierarchy) = controller("blkio") else { return skip("no blkio or io controller") };
    let mut case = Case::new();
    case.pause().create().ok();
    let there = weight_file(&hierarchy.of(case.pid()), 500);
    case.delete_force().ok();
    needs_machine!(there.is_some(), "this kernel has no weights of block devices");
    case.set("/linux/resources/blockIO/weight", json!(500)).pause().create().ok();
    let directory = hierarchy.of(case.pid());
    let (file, expected) = weight_file(&directory, 500).expect("it was there");
    assert_eq!(read(&directory, file), Some(expected), "{file}");
}

#[test]
fn block_io_weights_by_device() {
    needs!(Rvol);
    let Some(hierarchy) = controller("blkio") else { return skip("no blkio or io controller") };
    let mut case = Case::new();
    case.pause().create().ok();
    let there = weight_device_file(&hierarchy.of(case.pid()));
    case.delete_force().ok();
    let Some(file) = there else { return skip("this kernel has no weights of devices") };
    let Some(disk) = WeighedDisk::new(&case) else { return skip("no loop device that can have the scheduler bfq") };
    let (major, minor) = disk.number;
    let list = json!([{ "major": major, "minor": minor, "weight": 300 }]);
    case.set("/linux/resources/blockIO", json!({ "weight": 200, "weightDevice": list })).create().ok();
    let directory = hierarchy.of(case.pid());
    assert_eq!(line_of_device(&directory, file, disk.number), Some(device_weight(file, 300)), "{file}");
    let (file, expected) = weight_file(&directory, 200).expect("it was there");
    let text = read(&directory, file).unwrap_or_default();
    assert_eq!(text.lines().next(), Some(expected.as_str()), "{file}");
}

#[test]
fn block_io_by_device() {
    let Some((major, minor)) = block_device() else { return skip("no block device") };
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let resources = json!({ "blockIO": {
        "throttleReadBpsDevice": rate(1_000_000), "throttleWriteBpsDevice": rate(2_000_000),
        "throttleReadIOPSDevice": rate(30), "throttleWriteIOPSDevice": rate(40),
    }});
    let v2 = format!("{major}:{minor} rbps=1000000 wbps=2000000 riops=30 wiops=40");
    let line = |value: u64| format!("{major}:{minor} {value}");
    let expected = [
        expect("blkio", ("blkio.throttle.read_bps_device", &line(1_000_000)), ("io.max", &v2)),
        expect("blkio", ("blkio.throttle.write_bps_device", &line(2_000_000)), ("io.max", &v2)),
        expect("blkio", ("blkio.throttle.read_iops_device", &line(30)), ("io.max", &v2)),
        expect("blkio", ("blkio.throttle.write_iops_device", &line(40)), ("io.max", &v2)),
    ];
    check(resources, &expected);
}

#[test]
fn huge_pages() {
    needs!(Rvol);
    needs_machine!(
        std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists(),
        "no huge pages of 2 MiB"
    );
    check(
        json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }),
        &[
            expect("hugetlb", ("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.max", "4194304")),
            expect("hugetlb", ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")),
        ],
    );
}

#[test]
fn rdma() {
    needs!(Rvol);
    let device = std::fs::read_dir("/sys/class/infiniband").ok().and_then(|d| d.flatten().next());
    let Some(device) = device.map(|d| d.file_name().to_string_lossy().into_owned()) else {
        return skip("no RDMA device");
    };
    let line = format!("{device} hca_handle=3 hca_object=4");
    let resources = json!({ "rdma": { &device: { "hcaHandles": 3, "hcaObjects": 4 } } });
    check(resources, &[expect("rdma", ("rdma.max", &line), ("rdma.max", &line))]);
}

#[test]
fn network() {
    let class = expect("net_cls", ("net_cls.classid", "1048577"), ("", ""));
    if controller("net_cls").is_some() {
        check(json!({ "network": { "classID": 1_048_577 } }), &[class]);
    }
    if let Some(hierarchy) = controller("net_prio") {
        let mut case = Case::new();
        case.set("/linux/resources/network/priorities", json!([{ "name": "lo", "priority": 5 }])).pause().create().ok();
        let map = read(&hierarchy.of(case.pid()), "net_prio.ifpriomap").unwrap();
        assert!(map.lines().any(|line| line == "lo 5"), "{map}");
    }
    needs!(Rvol);
    if controller("net_cls").is_none() {
        let mut case = Case::new();
        case.set("/linux/resources/network/classID", json!(1_048_577));
        case.create().fails().says("linux.resources.network");
    }
}

#[test]
fn unified_files() {
    needs!(Rvol);
    let Some(hierarchy) = unified() else {
        let mut case = Case::new();
        case.set("/linux/resources/unified", json!({ "memory.max": "1" }));
        case.create().fails().says("linux.resources.unified: cgroup v2 is not mounted");
        return;
    };
    let mut case = Case::new();
    case.set("/linux/resources/unified", json!({ "cgroup.max.depth": "3", "cgroup.max.descendants": "12" }));
    case.pause().create().ok();
    let directory = hierarchy.of(case.pid());
    assert_eq!(read(&directory, "cgroup.max.depth").as_deref(), Some("3"));
    assert_eq!(read(&directory, "cgroup.max.descendants").as_deref(), Some("12"));
    case.delete_force().ok();
    for (file, message) in [
        ("../x.y", "is not the name of a cgroup file"),
        ("no.such", "has no no controller"),
        ("cgroup.nosuch", "open "),
    ] {
        let mut case = Case::new();
        case.set("/linux/resources/unified", json!({ file: "1" }));
        case.create().fails().says(&format!("linux.resources.unified.{file}: ")).says(message);
        case.assert_nothing_left();
    }
}

#[test]
fn device_rules() {
    let mut case = Case::new();
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" },
        { "allow": false, "type": "c", "major": 1, "minor": 7, "access": "w" },
    ]);
    case.set("/linux/resources/devices", rules).caps(&["CAP_MKNOD", "CAP_SYSLOG"]);
    // kmsg is allowed for reading alone, full not for writing, port (1:4) is nowhere.
    case.script(
        "cd /tmp; mknod kmsg c 1 11; mknod full c 1 7; mknod port c 1 4; mknod null c 1 3
         can() { (eval \"$2\") 2>/dev/null && echo \"$1 yes\" || echo \"$1 no\"; }
         can kmsg-w ': >kmsg'; can full-r ': <full'; can full-w ': >full'; can port-r ': <port'; can null-w ': >null'",
    );
    let outcome = case.run().ok();
    let said = |line: &str| assert!(outcome.stdout.lines().any(|l| l == line), "{line}: {outcome}");
    for line in ["kmsg-w no", "full-r yes", "port-r no", "null-w yes"] {
        said(line);
    }
    needs!(Rvol);
    said("full-w no");
}

#[test]
fn the_container_reads_its_own_limits() {
    needs!(Rvol);
    let memory = expect("memory", ("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432"));
    let pids = expect("pids", ("pids.max", "21"), ("pids.max", "21"));
    let cpu = expect("cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000"));
    for own_namespace in [true, false] {
        let mut case = Case::new();
        if own_namespace {
            case.namespace("cgroup");
        }
        case.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
        case.set("/linux/resources/memory/limit", json!(32 << 20));
        case.set("/linux/resources/pids/limit", json!(21));
        case.set("/linux/resources/cpu", json!({ "quota": 20000, "period": 50000 }));
        let expected = [&memory, &pids, &cpu];
        let here: Vec<_> = expected.into_iter().filter_map(|e| e.here().ok()).collect();
        needs_machine!(!here.is_empty(), "no controllers");
        // Without a namespace of its own cgroup v2 shows the whole tree.
        let below = if own_namespace || !is_v2_only() { String::new() } else { format!("/{}", case.token) };
        let script: Vec<String> = here
            .iter()
            .map(|(hierarchy, file, _)| {
                let name = hierarchy.root.strip_prefix("/sys/fs/cgroup").unwrap().display();
                format!("cat /sys/fs/cgroup/{name}{below}/{file}")
            })
            .collect();
        case.script(&script.join("; "));
        let outcome = case.run().ok();
        let values: Vec<&str> = here.iter().map(|(_, _, value)| *value).collect();
        assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), values, "{outcome}");
    }
}

#[test]
fn what_the_machine_has_not_is_an_error_with_its_place() {
    needs!(Rvol);
    let cases = [
        (json!({ "cpu": { "cpus": "0-4000" } }), "linux.resources.cpu.cpus: "),
        (json!({ "memory": { "swap": 1 << 20, "limit": 2 << 20 } }), "linux.resources.memory.swap: "),
        (json!({ "hugepageLimits": [{ "pageSize": "3MB", "limit": 1 }] }), "linux.resources.hugepageLimits"),
        (json!({ "rdma": { "nosuch0": { "hcaHandles": 3 } } }), "linux.resources.rdma"),
        (json!({ "blockIO": { "leafWeight": 500 } }), "linux.resources.blockIO.leafWeight: "),
        (json!({ "blockIO": { "weight": 5000 } }), "linux.resources.blockIO.weight: "),
    ];
    for (resources, place) in cases {
        let mut case = Case::new();
        case.set("/linux/resources", resources);
        case.create().fails().says(place);
        case.assert_nothing_left();
    }
}

#[test]
fn several_at_once_are_all_set() {
    needs_machine!(controller("cpuset").is_some(), "no cpuset controller");
    let resources = json!({
        "memory": { "limit": 64 << 20 }, "pids": { "limit": 99 }, "cpu": { "shares": 512, "cpus": "0", "mems": "0" },
    });
    check(
        resources,
        &[
            expect("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
            expect("pids", ("pids.max", "99"), ("pids.max", "99")),
            expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "59")),
            expect("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        ],
    );
}

#[test]
fn a_container_is_in_every_hierarchy() {
    let mut case = Case::new();
    case.pause().create().ok();
    for hierarchy in hierarchies() {
        let directory = hierarchy.of(case.pid());
        assert!(directory.ends_with(&case.token), "{}", directory.display());
    }
}
