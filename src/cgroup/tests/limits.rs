//! Limits read back from the kernel.

use super::*;
use crate::plan::resources::devices::Policy;
use crate::plan::resources::read;
use std::os::fd::AsFd;

pub fn resources(json: &str) -> Resources {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let resources = read("linux.resources", &serde_json::from_str(json).unwrap(), &mut problems, &mut warnings);
    assert!(problems.is_empty(), "{problems:?}");
    resources
}

pub fn limited(path: &str, json: &str) -> Cgroup {
    Cgroup { resources: resources(json), ..at(path) }
}

/// The text of a file in the hierarchy of a v1 controller, if that is mounted.
pub fn v1_file(record: &Record, controller: &str, file: &str) -> Option<String> {
    let (_, directory) = record.directories().find(|(name, _)| name.split(',').any(|c| c == controller))?;
    Some(std::fs::read_to_string(directory.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")))
}

fn block_device() -> Option<String> {
    let first = std::fs::read_dir("/sys/block").ok()?.filter_map(Result::ok).next()?;
    Some(std::fs::read_to_string(first.path().join("dev")).ok()?.trim().to_string())
}

/// Creates with these resources and compares files of one v1 controller.
fn check_v1(controller: &str, json: &str, files: &[(&str, &str)]) {
    let Some(host) = host() else { return };
    let CgroupMode::Legacy { hierarchies, .. } = &host.cgroup else { return };
    if !hierarchies.iter().any(|h| h.split(',').any(|c| c == controller)) {
        return;
    }
    let created = made(&limited(&name(), json), &host);
    let read: Vec<(&str, String)> = files
        .iter()
        .map(|(file, _)| (*file, v1_file(created.record(), controller, file).unwrap().trim().to_string()))
        .collect();
    created.record().remove().unwrap();
    let read: Vec<(&str, &str)> = read.iter().map(|(file, text)| (*file, text.as_str())).collect();
    assert_eq!(read, files, "{json}");
}

#[test]
fn v1_cpu() {
    check_v1(
        "cpu",
        r#"{"cpu":{"shares":512,"quota":20000,"period":50000,"burst":5000}}"#,
        &[
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "20000"),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_burst_us", "5000"),
        ],
    );
    check_v1("cpu", r#"{"cpu":{"idle":1,"shares":512}}"#, &[("cpu.idle", "1")]);
    check_v1("cpuset", r#"{"cpu":{"cpus":"0","mems":"0"}}"#, &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
}

#[test]
fn v1_realtime() {
    if Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        check_v1(
            "cpu",
            r#"{"cpu":{"realtimeRuntime":1000,"realtimePeriod":2000000}}"#,
            &[("cpu.rt_runtime_us", "1000"), ("cpu.rt_period_us", "2000000")],
        );
    }
}

#[test]
fn v1_memory() {
    check_v1(
        "memory",
        r#"{"memory":{"limit":4194304,"reservation":2097152,"swap":8388608,"swappiness":7,"kernelTCP":1048576}}"#,
        &[
            ("memory.limit_in_bytes", "4194304"),
            ("memory.soft_limit_in_bytes", "2097152"),
            ("memory.memsw.limit_in_bytes", "8388608"),
            ("memory.swappiness", "7"),
            ("memory.kmem.tcp.limit_in_bytes", "1048576"),
        ],
    );
}

#[test]
fn v1_pids() {
    check_v1("pids", r#"{"pids":{"limit":17}}"#, &[("pids.max", "17")]);
    check_v1("pids", r#"{"pids":{"limit":0}}"#, &[("pids.max", "0")]);
    check_v1("pids", r#"{"pids":{"limit":-1}}"#, &[("pids.max", "max")]);
}

#[test]
fn v1_block_io() {
    let Some(device) = block_device() else { return };
    let (major, minor) = device.split_once(':').unwrap();
    let rate = |n: u32| format!(r#"[{{"major":{major},"minor":{minor},"rate":{n}}}]"#);
    let json = format!(
        r#"{{"blockIO":{{"throttleReadBpsDevice":{},"throttleWriteBpsDevice":{},
            "throttleReadIOPSDevice":{},"throttleWriteIOPSDevice":{}}}}}"#,
        rate(1_000_000),
        rate(2_000_000),
        rate(30),
        rate(40)
    );
    let lines = [1_000_000, 2_000_000, 30, 40].map(|n| format!("{device} {n}"));
    check_v1(
        "blkio",
        &json,
        &[
            ("blkio.throttle.read_bps_device", &lines[0]),
            ("blkio.throttle.write_bps_device", &lines[1]),
            ("blkio.throttle.read_iops_device", &lines[2]),
            ("blkio.throttle.write_iops_device", &lines[3]),
        ],
    );
}

#[test]
fn v1_devices() {
    let defaults = "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:8 rwm\nc 1:7 rwm\nc 5:0 rwm\nc 1:5 rwm\nc 1:9 rwm\nc 136:* rwm\nc 5:2 rwm\nc 10:200 rwm";
    check_v1("devices", "{}", &[("devices.list", defaults)]);
    check_v1(
        "devices",
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
            {"allow":true,"type":"b","major":8,"minor":20,"access":"rw"},{"allow":true,"type":"b","major":10,"minor":200,"access":"r"}]}"#,
        &[("devices.list", &format!("c 10:229 rwm\nb 8:20 rw\nb 10:200 r\n{defaults}"))],
    );
    check_v1("devices", r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, &[("devices.list", "a *:* rwm")]);
    check_v1(
        "devices",
        r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":9,"access":"r"}]}"#,
        &[("devices.list", "a *:* rwm")],
    );
}

#[test]
fn v2_limits_of_a_hybrid_machine() {
    let Some(host) = host() else { return };
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    if !controllers.contains("hugetlb") {
        return;
    }
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"cgroup.max.depth":"3","hugetlb.1GB.max":"0"}}"#;
    let control = "/sys/fs/cgroup/unified/cgroup.subtree_control";
    let before = std::fs::read_to_string(control).unwrap();
    let name = name();
    let created = made(&limited(&format!("{name}/leaf"), json), &host);
    let (_, directory) = created.record().directories().last().unwrap();
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!(read("hugetlb.2MB.max"), "4194304");
    assert_eq!(read("hugetlb.2MB.rsvd.max"), "4194304");
    assert_eq!(read("hugetlb.1GB.max"), "0");
    assert_eq!(read("cgroup.max.depth"), "3");
    created.record().remove().unwrap();

    let json = r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#;
    assert_eq!(
        format!("{:#}", create(&limited(&name, json), &host).unwrap_err()),
        format!(
            "linux.resources.hugepageLimits[0].limit: open /sys/fs/cgroup/unified/{name}/hugetlb.3MB.max to write 1: no such file or directory (ENOENT)"
        )
    );
    if !before.contains("hugetlb") {
        // Another run of these tests may still need it.
        let _ = std::fs::write(control, "-hugetlb");
    }
}

#[test]
fn what_cannot_be_written_names_its_place_and_leaves_nothing() {
    let Some(host) = host() else { return };
    let CgroupMode::Legacy { hierarchies, .. } = &host.cgroup else { return };
    let name = name();
    let error = |json: &str| format!("{:#}", create(&limited(&name, json), &host).unwrap_err());
    let text = error(r#"{"cpu":{"cpus":"0-4000"}}"#);
    let start = format!("linux.resources.cpu.cpus: write 0-4000 to /sys/fs/cgroup/cpuset/{name}/cpuset.cpus: ");
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(
        error(r#"{"unified":{"memory.max":"1"}}"#),
        "linux.resources.unified.memory.max: cgroup v2 of this machine has no memory controller (cgroup.controllers)"
    );
    for hierarchy in hierarchies.iter().map(String::as_str).chain(["unified"]) {
        assert!(!host.cgroup_root.join(hierarchy).join(&name).exists(), "{hierarchy}");
    }
}

/// Runs a shell in the cgroup v2 directory, born there.
fn shell_in(directory: &Path, script: &str) -> String {
    let script = format!("echo $$ > {}/cgroup.procs && {{ {script}; }} 2>&1", directory.display());
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_device_program_denies_and_is_replaced() {
    let Some(host) = host() else { return };
    let created = made(&at(&name()), &host);
    let record = created.record();
    let Some(directory) = created.into_fd() else { return };
    let (_, path) = record.directories().last().unwrap();
    let nodes = std::env::temp_dir().join(name());
    std::fs::create_dir(&nodes).unwrap();
    let script = format!(
        "cd {} && rm -f z k; mknod z c 1 5; mknod k c 1 11; head -c1 z | wc -c; head -c1 k; mknod b b 8 77 && echo block",
        nodes.display()
    );

    // Without a v1 devices controller the cgroup is born with its program.
    let programs = || crate::sys::bpf::device_programs(directory).unwrap().len();
    if host.cgroup == CgroupMode::Unified {
        assert_eq!(programs(), 1);
    } else {
        assert_eq!(programs(), 0);
        super::super::devices::attach(&Policy::new(&[]), directory).unwrap();
    }
    let text = shell_in(&path, &script);
    assert!(text.contains('1') && text.contains("cannot open 'k'") && text.contains("not permitted"), "{text}");
    assert!(text.contains("block"), "mknod of anything is allowed: {text}");

    let strict = resources(r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":false,"type":"b","access":"m"}]}"#);
    super::super::devices::replace(&Policy::new(&strict.devices), directory).unwrap();
    assert_eq!(programs(), 1);
    std::fs::remove_file(nodes.join("b")).unwrap();
    assert!(!shell_in(&path, &script).contains("block"));

    let open = resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    super::super::devices::attach(&Policy::new(&[]), directory.as_fd()).unwrap();
    super::super::devices::replace(&Policy::new(&open.devices), directory).unwrap();
    assert_eq!(programs(), 1, "all old ones are gone");
    assert!(shell_in(&path, &script).contains("block"));
    std::fs::remove_dir_all(&nodes).unwrap();
    record.remove().unwrap();
}

#[test]
fn a_limit_that_would_keep_the_process_out_is_written_late() {
    let late = resources(r#"{"pids":{"limit":0}}"#);
    let layout = super::super::resources::Layout { v1: vec![None], v2: Some((0, None)) };
    let settings = super::super::resources::settings("", &late, &layout).unwrap();
    assert!(settings.writes[0].late);
}

#[test]
fn delegation_changes_the_listed_files_only() {
    use std::os::unix::fs::MetadataExt;
    let Some(host) = host() else { return };
    let created = made(&Cgroup { owner: Some(1234), ..at(&name()) }, &host);
    let Some((_, path)) = created.record().directories().find(|(n, _)| ["", "unified"].contains(n)) else { return };
    let owner = |file: &str| std::fs::metadata(path.join(file)).unwrap().uid();
    assert_eq!([".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"].map(owner), [1234; 4]);
    assert_eq!(["cgroup.freeze", "cgroup.max.depth", "cgroup.kill"].map(owner), [0; 3]);
    created.record().remove().unwrap();
}
