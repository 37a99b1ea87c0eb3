//! Network interfaces: the one ioctl that netlink is too large for, and an option of netlink sockets.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// SIOCSIFFLAGS on the interface `name` in the network namespace of `socket` (any socket): sets its `IFF_*` flags.
pub fn set_interface_flags(socket: BorrowedFd, name: &str, flags: i32) -> nix::Result<()> {
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into()).map(drop)
}

/// NETLINK_EXT_ACK and NETLINK_CAP_ACK: errors carry the kernel's own message and not a copy of the request.
pub fn enable_extended_errors(socket: BorrowedFd) -> nix::Result<()> {
    let on: libc::c_int = 1;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let size = size_of_val(&on) as libc::socklen_t;
        // SAFETY: the kernel reads one int.
        let ret =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size) };
        check(ret.into())?;
    }
    Ok(())
}
