//! User namespaces that only carry a mapping for idmapped mounts (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use crate::plan::IdRange;
use crate::plan::mounts::MountIdMap;
use crate::sys::ns::{Cloned, clone3};
use crate::sys::{Call, pidfd, process};
use anyhow::Result;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One namespace for each different mapping.
#[derive(Debug, Default)]
pub struct Namespaces(Vec<(Vec<IdRange>, Vec<IdRange>, OwnedFd)>);

impl Namespaces {
    /// The user namespace with this mapping; made on first use.
    pub fn get(&mut self, map: &MountIdMap) -> Result<BorrowedFd<'_>> {
        let known = self.0.iter().position(|(uid, gid, _)| *uid == map.uid && *gid == map.gid);
        let index = match known {
            Some(index) => index,
            None => {
                self.0.push((map.uid.clone(), map.gid.clone(), make(map)?));
                self.0.len() - 1
            }
        };
        Ok(self.0[index].2.as_fd())
    }
}

/// Clones a child into a new user namespace, writes its maps and keeps the namespace's fd, which outlives the child.
fn make(map: &MountIdMap) -> Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).call(|| "pipe2".into())?;
    let child = clone3(libc::CLONE_NEWUSER as u64, None, crate::sys::ns::Parent::Caller)
        .call(|| "clone3(CLONE_NEWUSER) for an idmapped mount".into())?;
    let Cloned::Parent { pid, pidfd } = child else {
        // Waits for the end of the pipe: the parent is done, or dead.
        drop(write);
        let _end = nix::unistd::read(&read, &mut [0]);
        process::exit_now(0)
    };
    let namespace = mapped(pid, map);
    drop(write);
    pidfd::wait(pidfd.as_fd()).call(|| "wait for the child of an idmapped mount".into())?;
    namespace
}

fn mapped(pid: libc::pid_t, map: &MountIdMap) -> Result<OwnedFd> {
    for (file, ranges) in [("uid_map", &map.uid), ("gid_map", &map.gid)] {
        let lines = lines(ranges);
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, &lines).call(|| format!("write {path} `{}`", lines.trim_end().replace('\n', ", ")))?;
    }
    let path = format!("/proc/{pid}/ns/user");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).call(|| format!("open {path}"))
}

/// The format of `/proc/<pid>/uid_map` (user_namespaces(7)).
fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", range.container, range.host, range.size);
        text
    })
}
