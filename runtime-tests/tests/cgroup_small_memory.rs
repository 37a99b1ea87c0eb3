//! Memory limits that are hardly enough, or not.

use runtime_tests::cgroups::controller;
use runtime_tests::{Case, json, needs, needs_machine};

fn limited(bytes: u64) -> Case {
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": bytes, "swap": bytes }));
    case
}

#[test]
fn one_mebibyte_is_enough_for_true() {
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    for _ in 0..3 {
        limited(1 << 20).run().ok();
    }
    let case = limited(1 << 20);
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
}

#[test]
fn a_limit_that_is_too_small_is_named() {
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    for bytes in [4096, 65536] {
        let case = limited(bytes);
        let outcome = case.run().fails();
        assert!(
            outcome.stderr.contains("linux.resources.memory.limit") && outcome.stderr.contains(&bytes.to_string()),
            "{outcome}"
        );
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome}");
        case.assert_nothing_left();
        // What init does before it is in its cgroup does not count.
        let case = limited(bytes);
        let created = case.create();
        if created.succeeded() {
            let started = case.start();
            // Or it is killed in the program's own beginnings.
            if !started.succeeded() {
                started.says(&format!("linux.resources.memory.limit is {bytes}"));
            }
            case.wait_for_status("stopped");
            case.delete().ok();
        } else {
            created.says("linux.resources.memory.limit");
        }
        case.assert_nothing_left();
    }
}

/// What is needed at least, and what the peer needs: a number to look at, which only has to stay in sight.
#[test]
fn the_least_that_starts_true() {
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    let works = |kib: u64| limited(kib << 10).run().succeeded();
    let least = (1..=16).map(|n| n * 64).find(|kib| works(*kib)).expect("1 MiB is enough");
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("the least memory limit that starts /bin/true: {least} KiB\n").as_bytes(),
    );
    assert!(least <= 1024);
}
