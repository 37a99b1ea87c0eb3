//! `make install` and `make uninstall`, as root does it after somebody else has built: without Rust in PATH.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn make(target_dir: &Path, destination: &Path, goal: &str) -> Output {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut make = Command::new("make");
    make.arg("-C").arg(top).arg(goal).arg(format!("DESTDIR={}", destination.display())).arg("PREFIX=/opt/rvol");
    // HOME is where the Makefile looks for rustup's cargo.
    make.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("CARGO_TARGET_DIR", target_dir);
    make.output().expect("run make")
}

/// All files below a directory, by their paths in it.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => _ = found.insert(path.strip_prefix(directory).unwrap().to_owned()),
            }
        }
    }
    found
}

#[test]
fn install_copies_what_was_built_and_uninstall_removes_it() {
    if Command::new("/usr/bin/make").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no make here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (target, destination) = (dir.path().join("target"), dir.path().join("root"));
    let before = make(&target, &destination, "install");
    assert!(!before.status.success());
    assert!(String::from_utf8_lossy(&before.stderr).contains("nothing is built yet: run make first"), "{before:?}");

    let stage = target.join("stage");
    assert!(Command::new(env!("CARGO_BIN_EXE_rvol-manual")).arg(&stage).status().unwrap().success());
    std::fs::create_dir_all(stage.join("bin")).unwrap();
    let binary = stage.join("bin/rvol-runc");
    assert!(Command::new("cp").args(["/bin/true".as_ref(), binary.as_os_str()]).status().unwrap().success());
    let installed = make(&target, &destination, "install");
    assert!(installed.status.success(), "{installed:?}");
    assert_eq!(files(&destination.join("opt/rvol")), files(&stage));
    assert!(Command::new(destination.join("opt/rvol/bin/rvol-runc")).status().unwrap().success(), "it is executable");

    // The directory is shared with other programs, whose files stay.
    let other = destination.join("opt/rvol/share/man/man8/other.8");
    std::fs::write(&other, "").unwrap();
    let removed = make(&target, &destination, "uninstall");
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(files(&destination), BTreeSet::from(["opt/rvol/share/man/man8/other.8".into()]));
}
