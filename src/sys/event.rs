//! Counters that a file descriptor stands for.

use super::check;
use std::os::fd::{FromRawFd, OwnedFd};

/// `eventfd2(2)`: a counter at 0, close-on-exec and non-blocking.
pub fn eventfd() -> nix::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: a new fd that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
