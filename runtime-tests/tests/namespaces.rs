//! `linux.namespaces`: new ones, the runtime's own, and those behind a path; hostname, domainname, time offsets.

use runtime_tests::{Case, Facts, json, needs};

/// The kinds of the spec with the names of /proc/PID/ns.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(file: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{file}")).expect("read a namespace link");
    link.to_string_lossy().into_owned()
}

fn of(pid: i32, file: &str) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("read a namespace link");
    link.to_string_lossy().into_owned()
}

#[test]
fn new_ones_are_new_and_the_rest_is_the_runtimes() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    for (kind, file) in KINDS {
        let new = ["pid", "network", "mount", "ipc", "uts"].contains(&kind);
        assert_eq!(facts.namespace(file) != own(file), new, "{kind}");
    }
}

#[test]
fn a_new_cgroup_namespace() {
    let mut case = Case::new();
    let facts = case.namespace("cgroup").facts(&[]);
    assert_ne!(facts.namespace("cgroup"), own("cgroup"));
    let cgroup = facts["cgroup"].as_str().expect("/proc/self/cgroup");
    assert!(!cgroup.contains(&case.token), "the container's cgroup is the root of its view: {cgroup}");
}

#[test]
fn without_a_cgroup_namespace_the_path_is_seen() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    assert!(facts["cgroup"].as_str().is_some_and(|c| c.contains(&case.token)));
}

#[test]
fn a_pid_namespace_makes_pid_1() {
    let mut case = Case::new();
    let facts = case.facts(&["list:/proc"]);
    assert_eq!(facts["pid"], 1);
    let processes = facts.answer("list:/proc").as_array().expect("a list").iter();
    let processes: Vec<_> = processes.filter(|n| n.as_str().is_some_and(|n| n.parse::<u32>().is_ok())).collect();
    assert_eq!(processes, ["1"], "nothing but the program is in there");
}

#[test]
fn the_hosts_pid_namespace() {
    let mut case = Case::new();
    let facts = case.without_namespace("pid").facts(&[]);
    assert_eq!(facts.namespace("pid"), own("pid"));
    assert_ne!(facts["pid"], 1);
}

#[test]
fn a_new_network_has_loopback_up() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    assert_eq!(facts["interfaces"], json!(["lo"]));
    assert_eq!(facts["loopback_up"], true);
}

#[test]
fn the_hosts_network() {
    let mut case = Case::new();
    // A new sysfs belongs to a network namespace of one's own.
    case.set("/mounts", json!([runtime_tests::config::mount("/proc", "proc", "proc", &[])]));
    let facts = case.without_namespace("network").facts(&[]);
    assert_eq!(facts.namespace("net"), own("net"));
}

#[test]
fn hostname_and_domainname() {
    needs!(Domainname);
    let mut case = Case::new();
    let facts = case.set("/hostname", json!("some-host")).set("/domainname", json!("some.domain")).facts(&[]);
    assert_eq!((&facts["hostname"], &facts["domainname"]), (&json!("some-host"), &json!("some.domain")));
    assert_ne!(nix::unistd::gethostname().expect("hostname"), "some-host");
}

#[test]
fn a_hostname_needs_a_uts_namespace() {
    let mut case = Case::new();
    case.without_namespace("uts").set("/hostname", json!("some-host"));
    case.run().fails();
    case.assert_nothing_left();
    assert_ne!(nix::unistd::gethostname().expect("hostname"), "some-host");
    case.unset("/hostname");
    assert_eq!(case.facts(&[]).namespace("uts"), own("uts"));
}

#[test]
fn long_hostnames_are_refused() {
    let mut case = Case::new();
    case.set("/hostname", json!("h".repeat(65)));
    case.run().fails();
    case.assert_nothing_left();
    case.set("/hostname", json!("h".repeat(64)));
    assert_eq!(case.facts(&[])["hostname"], "h".repeat(64));
}

/// Joins the namespaces of these kinds of another container and returns what the joiner saw, and the other's pid.
#[track_caller]
fn joined(kinds: &[(&str, &str)]) -> (Facts, i32, Case) {
    let mut owner = Case::new();
    owner.pause().namespace("cgroup");
    owner.create_and_start().wait_for_line("ready");
    let pid = owner.pid();
    let mut case = Case::new();
    case.namespace("cgroup");
    for (kind, file) in kinds {
        case.join_namespace(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    if kinds.iter().any(|(k, _)| *k == "uts") {
        case.unset("/hostname");
    }
    let facts = case.facts(&[]);
    (facts, pid, owner)
}

#[test]
fn joining_one_at_a_time() {
    for kind in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        let (facts, pid, _owner) = joined(&[kind]);
        for (_, file) in KINDS.iter().filter(|k| !["user", "time"].contains(&k.0)) {
            let joined = *file == kind.1;
            assert_eq!(facts.namespace(file) == of(pid, file), joined, "joining {}: {file}", kind.0);
        }
    }
}

#[test]
fn joining_a_pod() {
    let (facts, pid, _owner) = joined(&[("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")]);
    for file in ["net", "ipc", "uts", "pid"] {
        assert_eq!(facts.namespace(file), of(pid, file), "{file}");
    }
    assert_ne!(facts["pid"], 1, "pid 1 is the other container's");
    assert_eq!(facts["ppid"], 0, "its parent is outside");
}

#[test]
fn a_joined_network_keeps_what_it_has() {
    let mut owner = Case::new();
    owner.pause();
    owner.create_and_start().wait_for_line("ready");
    let pid = owner.pid();
    let down = std::process::Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n", "/bin/busybox", "ip", "link", "set", "lo", "down"])
        .status();
    assert!(down.expect("run nsenter").success());
    let mut case = Case::new();
    case.join_namespace("network", &format!("/proc/{pid}/ns/net"));
    assert_eq!(case.facts(&[])["loopback_up"], false, "only a new network gets its loopback up");
}

#[test]
fn a_path_of_another_kind_is_refused() {
    let mut case = Case::new();
    case.join_namespace("network", "/proc/self/ns/uts");
    case.run().fails();
    case.join_namespace("network", "/etc/passwd");
    case.run().fails();
    case.join_namespace("network", "/no/such/namespace");
    case.run().fails().says("/no/such/namespace");
    case.assert_nothing_left();
}

#[test]
fn a_relative_path_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    case.join_namespace("network", "proc/self/ns/net");
    case.run().fails().says("linux.namespaces");
    case.assert_nothing_left();
}

#[test]
fn a_kind_named_twice_is_refused() {
    needs!(RefusesDuplicateNamespaces);
    let mut case = Case::new();
    case.namespace("pid");
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn unknown_kinds_are_refused() {
    let mut case = Case::new();
    case.namespace("flavour");
    case.run().fails().says("flavour");
    case.assert_nothing_left();
}

#[test]
fn a_pinned_namespace_can_be_joined() {
    runtime_tests::host_mounts::in_own_mounts(|| {
        let mut case = Case::new();
        let pin = case.make_file("pinned", "");
        let made =
            std::process::Command::new("unshare").arg(format!("--uts={pin}")).args(["hostname", "pinned"]).status();
        assert!(made.expect("run unshare").success());
        case.expect_host_mount(&pin);
        case.join_namespace("uts", &pin).unset("/hostname");
        assert_eq!(case.facts(&[])["hostname"], "pinned");
    });
}

#[test]
fn time_offsets() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    case.namespace("time").set(
        "/linux/timeOffsets",
        json!({ "monotonic": { "secs": 172_800, "nanosecs": 5 }, "boottime": { "secs": -1, "nanosecs": 0 } }),
    );
    let facts = case.facts(&[]);
    assert_ne!(facts.namespace("time"), own("time"));
    let now = |clock| nix::time::clock_gettime(clock).expect("a clock").tv_sec();
    let inside = |clock: &str| facts["clocks"][clock].as_i64().expect("a clock");
    let monotonic = inside("monotonic") - now(nix::time::ClockId::CLOCK_MONOTONIC);
    let boottime = inside("boottime") - now(nix::time::ClockId::CLOCK_BOOTTIME);
    assert!((172_795..=172_800).contains(&monotonic), "{monotonic}");
    assert!((-6..=0).contains(&boottime), "{boottime}");
}

#[test]
fn a_time_namespace_without_offsets() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    let facts = case.namespace("time").facts(&[]);
    assert_ne!(facts.namespace("time"), own("time"));
}

#[test]
fn time_offsets_need_a_new_time_namespace() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    case.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 5, "nanosecs": 0 } }));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn bad_time_offsets_are_refused() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    case.namespace("time");
    for offsets in
        [json!({ "realtime": { "secs": 1 } }), json!({ "monotonic": { "secs": 1, "nanosecs": 1_000_000_000 } })]
    {
        case.set("/linux/timeOffsets", offsets);
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn all_eight_at_once() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    case.namespace("cgroup").namespace("time").user_namespace(100_000, 65536);
    let facts = case.facts(&[]);
    for (kind, file) in KINDS {
        assert_ne!(facts.namespace(file), own(file), "{kind}");
    }
}

#[test]
fn no_namespaces_at_all() {
    // Without a mount namespace the root is changed by chroot alone; then nothing can be mounted.
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/namespaces", json!([])).set("/mounts", json!([])).unset("/hostname");
    case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    case.args(&["/bin/echo", "hello"]);
    let out = case.run();
    assert!(out.succeeded() && out.stdout == "hello\n" || out.stderr.contains("linux.namespaces"), "{out}");
    case.assert_nothing_left();
}
