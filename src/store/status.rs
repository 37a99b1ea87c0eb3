//! The container's status, derived from its directory and its process.

use super::{Entry, START_SOCKET};
use crate::ipc::socket;
use crate::state::Status;
use crate::sys::procstat::stat;
use crate::sys::{Call, Errno, pidfd};
use anyhow::Result;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use std::os::fd::OwnedFd;

/// What a look at a container tells.
pub struct Look {
    pub status: Status,
    /// Of the container's process, when there is one.
    pub pid: Option<i32>,
    /// Of a created container: the connection to init by which it was seen to wait. `None` where its queue is full.
    pub connection: Option<OwnedFd>,
}

impl Look {
    fn without_process(status: Status) -> Look {
        Look { status, pid: None, connection: None }
    }
}

impl Entry {
    /// The status and, when there is one, the pid of the container's process.
    pub fn status(&self) -> Result<(Status, Option<i32>)> {
        self.look().map(|look| (look.status, look.pid))
    }

    /// As [`Entry::status`], for who goes on with the connection.
    pub fn look(&self) -> Result<Look> {
        let init = match self.init()? {
            None if self.is_busy()? => return Ok(Look::without_process(Status::Creating)),
            // The creator may have finished between the two looks.
            None => self.init()?,
            found => found,
        };
        let Some(init) = init else { return Ok(Look::without_process(Status::Stopped)) };
        if let Some(connection) = self.knock()? {
            return Ok(Look { status: Status::Created, pid: Some(init.pid), connection });
        }
        match is_alive(init.pid, init.start_time) {
            true => Ok(Look { status: Status::Running, pid: Some(init.pid), connection: None }),
            false => Ok(Look::without_process(Status::Stopped)),
        }
    }

    /// The connection to an init that listens for `start`, which is there then, or `None` where its queue is full; no option
    /// at all if nobody listens. A connection that carries nothing init passes over.
    fn knock(&self) -> Result<Option<Option<OwnedFd>>> {
        let describe = || format!("connect {START_SOCKET} of container {}", self.id());
        // Mostly the container has been started, and this is all.
        match fstatat(self.dir(), START_SOCKET, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(None),
            found => found.call(describe)?,
        };
        match socket::knock_in(self.dir(), START_SOCKET) {
            Ok(connection) => Ok(Some(connection)),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
            Err(errno) => Err(errno).call(describe),
        }
    }

    /// Whether the container's process, `pid`, has ended, or is about to, without having executed anything. False also
    /// when it is reaped, for then nobody can tell. To be asked when init's end of the start connection is closed:
    /// execve clears the first flag before that, and a process that dies has the second one by then.
    pub fn never_executed(&self, pid: i32) -> Result<bool> {
        /// `PF_FORKNOEXEC` ("forked but didn't exec") and `PF_EXITING` of `<linux/sched.h>`.
        const DYING_UNEXECUTED: u64 = 0x40 | 0x4;
        let Some(stat) = stat(pid).filter(|s| s.flags & DYING_UNEXECUTED == DYING_UNEXECUTED) else { return Ok(false) };
        Ok(self.init()?.is_some_and(|init| init.pid == pid && init.start_time == stat.start_time))
    }

    /// A pidfd of the container's process, checked against its start time; `None` when it has ended.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        Ok(self.process()?.map(|(_, fd)| fd))
    }

    /// The pid and a pidfd of the container's process, checked against its start time; `None` when it has ended.
    pub fn process(&self) -> Result<Option<(i32, OwnedFd)>> {
        let Some(init) = self.init()? else { return Ok(None) };
        let fd = match pidfd::open(init.pid) {
            Err(Errno::ESRCH) => return Ok(None),
            result => result.call(|| format!("pidfd_open {}", init.pid))?,
        };
        // Checked after the open: the pidfd stays with the process that it was opened for.
        Ok(is_alive(init.pid, init.start_time).then_some((init.pid, fd)))
    }
}

impl Entry {
    /// Whether the container's process is gone or about to be: the kernel ends the other processes of its pid namespace
    /// before it can be waited for.
    pub fn is_ending(&self) -> Result<bool> {
        const PF_EXITING: u64 = 0x4;
        let Some(init) = self.init()? else { return Ok(!self.is_linked()) };
        let alive = stat(init.pid).filter(|stat| stat.start_time == init.start_time && !stat.has_ended());
        Ok(alive.is_none_or(|stat| stat.flags & PF_EXITING != 0))
    }
}

fn is_alive(pid: i32, start_time: u64) -> bool {
    stat(pid).is_some_and(|stat| stat.start_time == start_time && !stat.has_ended())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = std::process::id().cast_signed();
        let start = stat(me).unwrap().start_time;
        assert!(is_alive(me, start));
        assert!(!is_alive(me, start + 1));
        let stat = stat(me).unwrap();
        assert!(!stat.has_ended());
        assert_eq!(stat.flags & 0x40, 0, "a test has been executed");
    }
}
