//! Filesystems in files, by way of loop devices.

use crate::{Case, features};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A loop device for a file, which goes with the test.
pub struct Loop(pub String);

impl Loop {
    pub fn attach(file: &str) -> Option<Loop> {
        let out = Command::new("losetup").args(["--find", "--show", file]).output().ok()?;
        let name = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        (out.status.success() && !name.is_empty()).then_some(Loop(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// Mounts a new filesystem of so many megabytes at `target`, in the test's own mount namespace; `None` after printing why
/// that cannot be.
pub fn filesystem(
    case: &Case,
    target: &Path,
    (fstype, flags): (&str, &[&str]),
    megabytes: u64,
    options: Option<&str>,
) -> Option<Loop> {
    let skip = |why: &str| {
        features::skip(why);
        None
    };
    let image = case.make_file(&format!("{fstype}.img"), "");
    fs::File::options().write(true).open(&image).expect("open").set_len(megabytes << 20).expect("grow");
    let made = Command::new(format!("mkfs.{fstype}")).arg("-q").args(flags).arg(&image).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skip(&format!("no mkfs.{fstype} that knows {flags:?}"));
    }
    let Some(device) = Loop::attach(&image) else { return skip("no loop device is to be had") };
    fs::create_dir_all(target).expect("mkdir");
    if let Err(errno) = mount(Some(device.0.as_str()), target, Some(fstype), MsFlags::empty(), options) {
        return skip(&format!("the kernel mounts no {fstype} with {options:?} ({errno})"));
    }
    case.expect_host_mount(target);
    Some(device)
}
