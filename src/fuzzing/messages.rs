//! What comes from the kernel's netlink, from a container's init, and from the image's passwd file.

use super::told;
use crate::ipc::{Channel, FromInit};
use crate::network;
use crate::security::environment;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use std::os::fd::AsRawFd;

/// Answers of netlink, as one datagram.
pub fn netlink(bytes: &[u8]) {
    network::check_answers(bytes);
}

/// Frames from init, each behind a byte with its length. The container may have taken init over, so they are hostile.
pub fn init_messages(bytes: &[u8]) {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("socketpair");
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (message, after) = after.split_at(after.len().min((*length).into()));
        if send(theirs.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT).is_err() {
            break;
        }
        rest = after;
    }
    drop(theirs);
    let channel = Channel::over(ours);
    while let Some(Some(message)) = told(channel.hear_init()) {
        if let FromInit::Failed(report) = message {
            let _any_text = report.to_string();
            let _any_number = report.errno();
        }
    }
}

/// A passwd file of an image: the home directory in it is an absolute path without a zero byte.
pub fn passwd(text: &[u8]) {
    for uid in [0, 1000, u32::MAX] {
        if let Ok(Some(home)) = environment::home_in(text, uid) {
            assert!(home.starts_with('/') && !home.contains('\0'), "{home:?}");
        }
    }
}
