//! The directories above a container's cgroup that were made for containers: who leaves last takes them away.
//!
//! Such a directory carries a mark, an extended attribute. So each container that is deleted knows it, whoever of them made
//! it, and one of somebody else's is never taken for ours.

use super::group::Group;
use super::record::Version;
use crate::sys::file::Inode;
use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The attribute's name. Attributes that an owner without privilege may set are only in cgroup v2 (xattr(7)).
fn mark(version: Version) -> &'static CStr {
    match version {
        Version::V1 => c"trusted.rvol-runc.made",
        Version::V2 => c"user.rvol-runc.made",
    }
}

/// Makes the group's directory, which must not be there, and above it what is missing: the last `missing` directories of
/// its path, and more if somebody takes them away meanwhile. Tells of each, and returns how many there were.
pub fn make(group: &Group, version: Version, missing: usize, mut tell: impl FnMut(PathBuf)) -> Result<usize> {
    let path: Vec<&Path> = group.path().ancestors().take_while(|p| !p.as_os_str().is_empty()).collect();
    let (mut level, mut highest) = (missing, missing);
    while level > 0 {
        match mkdirat(group.root(), path[level - 1], Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                tell(path[level - 1].to_path_buf());
                if level > 1 {
                    claim(group.root(), version, path[level - 1])?;
                }
                level -= 1;
            }
            // Another container with the same parent was faster.
            Err(Errno::EEXIST) if level > 1 => level -= 1,
            // The last container in it has just taken its parent away.
            Err(Errno::ENOENT | Errno::ENODEV) if level < path.len() => level += 1,
            Err(e) => return Err(e).call(|| format!("mkdir {}", group.shown().display())),
        }
        highest = highest.max(level);
    }
    Ok(highest)
}

/// Marks a directory that has just been made. Where attributes cannot be set it is not marked, and stays if others are in
/// it when its maker leaves.
fn claim(root: BorrowedFd, version: Version, path: &Path) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let marked = openat(root, path, flags, Mode::empty())
        .and_then(|directory| Inode::Open(directory.as_fd()).set_xattr(mark(version), b""));
    match marked {
        // Gone: taken away again, and about to be made anew.
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(e) => Err(e).call(|| format!("setxattr {} of cgroup {}", mark(version).to_string_lossy(), path.display())),
    }
}

/// Removes the directories above `path` (below `mounts`, with the hierarchy's own `directory` in front) from below, up to
/// the first one that is in use or not ours: the first `made` are, and those that are marked.
pub fn remove(mounts: BorrowedFd, directory: &str, version: Version, path: &Path, made: usize) -> Result<()> {
    for (index, parent) in path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty()).enumerate() {
        let parent = Path::new(directory).join(parent);
        if index >= made && !is_marked(mounts, &parent, version)? {
            return Ok(());
        }
        match unlinkat(mounts, &parent, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
            // Another container is in it: then that one removes it, and knows it by the mark. Its maker may have been
            // killed before it set that.
            Err(Errno::EBUSY | Errno::ENOTEMPTY) if index < made => return claim(mounts, version, &parent),
            // Somebody is in it, or it is not to be written.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

fn is_marked(mounts: BorrowedFd, path: &Path, version: Version) -> Result<bool> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let read = || Inode::entry(mounts, &name)?.xattr(mark(version));
    match read() {
        Ok(_) => Ok(true),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV) => Ok(false),
        Err(e) => Err(e).call(|| format!("getxattr {} of cgroup {}", mark(version).to_string_lossy(), path.display())),
    }
}
