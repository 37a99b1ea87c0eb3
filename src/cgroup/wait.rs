//! Waiting for the kernel to say that something has changed.

use super::group::{Group, field};
use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Reached,
    TimedOut,
    /// The cgroup is not there (any more).
    Gone,
}

/// `poll(2)` until the deadline; false: it has passed.
pub fn ready(fds: &mut [PollFd], deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(fds, timeout) {
            Err(Errno::EINTR) => {}
            result => return result.call(|| "poll".into()).map(|ready| ready > 0),
        }
    }
}

/// Waits until `cgroup.events` says `key value`.
pub fn for_event(group: &Group, key: &str, value: &str, deadline: Instant) -> Result<Waited> {
    let Some(events) = open_events(group, "cgroup.events")? else { return Ok(Waited::Gone) };
    loop {
        let Some(text) = reread(&events).call(|| format!("read {}/cgroup.events", group.shown().display()))? else {
            return Ok(Waited::Gone);
        };
        if field(&text, key) == Some(value) {
            return Ok(Waited::Reached);
        }
        // kernfs reports POLLPRI once the file has changed since it was read.
        if !ready(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], deadline)? {
            return Ok(Waited::TimedOut);
        }
    }
}

/// Opens a file that the kernel tells changes of; `None` when the cgroup is not there.
pub fn open_events(group: &Group, file: &str) -> Result<Option<File>> {
    match group.open(file, OFlag::O_RDONLY) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e).call(|| format!("open {}/{file}", group.shown().display())),
    }
}

/// What the file says now; `None` when the cgroup was removed.
pub fn reread(file: &File) -> std::io::Result<Option<String>> {
    let mut buffer = [0; 1024];
    match file.read_at(&mut buffer, 0) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(&buffer[..length]).into_owned())),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}
