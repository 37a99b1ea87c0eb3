//! Two containers share a volume, and one of them exchanges directories and links in it while the other is created
//! (CVE-2021-30465, CVE-2024-45310, CVE-2025-52881, youki GHSA-3q8j-pf29-vwv8).
//!
//! A few hundred rounds by default, 2000 with `RUNTIME_TESTS_FULL=1`.

use runtime_tests::raw::exchange;
use runtime_tests::{Case, Facts, json, needs};
use std::ffi::CString;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

fn rounds() -> usize {
    if std::env::var_os("RUNTIME_TESTS_FULL").is_some() { 2000 } else { 150 }
}

/// Runs `test` while a thread exchanges the two paths as fast as it can.
fn while_exchanging(one: &str, two: &str, test: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let [one, two] = [one, two].map(|p| CString::new(p).expect("no NUL"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange(&one, &two).expect("exchange");
            }
        });
        // The thread must end even if the test panics.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A case with a shared volume at /volume, in which `inside` is a directory and `link` a link to a decoy of the host.
fn case() -> (Case, String, String) {
    let mut case = Case::new();
    let volume = case.make_dir("volume");
    let decoy = case.make_dir("decoy");
    case.make_dir("volume/inside");
    symlink(&decoy, format!("{volume}/link")).expect("symlink");
    case.mount("/volume", "none", &volume, &["rbind"]);
    (case, volume, decoy)
}

#[track_caller]
fn assert_empty(decoy: &str) {
    let left: Vec<_> = std::fs::read_dir(decoy).expect("list").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "made on the host: {left:?}");
}

#[test]
fn a_mount_target_that_is_exchanged() {
    needs!(RaceFree);
    let (mut case, volume, decoy) = case();
    let source = case.make_dir("source");
    case.bind(&source, "/volume/inside/target", &[]).mount("/volume/inside/deep/er", "tmpfs", "tmpfs", &[]);
    let file = case.make_file("file", "");
    case.bind(&file, "/volume/inside/file", &[]);
    case.args(&["/bin/probe", "facts"]);
    let mut worked = 0;
    while_exchanging(&format!("{volume}/inside"), &format!("{volume}/link"), || {
        for _ in 0..rounds() {
            let out = case.run();
            assert_empty(&decoy);
            if out.succeeded() {
                worked += 1;
                for target in Facts::of(&out).mount_points() {
                    // In the directory, or where the link leads inside the root.
                    let known = ["/", "/proc", "/dev", "/sys", "/volume", decoy.as_str()];
                    let fine =
                        known.iter().any(|k| target == *k || (*k != "/" && target.starts_with(&format!("{k}/"))));
                    assert!(fine, "{target}");
                }
            }
        }
    });
    assert!(worked > 0, "no round went through");
    assert_empty(&decoy);
    case.assert_nothing_left();
}

#[test]
fn a_read_only_path_that_is_exchanged() {
    needs!(RaceFree);
    let (mut case, volume, decoy) = case();
    case.make_file("decoy-file", "");
    case.set("/linux/readonlyPaths", json!(["/volume/inside"]))
        .set("/linux/maskedPaths", json!(["/volume/inside/secret"]));
    case.args(&["/bin/probe", "facts", "create:/volume/inside/x"]);
    while_exchanging(&format!("{volume}/inside"), &format!("{volume}/link"), || {
        for _ in 0..rounds() {
            case.run();
            let decoy_mounts = runtime_tests::leaks::mounts(&case.token);
            assert!(decoy_mounts.is_empty(), "{decoy_mounts:?}");
        }
    });
    assert_empty(&decoy);
    case.assert_nothing_left();
}

#[test]
fn a_device_path_that_is_exchanged() {
    needs!(RaceFree);
    let (mut case, volume, decoy) = case();
    case.set("/linux/devices", json!([{ "path": "/volume/inside/null", "type": "c", "major": 1, "minor": 3 }]));
    case.set("/process/cwd", json!("/volume/inside/made"));
    case.args(&["/bin/true"]);
    while_exchanging(&format!("{volume}/inside"), &format!("{volume}/link"), || {
        for _ in 0..rounds() {
            case.run();
            assert_empty(&decoy);
        }
    });
    case.assert_nothing_left();
}

/// A source below the shared volume: from the volume on, it is resolved inside the container (CVE-2017-1002101).
#[test]
fn a_mount_source_that_is_exchanged() {
    needs!(Rvol);
    let (mut case, volume, _decoy) = case();
    case.make_file("decoy/secret", "of the host");
    let source = format!("{}/volume/inside", case.rootfs().display());
    case.bind(&source, "/data", &[]).args(&["/bin/probe", "facts", "read:/data/secret"]);
    let mut worked = 0;
    while_exchanging(&format!("{volume}/inside"), &format!("{volume}/link"), || {
        for _ in 0..rounds() {
            let out = case.run();
            if out.succeeded() {
                worked += 1;
                Facts::of(&out).expect(&[("read:/data/secret", "!ENOENT")]);
            }
        }
    });
    assert!(worked > 0, "no round went through");
    case.assert_nothing_left();
}
