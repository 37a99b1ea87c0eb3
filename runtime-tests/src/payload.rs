//! The root filesystem of the test containers: busybox with its applets, the probe and a few directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const APPLETS: [&str; 28] = [
    "sh", "true", "false", "cat", "echo", "sleep", "mkdir", "mount", "umount", "ls", "touch", "ln", "rm", "mv", "id",
    "stty", "env", "dd", "mknod", "chmod", "head", "readlink", "kill", "test", "grep", "seq", "stat", "tr",
];

/// Makes a root filesystem at `root`, which must not exist.
pub fn make_rootfs(root: &Path) {
    for directory in ["bin", "proc", "sys", "dev", "etc", "tmp", "root", "data"] {
        fs::create_dir_all(root.join(directory)).expect("make rootfs");
    }
    copy_program(busybox(), &root.join("bin/busybox"));
    copy_program(probe(), &root.join("bin/probe"));
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("link applet");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
        .expect("write passwd");
    fs::write(root.join("etc/group"), "root:x:0:\ntty:x:5:\nuser:x:1000:\n").expect("write group");
}

/// Copies a program that is to be executed at once. Another process does it: were the copy open here, a child that another
/// test is about to execute something in would have it open too, and the kernel executes nothing that somebody writes to
/// (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--").args([from, to]).status().expect("execute cp");
    assert!(copied.success(), "copy {} to {}", from.display(), to.display());
}

fn busybox() -> &'static Path {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    places.into_iter().find(|p| p.is_file()).expect("the tests need busybox (apt-get install busybox-static)")
}

/// The probe that cargo built beside the test binary, without its debug information, which is most of its size.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let test = std::env::current_exe().expect("know the test binary's path");
        let built = test.ancestors().skip(1).map(|d| d.join("probe")).find(|p| p.is_file());
        let built = built.expect("cargo test builds the probe beside the tests");
        let small = built.with_extension(format!("stripped.{}", std::process::id()));
        let stripped = Command::new("strip").arg("-o").arg(&small).arg(&built).status();
        if !stripped.is_ok_and(|s| s.success()) {
            return built;
        }
        let kept = built.with_extension("stripped");
        fs::rename(&small, &kept).expect("keep the stripped probe");
        kept
    })
}
