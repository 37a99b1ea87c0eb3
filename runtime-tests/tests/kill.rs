//! `kill`: whom a signal reaches.

use runtime_tests::cgroups::{Version, controller, unified};
use runtime_tests::leaks::alive;
use runtime_tests::{Case, needs, needs_machine, waiting};
use std::time::Duration;

fn is_gone(pid: i32) -> bool {
    waiting::until(Duration::from_secs(10), || (!alive(pid)).then_some(())).is_some()
}

/// A container in the host's pid namespace, with a child beside its first process. Returns the child.
fn with_child(case: &mut Case, script: &str) -> i32 {
    case.without_namespace("pid").script(script);
    case.create_and_start().wait_for_line("ready");
    let first = case.pid();
    *case.pids().iter().find(|pid| **pid != first).expect("a child")
}

#[test]
fn all_of_a_stopped_container_is_no_error() {
    let case = Case::new();
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    case.kill("KILL").fails().says("container not running");
    // As containerd makes sure, when the first process has ended, that nobody is left.
    case.invoke(&["kill", "--all", &case.id, "9"]).ok();
    case.invoke(&["kill", "--all", &case.id, "9"]).ok();
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn all_reaches_those_that_outlive_the_first_process() {
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let pids = case.pids();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(case.pid()), nix::sys::signal::SIGKILL).expect("kill the first");
    case.wait_for_status("stopped");
    assert_eq!(case.pids().len(), 2);
    case.invoke(&["kill", "--all", &case.id, "9"]).ok();
    assert!(pids.into_iter().all(is_gone));
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn sigkill_ends_all_without_a_pid_namespace() {
    needs!(Rvol);
    let mut case = Case::new();
    let child = with_child(&mut case, "sleep 1000 & exec probe pause");
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    assert!(is_gone(child), "process {child} lives on");
    case.kill("KILL").fails().says("container not running");
}

#[test]
fn sigkill_finds_what_outlived_the_first_process() {
    needs!(Rvol);
    let mut case = Case::new();
    let child = with_child(&mut case, "sleep 1000 & exec probe pause");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(case.pid()), nix::sys::signal::SIGKILL).expect("kill the first");
    case.wait_for_status("stopped");
    case.kill("TERM").fails().says("container not running");
    case.kill("KILL").ok();
    assert!(is_gone(child), "process {child} lives on");
}

#[test]
fn other_signals_go_to_the_first_process_alone() {
    let mut case = Case::new();
    let child = with_child(&mut case, "sleep 1000 & trap 'echo got it' USR1; echo ready; while :; do sleep 0.1; done");
    case.kill("USR1").ok();
    assert!(alive(child));
    case.delete_force().ok();
}

#[test]
fn all_get_a_signal_that_they_can_handle() {
    for shared in [true, false] {
        let mut case = Case::new();
        if shared {
            case.without_namespace("pid");
        }
        case.script(
            "(trap 'echo child got it; exit 0' TERM; echo child ready; while :; do sleep 0.1; done) &
             trap 'echo parent got it; wait; exit 0' TERM; echo parent ready; while :; do sleep 0.1; done",
        );
        let started = case.create_and_start();
        started.wait_for_line("child ready");
        started.wait_for_line("parent ready");
        case.invoke(&["kill", "--all", &case.id, "TERM"]).ok();
        started.wait_for_line("child got it");
        started.wait_for_line("parent got it");
        case.wait_for_status("stopped");
    }
}

#[test]
fn nobody_outruns_a_signal() {
    needs!(Rvol);
    let mut case = Case::new();
    // Each process lives for a moment and makes the next: somebody is always about to be born.
    case.without_namespace("pid").set("/linux/resources/pids/limit", runtime_tests::json!(60));
    case.script("i=0; while [ $i -lt 8 ]; do (while :; do (:); done) & i=$((i+1)); done 2>/dev/null; echo ready; wait");
    case.create_and_start().wait_for_line("ready");
    case.invoke(&["kill", "--all", &case.id, "TERM"]).ok();
    case.wait_for_status("stopped");
    let empty = waiting::until(Duration::from_secs(10), || case.pids().is_empty().then_some(()));
    assert!(empty.is_some(), "{:?} got no signal", case.pids());
}

#[test]
fn a_paused_container_stays_paused_when_all_get_a_signal() {
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.invoke(&["pause", &case.id]).ok();
    case.invoke(&["kill", "--all", &case.id, "USR1"]).ok();
    needs!(Rvol);
    assert_eq!(case.status(), "paused");
}

#[test]
fn without_a_cgroup_the_first_process_is_reached() {
    needs!(Rvol);
    for (shared, words) in [(false, &["kill", "--all"][..]), (true, &["kill", "--all"]), (true, &["kill"])] {
        let mut case = Case::new();
        if shared {
            case.without_namespace("pid");
        }
        case.pause().unset("/linux/cgroupsPath").write_config();
        let mut command = case.command();
        command.args(["--cgroup-manager=disabled", "create", "--bundle"]).arg(case.bundle()).arg(&case.id);
        case.finish(command).ok();
        let words: Vec<&str> = words.iter().copied().chain([case.id.as_str(), "KILL"]).collect();
        let outcome = case.invoke(&words).ok();
        assert_eq!(outcome.stderr.contains("without a cgroup only"), shared, "{outcome}");
        case.wait_for_status("stopped");
        case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    }
}

#[test]
fn a_cgroup_that_the_container_froze_itself_is_no_refuge() {
    needs!(Rvol);
    let freezer = controller("freezer").filter(|h| h.version == Version::V1);
    let Some(hierarchy) = freezer.or_else(unified) else { return runtime_tests::features::skip("no freezer") };
    needs_machine!(hierarchy.root.join("cgroup.procs").exists(), "no freezer");
    let mut case = Case::new();
    let child = with_child(&mut case, "sleep 1000 & exec probe pause");
    let inner = hierarchy.of(child).join("inner");
    std::fs::create_dir(&inner).expect("make a cgroup");
    std::fs::write(inner.join("cgroup.procs"), child.to_string()).expect("move the child");
    match hierarchy.version {
        Version::V1 => std::fs::write(inner.join("freezer.state"), "FROZEN"),
        Version::V2 => std::fs::write(inner.join("cgroup.freeze"), "1"),
    }
    .expect("freeze");
    case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    assert!(is_gone(child), "process {child} lives on");
    case.delete_force().ok();
    case.assert_nothing_left();
}

/// The kernel drops a signal with the default action that is sent to the first process of a pid namespace.
#[test]
fn a_created_container_ends_by_every_signal_that_ends_a_process() {
    needs!(Rvol);
    for signal in ["TERM", "HUP", "INT", "QUIT", "USR1", "ABRT", "SEGV", "PIPE", "ALRM", "RTMIN+3"] {
        let mut case = Case::new();
        case.pause().create().ok();
        case.kill(signal).ok();
        case.wait_for_status("stopped");
        case.start().fails().says("stopped");
        case.delete().ok();
        case.assert_nothing_left();
    }
}

#[test]
fn a_created_container_outlives_the_signals_that_end_nobody() {
    let mut case = Case::new();
    case.pause().create().ok();
    for signal in ["CHLD", "CONT", "WINCH", "URG"] {
        case.kill(signal).ok();
    }
    assert_eq!(case.status(), "created");
    case.start().ok();
    assert_eq!(case.status(), "running");
}

/// What init handles while it waits has its default action in the container's process.
#[test]
fn the_process_inherits_no_handler() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let started = case.create_and_start();
    case.wait_for_status("stopped");
    let facts: runtime_tests::Value = started.output().trim().parse().expect("facts");
    let ignored = facts["signals"]["ignored"].as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
    // The probe itself ignores SIGPIPE, as every Rust program; the C library's own signals, 32 and 33, stay the caller's.
    assert_eq!(ignored.expect("a mask") & !(1 << (libc::SIGPIPE - 1) | 1 << 31 | 1 << 32), 0);
    assert_eq!(facts["signals"]["blocked"], "0000000000000000");
}
