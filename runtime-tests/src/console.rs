//! Unix sockets over which a runtime hands out fds: the console socket, the pidfd socket, the seccomp listener.

use crate::{command, raw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// A listening socket that takes one message with fds.
#[derive(Debug)]
pub struct FdSocket {
    listener: UnixListener,
    pub path: String,
}

impl FdSocket {
    pub fn listen(path: String) -> FdSocket {
        let listener = UnixListener::bind(&path).unwrap_or_else(|e| panic!("listen on {path}: {e}"));
        FdSocket { listener, path }
    }

    /// Accepts a connection and reads it to its end: the bytes and the fds that came.
    #[track_caller]
    pub fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        assert!(readable(self.listener.as_fd(), command::LIMIT), "nobody connects to {}", self.path);
        let (stream, _) = self.listener.accept().expect("accept");
        let mut bytes = Vec::new();
        let mut fds = Vec::new();
        while readable(stream.as_fd(), Duration::from_secs(10)) {
            let count = receive_some(&stream, &mut bytes, &mut fds);
            // The console's sender keeps its end open; its message is short.
            if count == 0 || (count < 4096 && !fds.is_empty() && !readable(stream.as_fd(), Duration::from_millis(100)))
            {
                break;
            }
        }
        (bytes, fds)
    }
}

fn receive_some(stream: &UnixStream, bytes: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> usize {
    let mut buffer = [0u8; 4096];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = message.expect("receive a message");
    for control in message.cmsgs().expect("read control messages") {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(raw::own));
        }
    }
    let count = message.bytes;
    bytes.extend_from_slice(&buffer[..count]);
    count
}

fn readable(fd: BorrowedFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).expect("a short time");
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, timeout).is_ok_and(|n| n > 0)
}

/// The master side of a container's terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// What has come after the last text that was waited for.
    unread: String,
}

impl Terminal {
    pub fn new(master: OwnedFd) -> Terminal {
        Terminal { master: File::from(master), unread: String::new() }
    }

    /// Types a text.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Reads until the text has come, and returns all up to its end. Fails when it does not come.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        let start = Instant::now();
        let mut buffer = [0u8; 1024];
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            assert!(start.elapsed() < command::LIMIT, "no {text:?} but {:?}", self.unread);
            if readable(self.master.as_fd(), Duration::from_millis(200)) {
                // EIO: the other side is closed.
                let Ok(count) = self.master.read(&mut buffer) else { panic!("no {text:?} but {:?}", self.unread) };
                self.unread.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    pub fn size(&self) -> (u16, u16) {
        raw::window_size(self.master.as_fd()).expect("the terminal's size")
    }

    pub fn set_size(&self, rows: u16, columns: u16) {
        raw::set_window_size(self.master.as_fd(), rows, columns).expect("set the terminal's size");
    }
}
