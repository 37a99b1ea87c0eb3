//! A walk through a cgroup and everything below it.
//!
//! A container may have made its cgroup tree as deep and as wide as it likes: the walk is a loop, holds two fds and
//! builds no long path.

use crate::sys::path::open_beneath;
use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Calls `enter` for `top` and every cgroup below it, parents first, and `leave` for every one but `top`, children
/// first, with the parent's directory and the name. Cgroups that vanish meanwhile are passed over.
pub fn walk(
    top: OwnedFd,
    enter: &mut dyn FnMut(BorrowedFd) -> Result<()>,
    leave: &mut dyn FnMut(BorrowedFd, &CString) -> Result<()>,
) -> Result<()> {
    enter(top.as_fd())?;
    let mut current = top;
    let mut waiting = vec![children(current.as_fd())?];
    let mut entered: Vec<CString> = Vec::new();
    while let Some(names) = waiting.last_mut() {
        if let Some(name) = names.pop() {
            let child = match openat(&current, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Err(Errno::ENOENT | Errno::ENODEV) => continue,
                child => child.call(|| format!("open cgroup {}", name.to_string_lossy()))?,
            };
            enter(child.as_fd())?;
            waiting.push(children(child.as_fd())?);
            entered.push(name);
            current = child;
            continue;
        }
        waiting.pop();
        let Some(name) = entered.pop() else { break };
        // A cgroup cannot be moved to another parent, so `..` is the directory that this one was opened from.
        current = openat(&current, c"..", DIRECTORY, Mode::empty()).call(|| "open parent cgroup".into())?;
        leave(current.as_fd(), &name)?;
    }
    Ok(())
}

fn children(directory: BorrowedFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut open = Dir::openat(directory, c".", DIRECTORY, Mode::empty()).call(|| "open cgroup".into())?;
    for entry in open.iter() {
        let entry = match entry {
            Err(Errno::ENOENT | Errno::ENODEV) => break,
            entry => entry.call(|| "read cgroup directory".into())?,
        };
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The processes of `top` and of every cgroup below it.
pub fn processes(top: OwnedFd) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let mut read = |directory: BorrowedFd| {
        match super::group::read(directory, Path::new("cgroup.procs")) {
            Ok(text) => pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok())),
            // EOPNOTSUPP: a threaded cgroup; its processes are listed in the domain above it.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
            Err(e) => return Err(e).call(|| "read cgroup.procs".into()),
        }
        Ok(())
    };
    walk(top, &mut read, &mut |_, _| Ok(()))?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Removes every cgroup below `top`, deepest first; they must have no processes.
pub fn remove_below(top: OwnedFd) -> Result<()> {
    walk(top, &mut |_| Ok(()), &mut |parent, name| match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        result => result.call(|| format!("rmdir {}", name.to_string_lossy())),
    })
}

/// Opens `path` below a hierarchy's root for [`walk`]; `None` when it is not there.
pub fn open(root: BorrowedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match open_beneath(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e).call(|| format!("openat2 {}", path.display())),
    }
}
