//! A process of ours in the container's pid namespace, which the kernel kills with all others when the first one dies.
//!
//! For as long as criu traces the container's processes the death of the first cannot be seen otherwise: it is complete,
//! for its parent and for a pidfd, when all others have been waited for, and for those that it traces criu does not wait.

use super::dialogue::InitProcess;
use crate::sys::ns::{self, Cloned, Parent};
use crate::sys::{Call, exec, process};
use anyhow::Result;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Sentinel {
    process: InitProcess,
    /// Its end is the sentinel's, so that it does not outlive us.
    _ours: OwnedFd,
}

impl Sentinel {
    /// Beside process `init`, which is the first in its namespace.
    pub fn beside(init: i32) -> Result<Sentinel> {
        let namespace = |process: &str| {
            let path = format!("/proc/{process}/ns/pid");
            open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).call(|| format!("open {path}"))
        };
        let (theirs, own) = (namespace(&init.to_string())?, namespace("self")?);
        let (end, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC).call(|| "pipe2".into())?;
        enter(theirs.as_fd())?;
        let cloned = ns::clone3(0, None, Parent::Caller);
        if let Ok(Cloned::Child) = cloned {
            stand(end.as_fd());
        }
        // Children to come are to be in our own again.
        let back = enter(own.as_fd());
        let Cloned::Parent { pid, pidfd } = cloned.call(|| "clone3".into())? else { unreachable!("stands") };
        let sentinel = Sentinel { process: InitProcess { pid, pidfd }, _ours: ours };
        match back {
            Ok(()) => Ok(sentinel),
            Err(error) => sentinel.end().and(Err(error)),
        }
    }

    /// Readable when it has died.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Kills and reaps it: its namespace does not end before.
    pub fn end(self) -> Result<()> {
        self.process.end()
    }
}

/// For children.
fn enter(namespace: BorrowedFd) -> Result<()> {
    ns::setns(namespace, libc::CLONE_NEWPID as u64).call(|| "setns pid".into())
}

/// In the child: stands until it is killed, or the other end of the pipe is closed.
fn stand(end: BorrowedFd) -> ! {
    let closed = exec::close_others(0, &[end]).is_ok();
    let mut byte = [0];
    while closed && nix::unistd::read(end, &mut byte) == Err(nix::errno::Errno::EINTR) {}
    process::exit_now(0)
}
