//! `linux.resources` on cgroup v2: each file that is written is read back inside of a container, and the limits bite.

use runtime_tests::cgroups;
use runtime_tests::machine::{self, CGROUPS};
use runtime_tests::{Case, Value, command, json, needs, needs_machine, unprivileged, waiting};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

/// Ends the test where the machine is not a unified one, or lacks a controller.
macro_rules! needs_controllers {
    ($($name:literal),*) => {
        needs_machine!(cgroups::is_v2_only(), "no unified cgroup v2");
        $(needs_machine!(cgroups::controller($name).is_some(), concat!("no controller ", $name));)*
    };
}

/// A container with these `linux.resources` that sees its own cgroup.
fn limited(resources: Value) -> Case {
    let mut case = Case::new();
    case.set("/linux/resources", resources).namespace("cgroup");
    case.mount(CGROUPS, "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    case
}

/// Panics unless the files of a container's cgroup, seen from inside, have these values.
#[track_caller]
fn expect(resources: Value, files: &[(&str, &str)]) {
    let shown = resources.to_string();
    let questions: Vec<String> = files.iter().map(|(file, _)| format!("read:{CGROUPS}/{file}")).collect();
    let facts = limited(resources).facts(&questions.iter().map(String::as_str).collect::<Vec<_>>());
    for (question, (file, value)) in questions.iter().zip(files) {
        let answer = facts.answer(question).as_str().unwrap_or_default();
        assert_eq!(answer.trim_end(), *value, "{file} for {shown}");
    }
}

/// The container's cgroup on the host.
fn cgroup_of(case: &Case) -> PathBuf {
    Path::new(CGROUPS).join(&case.token)
}

/// A disk that is not the root's, as `major:minor`; for limits, which need it to exist and no more.
fn disk() -> Option<(u32, u32)> {
    let mut disks: Vec<_> = fs::read_dir("/sys/block").ok()?.flatten().map(|e| e.path()).collect();
    disks.sort();
    let number = |disk: &PathBuf| {
        let text = fs::read_to_string(disk.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    // Not those of memory: they have no queue to throttle.
    let virtual_ones = ["ram", "loop", "zram", "dm-"];
    let real = |d: &&PathBuf| {
        let name = d.file_name().unwrap_or_default().to_string_lossy().into_owned();
        !virtual_ones.iter().any(|v| name.starts_with(v))
    };
    disks.iter().rfind(real).and_then(number)
}

#[test]
fn cpu() {
    needs_controllers!("cpu");
    for (shares, weight) in [(2, "1"), (512, "59"), (1024, "100"), (262_144, "10000")] {
        expect(json!({ "cpu": { "shares": shares } }), &[("cpu.weight", weight)]);
    }
    expect(
        json!({ "cpu": { "quota": 20_000, "period": 50_000, "burst": 10_000 } }),
        &[("cpu.max", "20000 50000"), ("cpu.max.burst", "10000")],
    );
    expect(json!({ "cpu": { "quota": 30_000 } }), &[("cpu.max", "30000 100000")]);
    expect(json!({ "cpu": { "quota": -1, "period": 40_000 } }), &[("cpu.max", "max 40000")]);
    expect(json!({ "cpu": { "idle": 1 } }), &[("cpu.idle", "1")]);
    expect(json!({ "cpu": { "shares": 512, "idle": 1 } }), &[("cpu.idle", "1")]);
}

#[test]
fn cpu_quota_throttles() {
    needs_controllers!("cpu");
    let mut case = limited(json!({ "cpu": { "quota": 5_000, "period": 50_000 } }));
    let wait = "until grep -q '^nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat; do :; done; echo throttled";
    assert!(case.script(wait).run().ok().stdout.contains("throttled"));
}

#[test]
fn cpuset() {
    needs_controllers!("cpuset");
    expect(
        json!({ "cpu": { "cpus": "0", "mems": "0" } }),
        &[("cpuset.cpus", "0"), ("cpuset.cpus.effective", "0"), ("cpuset.mems", "0")],
    );
    let mut case = limited(json!({ "cpu": { "cpus": "0" } }));
    assert_eq!(case.facts(&[])["cpus"], "0", "the process runs there");
    limited(json!({ "cpu": { "cpus": "4000" } })).run().fails().says("linux.resources.cpu.cpus");
}

#[test]
fn memory() {
    needs_controllers!("memory");
    let memory = |fields: Value| json!({ "memory": fields });
    let files = [("memory.max", "67108864"), ("memory.low", "33554432")];
    expect(memory(json!({ "limit": 64 * MIB, "reservation": 32 * MIB })), &files);
    expect(memory(json!({ "limit": -1, "reservation": -1 })), &[("memory.max", "max"), ("memory.low", "max")]);
    expect(memory(json!({ "limit": 0 })), &[("memory.max", "max")]);
    expect(
        json!({ "unified": { "memory.high": "50331648", "memory.min": "4096" } }),
        &[("memory.high", "50331648"), ("memory.min", "4096")],
    );
}

#[test]
fn swap() {
    needs_controllers!("memory");
    let probe = limited(json!({})).facts(&["list:/sys/fs/cgroup"]);
    needs_machine!(probe.answer("list:/sys/fs/cgroup").to_string().contains("memory.swap.max"), "no swap is accounted");
    let memory = |limit: Value, swap: Value| json!({ "memory": { "limit": limit, "swap": swap } });
    let limit = json!(64 * MIB);
    expect(memory(limit.clone(), json!(96 * MIB)), &[("memory.max", "67108864"), ("memory.swap.max", "33554432")]);
    expect(memory(limit.clone(), limit.clone()), &[("memory.swap.max", "0")]);
    expect(memory(limit.clone(), json!(-1)), &[("memory.swap.max", "max")]);
    limited(memory(limit, json!(32 * MIB))).run().fails().says("linux.resources.memory.swap");
}

#[test]
fn a_program_that_needs_too_much_memory_is_killed() {
    needs_controllers!("memory");
    let mut case = limited(json!({ "memory": { "limit": 16 * MIB, "swap": 16 * MIB } }));
    case.script("dd if=/dev/zero of=/dev/null bs=64M count=1; echo code $?; cat /sys/fs/cgroup/memory.events");
    let outcome = case.run().ok();
    assert!(outcome.stdout.contains("code 137"), "{outcome}");
    assert!(outcome.stdout.lines().any(|l| l == "oom_kill 1"), "{outcome}");
}

#[test]
fn little_memory_starts_a_program() {
    needs!(Rvol);
    needs_controllers!("memory");
    for limit in [MIB, MIB / 2] {
        let case = limited(json!({ "memory": { "limit": limit } }));
        let outcome = case.run();
        assert!(outcome.succeeded(), "with {limit} bytes: {outcome}");
    }
}

#[test]
fn too_little_memory_is_named() {
    needs!(Rvol);
    needs_controllers!("memory");
    let case = limited(json!({ "memory": { "limit": 4096 } }));
    case.run().fails().says("linux.resources.memory.limit: 4096 bytes are too few");
    case.assert_nothing_left();
}

#[test]
fn pids() {
    needs_controllers!("pids");
    for (limit, value) in [(json!(0), "0"), (json!(7), "7"), (json!(-1), "max")] {
        expect(json!({ "pids": { "limit": limit } }), &[("pids.max", value)]);
    }
    let mut case = limited(json!({ "pids": { "limit": 3 } }));
    case.facts(&["fork:2", "fork:4"]).expect(&[("fork:2", "ok"), ("fork:4", "EAGAIN")]);
}

#[test]
fn block_io() {
    needs_controllers!("io");
    let Some((major, minor)) = disk() else {
        return runtime_tests::features::skip("no disk");
    };
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let resources = json!({ "blockIO": {
        "throttleReadBpsDevice": rate(1_048_576), "throttleWriteBpsDevice": rate(2_097_152),
        "throttleReadIOPSDevice": rate(100), "throttleWriteIOPSDevice": rate(200),
    } });
    let line = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200");
    expect(resources, &[("io.max", &line)]);
    let one = json!({ "blockIO": { "throttleWriteIOPSDevice": rate(50) } });
    expect(one, &[("io.max", &format!("{major}:{minor} rbps=max wbps=max riops=max wiops=50"))]);
}

#[test]
fn block_io_weight() {
    needs_controllers!("io");
    let names = limited(json!({})).facts(&["list:/sys/fs/cgroup"]).answer("list:/sys/fs/cgroup").to_string();
    let weight = json!({ "blockIO": { "weight": 500 } });
    match () {
        () if names.contains("io.bfq.weight") => expect(weight, &[("io.bfq.weight", "default 500")]),
        () if names.contains("io.weight") => expect(weight, &[("io.weight", "default 4950")]),
        () => {
            limited(weight).run().fails().says("linux.resources.blockIO.weight");
        }
    }
}

#[test]
fn huge_pages() {
    needs_controllers!("hugetlb");
    let limit = json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
    expect(json!({ "hugepageLimits": limit }), &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")]);
    expect(json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] }), &[("hugetlb.2MB.max", "0")]);
    limited(json!({ "hugepageLimits": [{ "pageSize": "3MB", "limit": 1 }] })).run().fails().says("hugetlb.3MB.max");
}

#[test]
fn rdma() {
    needs_controllers!("rdma");
    let device = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten().next();
    needs_machine!(device.is_some(), "no RDMA device");
    let name = device.expect("it was looked for").file_name().to_string_lossy().into_owned();
    let resources = |limits: Value| json!({ "rdma": { name.clone(): limits } });
    let line = |limits: &str| format!("{name} {limits}");
    expect(
        resources(json!({ "hcaHandles": 3, "hcaObjects": 1000 })),
        &[("rdma.max", &line("hca_handle=3 hca_object=1000"))],
    );
    expect(resources(json!({ "hcaObjects": 5 })), &[("rdma.max", &line("hca_handle=max hca_object=5"))]);
}

/// The spec has no field for it, but `unified` has. What there is to limit (keys of encrypted machines) few machines have.
#[test]
fn misc() {
    needs_controllers!("misc");
    let capacity = fs::read_to_string(Path::new(CGROUPS).join("misc.capacity")).unwrap_or_default();
    let limit = |line: &str| json!({ "unified": { "misc.max": line } });
    match capacity.split_whitespace().next() {
        Some(name) => expect(limit(&format!("{name} 1")), &[("misc.max", &format!("{name} 1"))]),
        None => runtime_tests::features::skip("the misc controller has nothing to limit here"),
    }
    // The kernel was asked, in a cgroup that has the controller.
    limited(limit("nothing 1"))
        .run()
        .fails()
        .says("linux.resources.unified.misc.max: write nothing 1 to ")
        .says("EINVAL");
}

#[test]
fn unified_keys() {
    needs_controllers!("memory", "pids");
    expect(
        json!({ "unified": { "memory.high": "50331648", "pids.max": "9", "cgroup.max.depth": "3" } }),
        &[("memory.high", "50331648"), ("pids.max", "9"), ("cgroup.max.depth", "3")],
    );
    for (key, says) in [("memory.none", "memory.none"), ("../memory.max", "unified"), ("none.max", "none")] {
        limited(json!({ "unified": { key: "1" } })).run().fails().says(says);
    }
}

#[test]
fn devices_are_denied_and_permitted() {
    needs_controllers!();
    let rule = |access: &str| json!([{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": access }]);
    let questions = ["open:/dev/kmsg", "write:/dev/kmsg", "open:/dev/zero", "write:/dev/null"];
    for (rules, answers) in [
        (json!([]), ["EPERM", "EPERM", "ok", "ok"]),
        (json!([{ "allow": false, "access": "rwm" }]), ["EPERM", "EPERM", "ok", "ok"]),
        (rule("r"), ["ok", "EPERM", "ok", "ok"]),
        (rule("rw"), ["ok", "ok", "ok", "ok"]),
        (json!([{ "allow": true, "access": "rwm" }]), ["ok", "ok", "ok", "ok"]),
    ] {
        let mut case = limited(json!({ "devices": rules }));
        case.set("/linux/devices", json!([{ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 }]));
        case.caps(&["CAP_SYSLOG"]);
        let pairs: Vec<(&str, &str)> = questions.into_iter().zip(answers).collect();
        case.facts(&questions).expect(&pairs);
    }
}

#[test]
fn mknod_can_be_denied() {
    needs_controllers!();
    for (rules, answer) in [(json!([]), "ok"), (json!([{ "allow": false, "type": "c", "access": "m" }]), "EPERM")] {
        let mut case = limited(json!({ "devices": rules }));
        case.caps(&["CAP_MKNOD"]);
        case.facts(&["mknod:/dev/other"]).expect(&[("mknod:/dev/other", answer)]);
    }
}

#[test]
fn cgroups_of_the_container_go_with_it() {
    needs_controllers!();
    let mut case = Case::new();
    case.namespace("cgroup").mount(CGROUPS, "cgroup", "cgroup", &["rw"]);
    let nested = "cd /sys/fs/cgroup && mkdir -p a/b/c d && (sleep 1000 & echo $! >a/b/c/cgroup.procs); echo made";
    case.script(&format!("{nested}; exec /bin/probe pause")).create_and_start().wait_for_line("ready");
    assert!(cgroup_of(&case).join("a/b/c").is_dir());
    case.delete_force().ok();
    assert!(!cgroup_of(&case).exists());
    case.assert_nothing_left();
}

#[test]
fn a_delegated_cgroup_belongs_to_the_containers_root() {
    needs!(Rvol);
    needs_controllers!("memory");
    let mut case = Case::new();
    case.user_namespace(200_000, 65536).namespace("cgroup").mount(CGROUPS, "cgroup", "cgroup", &["rw"]);
    case.pause().create_and_start().wait_for_line("ready");
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").expect("the kernel's list");
    let given: Vec<&str> = list.lines().collect();
    let cgroup = cgroup_of(&case);
    assert_eq!(fs::metadata(&cgroup).expect("the cgroup").uid(), 200_000);
    for entry in fs::read_dir(&cgroup).expect("list the cgroup").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = if given.contains(&name.as_str()) { 200_000 } else { 0 };
        assert_eq!(entry.metadata().expect("stat").uid(), owner, "{name}");
    }
}

#[test]
fn a_controller_that_cannot_be_enabled_is_named() {
    needs!(Rvol);
    needs_controllers!("memory");
    let mut case = limited(json!({ "memory": { "limit": 64 * MIB } }));
    // A cgroup with processes gives no controllers to those below it.
    let parent = cgroup_of(&case);
    fs::create_dir(&parent).expect("make a cgroup");
    let mut sleeper = Command::new("sleep").arg("1000").spawn().expect("start sleep");
    fs::write(parent.join("cgroup.procs"), sleeper.id().to_string()).expect("move it");
    case.set("/linux/cgroupsPath", json!(format!("/{}/child", case.token)));
    let outcome = case.run();
    sleeper.kill().expect("end sleep");
    sleeper.wait().expect("wait for sleep");
    let removed = waiting::until(command::LIMIT, || fs::remove_dir(&parent).ok());
    outcome.fails().says("cgroup.subtree_control");
    assert!(removed.is_some(), "the cgroup is empty again");
}

#[test]
fn a_user_with_a_delegated_cgroup_has_limits() {
    const USER: u32 = 1000;
    needs_controllers!("memory", "pids");
    let session = machine::session_of(USER);
    needs_machine!(session.is_some(), "no session of user 1000");
    let session = session.expect("it was looked for");
    let mut case = unprivileged::case(USER);
    case.set("/linux/resources", json!({ "memory": { "limit": 64 * MIB }, "pids": { "limit": 20 } }));
    case.namespace("cgroup").mount(CGROUPS, "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let read = |file: &str| format!("read:{CGROUPS}/{file}");
    case.args(&["/bin/probe", "facts", &read("memory.max"), &read("pids.max")]);
    // As a service of the user's own manager, who may do with its cgroup what it likes.
    let runtime = case.bundle_command("run", &[]);
    let mut service = unprivileged::command("systemd-run".as_ref(), USER);
    service.env("XDG_RUNTIME_DIR", &session).env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={session}/bus"));
    service.args(["--user", "--quiet", "--pipe", "--wait", "-p", "Delegate=yes", "--working-directory=/", "--"]);
    // The words after `--` of the command that would start it as that user.
    let words: Vec<_> = runtime.get_args().skip_while(|w| *w != "--").skip(1).collect();
    service.args(words);
    let facts = runtime_tests::Facts::of(&case.finish(service).ok());
    facts.expect(&[(&read("memory.max"), "67108864\n"), (&read("pids.max"), "20\n")]);
}
