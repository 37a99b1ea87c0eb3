//! `process`: what the kernel keeps for the process besides its identity.

use runtime_tests::{Case, Facts, command, json, machine, needs, needs_machine};
use std::path::Path;
use std::process::Command;

/// Runs the case's probe through a shell of the host that prepares something first.
#[track_caller]
fn facts_after(case: &Case, preparation: &str) -> Facts {
    let run = case.bundle_command("run", &[]);
    let mut command = command::quiet(Path::new("/bin/sh"));
    command.arg("-c").arg(format!("{preparation}; exec \"$@\"")).arg("sh").arg(run.get_program()).args(run.get_args());
    Facts::of(&case.finish(command).ok())
}

#[test]
fn oom_score_adjustment_is_set() {
    let mut case = Case::new();
    case.set("/process/oomScoreAdj", json!(321));
    assert_eq!(case.facts(&[])["oom_score_adj"], 321);
}

#[test]
fn oom_score_adjustment_stays_when_not_named() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    assert_eq!(facts_after(&case, "echo 77 >/proc/self/oom_score_adj")["oom_score_adj"], 77);
}

#[test]
fn oom_score_adjustments_out_of_range_are_refused() {
    let mut case = Case::new();
    for value in [1001, -1001] {
        case.set("/process/oomScoreAdj", json!(value));
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn signals_are_as_a_fresh_process_has_them() {
    let mut case = Case::new();
    // Not the probe: Rust's start-up ignores SIGPIPE.
    case.args(&["/bin/grep", "Sig[BI]", "/proc/self/status"]);
    // Without the real-time signals, of which C libraries use some for themselves.
    let text = case.run().ok().stdout;
    let numbers = text.lines().filter_map(|l| l.split_whitespace().nth(1));
    let classic = numbers.map(|n| u64::from_str_radix(n, 16).expect("hexadecimal") & 0x7fff_ffff);
    assert_eq!(classic.collect::<Vec<_>>(), [0, 0], "none is blocked or ignored");
}

#[test]
fn the_process_leads_a_session() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    assert_eq!((&facts["pid"], &facts["sid"], &facts["pgid"]), (&json!(1), &json!(1), &json!(1)));
}

#[test]
fn nothing_of_the_runtime_sticks_to_the_process() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    assert_eq!(facts["parent_death_signal"], 0);
    assert_eq!(facts["dumpable"], 1);
    assert_eq!(facts["seccomp"], 0);
}

#[test]
fn schedulers() {
    needs!(Scheduler);
    const OTHER: i32 = 0;
    const BATCH: i32 = 3;
    const IDLE: i32 = 5;
    let mut case = Case::new();
    for (name, number, nice) in [("SCHED_OTHER", OTHER, 7), ("SCHED_BATCH", BATCH, 5), ("SCHED_IDLE", IDLE, 0)] {
        case.set("/process/scheduler", json!({ "policy": name, "nice": nice }));
        let facts = case.facts(&[]);
        assert_eq!(facts["scheduler"]["policy"], number, "{name}");
        assert_eq!(facts["scheduler"]["nice"], nice, "{name}");
    }
}

#[test]
fn realtime_schedulers() {
    needs!(Scheduler);
    needs_machine!(machine::has_free_realtime(), "a new cgroup has no realtime budget (CONFIG_RT_GROUP_SCHED)");
    const FIFO: i32 = 1;
    const RR: i32 = 2;
    const RESET_ON_FORK: u64 = 1;
    let mut case = Case::new();
    for (name, number) in [("SCHED_FIFO", FIFO), ("SCHED_RR", RR)] {
        case.set("/process/scheduler", json!({ "policy": name, "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }));
        let facts = case.facts(&[]);
        assert_eq!(facts["scheduler"]["policy"], number, "{name}");
        assert_eq!(facts["scheduler"]["priority"], 7, "{name}");
        assert_eq!(facts["scheduler"]["flags"], RESET_ON_FORK, "{name}");
    }
}

#[test]
fn deadline_scheduler() {
    needs!(Scheduler);
    let mut case = Case::new();
    case.set(
        "/process/scheduler",
        json!({ "policy": "SCHED_DEADLINE", "runtime": 20_000_000, "deadline": 50_000_000u64, "period": 100_000_000u64 }),
    );
    let facts = case.facts(&[]);
    assert_eq!(facts["scheduler"]["policy"], 6);
    assert_eq!(facts["scheduler"]["runtime"], 20_000_000);
    assert_eq!(facts["scheduler"]["deadline"], 50_000_000);
    assert_eq!(facts["scheduler"]["period"], 100_000_000);
}

#[test]
fn bad_schedulers_are_refused() {
    needs!(Scheduler);
    let mut case = Case::new();
    for scheduler in [
        json!({ "policy": "SCHED_MADE_UP" }),
        json!({ "policy": "SCHED_OTHER", "nice": 20 }),
        json!({ "policy": "SCHED_OTHER", "nice": -21 }),
        json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_MADE_UP"] }),
        json!({ "policy": "SCHED_OTHER", "priority": 5 }),
        json!({ "policy": "SCHED_FIFO", "priority": 5, "runtime": 7 }),
    ] {
        case.set("/process/scheduler", scheduler.clone());
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn io_priorities() {
    needs!(IoPriority);
    let mut case = Case::new();
    for (name, class, level) in [("IOPRIO_CLASS_BE", 2, 6), ("IOPRIO_CLASS_RT", 1, 3), ("IOPRIO_CLASS_IDLE", 3, 0)] {
        case.set("/process/ioPriority", json!({ "class": name, "priority": level }));
        assert_eq!(case.facts(&[])["io_priority"], json!({ "class": class, "level": level }), "{name}");
    }
}

#[test]
fn bad_io_priorities_are_refused() {
    needs!(IoPriority);
    let mut case = Case::new();
    for (class, level) in [("IOPRIO_CLASS_BE", 8), ("IOPRIO_CLASS_BE", -1), ("IOPRIO_CLASS_MADE_UP", 1)] {
        case.set("/process/ioPriority", json!({ "class": class, "priority": level }));
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn exec_cpu_affinity_is_not_for_init() {
    let mut case = Case::new();
    let usual = case.facts(&[])["cpus"].clone();
    case.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    assert_eq!(case.facts(&[])["cpus"], usual, "\"not applicable to the container's init process\"");
}

/// A service that is bound to some CPUs starts containers on all that their cgroup allows.
#[test]
fn the_callers_cpu_affinity_is_not_the_containers() {
    needs!(Rvol);
    let mut case = Case::new();
    let all = case.facts(&[])["cpus"].clone();
    needs_machine!(all != "0", "this machine has one CPU");
    case.args(&["/bin/probe", "facts"]);
    assert_eq!(facts_after(&case, "taskset -p 1 $$ >/dev/null")["cpus"], all);
    case.started();
    let exec = case.exec_command(&[], &["/bin/probe", "facts"]);
    let mut command = command::quiet(Path::new("/usr/bin/taskset"));
    command.args(["-c", "0"]).arg(exec.get_program()).args(exec.get_args());
    assert_eq!(Facts::of(&case.finish(command).ok())["cpus"], all);
}

#[test]
fn personality() {
    needs!(Personality);
    let mut case = Case::new();
    case.set("/linux/personality", json!({ "domain": "LINUX32" }));
    let facts = case.facts(&[]);
    assert_eq!(facts["personality"], 8);
    // Not every kernel has another name for it: user-mode Linux has not.
    let renamed = Command::new("setarch").args(["linux32", "uname", "-m"]).output().expect("run setarch");
    assert_eq!(facts["machine"], String::from_utf8_lossy(&renamed.stdout).trim());
    case.set("/linux/personality", json!({ "domain": "LINUX" }));
    assert_eq!(case.facts(&[])["personality"], 0);
}

#[test]
fn bad_personalities_are_refused() {
    needs!(Personality);
    let mut case = Case::new();
    case.set("/linux/personality", json!({ "domain": "BSD" }));
    case.run().fails();
    case.set("/linux/personality", json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn memory_policy() {
    needs!(MemoryPolicy);
    needs_machine!(Path::new("/sys/devices/system/node/node0").exists(), "no NUMA nodes in /sys");
    const STATIC_NODES: i32 = 1 << 15;
    let mut case = Case::new();
    let mut policy = |policy: serde_json::Value| {
        case.set("/linux/memoryPolicy", policy);
        case.facts(&[])["memory_policy"].clone()
    };
    assert_eq!(policy(json!({ "mode": "MPOL_BIND", "nodes": "0" })), json!({ "mode": 2, "nodes": [0] }));
    assert_eq!(policy(json!({ "mode": "MPOL_PREFERRED", "nodes": "0" })), json!({ "mode": 1, "nodes": [0] }));
    assert_eq!(policy(json!({ "mode": "MPOL_DEFAULT" })), json!({ "mode": 0, "nodes": [] }));
    assert_eq!(policy(json!({ "mode": "MPOL_LOCAL" })), json!({ "mode": 4, "nodes": [] }));
    let flags = json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_STATIC_NODES"] });
    assert_eq!(policy(flags), json!({ "mode": 3 | STATIC_NODES, "nodes": [0] }));
}

#[test]
fn bad_memory_policies_are_refused() {
    needs!(MemoryPolicy);
    let mut case = Case::new();
    for policy in [
        json!({ "mode": "MPOL_MADE_UP" }),
        json!({ "mode": "MPOL_BIND", "nodes": "x" }),
        json!({ "mode": "MPOL_BIND", "nodes": "3-1" }),
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_MADE_UP"] }),
        json!({ "mode": "MPOL_BIND" }),
    ] {
        case.set("/linux/memoryPolicy", policy);
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn a_session_keyring_of_its_own() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let host = || {
        let out = Command::new(case.rootfs().join("bin/probe")).arg("facts").output().expect("run the probe");
        let facts: serde_json::Value = serde_json::from_slice(&out.stdout).expect("facts");
        facts["session_keyring"]["id"].clone()
    };
    let host = host();
    let own = Facts::of(&case.run().ok());
    assert_ne!(own["session_keyring"]["id"], host);
    assert!(
        own["session_keyring"]["description"].as_str().is_some_and(|d| d.contains("_ses")),
        "{}",
        own["session_keyring"]
    );
    let inherited = Facts::of(&case.run_with(&["--no-new-keyring"]).ok());
    assert_eq!(inherited["session_keyring"]["id"], host);
}

#[test]
fn an_apparmor_profile_without_apparmor_is_an_error() {
    needs!(Rvol);
    needs_machine!(!Path::new("/sys/module/apparmor").exists(), "this machine has AppArmor");
    let mut case = Case::new();
    case.set("/process/apparmorProfile", json!("acme"));
    case.run().fails().says("process.apparmorProfile \"acme\"").says("enable AppArmor");
    case.assert_nothing_left();
    for none in ["", "unconfined"] {
        case.set("/process/apparmorProfile", json!(none));
        assert_eq!(case.run().ok().stderr, "", "{none:?}");
    }
}

#[test]
fn an_selinux_label_without_selinux_is_an_error() {
    needs_machine!(!Path::new("/sys/fs/selinux/enforce").exists(), "this machine has SELinux");
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/process/selinuxLabel", json!("system_u:system_r:svirt_lxc_net_t:s0:c124,c675"));
    case.run().fails().says("process.selinuxLabel").says("enable SELinux");
    case.assert_nothing_left();
}
