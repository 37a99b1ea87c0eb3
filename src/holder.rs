//! Who holds a lock: for errors that name the process, and for `delete --force`, which takes over from a command that
//! does not come back. Knows nothing of what is locked.

use crate::sys::procstat::{start_time, state};
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::stat::{fstat, stat};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest part of a command line that is shown.
const SHOWN: usize = 120;
/// The name of the process (`comm`) while it deletes a container.
const DELETING: &std::ffi::CStr = c"rvol-delete";

/// The process that holds a lock, as /proc/locks names it.
#[derive(Debug)]
pub struct Holder {
    pid: i32,
    start_time: u64,
    command: String,
    pidfd: OwnedFd,
}

impl Holder {
    /// The holder of the flock on the file behind `fd`; `None` where it cannot be seen: it has just ended, or it belongs
    /// to another pid namespace.
    pub fn of(fd: BorrowedFd) -> Option<Holder> {
        let pid = pid_of_holder(fd)?;
        let pidfd = pidfd::open(pid).ok()?;
        let (start_time, command) = (start_time(pid)?, command_line(pid));
        // Seen to hold the lock after the pidfd is open: the number is not that of a later process.
        (pid_of_holder(fd) == Some(pid)).then_some(Holder { pid, start_time, command, pidfd })
    }

    /// Whether it is this program, by the file that it was executed from; false also where that cannot be seen.
    fn is_this_program(&self) -> bool {
        let Ok(ours) = stat("/proc/self/exe") else { return false };
        let theirs = stat(format!("/proc/{}/exe", self.pid).as_str());
        // A copy in memory, where there is no detached mount (`security::seal`), has another inode.
        let sealed =
            || std::fs::read_link(format!("/proc/{}/exe", self.pid)).is_ok_and(|l| l.starts_with("/memfd:rvol-runc"));
        theirs.is_ok_and(|t| (t.st_dev, t.st_ino) == (ours.st_dev, ours.st_ino)) || sealed()
    }

    /// Whether it is about to delete the container itself.
    pub fn is_deleting(&self) -> bool {
        let name = std::fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        name.trim_ascii_end() == DELETING.to_bytes()
    }

    /// Ends it by SIGKILL, and its children: the hook that it waits for, or the container's first process. Of what these
    /// have started nothing is ended here. A program that is not this one is left alone.
    ///
    /// # Errors
    /// It is another program, or may not be signalled.
    pub fn kill(&self) -> Result<()> {
        let is_this_program = self.is_this_program();
        // Asked last: of a process that has just ended, perhaps by another `delete`, the program cannot be seen.
        if matches!(state(self.pid), None | Some(b'Z' | b'X')) || start_time(self.pid) != Some(self.start_time) {
            return Ok(());
        }
        if !is_this_program {
            bail!("the lock is held by {self}, which is not this program; end it and try again");
        }
        let children = self.children();
        // The command first: it must not go on as after a failed hook.
        for pidfd in std::iter::once(&self.pidfd).chain(&children) {
            match pidfd::send_signal(pidfd.as_fd(), Signal::SIGKILL as i32) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(errno).call(|| format!("kill {self}")).context("end the command that holds the lock");
                }
            }
        }
        Ok(())
    }

    /// pidfds of its children, each of which was its child after the pidfd was open. None where the kernel does not list
    /// them (CONFIG_PROC_CHILDREN).
    fn children(&self) -> Vec<OwnedFd> {
        let listed = || -> Vec<i32> {
            let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
            text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        let open: Vec<(i32, OwnedFd)> =
            listed().into_iter().filter_map(|pid| Some((pid, pidfd::open(pid).ok()?))).collect();
        let now = listed();
        open.into_iter().filter(|(pid, _)| now.contains(pid)).map(|(_, fd)| fd).collect()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)?;
        match state(self.pid) {
            Some(b'T' | b't') => write!(f, ", which is stopped"),
            Some(b'D') => write!(f, ", which the kernel holds (state D)"),
            _ => Ok(()),
        }
    }
}

/// Shows other commands that this process deletes a container: they wait for it and do not end it.
pub fn announce_deletion() -> Result<()> {
    crate::sys::process::set_name(DELETING).call(|| "prctl PR_SET_NAME".into())
}

/// proc_locks(5): `1: FLOCK  ADVISORY  WRITE 4711 08:01:131074 0 EOF`; a process that waits has `->` before FLOCK. The
/// device is in hexadecimal.
fn pid_of_holder(fd: BorrowedFd) -> Option<i32> {
    let file = fstat(fd).ok()?;
    let (major, minor) = (libc::major(file.st_dev), libc::minor(file.st_dev));
    let file = format!("{major:02x}:{minor:02x}:{}", file.st_ino);
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, &file)
}

fn holder_in(locks: &str, file: &str) -> Option<i32> {
    let pid = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, of, ..] if of == file => pid.parse().ok(),
            _ => None,
        }
    });
    // 0 and -1 stand for processes of other pid namespaces.
    pid.filter(|pid| *pid > 0)
}

fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "its command line cannot be read".into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alarm::lock_within;
    use std::time::Duration;

    const LOCKS: &str = "1: POSIX  ADVISORY  WRITE 11 08:01:5 0 EOF\n\
        2: FLOCK  ADVISORY  WRITE 4711 08:01:131074 0 EOF\n\
        2: -> FLOCK  ADVISORY  WRITE 4712 08:01:131074 0 EOF\n\
        3: FLOCK  ADVISORY  WRITE 0 08:01:6 0 EOF\n";

    #[test]
    fn the_holder_is_found_among_locks_and_waiters() {
        assert_eq!(holder_in(LOCKS, "08:01:131074"), Some(4711));
        assert_eq!(holder_in(LOCKS, "08:01:5"), None, "not a flock");
        assert_eq!(holder_in(LOCKS, "08:01:6"), None, "of another pid namespace");
    }

    #[test]
    fn the_holder_of_a_real_lock_is_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(dir.path()).unwrap();
        assert!(Holder::of(file.as_fd()).is_none());
        assert!(lock_within(file.as_fd(), Duration::ZERO).unwrap());
        let holder = Holder::of(file.as_fd()).expect("we hold it");
        assert_eq!(holder.pid, std::process::id().cast_signed());
        assert!(holder.is_this_program());
        assert!(!holder.is_deleting());
    }
}
