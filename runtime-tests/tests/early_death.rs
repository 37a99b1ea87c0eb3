//! An init that is killed after it was told to start and before it executes the program: not a success.
//!
//! A test program of its own: it must be the one that reaps, for what has been reaped has left no trace.

use runtime_tests::{Case, json, needs, raw};

/// A container whose first process is killed by its own startContainer hook, which can be done where it is not PID 1.
fn killed_by_its_hook() -> Case {
    raw::become_subreaper().expect("prctl");
    let mut case = Case::new();
    let kill = json!({ "path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"] });
    case.without_namespace("pid").args(&["/bin/true"]).set("/hooks/startContainer/-", kill);
    case
}

#[test]
fn start_fails() {
    needs!(Rvol);
    let case = killed_by_its_hook();
    case.create().ok();
    case.start().fails().says("init was killed before it executed the program");
    assert_eq!(case.status(), "stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn run_fails() {
    needs!(Rvol);
    let case = killed_by_its_hook();
    case.run().fails().says("init was killed by SIGKILL").says("run the startContainer hooks");
    case.assert_nothing_left();
}

#[test]
fn a_program_that_is_killed_has_been_started() {
    let case = {
        raw::become_subreaper().expect("prctl");
        let mut case = Case::new();
        case.without_namespace("pid").script("kill -KILL $$");
        case
    };
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
}
