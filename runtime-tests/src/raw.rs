//! The calls of the harness that no crate wraps; its only `unsafe`.
#![allow(unsafe_code)]

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes over an fd that has just come in a control message.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this fd for the receiver of the message, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `prctl(PR_SET_CHILD_SUBREAPER)`: orphans become the caller's children, and wait for it as zombies.
pub fn become_subreaper() -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// The size of a terminal, `(rows, columns)`.
pub fn window_size(terminal: BorrowedFd) -> nix::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is valid for a winsize, which the kernel fills.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets the size of a terminal.
pub fn set_window_size(terminal: BorrowedFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is valid for a winsize, which the kernel reads.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// `struct seccomp_notif` of `<linux/seccomp.h>`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Notification {
    pub id: u64,
    pub pid: u32,
    flags: u32,
    pub syscall: i32,
    arch: u32,
    instruction: u64,
    pub args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// `SECCOMP_IOCTL_NOTIF_RECV`: waits for the next notification.
pub fn receive_notification(fd: BorrowedFd) -> nix::Result<Notification> {
    let mut notification = Notification::default();
    // SAFETY: the struct is zeroed, as the kernel wants it, and has the size that the request number names.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NOTIF_RECV, &raw mut notification) })?;
    Ok(notification)
}

/// `SECCOMP_IOCTL_NOTIF_SEND`: lets the syscall return `value`, or fail with `error` when it is not 0.
pub fn answer_notification(fd: BorrowedFd, id: u64, value: i64, error: i32) -> nix::Result<()> {
    let mut response = Response { id, value, error: -error, flags: 0 };
    // SAFETY: the struct has the size that the request number names.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NOTIF_SEND, &raw mut response) }).map(drop)
}

/// `renameat2(2)` with `RENAME_EXCHANGE`.
pub fn exchange(one: &std::ffi::CStr, two: &std::ffi::CStr) -> nix::Result<()> {
    // SAFETY: both strings end with NUL and outlive the call.
    Errno::result(unsafe {
        libc::renameat2(libc::AT_FDCWD, one.as_ptr(), libc::AT_FDCWD, two.as_ptr(), libc::RENAME_EXCHANGE)
    })
    .map(drop)
}
