//! The socket calls that hand out new descriptors as plain numbers.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockFlag, UnixAddr, accept4, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `accept4(2)` of the next connection, close-on-exec.
pub fn accept(listener: BorrowedFd) -> nix::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            // SAFETY: the fd is new and nobody else knows it.
            result => return result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

/// Receives one fd (SCM_RIGHTS), close-on-exec; `None` when the other side closed or sent none.
pub fn receive_fd(socket: BorrowedFd) -> nix::Result<Option<OwnedFd>> {
    let mut text = [0u8; 256];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!(RawFd);
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just installed this fd for us; those beyond the first close at once.
                received.get_or_insert(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok(received)
}
