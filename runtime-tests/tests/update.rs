//! `update`: by flags, by JSON, and what it refuses.

use runtime_tests::cgroups::{self, Expected, Version, WeighedDisk, block_device, controller, expect};
use runtime_tests::{Case, Outcome, features::skip, json, needs, needs_machine};
use std::process::Stdio;

/// A started container that waits.
fn waiting_container(case: &mut Case) {
    case.pause().create().ok();
    case.start().ok();
}

fn update(case: &Case, flags: &[&str]) -> Outcome {
    let words: Vec<&str> = ["update"].iter().chain(flags).chain([&case.id.as_str()]).copied().collect();
    case.invoke(&words)
}

/// `update --resources -` with this text on standard input, as containerd calls it.
fn update_by_stdin(case: &Case, text: &str) -> Outcome {
    let input = case.make_file("resources.json", text);
    let mut command = case.command();
    command.args(["update", "--resources", "-", &case.id]).stdin(Stdio::from(std::fs::File::open(input).unwrap()));
    case.finish(command)
}

/// True if the machine has what these expect; says why if not.
fn testable(expected: &[Expected]) -> bool {
    for e in expected {
        if let Err(why) = e.here() {
            skip(&why);
            return false;
        }
    }
    true
}

const MIB: u64 = 1 << 20;

fn memory_limit(bytes: u64) -> Expected {
    let text = bytes.to_string();
    expect("memory", ("memory.limit_in_bytes", &text), ("memory.max", &text))
}

/// Memory and swap together; v2 has swap alone.
fn swap_limit(bytes: u64, memory: u64) -> Expected {
    expect(
        "memory",
        ("memory.memsw.limit_in_bytes", &bytes.to_string()),
        ("memory.swap.max", &(bytes - memory).to_string()),
    )
}

/// Swap is accounted: the kernel may be built or booted without.
fn has_swap_limit() -> bool {
    match controller("memory") {
        Some(h) if h.version == Version::V1 => h.root.join("memory.memsw.limit_in_bytes").exists(),
        Some(_) => std::path::Path::new("/proc/swaps").exists(),
        None => false,
    }
}

#[test]
fn flags_set_what_they_name() {
    needs_machine!(testable(&[memory_limit(1)]), "no memory controller");
    let mut case = Case::new();
    waiting_container(&mut case);
    let cases: &[(&[&str], Expected)] = &[
        (&["--memory", "64m"], memory_limit(64 * MIB)),
        (&["--memory", "67108864b"], memory_limit(64 * MIB)),
        (&["--memory=32MiB"], memory_limit(32 * MIB)),
        (
            &["--memory-reservation", "16m"],
            expect("memory", ("memory.soft_limit_in_bytes", "16777216"), ("memory.low", "16777216")),
        ),
        (&["--pids-limit", "33"], expect("pids", ("pids.max", "33"), ("pids.max", "33"))),
        (&["--pids-limit", "-1"], expect("pids", ("pids.max", "max"), ("pids.max", "max"))),
        (&["--cpu-share", "512"], expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "59"))),
        (
            &["--cpu-period", "50000", "--cpu-quota", "20000"],
            expect("cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")),
        ),
        (&["--cpuset-cpus", "0"], expect("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"))),
        (&["--cpuset-mems", "0"], expect("cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0"))),
    ];
    for (flags, expected) in cases {
        if testable(std::slice::from_ref(expected)) {
            update(&case, flags).ok();
            expected.check(&case);
        }
    }
    // Nothing asked for is nothing done.
    update(&case, &[]).ok();
    cases.iter().rfind(|(_, e)| e.here().is_ok()).unwrap().1.check(&case);
}

#[test]
fn what_came_with_newer_versions() {
    needs!(Rvol);
    let mut case = Case::new();
    waiting_container(&mut case);
    let quota = expect("cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 100000"));
    let burst = expect("cpu", ("cpu.cfs_burst_us", "5000"), ("cpu.max.burst", "5000"));
    needs_machine!(testable(&[quota.clone(), burst.clone()]), "no cpu controller");
    update(&case, &["--cpu-quota", "20000", "--cpu-burst", "5000"]).ok();
    quota.check(&case);
    burst.check(&case);
    update(&case, &["--cpu-idle", "1"]).ok();
    expect("cpu", ("cpu.idle", "1"), ("cpu.idle", "1")).check(&case);
    update(&case, &["--cpu-idle", "0", "--cpu-share", "300"]).ok();
    expect("cpu", ("cpu.shares", "300"), ("cpu.weight", "39")).check(&case);
    // Of two values that belong together the one that is not named stays.
    update(&case, &["--cpu-period", "50000"]).ok();
    expect("cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")).check(&case);
    update(&case, &["--cpu-quota", "-1"]).ok();
    expect("cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 50000")).check(&case);
}

#[test]
fn pids_zero_is_a_limit() {
    needs!(Rvol);
    let zero = expect("pids", ("pids.max", "0"), ("pids.max", "0"));
    needs_machine!(testable(std::slice::from_ref(&zero)), "no pids controller");
    let mut case = Case::new();
    waiting_container(&mut case);
    update(&case, &["--pids-limit", "0"]).ok();
    zero.check(&case);
}

#[test]
fn memory_and_swap_are_raised_and_lowered() {
    needs_machine!(has_swap_limit(), "no limit of swap");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 40 * MIB }));
    waiting_container(&mut case);
    // Each new limit is beyond both old ones, in both directions: only one order works for each.
    for (memory, swap) in [(64, 80), (16, 20), (100, 100), (24, 48)] {
        let flags = [format!("--memory={memory}m"), format!("--memory-swap={swap}m")];
        update(&case, &[&flags[0], &flags[1]]).ok();
        memory_limit(memory * MIB).check(&case);
        swap_limit(swap * MIB, memory * MIB).check(&case);
    }
}

#[test]
fn no_limit_of_memory_takes_that_of_swap_with_it() {
    needs_machine!(has_swap_limit(), "no limit of swap");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 32 * MIB }));
    waiting_container(&mut case);
    update(&case, &["--memory", "-1"]).ok();
    let none = i64::MAX / 4096 * 4096;
    expect("memory", ("memory.limit_in_bytes", &none.to_string()), ("memory.max", "max")).check(&case);
    expect("memory", ("memory.memsw.limit_in_bytes", &none.to_string()), ("memory.swap.max", "max")).check(&case);
}

#[test]
fn a_limit_above_the_old_swap_is_explained() {
    needs!(Rvol);
    needs_machine!(has_swap_limit(), "no limit of swap");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 40 * MIB }));
    waiting_container(&mut case);
    update(&case, &["--memory", "64m"])
        .fails()
        .says("memory.limit: 67108864 is above what memory and swap may be together, 41943040 (memory.swap)");
    memory_limit(32 * MIB).check(&case);
}

#[test]
fn json_from_a_file_and_from_standard_input() {
    needs_machine!(testable(&[memory_limit(1)]), "no memory controller");
    let mut case = Case::new();
    waiting_container(&mut case);
    let file = case.make_file("r.json", r#"{"memory":{"limit":33554432},"cpu":{"shares":512}}"#);
    update(&case, &["--resources", &file]).ok();
    memory_limit(32 * MIB).check(&case);
    expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "59")).check(&case);
    update(&case, &[&format!("--resources={file}")]).ok();
    update(&case, &["-r", &file]).ok();
    // Docker's form, with zeros for what it does not set.
    let docker = r#"{"memory":{"limit":50331648,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":0,"period":0,
        "cpus":"","mems":""},"blockIO":{"weight":0}}"#;
    update_by_stdin(&case, docker).ok();
    memory_limit(48 * MIB).check(&case);
    expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "59")).check(&case);
}

#[test]
fn what_was_set_is_kept_for_the_next_update() {
    needs!(Rvol);
    needs_machine!(testable(&[expect("cpu", ("", ""), ("", ""))]), "no cpu controller");
    let mut case = Case::new();
    case.set("/linux/resources/cpu", json!({ "quota": 20000, "period": 50000 }));
    waiting_container(&mut case);
    update_by_stdin(&case, r#"{"cpu":{"quota":10000}}"#).ok();
    update_by_stdin(&case, r#"{"cpu":{"shares":100}}"#).ok();
    update_by_stdin(&case, r#"{"cpu":{"period":25000}}"#).ok();
    expect("cpu", ("cpu.cfs_quota_us", "10000"), ("cpu.max", "10000 25000")).check(&case);
    let record = std::fs::read_to_string(case.state_root().join(&case.id).join("container.json")).unwrap();
    let record: runtime_tests::Value = serde_json_value(&record);
    assert_eq!(record["resources"]["cpu"], json!({ "shares": 100, "quota": 10000, "period": 25000 }));
}

fn serde_json_value(text: &str) -> runtime_tests::Value {
    text.parse().expect("JSON")
}

#[test]
fn limits_by_device() {
    needs!(Rvol);
    let Some((major, minor)) = block_device() else { return skip("no block device") };
    needs_machine!(controller("blkio").is_some(), "no blkio or io controller");
    let mut case = Case::new();
    case.set(
        "/linux/resources/blockIO/throttleReadBpsDevice",
        json!([{ "major": major, "minor": minor, "rate": 1_000_000 }]),
    );
    waiting_container(&mut case);
    let line = |key: &str| format!(r#""throttle{key}Device":[{{"major":{major},"minor":{minor},"rate":"#);
    let text = format!(
        r#"{{"blockIO":{{{}2000000}}],{}3000000}}],{}40}}],{}50}}]}}}}"#,
        line("ReadBps"),
        line("WriteBps"),
        line("ReadIOPS"),
        line("WriteIOPS")
    );
    update_by_stdin(&case, &text).ok();
    let device = format!("{major}:{minor}");
    let v2 = format!("{device} rbps=2000000 wbps=3000000 riops=40 wiops=50");
    for (file, value) in [
        ("blkio.throttle.read_bps_device", 2_000_000),
        ("blkio.throttle.write_bps_device", 3_000_000),
        ("blkio.throttle.read_iops_device", 40),
        ("blkio.throttle.write_iops_device", 50),
    ] {
        expect("blkio", (file, &format!("{device} {value}")), ("io.max", &v2)).check(&case);
    }
    // One of them anew: the others stay. 0 is no limit.
    update_by_stdin(&case, &format!(r#"{{"blockIO":{{{}0}}]}}}}"#, line("ReadBps"))).ok();
    let v2 = format!("{device} rbps=max wbps=3000000 riops=40 wiops=50");
    expect("blkio", ("blkio.throttle.read_bps_device", ""), ("io.max", &v2)).check(&case);
    expect("blkio", ("blkio.throttle.write_bps_device", &format!("{device} 3000000")), ("io.max", &v2)).check(&case);
}

#[test]
fn weights_of_block_devices() {
    let Some(hierarchy) = controller("blkio") else { return skip("no blkio or io controller") };
    let mut case = Case::new();
    waiting_container(&mut case);
    let directory = hierarchy.of(case.pid());
    let Some((file, expected)) = cgroups::weight_file(&directory, 500) else {
        update(&case, &["--blkio-weight", "500"]).fails().says("blockIO.weight: open ");
        return;
    };
    update(&case, &["--blkio-weight", "500"]).ok();
    assert_eq!(cgroups::read(&directory, file), Some(expected), "{file}");
}

#[test]
fn weights_by_device() {
    needs!(Rvol);
    let Some(hierarchy) = controller("blkio") else { return skip("no blkio or io controller") };
    let mut case = Case::new();
    waiting_container(&mut case);
    let directory = hierarchy.of(case.pid());
    let Some(file) = cgroups::weight_device_file(&directory) else {
        return skip("this kernel has no weights of devices");
    };
    let Some(disk) = WeighedDisk::new(&case) else { return skip("no loop device that can have the scheduler bfq") };
    let (major, minor) = disk.number;
    let weights = |weight: u64| {
        let list = json!([{ "major": major, "minor": minor, "weight": weight }]);
        json!({ "blockIO": { "weightDevice": list } }).to_string()
    };
    let line = || cgroups::line_of_device(&directory, file, disk.number);
    for weight in [300, 700] {
        update_by_stdin(&case, &weights(weight)).ok();
        assert_eq!(line(), Some(cgroups::device_weight(file, weight)), "{file}");
    }
    // What was there comes back when something else is refused.
    let refused = |weight: u64| weights(weight).replacen('{', r#"{"cpu":{"cpus":"4000"},"#, 1);
    update_by_stdin(&case, &refused(400)).fails();
    assert_eq!(line(), Some(cgroups::device_weight(file, 700)));
    case.delete_force().ok();
    case.create().ok();
    let directory = hierarchy.of(case.pid());
    update_by_stdin(&case, &refused(400)).fails();
    assert_eq!(cgroups::line_of_device(&directory, file, disk.number), None);
}

#[test]
fn devices_change_only_when_others_are_given() {
    needs!(Rvol);
    let mut case = Case::new();
    let nothing = json!({ "allow": false, "access": "rwm" });
    let not_full = json!({ "allow": false, "type": "c", "major": 1, "minor": 7, "access": "rw" });
    let rules = json!([nothing, not_full]);
    case.set("/linux/resources/devices", rules.clone());
    case.caps(&["CAP_MKNOD", "CAP_KILL"]).script(
        "mknod /tmp/full c 1 7; trap 'if head -c1 /tmp/full; then echo open; else echo shut; fi' USR1; echo ready
         while :; do sleep 0.05; done",
    );
    let started = case.create_and_start();
    started.wait_for_line("ready");
    let asks = |n: usize, answer: &str| {
        case.kill("USR1").ok();
        let output = || started.output().replace('\0', "");
        let lines = || output().lines().filter(|l| ["open", "shut"].contains(l)).map(str::to_owned).collect::<Vec<_>>();
        let answered =
            runtime_tests::waiting::until(std::time::Duration::from_secs(10), || (lines().len() >= n).then(lines));
        assert_eq!(answered.expect("an answer").last().map(String::as_str), Some(answer), "{}", started.output());
    };
    asks(1, "shut");
    // From outside, as a plugin does it: it stays, whatever limits are updated and also when the same rules come again.
    let mut answers = 1;
    let v1 = controller("devices").map(|h| h.of(case.pid()));
    if let Some(directory) = &v1 {
        std::fs::write(directory.join("devices.allow"), "c 1:7 r").unwrap();
        asks(2, "open");
        update_by_stdin(&case, &json!({ "devices": rules, "pids": { "limit": 99 } }).to_string()).ok();
        asks(3, "open");
        answers = 3;
    }
    update_by_stdin(&case, &json!({ "devices": [nothing] }).to_string()).ok();
    asks(answers + 1, "open");
    update_by_stdin(&case, &json!({ "devices": rules }).to_string()).ok();
    asks(answers + 2, "shut");
    let all = json!({ "devices": [{ "allow": true, "access": "rwm" }] });
    update_by_stdin(&case, &all.to_string()).ok();
    asks(answers + 3, "open");
}

#[test]
fn device_rules_change_without_a_window() {
    needs!(Rvol);
    let mut case = Case::new();
    let nothing = json!({ "allow": false, "access": "rwm" });
    let everything = json!({ "allow": true, "access": "rwm" });
    let log = |allow: bool| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": "r" });
    case.set("/linux/resources/devices", json!([nothing]));
    case.script("trap 'echo whole; exit' TERM; echo ready; while :; do : </dev/null || { echo broken; exit 1; }; done");
    let started = case.create_and_start();
    started.wait_for_line("ready");
    // Exceptions come and go, and the default changes to and fro.
    let lists = [
        json!([nothing, log(true)]),
        json!([nothing]),
        json!([nothing, { "allow": true, "type": "c", "major": 1, "access": "rwm" }]),
        json!([everything]),
        json!([everything, log(false)]),
        json!([nothing, log(true)]),
    ];
    for devices in lists.iter().cycle().take(120) {
        update_by_stdin(&case, &json!({ "devices": devices }).to_string()).ok();
    }
    assert_eq!(case.status(), "running", "{}", started.output());
    case.kill("TERM").ok();
    started.wait_for_line("whole");
}

#[test]
fn unified_files() {
    needs!(Rvol);
    needs_machine!(cgroups::unified().is_some(), "no cgroup v2");
    let mut case = Case::new();
    waiting_container(&mut case);
    update_by_stdin(&case, r#"{"unified":{"cgroup.max.depth":"4"}}"#).ok();
    let directory = cgroups::unified().unwrap().of(case.pid());
    assert_eq!(cgroups::read(&directory, "cgroup.max.depth").as_deref(), Some("4"));
    update_by_stdin(&case, r#"{"unified":{"../x":"4"}}"#)
        .fails()
        .says("unified.../x: is not the name of a cgroup file");
}

#[test]
fn a_paused_and_a_created_container_are_updated() {
    needs_machine!(testable(&[memory_limit(1)]), "no memory controller");
    let mut case = Case::new();
    case.pause().create().ok();
    update(&case, &["--memory", "32m"]).ok();
    memory_limit(32 * MIB).check(&case);
    case.start().ok();
    case.invoke(&["pause", &case.id]).ok();
    update(&case, &["--memory", "48m"]).ok();
    memory_limit(48 * MIB).check(&case);
    assert_eq!(case.status(), "paused");
}

#[test]
fn kernel_memory_is_ignored_with_a_warning() {
    let mut case = Case::new();
    waiting_container(&mut case);
    needs!(Rvol);
    let outcome = update(&case, &["--kernel-memory", "10m", "--kernel-memory-tcp", "10m"]).ok();
    assert!(outcome.stderr.contains("Kernel memory settings are ignored"), "{outcome}");
}

#[test]
fn refusals() {
    let mut case = Case::new();
    update(&case, &["--memory", "64m"]).fails().says("does not exist");
    waiting_container(&mut case);
    for flags in [
        &["--memory", "banana"][..],
        &["--cpu-share", "x"],
        &["--cpu-quota", "1"],
        &["--cpuset-cpus", "4000"],
        &["--resources", "/nonexistent/file"],
        &["--no-such-flag"],
    ] {
        update(&case, flags).fails();
    }
    update_by_stdin(&case, "{").fails();
    update_by_stdin(&case, r#"{"memory":{"limit":"x"}}"#).fails();
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    update(&case, &["--memory", "64m"]).fails().says("container not running");
}

#[test]
fn refusals_have_their_places() {
    needs!(Rvol);
    needs_machine!(testable(&[memory_limit(1)]), "no memory controller");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 32 * MIB }));
    waiting_container(&mut case);
    let text = r#"{"memory":{"limit":"x"},"cpu":{"idle":7},"pids":{"limit":5}}"#;
    update_by_stdin(&case, text).fails().says("memory.limit: invalid type").says("cpu.idle: 7 is neither 0 nor 1");
    let reason = match controller("cpuset") {
        Some(_) => "cpu.cpus: write 4000 to ",
        None if cgroups::is_v2_only() => "cpu.cpus: cgroup v2 of",
        None => "cpu.cpus: the cpuset controller is in no cgroup hierarchy of this machine",
    };
    update(&case, &["--memory", "64m", "--cpuset-cpus", "4000"]).fails().says(reason);
    // What was written before the refusal is taken back.
    memory_limit(32 * MIB).check(&case);
    // Also where the container had been given no limit.
    let shares = expect("cpu", ("cpu.shares", "1024"), ("cpu.weight", "100"));
    if testable(std::slice::from_ref(&shares)) {
        update(&case, &["--cpu-share", "300", "--cpuset-cpus", "4000"]).fails().says("cpu.cpus: ");
        shares.check(&case);
    }
    update(&case, &["--blkio-weight", "2000"]).fails().says("blockIO.weight: 2000 is not in the range");
    update(&case, &["--memory", "64m", "--resources", "-"]).fails().says("no other limit can be given beside it");
    update(&case, &["--l3-cache-schema", "L3:0=f"]).fails().says("linux.intelRdt");
    update(&case, &["--mem-bw-schema", "L3:0=f"]).fails().says("linux.intelRdt.memBwSchema: must start with");
}

#[test]
fn without_a_cgroup_there_is_nothing_to_update() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().unset("/linux/cgroupsPath").write_config();
    let mut command = case.command();
    command.args(["--cgroup-manager=disabled", "create", "--bundle"]).arg(case.bundle()).arg(&case.id);
    case.finish(command).ok();
    update(&case, &["--memory", "64m"]).fails().says("the container has no cgroup of its own");
    update(&case, &[]).ok();
}
