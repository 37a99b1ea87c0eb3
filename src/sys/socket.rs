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

/// Receives one message and the first fd that comes with it, close-on-exec; a length of 0 when the other side closed.
/// What is longer than `buffer` is EMSGSIZE.
pub fn receive_message(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 8]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // A peer that died with a message unread resets the connection.
            Err(Errno::ECONNRESET) => return Ok((0, None)),
            result => break result?,
        }
    };
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these fds for us; those beyond the first close at once.
            received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, received.into_iter().next()))
}

/// Receives one fd (SCM_RIGHTS), close-on-exec; `None` when the other side closed or sent none.
pub fn receive_fd(socket: BorrowedFd) -> nix::Result<Option<OwnedFd>> {
    receive_into(socket, nix::cmsg_space!(RawFd)).map(|fds| fds.into_iter().next())
}

/// Receives the fds of one message (SCM_RIGHTS), close-on-exec; none when the other side closed.
pub fn receive_fds(socket: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    // SCM_MAX_FD of <net/scm.h>.
    receive_into(socket, nix::cmsg_space!([RawFd; 253]))
}

fn receive_into(socket: BorrowedFd, mut space: Vec<u8>) -> nix::Result<Vec<OwnedFd>> {
    let mut text = [0u8; 256];
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these fds for us.
            received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(received)
}
