//! Containers in units of a real systemd: `--systemd-cgroup`, `slice:prefix:name`, properties from resources and
//! annotations, and what of it is gone after `delete`. Skipped where systemd is not PID 1; `make test-vm` has one.

use runtime_tests::cgroups::{self, Version, WeighedDisk, block_device};
use runtime_tests::features::skip;
use runtime_tests::{Case, json, needs, needs_machine, unprivileged};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn booted() -> bool {
    Path::new("/run/systemd/system").is_dir() && nix::unistd::geteuid().is_root()
}

/// The controllers that systemd gives to its units here.
fn has_controllers(names: &[&str]) -> bool {
    let list = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    names.iter().all(|name| list.split_ascii_whitespace().any(|c| c == *name))
}

/// A container for `system.slice/rvt-TOKEN.scope`.
fn case() -> Case {
    let mut case = Case::new();
    case.global_flags = vec!["--systemd-cgroup"];
    let path = format!("system.slice:rvt:{}", case.token);
    case.set("/linux/cgroupsPath", json!(path)).pause();
    case
}

fn unit(case: &Case) -> String {
    format!("rvt-{}.scope", case.token)
}

#[track_caller]
fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).output().expect("run systemctl");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, unit])
}

#[track_caller]
fn expect_properties(unit: &str, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(property(unit, name), *value, "{name} of {unit}");
    }
}

/// The directory of the container's process in cgroup v2.
fn directory(case: &Case) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", case.pid())).expect("read /proc/PID/cgroup");
    let path = text.lines().find_map(|l| l.strip_prefix("0::/")).expect("cgroup v2");
    Path::new("/sys/fs/cgroup").join(path)
}

#[track_caller]
fn expect_files(case: &Case, expected: &[(&str, &str)]) {
    for (file, value) in expected {
        let text = fs::read_to_string(directory(case).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(text.trim_end(), *value, "{file}");
    }
}

/// systemd knows nothing of the unit, not even that it has failed.
#[track_caller]
fn expect_forgotten(unit: &str) {
    assert_eq!(property(unit, "LoadState"), "not-found", "{}", systemctl(&["status", unit]));
}

#[test]
fn a_container_is_in_a_scope() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let case = case();
    let unit = unit(&case);
    case.create().ok();
    expect_properties(
        &unit,
        &[
            ("ActiveState", "active"),
            ("Slice", "system.slice"),
            ("Delegate", "yes"),
            ("MemoryAccounting", "yes"),
            ("TasksAccounting", "yes"),
            ("DefaultDependencies", "no"),
            ("Description", &format!("rvol-runc container rvt-{}", case.token)),
        ],
    );
    case.start().ok();
    assert!(directory(&case).ends_with(format!("system.slice/{unit}")), "{:?}", directory(&case));
    let record = case.read(&format!("state/{}/container.json", case.id));
    assert!(record.contains(&format!("\"name\":\"{unit}\",\"slice\":\"system.slice\"")), "{record}");
    case.delete_force().ok();
    expect_forgotten(&unit);
    case.assert_nothing_left();
}

#[test]
fn without_a_path_the_scope_is_named_after_the_container() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    case.global_flags = vec!["--cgroup-manager=systemd"];
    case.unset("/linux/cgroupsPath").create().ok();
    let unit = format!("rvol-runc-{}.scope", case.id);
    expect_properties(&unit, &[("ActiveState", "active"), ("Slice", "system.slice")]);
    case.delete_force().ok();
    expect_forgotten(&unit);
}

#[test]
fn slices_stand_in_slices() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    let (top, inner) = (format!("{}.slice", case.token), format!("{}-in.slice", case.token));
    case.set("/linux/cgroupsPath", json!(format!("{inner}:rvt:{}", case.token))).create().ok();
    case.start().ok();
    assert!(directory(&case).ends_with(format!("{top}/{inner}/{}", unit(&case))), "{:?}", directory(&case));
    case.delete_force().ok();
    expect_forgotten(&unit(&case));
    // They are systemd's; it keeps slices until they are stopped.
    systemctl(&["stop", &inner, &top]);
}

#[test]
fn a_name_of_a_slice_makes_a_slice() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    let unit = format!("{}.slice", case.token);
    case.set("/linux/cgroupsPath", json!(format!("::{unit}"))).create().ok();
    case.start().ok();
    expect_properties(&unit, &[("ActiveState", "active")]);
    assert!(directory(&case).ends_with(&unit), "{:?}", directory(&case));
    case.delete_force().ok();
    // Any slice can be loaded, at any time.
    expect_properties(&unit, &[("ActiveState", "inactive")]);
    case.assert_nothing_left();
}

#[test]
fn limits_are_properties_and_in_the_files() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["cpu", "memory", "pids"]), "cgroup v2 has no cpu, memory, pids");
    let mut case = case();
    case.set(
        "/linux/resources",
        json!({
            "memory": { "limit": 67108864, "swap": 100663296, "reservation": 33554432 },
            "cpu": { "shares": 512, "quota": 15500, "period": 50000 },
            "pids": { "limit": 20 },
            "unified": { "memory.high": "50331648", "memory.oom.group": "1" },
        }),
    );
    case.create().ok();
    let unit = unit(&case);
    expect_properties(
        &unit,
        &[
            ("MemoryMax", "67108864"),
            ("MemorySwapMax", "33554432"),
            ("MemoryLow", "33554432"),
            ("MemoryHigh", "50331648"),
            ("CPUWeight", "59"),
            ("CPUQuotaPerSecUSec", "310ms"),
            ("CPUQuotaPeriodUSec", "50ms"),
            ("TasksMax", "20"),
            ("OOMPolicy", "kill"),
        ],
    );
    let files = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("memory.oom.group", "1"),
        ("cpu.weight", "59"),
        ("cpu.max", "15500 50000"),
        ("pids.max", "20"),
    ];
    expect_files(&case, &files);
    // systemd writes what it knows once more.
    systemctl(&["daemon-reload"]);
    expect_files(&case, &files);
    case.delete_force().ok();
}

/// Where systemd uses cgroup v1 (up to systemd 257): properties have other names, and the files are v1's.
#[test]
fn limits_of_v1() {
    needs!(Rvol);
    needs_machine!(booted() && !cgroups::is_v2_only(), "no systemd with cgroup v1");
    let Some(pids) = cgroups::controller("pids").filter(|h| h.version == Version::V1) else {
        return skip("the pids controller is not v1's");
    };
    let mut case = case();
    case.set(
        "/linux/resources",
        json!({ "cpu": { "shares": 512, "quota": 15500, "period": 50000 }, "pids": { "limit": 20 } }),
    );
    case.create().ok();
    let unit = unit(&case);
    expect_properties(&unit, &[("CPUQuotaPerSecUSec", "310ms"), ("CPUQuotaPeriodUSec", "50ms"), ("TasksMax", "20")]);
    let all = || {
        let mut all = vec![("pids", "pids.max", "20")];
        let cpu =
            [("cpu", "cpu.shares", "512"), ("cpu", "cpu.cfs_quota_us", "15500"), ("cpu", "cpu.cfs_period_us", "50000")];
        all.extend(cpu.into_iter().filter(|_| cgroups::controller("cpu").is_some_and(|h| h.version == Version::V1)));
        for (controller, file, value) in all {
            let directory = cgroups::controller(controller).expect("it was looked for").of(case.pid());
            assert!(directory.ends_with(format!("system.slice/{unit}")), "{}", directory.display());
            assert_eq!(cgroups::read(&directory, file).as_deref(), Some(value), "{file}");
        }
    };
    all();
    systemctl(&["daemon-reload"]);
    all();
    let rules = json!({ "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }] });
    let file = case.make_file("resources.json", &rules.to_string());
    case.invoke(&["update", "--resources", &file, &case.id]).ok();
    case.invoke(&["update", "--pids-limit", "9", &case.id]).ok();
    assert_eq!(cgroups::read(&pids.of(case.pid()), "pids.max").as_deref(), Some("9"));
    assert_eq!(property(&unit, "TasksMax"), "9");
    case.delete_force().ok();
    expect_forgotten(&unit);
    case.assert_nothing_left();
}

#[test]
fn a_quota_is_a_whole_percentage() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["cpu"]), "cgroup v2 has no cpu");
    let mut case = case();
    case.set("/linux/resources/cpu", json!({ "quota": 12345, "period": 100000 })).create().ok();
    expect_properties(&unit(&case), &[("CPUQuotaPerSecUSec", "130ms")]);
    expect_files(&case, &[("cpu.max", "13000 100000")]);
}

#[test]
fn an_idle_container_has_no_weight() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["cpu"]), "cgroup v2 has no cpu");
    let mut case = case();
    case.set("/linux/resources/cpu", json!({ "idle": 1 })).create().ok();
    // Which is how systemd shows a weight of 0.
    expect_properties(&unit(&case), &[("CPUWeight", "idle")]);
    expect_files(&case, &[("cpu.idle", "1")]);
    systemctl(&["daemon-reload"]);
    expect_files(&case, &[("cpu.idle", "1")]);
}

#[test]
fn no_process_is_a_limit_that_only_the_file_can_say() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["pids"]), "cgroup v2 has no pids");
    let mut case = case();
    case.set("/linux/resources/pids/limit", json!(0)).create().ok();
    expect_properties(&unit(&case), &[("TasksMax", "1")]);
    expect_files(&case, &[("pids.max", "0")]);
}

#[test]
fn cpus_are_properties() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["cpuset"]), "cgroup v2 has no cpuset");
    let mut case = case();
    case.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" })).create().ok();
    expect_properties(&unit(&case), &[("AllowedCPUs", "0"), ("AllowedMemoryNodes", "0")]);
    expect_files(&case, &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
}

#[test]
fn rates_and_weights_of_disks_are_properties() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["io"]), "cgroup v2 has no io");
    let Some((major, minor)) = block_device() else { return skip("no block device") };
    let mut case = case();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    case.set(
        "/linux/resources/blockIO",
        json!({
            "throttleReadBpsDevice": rate(1_000_000), "throttleWriteBpsDevice": rate(2_000_000),
            "throttleReadIOPSDevice": rate(30), "throttleWriteIOPSDevice": rate(40),
        }),
    );
    case.create().ok();
    let unit = unit(&case);
    for (name, value) in [
        ("IOReadBandwidthMax", 1_000_000),
        ("IOWriteBandwidthMax", 2_000_000),
        ("IOReadIOPSMax", 30),
        ("IOWriteIOPSMax", 40),
    ] {
        assert_eq!(property(&unit, name), format!("/dev/block/{major}:{minor} {value}"), "{name}");
    }
    let line = format!("{major}:{minor} rbps=1000000 wbps=2000000 riops=30 wiops=40");
    expect_files(&case, &[("io.max", &line)]);
    systemctl(&["daemon-reload"]);
    expect_files(&case, &[("io.max", &line)]);
    let there = cgroups::weight_device_file(&directory(&case));
    case.delete_force().ok();
    let Some(file) = there else { return skip("this kernel has no weights of devices") };
    let Some(disk) = WeighedDisk::new(&case) else { return skip("no loop device that can have the scheduler bfq") };
    let list = json!([{ "major": disk.number.0, "minor": disk.number.1, "weight": 300 }]);
    case.set("/linux/resources/blockIO", json!({ "weight": 500, "weightDevice": list })).create().ok();
    let expected = |default: u64, device: u64| {
        let directory = directory(&case);
        let text = cgroups::read(&directory, file).unwrap_or_default();
        let all = cgroups::weight_file(&directory, default).expect("a file of weights").1;
        assert_eq!(text.lines().next(), Some(all.as_str()), "{file}");
        let line = cgroups::line_of_device(&directory, file, disk.number);
        assert_eq!(line, Some(cgroups::device_weight(file, device)), "{file}");
    };
    expected(500, 300);
    systemctl(&["daemon-reload"]);
    expected(500, 300);
    let list = json!([{ "major": disk.number.0, "minor": disk.number.1, "weight": 30 }]);
    let text = json!({ "blockIO": { "weight": 50, "weightDevice": list } }).to_string();
    let file = case.make_file("resources.json", &text);
    case.invoke(&["update", "--resources", &file, &case.id]).ok();
    expected(50, 30);
    systemctl(&["daemon-reload"]);
    expected(50, 30);
}

#[test]
fn memory_that_is_too_little_for_a_start_is_named() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["memory"]), "cgroup v2 has no memory");
    // What init had before it was taken in does not count: a little more is enough for a create.
    for bytes in [4096, 8192] {
        let mut case = case();
        case.set("/linux/resources/memory", json!({ "limit": bytes, "swap": bytes }));
        // systemd may be faster in removing the cgroup than we are in asking it why.
        for _ in 0..5 {
            let says = format!("linux.resources.memory.limit: {bytes} bytes are too few for a start");
            let outcome = case.create().fails().says(&says);
            assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome}");
            expect_forgotten(&unit(&case));
            case.assert_nothing_left();
        }
    }
}

#[test]
fn devices_are_systemds_and_ours() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    let deny = json!({ "allow": false, "access": "rwm" });
    // /dev/zero for reading alone: `char-1` allows it all and the second rule takes it back, which systemd cannot say.
    case.set("/linux/resources/devices", json!([deny, { "allow": true, "type": "c", "major": 1, "access": "rwm" }]));
    case.create().ok();
    expect_properties(&unit(&case), &[("DevicePolicy", "strict")]);
    assert!(property(&unit(&case), "DeviceAllow").contains("char-1 rwm"));
    case.delete_force().ok();
    needs_machine!(cgroups::is_v2_only(), "cgroup v1 cannot deny a part of what is allowed");
    let back = json!({ "allow": false, "type": "c", "major": 1, "minor": 5, "access": "w" });
    case.set("/linux/resources/devices/-", back);
    case.script("echo a >/dev/null && head -c1 /dev/zero >/dev/null && ! echo a 2>/dev/null >/dev/zero").run().ok();
}

#[test]
fn annotations_are_properties() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    case.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 123000000",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.RuntimeMaxSec": "uint64 600",
            "org.systemd.property.Documentation": "['man:true(1)', 'man:false(1)']",
        }),
    );
    case.create().ok();
    expect_properties(
        &unit(&case),
        &[("TimeoutStopUSec", "2min 3s"), ("CollectMode", "inactive-or-failed"), ("RuntimeMaxUSec", "10min")],
    );
    let documentation = property(&unit(&case), "Documentation");
    assert!(documentation.contains("man:true(1)") && documentation.contains("man:false(1)"), "{documentation}");
}

#[test]
fn a_property_that_systemd_does_not_know_is_named() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    case.set("/annotations", json!({ "org.systemd.property.NoSuchThing": "true" }));
    case.create().fails().says("annotations.org.systemd.property.NoSuchThing").says("unknown property");
    expect_forgotten(&unit(&case));
    case.assert_nothing_left();
}

#[test]
fn a_unit_that_is_there_is_not_touched() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let case = case();
    let unit = unit(&case);
    let slice = format!("{}.slice", case.token);
    let mut other = Command::new("systemd-run")
        .args(["--quiet", "--scope", "--unit", &unit, "--slice", &slice, "sleep", "1000"])
        .spawn()
        .expect("systemd-run");
    let active = runtime_tests::waiting::until(runtime_tests::command::LIMIT, || {
        (property(&unit, "ActiveState") == "active").then_some(())
    });
    active.expect("the scope starts");
    case.create().fails().says("exists already");
    expect_properties(&unit, &[("ActiveState", "active"), ("Slice", &slice)]);
    systemctl(&["kill", "--signal=KILL", &unit]);
    other.wait().expect("wait for systemd-run");
    systemctl(&["stop", &slice]);
}

#[test]
fn a_container_killed_for_memory_leaves_no_failed_unit() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["memory"]), "cgroup v2 has no memory");
    let mut case = case();
    case.set("/linux/resources/memory", json!({ "limit": 16777216, "swap": 16777216 }));
    case.script("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived").create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    expect_forgotten(&unit(&case));
    // The name is free again.
    case.script("true").run().ok();
    expect_forgotten(&unit(&case));
}

#[test]
fn a_container_of_cgroups_and_processes_is_deleted() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    case.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]);
    case.script(
        "mkdir -p /sys/fs/cgroup/a/b; trap '' TERM; sleep 1000 & echo $! >/sys/fs/cgroup/a/b/cgroup.procs; \
         sleep 1000 & echo ready; wait",
    );
    case.create_and_start().wait_for_line("ready");
    case.delete_force().ok();
    expect_forgotten(&unit(&case));
    case.assert_nothing_left();
}

#[test]
fn a_frozen_container_is_deleted() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let case = case();
    case.create().ok();
    case.start().ok();
    case.invoke(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    case.delete_force().ok();
    expect_forgotten(&unit(&case));
}

#[test]
fn a_killed_create_leaves_no_unit() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let mut case = case();
    // Reached when the unit runs and init waits for the hook.
    let hook = case.make_script("hook", "kill -KILL $PPID");
    case.set("/hooks/createRuntime", json!([{ "path": hook }]));
    case.create();
    case.delete_force().ok();
    expect_forgotten(&unit(&case));
    case.assert_nothing_left();
}

#[test]
fn a_unit_that_has_vanished_is_no_error() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    let case = case();
    case.create().ok();
    case.start().ok();
    systemctl(&["kill", "--signal=KILL", &unit(&case)]);
    case.wait_for_status("stopped");
    systemctl(&["stop", &unit(&case)]);
    case.delete().ok();
    expect_forgotten(&unit(&case));
}

/// The user of the virtual machine, who has a session without being logged in.
const USER: u32 = 1000;

/// What the user's systemd gives to its units.
fn user_has_controllers(names: &[&str]) -> bool {
    let service = format!("/sys/fs/cgroup/user.slice/user-{USER}.slice/user@{USER}.service/cgroup.controllers");
    let list = fs::read_to_string(service).unwrap_or_default();
    names.iter().all(|name| list.split_ascii_whitespace().any(|c| c == *name))
}

#[test]
fn a_user_has_units_of_his_own_systemd() {
    needs!(Rvol);
    needs_machine!(Path::new(&format!("/run/user/{USER}/bus")).exists(), "no user session with a bus");
    let mut case = unprivileged::case(USER);
    case.global_flags = vec!["--systemd-cgroup"];
    case.pause();
    if !cgroups::is_v2_only() {
        case.create().fails().says("the systemd of a user can make no cgroups of cgroup v1");
        return;
    }
    let limited = user_has_controllers(&["memory", "pids"]);
    if limited {
        case.set("/linux/resources", json!({ "memory": { "limit": 67108864 }, "pids": { "limit": 30 } }));
    }
    // From outside of all that is the user's: only his systemd may move the process.
    case.create().ok();
    case.start().ok();
    let unit = format!("rvol-runc-{}.scope", case.id);
    let place = format!("user@{USER}.service/user.slice/{unit}");
    assert!(directory(&case).ends_with(&place), "{:?}", directory(&case));
    if limited {
        expect_files(&case, &[("memory.max", "67108864"), ("pids.max", "30")]);
    }
    let exec = case.invoke(&["exec", &case.id, "/bin/sh", "-c", "cat /proc/self/cgroup"]).ok();
    assert!(exec.stdout.contains(&place), "{exec}");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn new_limits_reach_systemd() {
    needs!(Rvol);
    needs_machine!(booted(), "systemd is not PID 1");
    needs_machine!(has_controllers(&["cpu", "memory", "pids"]), "cgroup v2 has no cpu, memory, pids");
    let case = case();
    case.create().ok();
    let flags = ["--memory", "50331648", "--pids-limit", "9", "--cpu-quota", "12345", "--cpu-period", "100000"];
    case.invoke(&[&["update"], &flags[..], &[&case.id]].concat()).ok();
    let expected = [("MemoryMax", "50331648"), ("TasksMax", "9"), ("CPUQuotaPerSecUSec", "130ms")];
    expect_properties(&unit(&case), &expected);
    let files = [("memory.max", "50331648"), ("pids.max", "9"), ("cpu.max", "13000 100000")];
    expect_files(&case, &files);
    systemctl(&["daemon-reload"]);
    expect_files(&case, &files);
}

#[test]
fn paths_that_are_none_are_refused() {
    needs!(Rvol);
    let mut case = case();
    for (path, message) in [
        ("/a/b", "linux.cgroupsPath: expected the form"),
        ("a:b", "linux.cgroupsPath: expected the form"),
        ("a--b.slice:p:n", "linux.cgroupsPath: invalid slice name: a--b.slice"),
        ("a/b.slice:p:n", "linux.cgroupsPath: invalid slice name: a/b.slice"),
    ] {
        case.set("/linux/cgroupsPath", json!(path)).create().fails().says(message);
    }
}

#[test]
fn a_plan_shows_unit_and_slice() {
    needs!(Rvol);
    let mut case = case();
    case.set("/annotations", json!({ "org.systemd.property.TimeoutStopSec": "5" }));
    case.write_config();
    let plan = case.invoke(&["plan", &case.path("bundle")]).ok().stdout;
    for line in [format!("{} of systemd", unit(&case)), "system.slice".into(), "TimeoutStopUSec=uint64 5000000".into()]
    {
        assert!(plan.contains(&line), "{line}\n{plan}");
    }
}

#[test]
fn a_machine_without_systemd_is_named() {
    needs!(Rvol);
    needs_machine!(!Path::new("/run/systemd/system").exists(), "systemd is PID 1 here");
    let case = case();
    case.create().fails().says("systemd is not running on this machine");
    case.assert_nothing_left();
}
