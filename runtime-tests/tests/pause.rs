//! `pause` and `resume`.

use runtime_tests::{Case, needs, needs_machine, waiting};
use std::path::Path;
use std::time::Duration;

/// Clock ticks that a process has worked in user mode.
fn worked(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields = text.rsplit_once(") ").expect("a stat line").1;
    fields.split(' ').nth(11).and_then(|n| n.parse().ok()).expect("user time")
}

/// A machine without the freezer pauses nothing.
fn can_pause() -> bool {
    ["/sys/fs/cgroup/freezer/cgroup.procs", "/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.procs"]
        .iter()
        .any(|file| Path::new(file).exists())
}

#[test]
fn a_paused_container_stands_still_until_resume() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    // Never out of work, and with a second process; each stands still only if it is frozen.
    case.script("while :; do :; done & while :; do :; done").create().ok();
    case.start().ok();
    let pid = case.pid();
    assert!(waiting::until(Duration::from_secs(10), || (worked(pid) > 0).then_some(())).is_some());
    case.invoke(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    assert!(case.invoke(&["list"]).ok().stdout.contains("paused"));
    let all: Vec<(i32, u64)> = case.pids().into_iter().map(|pid| (pid, worked(pid))).collect();
    assert_eq!(all.len(), 2, "{all:?}");
    // Some time in which they would work: another container's whole life.
    Case::new().run().ok();
    let later: Vec<(i32, u64)> = all.iter().map(|(pid, _)| (*pid, worked(*pid))).collect();
    assert_eq!(later, all);
    case.invoke(&["resume", &case.id]).ok();
    assert_eq!(case.status(), "running");
    for (pid, before) in all {
        let goes_on = waiting::until(Duration::from_secs(10), || (worked(pid) > before).then_some(()));
        assert!(goes_on.is_some(), "process {pid} does not go on");
    }
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn a_created_container_can_be_paused() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    case.invoke(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    case.delete().fails().says("paused");
    case.invoke(&["resume", &case.id]).ok();
    assert_eq!(case.status(), "created");
    case.start().ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn a_paused_container_is_not_started() {
    needs!(Rvol);
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    case.invoke(&["pause", &case.id]).ok();
    case.start().fails().says("cannot start a paused container");
}

#[test]
fn only_what_runs_can_be_paused_and_only_what_is_paused_resumed() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.invoke(&["pause", &case.id]).fails().says("does not exist");
    case.invoke(&["resume", &case.id]).fails().says("does not exist");
    case.pause().create().ok();
    case.start().ok();
    case.invoke(&["resume", &case.id]).fails().says("container not paused");
    case.invoke(&["pause", &case.id]).ok();
    case.invoke(&["pause", &case.id]).fails();
    assert_eq!(case.status(), "paused");
    case.invoke(&["resume", &case.id]).ok();
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.invoke(&["pause", &case.id]).fails().says("container not running");
    case.invoke(&["resume", &case.id]).fails().says("container not paused");
}

#[test]
fn pausing_twice_says_so() {
    needs!(Rvol);
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    case.invoke(&["pause", &case.id]).ok();
    case.invoke(&["pause", &case.id]).fails().says("container already paused");
}

#[test]
fn a_paused_container_can_be_killed() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    case.invoke(&["pause", &case.id]).ok();
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn every_process_of_a_paused_container_can_be_killed() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.invoke(&["pause", &case.id]).ok();
    case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn a_paused_container_is_deleted_by_force_only() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.invoke(&["pause", &case.id]).ok();
    case.delete().fails();
    assert_eq!(case.status(), "paused");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn other_signals_wait_for_resume() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    case.script("trap 'echo got it; exit 0' TERM; echo ready; while :; do sleep 0.1; done");
    let started = case.create_and_start();
    started.wait_for_line("ready");
    case.invoke(&["pause", &case.id]).ok();
    case.kill("TERM").ok();
    assert_eq!(case.status(), "paused");
    case.invoke(&["resume", &case.id]).ok();
    started.wait_for_line("got it");
    case.wait_for_status("stopped");
}

#[test]
fn a_fork_bomb_is_paused() {
    needs_machine!(can_pause(), "no freezer");
    let mut case = Case::new();
    // Always some process that is about to fork: what has to be told twice on cgroup v1.
    case.set("/linux/resources/pids/limit", runtime_tests::json!(40));
    case.script("i=0; while [ $i -lt 5 ]; do (while :; do (:); done) & i=$((i+1)); done 2>/dev/null; wait");
    case.create().ok();
    case.start().ok();
    for _ in 0..10 {
        case.invoke(&["pause", &case.id]).ok();
        assert_eq!(case.status(), "paused");
        case.invoke(&["resume", &case.id]).ok();
    }
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn without_a_cgroup_there_is_no_pause() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().unset("/linux/cgroupsPath").write_config();
    let mut command = case.command();
    command.args(["--cgroup-manager=disabled", "create", "--bundle"]).arg(case.bundle()).arg(&case.id);
    case.finish(command).ok();
    case.invoke(&["pause", &case.id]).fails().says("the container has no cgroup to pause");
    assert_eq!(case.status(), "created");
}
