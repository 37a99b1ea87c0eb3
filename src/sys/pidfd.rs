//! Processes by pidfd.

use super::check;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `pidfd_open(2)`.
pub fn open(pid: libc::pid_t) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new fd that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `pidfd_send_signal(2)`; signal 0 asks only whether the process is there.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> nix::Result<()> {
    // SAFETY: a null siginfo is allowed and means the values that kill(2) would use.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

/// How a child ended. nix's `WaitStatus` has no realtime signals: it makes an EINVAL of them, after the child is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// By this signal, with or without a core dump.
    Killed(i32),
}

impl End {
    /// The exit code as a shell gives it: 128 and the number of the signal.
    pub fn code(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Killed(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Exited(code) => write!(f, "exited with {code}"),
            End::Killed(signal) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
        }
    }
}

/// Waits for a child's end and reaps it; EINTR is retried.
pub fn wait(pidfd: BorrowedFd) -> nix::Result<End> {
    let fd = pidfd.as_raw_fd().cast_unsigned();
    waitid(libc::P_PIDFD, fd, libc::WEXITED)?.map(|(_, end)| end).ok_or(Errno::ECHILD)
}

/// The pid of a child that has ended, which is not reaped; `None` when there is none.
pub fn ended_child() -> nix::Result<Option<libc::pid_t>> {
    match waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        Err(Errno::ECHILD) => Ok(None),
        result => Ok(result?.map(|(pid, _)| pid)),
    }
}

/// Reaps a child that [`ended_child`] has named.
pub fn reap(pid: libc::pid_t) -> nix::Result<()> {
    waitid(libc::P_PID, pid.cast_unsigned(), libc::WEXITED | libc::WNOHANG).map(drop)
}

/// `waitid(2)`; EINTR is retried. `None` with WNOHANG when nobody has ended.
fn waitid(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> nix::Result<Option<(libc::pid_t, End)>> {
    // SAFETY: siginfo_t is plain data for which all zeroes is a valid value; with WNOHANG a zero pid means "nobody".
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the kernel fills the siginfo_t.
        match check(unsafe { libc::waitid(kind, id, &raw mut info, options) }.into()) {
            Err(Errno::EINTR) => {}
            result => {
                result?;
                break;
            }
        }
    }
    // SAFETY: waitid fills the fields of SIGCHLD, or leaves the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let end = if info.si_code == libc::CLD_EXITED { End::Exited(status) } else { End::Killed(status) };
    Ok((pid != 0).then_some((pid, end)))
}

/// `pidfd_getfd(2)`: a copy of the other process's fd number `fd`; the caller may ptrace that process.
pub fn get_fd(pidfd: BorrowedFd, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
    // SAFETY: a new fd that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether the process, which need not be a child, has ended.
pub fn has_ended(pidfd: BorrowedFd) -> nix::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::ZERO)? != 0)
}

/// As [`wait_for_end`], no longer than `patience`; false: the process has not ended.
pub fn wait_for_end_within(pidfd: BorrowedFd, patience: std::time::Duration) -> nix::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let deadline = std::time::Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            result => return result.map(|ready| ready > 0),
        }
    }
}

/// Waits until the process, which need not be a child, has ended.
pub fn wait_for_end(pidfd: BorrowedFd) -> nix::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}
