//! What a failing hook leads to, kind by kind (runtime.md, "Lifecycle").

use runtime_tests::leaks::alive;
use runtime_tests::{Case, json, needs, waiting};
use std::time::Duration;

fn failing(kind: &str) -> Case {
    let mut case = Case::new();
    case.make_dir("shared");
    case.set(
        &format!("/hooks/{kind}"),
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo the reason why >&2; exit 17"] }]),
    );
    let log = format!("echo poststop >>{}/log", case.path("shared"));
    case.set("/hooks/poststop/-", json!({ "path": "/bin/sh", "args": ["sh", "-c", log] }));
    case
}

#[test]
fn of_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let case = failing(kind);
        case.create().fails();
        case.assert_nothing_left();
        case.invoke(&["state", &case.id]).fails().says("does not exist");
    }
}

#[test]
fn the_hooks_stderr_is_in_the_error() {
    for kind in ["prestart", "createRuntime"] {
        failing(kind).create().fails().says("the reason why");
    }
}

#[test]
fn the_hooks_stderr_and_place_are_in_every_error() {
    needs!(Rvol);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        failing(kind).create().fails().says("the reason why").says(&format!("hooks.{kind}[0]")).says("17");
    }
    for kind in ["startContainer", "poststart"] {
        let mut case = failing(kind);
        case.pause().create().ok();
        case.start().fails().says("the reason why").says(&format!("hooks.{kind}[0]")).says("17");
    }
}

#[test]
fn a_failed_create_runs_the_poststop_hooks() {
    needs!(PoststopAfterFailedCreate);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let case = failing(kind);
        case.create().fails();
        assert_eq!(case.read("shared/log"), "poststop\n", "{kind}");
    }
}

#[test]
fn of_start_container() {
    let mut case = failing("startContainer");
    case.script("echo ran >/data/ran; exec probe pause");
    case.create().ok();
    let pid = case.pid();
    case.start();
    let gone = waiting::until(Duration::from_secs(10), || (!alive(pid)).then_some(()));
    assert!(gone.is_some(), "the container is stopped");
    assert!(!case.rootfs().join("data/ran").exists(), "the program must not run");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn of_start_container_makes_start_fail() {
    needs!(StartReportsFailure);
    let mut case = failing("startContainer");
    case.pause().create().ok();
    case.start().fails();
    let state = case.invoke(&["state", &case.id]);
    assert!(!state.succeeded() || state.json()["status"] == "stopped", "{state}");
}

#[test]
fn of_start_container_destroys_the_container() {
    needs!(Rvol);
    let mut case = failing("startContainer");
    case.pause().create().ok();
    case.start().fails();
    case.delete_force().ok();
    case.assert_nothing_left();
    assert_eq!(case.read("shared/log"), "poststop\n");
}

#[test]
fn of_poststart() {
    needs!(PoststartFailure);
    let mut case = failing("poststart");
    case.pause().create().ok();
    let pid = case.pid();
    case.start().fails();
    assert!(!alive(pid), "the container is stopped");
    case.delete_force().ok();
    case.assert_nothing_left();
    assert_eq!(case.read("shared/log"), "poststop\n", "run once although poststart failed");
}

#[test]
fn of_poststart_in_run() {
    needs!(PoststartFailure);
    let mut case = failing("poststart");
    case.pause().run().fails();
    case.assert_nothing_left();
    assert_eq!(case.read("shared/log"), "poststop\n");
}

#[test]
fn of_poststop() {
    needs!(PoststopFailure);
    let case = failing("poststop");
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    case.delete().ok().says("the reason why");
    assert_eq!(case.read("shared/log"), "poststop\n", "the remaining hooks run");
    case.assert_nothing_left();
}

#[test]
fn of_poststop_in_delete_by_force() {
    let mut case = failing("poststop");
    case.pause().create().ok();
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn a_missing_program() {
    let mut case = Case::new();
    case.set("/hooks/createRuntime", json!([{ "path": "/no/such/hook" }]));
    case.create().fails().says("/no/such/hook");
    case.assert_nothing_left();
}

#[test]
fn a_missing_program_in_the_container() {
    needs!(StartReportsFailure);
    let mut case = Case::new();
    case.set("/hooks", json!({ "startContainer": [{ "path": "/no/such/hook" }] }));
    case.create().ok();
    case.start().fails().says("/no/such/hook");
}

#[test]
fn death_by_a_signal() {
    let mut case = Case::new();
    case.set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"] }]));
    case.create().fails();
    case.assert_nothing_left();
}

#[test]
fn later_hooks_do_not_run() {
    let mut case = Case::new();
    let touched = case.path("touched");
    case.set(
        "/hooks/createRuntime",
        json!([{ "path": "/bin/false" }, { "path": "/bin/touch", "args": ["touch", touched] }]),
    );
    case.create().fails();
    assert!(!case.dir.join("touched").exists());
}
