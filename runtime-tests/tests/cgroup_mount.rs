//! Mounts of type `cgroup`: what the container sees of its cgroup, and whether it may write.

use runtime_tests::cgroups::{Hierarchy, hierarchies, is_v2_only, unified};
use runtime_tests::features::skip;
use runtime_tests::{Case, Kind, Outcome, needs, needs_machine, runtime};

const OPTIONS: [&str; 3] = ["nosuid", "noexec", "nodev"];

fn with_mount(own_namespace: bool, access: &[&str]) -> Case {
    let mut case = Case::new();
    if own_namespace {
        case.namespace("cgroup");
    }
    let options: Vec<&str> = OPTIONS.iter().chain(access).copied().collect();
    case.mount("/sys/fs/cgroup", "cgroup", "cgroup", &options);
    case
}

/// Below /sys/fs/cgroup of the container: where its own cgroup of a hierarchy is.
fn own(case: &Case, own_namespace: bool, hierarchy: &Hierarchy) -> String {
    let name = hierarchy.root.strip_prefix("/sys/fs/cgroup").unwrap().display().to_string();
    // Without a namespace of its own cgroup v2 shows the whole tree.
    let whole = !own_namespace && is_unified(hierarchy) && is_v2_only();
    let below = if whole { format!("/{}", case.token) } else { String::new() };
    format!("/sys/fs/cgroup/{name}{below}")
}

fn is_unified(hierarchy: &Hierarchy) -> bool {
    unified().is_some_and(|unified| unified.root == hierarchy.root)
}

fn says(outcome: &Outcome, line: &str) -> bool {
    outcome.stdout.lines().any(|l| l == line)
}

#[test]
fn the_containers_own_cgroup_is_seen() {
    for own_namespace in [true, false] {
        for hierarchy in hierarchies() {
            // runc does not show the cgroup v2 of a hybrid machine.
            if runtime().kind == Kind::Runc && !is_v2_only() && is_unified(hierarchy) {
                continue;
            }
            let mut case = with_mount(own_namespace, &["ro"]);
            let directory = own(&case, own_namespace, hierarchy);
            case.script(&format!("while read pid; do echo pid $pid; done < {directory}/cgroup.procs"));
            let outcome = case.run().ok();
            assert!(says(&outcome, "pid 1"), "{directory}: {outcome}");
        }
    }
}

#[test]
fn read_only_is_read_only() {
    for own_namespace in [true, false] {
        let mut case = with_mount(own_namespace, &["ro"]);
        let lines: Vec<String> = hierarchies()
            .iter()
            .map(|h| own(&case, own_namespace, h))
            .map(|d| format!("if mkdir {d}/x 2>/dev/null; then echo made {d}; else echo refused; fi"))
            .collect();
        case.script(&lines.join("\n"));
        let outcome = case.run().ok();
        assert!(!outcome.stdout.contains("made"), "{outcome}");
        assert_eq!(outcome.stdout.matches("refused").count(), hierarchies().len(), "{outcome}");
    }
}

#[test]
fn without_ro_the_container_makes_cgroups_of_its_own() {
    needs!(Rvol);
    let mut case = with_mount(true, &[]);
    let lines: Vec<String> = hierarchies()
        .iter()
        .map(|h| own(&case, true, h))
        .map(|d| format!("if mkdir {d}/x; then echo made; fi"))
        .collect();
    case.script(&lines.join("\n"));
    let outcome = case.run_with(&["--keep"]).ok();
    assert_eq!(outcome.stdout.matches("made").count(), hierarchies().len(), "{outcome}");
    for hierarchy in hierarchies() {
        assert!(hierarchy.root.join(&case.token).join("x").exists(), "{}", hierarchy.root.display());
    }
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn a_namespace_of_its_own_hides_the_path() {
    for own_namespace in [true, false] {
        let mut case = with_mount(own_namespace, &["ro"]);
        case.args(&["/bin/cat", "/proc/self/cgroup"]);
        let outcome = case.run().ok();
        assert_eq!(outcome.stdout.contains(&case.token), !own_namespace, "{outcome}");
        if own_namespace {
            assert!(outcome.stdout.lines().all(|line| line.ends_with(":/")), "{outcome}");
        }
    }
}

#[test]
fn nothing_of_another_cgroup_is_reached_through_it() {
    needs!(Rvol);
    needs_machine!(!hierarchies().is_empty(), "no cgroups");
    let mut case = with_mount(true, &[]);
    let lines: Vec<String> = hierarchies().iter().map(|h| own(&case, true, h)).map(|d| format!("ls {d}/..")).collect();
    case.script(&lines.join("\n"));
    let outcome = case.run().ok();
    assert!(!outcome.stdout.contains(&case.token), "{outcome}");
}

#[test]
fn combined_controllers_have_their_links() {
    if is_v2_only() {
        return skip("cgroup v1 only");
    }
    let mut case = with_mount(false, &["ro"]);
    case.args(&["/bin/ls", "/sys/fs/cgroup"]);
    let outcome = case.run().ok();
    for hierarchy in hierarchies().iter().filter(|h| !is_unified(h)) {
        for controller in &hierarchy.controllers {
            assert!(says(&outcome, controller), "{controller}: {outcome}");
        }
    }
}

#[test]
fn a_bind_of_the_hosts_cgroups_works_too() {
    let mut case = Case::new();
    case.mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", &["rbind", "ro"]);
    let (hierarchy, token) = (hierarchies().first().cloned(), case.token.clone());
    let Some(hierarchy) = hierarchy else { return skip("no cgroups") };
    case.args(&["/bin/ls", &format!("{}/{token}/cgroup.procs", hierarchy.root.display())]);
    case.run().ok();
}
