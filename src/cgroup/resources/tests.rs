//! Every resource side by side: what the config says, what v1 gets, what v2 gets.

use super::*;
use crate::plan::resources::read;

const V1: [&str; 10] =
    ["cpu,cpuacct", "cpuset", "memory", "blkio", "pids", "hugetlb", "rdma", "net_cls,net_prio", "devices", "systemd"];

fn v1() -> Layout {
    Layout { v1: V1.iter().map(|n| Some(n.to_string())).collect(), v2: None }
}

fn v2() -> Layout {
    Layout { v1: vec![None], v2: Some((0, None)) }
}

fn resources(json: &str) -> Resources {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let resources = read("linux.resources", &serde_json::from_str(json).unwrap(), &mut problems, &mut warnings);
    assert!(problems.is_empty(), "{problems:?}");
    resources
}

fn shown(json: &str, layout: &Layout) -> Vec<String> {
    match settings("linux.resources", &resources(json), layout) {
        Ok(settings) => settings.writes.iter().map(Write::to_string).collect(),
        Err(problems) => problems.iter().map(|p| format!("! {p}")).collect(),
    }
}

/// Config, v1, v2.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    (r#"{"cpu":{"shares":1024}}"#, &["cpu.shares = 1024"], &["cpu.weight = 100"]),
    (r#"{"cpu":{"shares":0,"quota":0,"period":0}}"#, &[], &[]),
    (
        r#"{"cpu":{"quota":50000,"period":100000,"burst":10000}}"#,
        &["cpu.cfs_period_us = 100000", "cpu.cfs_quota_us = 50000", "cpu.cfs_burst_us = 10000"],
        &["cpu.max = 50000 100000", "cpu.max.burst = 10000"],
    ),
    (r#"{"cpu":{"quota":-1}}"#, &["cpu.cfs_quota_us = -1"], &["cpu.max = max 100000"]),
    (r#"{"cpu":{"quota":20000}}"#, &["cpu.cfs_quota_us = 20000"], &["cpu.max = 20000 100000"]),
    (r#"{"cpu":{"period":50000}}"#, &["cpu.cfs_period_us = 50000"], &["cpu.max = max 50000"]),
    (r#"{"cpu":{"idle":1,"shares":512}}"#, &["cpu.idle = 1"], &["cpu.idle = 1"]),
    (r#"{"cpu":{"idle":0,"shares":512}}"#, &["cpu.idle = 0", "cpu.shares = 512"], &["cpu.idle = 0", "cpu.weight = 59"]),
    (
        r#"{"cpu":{"realtimeRuntime":950000,"realtimePeriod":1000000}}"#,
        &["cpu.rt_period_us = 1000000", "cpu.rt_runtime_us = 950000"],
        &[
            "! linux.resources.cpu.realtimeRuntime: cgroup v2 has no limits of realtime scheduling",
            "! linux.resources.cpu.realtimePeriod: cgroup v2 has no limits of realtime scheduling",
        ],
    ),
    (
        r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#,
        &["cpuset.cpus = 0-1", "cpuset.mems = 0"],
        &["cpuset.cpus = 0-1", "cpuset.mems = 0"],
    ),
    (
        r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":524288}}"#,
        &[
            "memory.limit_in_bytes = 1048576",
            "memory.memsw.limit_in_bytes = 2097152",
            "memory.soft_limit_in_bytes = 524288",
        ],
        &["memory.max = 1048576", "memory.swap.max = 1048576", "memory.low = 524288"],
    ),
    (
        r#"{"memory":{"limit":1048576,"swap":-1}}"#,
        &["memory.limit_in_bytes = 1048576", "memory.memsw.limit_in_bytes = -1"],
        &["memory.max = 1048576", "memory.swap.max = max (best effort: the kernel may not account swap)"],
    ),
    (
        r#"{"memory":{"limit":1048576,"swap":1048576}}"#,
        &["memory.limit_in_bytes = 1048576", "memory.memsw.limit_in_bytes = 1048576"],
        &["memory.max = 1048576", "memory.swap.max = 0 (best effort: the kernel may not account swap)"],
    ),
    (
        r#"{"memory":{"limit":-1}}"#,
        &[
            "memory.limit_in_bytes = -1",
            "memory.memsw.limit_in_bytes = -1 (best effort: the kernel may not account swap)",
        ],
        &["memory.max = max", "memory.swap.max = max (best effort: the kernel may not account swap)"],
    ),
    (
        r#"{"memory":{"swap":2097152}}"#,
        &["memory.memsw.limit_in_bytes = 2097152"],
        &["! linux.resources.memory.swap: is memory and swap together, which needs a memory limit"],
    ),
    (
        r#"{"memory":{"limit":1048576,"checkBeforeUpdate":true}}"#,
        &["memory.limit_in_bytes = 1048576"],
        &["memory.max = 1048576 if memory.current <= 1048576"],
    ),
    (r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0}}"#, &[], &[]),
    (
        r#"{"memory":{"swappiness":10,"disableOOMKiller":true,"kernelTCP":4096}}"#,
        &["memory.kmem.tcp.limit_in_bytes = 4096", "memory.oom_control = 1", "memory.swappiness = 10"],
        &[
            "! linux.resources.memory.swappiness: cgroup v2 has nothing like it",
            "! linux.resources.memory.disableOOMKiller: cgroup v2 has nothing like it",
            "! linux.resources.memory.kernelTCP: cgroup v2 has nothing like it",
        ],
    ),
    (r#"{"memory":{"disableOOMKiller":false}}"#, &["memory.oom_control = 0"], &[]),
    (r#"{"pids":{"limit":100}}"#, &["pids.max = 100"], &["pids.max = 100"]),
    (r#"{"pids":{"limit":0}}"#, &["pids.max = 0"], &["pids.max = 0 (late)"]),
    (r#"{"pids":{"limit":-1}}"#, &["pids.max = max"], &["pids.max = max"]),
    (
        r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":16,"weight":100}]}}"#,
        &[
            "blkio.weight = 500 or blkio.bfq.weight = 500",
            "blkio.weight_device = 8:16 100 or blkio.bfq.weight_device = 8:16 100",
        ],
        &["io.bfq.weight = 500 or io.weight = 4950", "io.bfq.weight = 8:16 100 or io.weight = 8:16 910"],
    ),
    (
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}],
            "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0},{"major":8,"minor":16,"rate":7}],
            "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
            "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":4}]}}"#,
        &[
            "blkio.throttle.read_bps_device = 8:0 1000",
            "blkio.throttle.write_bps_device = 8:0 0",
            "blkio.throttle.write_bps_device = 8:16 7",
            "blkio.throttle.read_iops_device = 8:0 3",
            "blkio.throttle.write_iops_device = 8:0 4",
        ],
        &["io.max = 8:0 rbps=1000 wbps=max riops=3 wiops=4", "io.max = 8:16 wbps=7"],
    ),
    (
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#,
        &[
            "hugetlb.2MB.limit_in_bytes = 2097152",
            "hugetlb.2MB.rsvd.limit_in_bytes = 2097152 (best effort: the kernel may not limit reservations)",
        ],
        &[
            "hugetlb.2MB.max = 2097152",
            "hugetlb.2MB.rsvd.max = 2097152 (best effort: the kernel may not limit reservations)",
        ],
    ),
    (
        r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1000}}}"#,
        &["rdma.max = mlx4_0 hca_object=1000", "rdma.max = mlx5_1 hca_handle=3 hca_object=10000"],
        &["rdma.max = mlx4_0 hca_object=1000", "rdma.max = mlx5_1 hca_handle=3 hca_object=10000"],
    ),
    (
        r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#,
        &["net_cls.classid = 1048577", "net_prio.ifpriomap = eth0 500"],
        &[
            "! linux.resources.network.classID: cgroup v2 has nothing like it",
            "! linux.resources.network.priorities[0]: cgroup v2 has nothing like it",
        ],
    ),
    (
        r#"{"unified":{"io.max":"259:0 rbps=2097152 wiops=120\n253:0 rbps=2097152\n","memory.high":"1M","cgroup.max.depth":"3"}}"#,
        &["! linux.resources.unified: cgroup v2 is not mounted"],
        &[
            "cgroup.max.depth = 3",
            "io.max = 259:0 rbps=2097152 wiops=120",
            "io.max = 253:0 rbps=2097152",
            "memory.high = 1M",
        ],
    ),
];

#[test]
fn resources_become_writes() {
    for (config, on_v1, on_v2) in TABLE {
        assert_eq!(shown(config, &v1()), *on_v1, "{config} on v1");
        assert_eq!(shown(config, &v2()), *on_v2, "{config} on v2");
    }
}

#[test]
fn a_hybrid_machine_uses_both() {
    let layout = Layout {
        v1: vec![Some("cpu".into()), Some("memory".into()), None],
        v2: Some((2, Some(vec!["hugetlb".into()]))),
    };
    let all = r#"{"cpu":{"shares":2},"hugepageLimits":[{"pageSize":"1GB","limit":0}],"unified":{"misc.max":"a 1"}}"#;
    let settings = settings("linux.resources", &resources(all), &layout).unwrap();
    let places: Vec<(usize, &str)> = settings.writes.iter().map(|w| (w.hierarchy, w.choices[0].0.as_str())).collect();
    assert_eq!(places, [(0, "cpu.shares"), (2, "hugetlb.1GB.max"), (2, "hugetlb.1GB.rsvd.max"), (2, "misc.max")]);
    let needed: Vec<&str> = settings.controllers.iter().map(|c| c.controller.as_str()).collect();
    assert_eq!(needed, ["hugetlb", "misc"]);
    assert_eq!(
        shown(r#"{"pids":{"limit":1}}"#, &layout),
        ["! linux.resources.pids.limit: the pids controller is in no cgroup hierarchy of this machine"]
    );
}

#[test]
fn v1_devices_are_a_default_and_exceptions() {
    let lines = |json: &str| {
        let mut settings = Settings::default();
        add_devices(&mut settings, Policy::new(&resources(json).devices), &v1(), &Standing::Fresh)
            .map(|()| {
                settings.writes.iter().map(|w| format!("{} {}", w.choices[0].0, w.choices[0].1)).collect::<Vec<_>>()
            })
            .map_err(|p| p.to_string())
    };
    let all = lines(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#).unwrap();
    assert!(all.is_empty(), "a new cgroup allows all: {all:?}");
    let some = lines(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
            {"allow":true,"major":7,"access":"r"}]}"#,
    )
    .unwrap();
    assert_eq!(
        some[..5],
        [
            "devices.deny a",
            "devices.allow c 10:229 rw",
            "devices.allow b 7:* r",
            "devices.allow c 7:* r",
            "devices.allow c *:* m"
        ]
    );
    let error = lines(
        r#"{"devices":[{"allow":true,"type":"b","major":8,"access":"rw"},{"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]}"#,
    );
    assert_eq!(error.unwrap_err(), "linux.resources.devices: cgroup v1 cannot deny b 8:1 w after the rules before it");
}

#[test]
fn values_that_cannot_be_are_named() {
    let json = r#"{
        "cpu": {"quota": 10, "burst": 11, "idle": 2, "cpus": "0-x"},
        "memory": {"limit": -2, "swap": 1, "swappiness": 101, "kernel": 5},
        "blockIO": {"weight": 1001, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0}],
            "throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2M", "limit": 1}, {"pageSize": "../x/2MB", "limit": 1}],
        "network": {"priorities": [{"name": "a b", "priority": 1}]},
        "rdma": {"dev": {}},
        "unified": {"../x/memory.max": "1", "cgroup.procs": "1", "memory": "1"},
        "devices": [{"allow": true, "type": "p", "access": "r"}, {"allow": true, "access": "x"}, {"allow": true, "major": -7}]
    }"#;
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    read("", &serde_json::from_str(json).unwrap(), &mut problems, &mut warnings);
    let mut places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
    places.sort_unstable();
    let mut want = [
        "cpu.burst",
        "cpu.idle",
        "cpu.cpus",
        "memory.limit",
        "memory.swappiness",
        "blockIO.weight",
        "blockIO.leafWeight",
        "blockIO.weightDevice[0]",
        "blockIO.throttleReadBpsDevice[0]",
        "hugepageLimits[0].pageSize",
        "hugepageLimits[1].pageSize",
        "network.priorities[0].name",
        "rdma.dev",
        "unified.../x/memory.max",
        "unified.cgroup.procs",
        "unified.memory",
        "devices[0].type",
        "devices[1].access",
        "devices[2].major",
    ];
    want.sort_unstable();
    assert_eq!(places, want);
    assert_eq!(warnings, ["memory.kernel: ignored, Linux has no such limit since 5.16"]);
}

/// The table of docs/cgroups.md: each file that is written has its row, and each row the tests that read it back.
#[test]
fn every_limit_has_its_row_and_its_tests() {
    let manual = include_str!("../../../docs/cgroups.md");
    let rows: Vec<Vec<&str>> = manual
        .lines()
        .skip_while(|line| !line.starts_with("| `linux.resources` | v1 file"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == 5), "{rows:#?}");
    let named = |row: &[&str], column: usize, file: &str| {
        let text = if row[column] == "the same" || row[column].starts_with("a line of") {
            row[1..3].join(" ")
        } else {
            row[column].into()
        };
        text.split('`').any(|word| word == file)
    };
    for (config, v1, v2) in TABLE {
        for (column, lines) in [(1, v1), (2, v2)] {
            for write in lines.iter().filter(|line| !line.starts_with('!')) {
                let file = write.split(' ').next().unwrap();
                let size = file.split('.').find(|part| file.starts_with("hugetlb") && part.ends_with('B'));
                let file = size.map_or(file.to_owned(), |size| file.replace(size, "SIZE"));
                let known = rows.iter().any(|row| named(row, column, &file));
                assert!(known || config.contains("unified"), "docs/cgroups.md has no row for {file} ({config})");
            }
        }
    }
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime-tests/tests");
    for row in &rows {
        let tests: Vec<&str> = row.last().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{} names no test", row[0]);
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or(("cgroup_limits", test));
            let source = std::fs::read_to_string(directory.join(file).with_extension("rs")).unwrap();
            assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "{}: there is no test {test}", row[0]);
        }
        if row[3].contains('`') {
            assert!(row[4].contains("`systemd::"), "{}: no test with systemd", row[0]);
        }
    }
}
