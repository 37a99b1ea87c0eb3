//! Why a mount failed: looks again at what was mounted onto what, and puts the cause in front of the bare errno.
//!
//! Runs only after a failure; each function gives the error back with what it found out, or as it was.

use super::attr;
use crate::plan::mounts::Fs;
use crate::sys::{Errno, errno_of};
use anyhow::Error;
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// A source that cannot be cloned.
pub fn source(error: Error, path: &Path) -> Error {
    let shown = path.display();
    match errno_of(&error) {
        Some(Errno::ENOENT) => {
            let missing = path.ancestors().take_while(|p| p.symlink_metadata().is_err()).last().unwrap_or(path);
            if missing == path && path.is_symlink() {
                error.context(format!("source {shown} is a symbolic link to nothing"))
            } else if missing == path {
                error.context(format!("source {shown} does not exist"))
            } else {
                error.context(format!("source {shown} does not exist: there is no {}", missing.display()))
            }
        }
        Some(Errno::EACCES) => {
            let closed = path.ancestors().skip(1).find(|dir| dir.metadata().is_ok()).unwrap_or(path);
            error.context(format!("source {shown}: no permission to search {}", closed.display()))
        }
        Some(Errno::ENOTDIR) => error.context(format!("source {shown}: a part of the path is not a directory")),
        _ => error,
    }
}

/// A source that is there and cannot be cloned.
pub fn clone(error: Error, path: &Path) -> Error {
    let shown = path.display();
    match errno_of(&error) {
        Some(Errno::EINVAL) => error.context(format!(
            "source {shown} is on an unbindable mount, or in a user namespace there are mounts below it \
             (then the option rbind is needed)"
        )),
        // Whoever has cloned a tree with a file of a mount namespace in it could make a namespace that contains itself.
        Some(Errno::ELOOP) => {
            error.context(format!("source {shown}: a mount namespace is bound to a file in it, and cannot be cloned"))
        }
        _ => error,
    }
}

/// Attributes that the kernel does not let us clear.
pub fn locked(error: Error, mount: BorrowedFd, cleared: u64) -> Error {
    if errno_of(&error) != Some(Errno::EPERM) {
        return error;
    }
    let Ok(stat) = fstatvfs(mount) else { return error };
    // ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of the MOUNT_ATTR_* bits.
    let kept: Vec<_> = attr::names(stat.flags().bits() & 0x0f & cleared).collect();
    if kept.is_empty() {
        return error.context("the source's access-time option is locked in this user namespace");
    }
    error.context(format!("the source is mounted {}, which is locked in this user namespace", kept.join(",")))
}

/// A tree that cannot have its ids mapped.
pub fn idmap(error: Error, mount: BorrowedFd) -> Error {
    let Ok(stat) = fstatfs(mount) else { return error };
    let name = filesystem_name(stat.filesystem_type().0);
    match errno_of(&error) {
        Some(Errno::EINVAL) => error.context(format!("the filesystem ({name}) does not support idmapped mounts")),
        Some(Errno::EPERM) => error.context(format!(
            "an idmapped mount needs CAP_SYS_ADMIN in the user namespace that mounted the filesystem ({name}), \
             and a mount that is not idmapped yet"
        )),
        _ => error,
    }
}

/// A detached tree that cannot be attached to its target. Engines add advice of their own to `not a directory`, which
/// is what mount(2) says here; move_mount(2) gives EINVAL.
pub fn attach(error: Error, tree: BorrowedFd, target: BorrowedFd) -> Error {
    let directory = |fd| fstat(fd).map(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR);
    match (errno_of(&error), directory(tree), directory(target)) {
        (Some(Errno::EINVAL | Errno::ENOTDIR), Ok(false), Ok(true)) => {
            error.context("the source is a file and not a directory, but the destination is a directory")
        }
        (Some(Errno::EINVAL | Errno::ENOTDIR), Ok(true), Ok(false)) => {
            error.context("the source is a directory, but the destination is a file and not a directory")
        }
        (Some(Errno::ENOENT), ..) => error.context("the destination was removed meanwhile"),
        _ => error,
    }
}

/// A filesystem that cannot be made.
pub fn filesystem(error: Error, fs: &Fs, in_user_namespace: bool) -> Error {
    let name = &fs.fstype;
    match (errno_of(&error), name.as_str()) {
        (Some(Errno::ENODEV), "none" | "") => error.context("no filesystem type; a bind mount needs the option bind"),
        (Some(Errno::ENODEV), _) => error.context(format!("the kernel has no filesystem type {name:?}")),
        (Some(Errno::EPERM | Errno::EBUSY), "proc" | "sysfs") => {
            let over = covered(name);
            let cause = if over.is_empty() {
                let space = if name == "proc" { "pid" } else { "network" };
                format!("a new {name} in a user namespace needs a {space} namespace of its own")
            } else {
                let over = over.join(", ");
                format!(
                    "the kernel gives a user namespace a new {name} only if it sees a whole one: covered are {over}"
                )
            };
            error.context(cause)
        }
        (Some(Errno::EPERM), "mqueue") => {
            error.context("a user namespace needs an ipc namespace of its own for mqueue")
        }
        (Some(Errno::EPERM), "cgroup" | "cgroup2") => {
            error.context(format!("a user namespace needs a cgroup namespace of its own for {name}"))
        }
        (Some(Errno::EPERM), _) if in_user_namespace => {
            error.context(format!("filesystem {name} cannot be mounted in a user namespace with these options"))
        }
        (Some(Errno::EINVAL), "devpts" | "tmpfs") if in_user_namespace => {
            error.context("an id in the options may have no mapping in the user namespace")
        }
        _ => error,
    }
}

/// The first few mount points that cover a part of the procfs or sysfs that this namespace sees, or make it read-only.
fn covered(fstype: &str) -> Vec<String> {
    let root = if fstype == "proc" { "/proc" } else { "/sys" };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |line: &str| {
        let point = Path::new(line.split(' ').nth(4)?);
        // The kernel allows mounts on the empty directories made for the purpose.
        let allowed = ["/proc/sys/fs/binfmt_misc", "/sys/fs", "/sys/kernel"].iter().any(|dir| point.starts_with(dir));
        (point.starts_with(root) && point != Path::new(root) && !allowed).then(|| point.display().to_string())
    };
    table.lines().filter_map(below).take(3).collect()
}

/// A target whose mount cannot be changed.
pub fn remount(error: Error, target: BorrowedFd, cleared: u64) -> Error {
    match errno_of(&error) {
        Some(Errno::EINVAL) => error.context("nothing is mounted there"),
        _ => locked(error, target, cleared),
    }
}

/// A name for the `f_type` of statfs(2).
fn filesystem_name(magic: i64) -> String {
    let name = match magic {
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x0102_1997 => "9p",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0x2fc1_2fc1 => "zfs",
        0x8584_58f6 => "ramfs",
        0x0027_e0eb | 0x6367_7270 => "cgroup",
        _ => return format!("type {magic:#x}"),
    };
    name.to_owned()
}
