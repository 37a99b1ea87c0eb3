//! An ordinary user's container, where no cgroup is delegated: what needs one is refused with a hint, the rest works.

use runtime_tests::cgroups::hierarchies;
use runtime_tests::unprivileged::{USER, case};
use runtime_tests::{Case, json, needs, needs_machine};

/// The user's own cgroup is this process's, and root's.
fn nothing_is_delegated() -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = std::process::id() as i32;
    hierarchies().iter().all(|h| std::fs::metadata(h.of(own)).is_ok_and(|m| m.uid() != USER))
}

/// A waiting container that runs in the caller's cgroup.
fn without_cgroup() -> Case {
    let mut case = case(USER);
    case.pause().create().ok();
    case.start().ok();
    case
}

#[test]
fn without_a_wish_it_runs_in_the_callers_cgroup() {
    needs!(Rvol);
    needs_machine!(nothing_is_delegated(), "a cgroup is delegated");
    let case = without_cgroup();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/cgroup", case.pid())).unwrap(), own);
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn limits_are_refused_with_a_hint() {
    needs!(Rvol);
    needs_machine!(nothing_is_delegated(), "a cgroup is delegated");
    for resources in [json!({ "pids": { "limit": 9 } }), json!({ "memory": { "limit": 64 << 20 } })] {
        let mut case = case(USER);
        case.set("/linux/resources", resources).create().fails().says("cgroup");
        case.assert_nothing_left();
    }
}

#[test]
fn a_place_is_refused_with_a_hint() {
    needs!(Rvol);
    needs_machine!(nothing_is_delegated(), "a cgroup is delegated");
    let mut case = case(USER);
    case.set("/linux/cgroupsPath", json!(format!("/{}", case.token))).create().fails().says("cgroup");
    case.assert_nothing_left();
}

#[test]
fn what_needs_a_cgroup_says_so() {
    needs!(Rvol);
    needs_machine!(nothing_is_delegated(), "a cgroup is delegated");
    let case = without_cgroup();
    for (words, message) in [
        (&["pause"][..], "the container has no cgroup to pause"),
        (&["ps"], "the container has no cgroup of its own"),
        (&["update", "--pids-limit", "9"], "the container has no cgroup of its own"),
    ] {
        let words: Vec<&str> = words.iter().copied().chain([case.id.as_str()]).collect();
        case.invoke(&words).fails().says(message);
    }
    // What does not name a limit needs none.
    case.invoke(&["update", &case.id]).ok();
    case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    case.wait_for_status("stopped");
}
