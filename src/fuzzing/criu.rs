//! What criu says: its messages over the socket, and its log.

use super::{Scratch, told};
use crate::criu::{self, Conversation, Kind, Notify, Request};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The input is messages, each behind a byte with its length, and it is the text of a log.
pub fn criu(bytes: &[u8]) {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("socketpair");
    let mut rest = bytes;
    // A socket holds some hundred packets: what it does not take, criu has not said.
    while let Some((length, after)) = rest.split_first() {
        let (message, after) = after.split_at(after.len().min((*length).into()));
        if send(theirs.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT).is_err() {
            break;
        }
        rest = after;
    }
    nix::sys::socket::shutdown(theirs.as_raw_fd(), nix::sys::socket::Shutdown::Write).expect("shutdown");
    let mut caller = |notify: &Notify, _file: Option<OwnedFd>| {
        anyhow::ensure!(notify.script() != "refuse", "refused");
        Ok(())
    };
    let request = Request { kind: Kind::Dump as i32, ..Request::default() };
    told(Conversation::over(ours).hold(&request, &mut caller));
    log(bytes);
}

fn log(text: &[u8]) {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("dump.log"), text).expect("write a log");
    let directory = fs::File::open(scratch.path()).expect("open a directory");
    let lines = criu::last_errors(directory.as_fd(), "dump.log", 3).expect("a log can be read");
    assert!(lines.len() <= 3);
    assert!(lines.iter().all(|line| line.starts_with("Error (") && !line.contains('\n')), "{lines:?}");
}
