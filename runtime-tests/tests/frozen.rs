//! A container whose cgroup somebody has frozen, as an engine's pause does.

use runtime_tests::{Case, needs, needs_machine};
use std::path::{Path, PathBuf};

/// The file that freezes the cgroup v1 of a case, if the machine has that hierarchy.
fn freezer(case: &Case) -> PathBuf {
    Path::new("/sys/fs/cgroup/freezer").join(&case.token).join("freezer.state")
}

#[test]
fn a_frozen_container_is_not_started() {
    needs!(Rvol);
    needs_machine!(Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists(), "no cgroup v1 freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    std::fs::write(freezer(&case), "FROZEN").expect("freeze");
    case.start().fails().says("cannot start a paused container");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn kill_ends_a_frozen_container() {
    needs!(Rvol);
    needs_machine!(Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists(), "no cgroup v1 freezer");
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    std::fs::write(freezer(&case), "FROZEN").expect("freeze");
    assert_eq!(case.status(), "paused");
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}
