//! SIGKILL at any moment of `create`: `delete --force` removes what is left, and the id can be used again.

use nix::sys::signal::Signal;
use runtime_tests::strace::{calls, counts, sample, traced};
use runtime_tests::{Case, command, json, needs, waiting};
use std::time::Duration;

fn case() -> Case {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.pause().bind(&source, "/data", &["ro"]).namespace("cgroup");
    case
}

/// Deletes by force and creates again; what is wrong with that, if anything.
fn recovered(case: &Case) -> Option<String> {
    let delete = case.delete_force();
    if !delete.succeeded() {
        return Some(format!("delete fails: {delete}"));
    }
    let left = case.leaks();
    if !left.is_empty() {
        return Some(format!("delete leaves\n{}", left.join("\n")));
    }
    let create = case.create();
    if !create.succeeded() {
        return Some(format!("create fails: {create}"));
    }
    let delete = case.delete_force();
    (!delete.succeeded()).then(|| format!("the second delete fails: {delete}"))
}

#[test]
fn killed_at_each_syscall() {
    needs!(SurvivesKill);
    let case = case();
    let output = case.path("trace");
    case.finish(traced(&case.bundle_command("create", &[]), &[], &output)).ok();
    case.delete_force().ok();
    let mut counts = counts(&calls(&case.read("trace")));
    // strace starts the program itself.
    counts.remove("execve");
    let points = sample(&counts, 80);
    let mut bad = Vec::new();
    for (name, when) in &points {
        let injection = format!("inject={name}:signal=KILL:when={when}");
        let command = traced(&case.bundle_command("create", &[]), &["-e", &injection], &output);
        case.start_command(command).finish_within(Duration::from_secs(20));
        bad.extend(recovered(&case).map(|v| format!("{name} number {when}: {v}")));
    }
    assert!(bad.is_empty(), "of {} points {} are bad:\n{}", points.len(), bad.len(), bad.join("\n"));
}

#[test]
fn killed_at_any_time() {
    needs!(SurvivesKill);
    let case = case();
    let mut bad = Vec::new();
    for step in 0..40 {
        let running = case.start_command(case.bundle_command("create", &[]));
        std::thread::sleep(Duration::from_micros(250 * step));
        running.signal(Signal::SIGKILL);
        running.finish();
        bad.extend(recovered(&case).map(|v| format!("after {} µs: {v}", 250 * step)));
    }
    assert!(bad.is_empty(), "{} are bad:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn init_dies_with_its_creator() {
    needs!(Rvol);
    let mut case = case();
    let marker = case.path("marker");
    let script = format!("cat >{marker}.new; mv {marker}.new {marker}; sleep 1000");
    case.set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    let running = case.start_command(case.bundle_command("create", &[]));
    waiting::until(command::LIMIT, || case.dir.join("marker").exists().then_some(())).expect("the hook runs");
    let state: serde_json::Value = serde_json::from_str(&case.read("marker")).expect("the state");
    let pid = state["pid"].as_i64().expect("a pid") as i32;
    assert!(runtime_tests::leaks::alive(pid));
    running.signal(Signal::SIGKILL);
    running.finish();
    let gone = waiting::until(command::LIMIT, || (!runtime_tests::leaks::alive(pid)).then_some(()));
    assert!(gone.is_some(), "init lives on without its creator");
    let status = case.invoke(&["state", &case.id]);
    if status.succeeded() {
        assert!(["creating", "stopped"].contains(&status.json()["status"].as_str().unwrap_or_default()), "{status}");
    }
    assert_eq!(recovered_without_hooks(&mut case), None);
}

fn recovered_without_hooks(case: &mut Case) -> Option<String> {
    case.unset("/hooks");
    // The hook itself is nobody's child now; it is this test's to end.
    runtime_tests::leaks::clean(&case.token);
    recovered(case)
}

#[test]
fn a_killed_start_leaves_a_container_that_can_be_deleted() {
    let case = case();
    for step in 0..10 {
        case.create().ok();
        let mut command = case.command();
        command.args(["start", &case.id]);
        let running = case.start_command(command);
        std::thread::sleep(Duration::from_micros(200 * step));
        running.signal(Signal::SIGKILL);
        running.finish();
        case.delete_force().ok();
        case.assert_nothing_left();
    }
}

#[test]
fn a_killed_delete_can_be_repeated() {
    needs!(SurvivesKill);
    let case = case();
    for step in 0..20 {
        case.create().ok();
        let mut command = case.command();
        command.args(["delete", "--force", &case.id]);
        let running = case.start_command(command);
        std::thread::sleep(Duration::from_micros(200 * step));
        running.signal(Signal::SIGKILL);
        running.finish();
        case.delete_force().ok();
        case.assert_nothing_left();
    }
}

#[test]
fn a_record_that_is_cut_short_is_named() {
    // Records are renamed into place whole, so only a broken disk does this.
    needs!(Rvol);
    let case = case();
    case.create().ok();
    for entry in std::fs::read_dir(case.state_root().join(&case.id)).expect("list").flatten() {
        if entry.file_type().is_ok_and(|t| t.is_file()) && entry.metadata().is_ok_and(|m| m.len() > 10) {
            std::fs::OpenOptions::new().write(true).open(entry.path()).and_then(|f| f.set_len(10)).expect("truncate");
        }
    }
    let state = case.invoke(&["state", &case.id]).fails();
    assert!(state.stderr.contains(".json") && !state.stderr.contains("panicked"), "{state}");
    let delete = case.delete_force();
    assert!(!delete.stderr.contains("panicked"), "{delete}");
    // What only the record named may be out of reach now; it is this test's to end.
    runtime_tests::leaks::clean(&case.token);
    std::fs::remove_dir_all(case.state_root().join(&case.id)).ok();
}
