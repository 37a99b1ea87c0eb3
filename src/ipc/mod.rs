//! Frames between the runtime and init, and the report that carries an error across.
//!
//! A frame is one packet of a `SOCK_SEQPACKET` pair: a kind byte and a payload. Closing an end is the message that its
//! process is gone, so neither side can wait for ever. Knows nothing of what the frames make the two sides do.

mod report;
pub mod socket;

pub use report::{Cause, Report};

use crate::sys::Call;
use anyhow::{Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What the runtime tells init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToInit {
    /// Go on: what init waited for is done.
    Go,
    /// Execute the program (after `Go` for `created`, or by `start`).
    Start,
}

/// What init tells the runtime.
#[derive(Debug)]
pub enum FromInit {
    /// The intermediate process has made init: its pid in the runtime's pid namespace.
    Born(i32),
    /// The network namespace is there: move the devices, then `Go`.
    NetworkReady,
    /// Everything is mounted: run the prestart and createRuntime hooks, then `Go`.
    MountsReady,
    /// The seccomp listener sits at this fd number of init: take it, then `Go`.
    SeccompListener(i32),
    /// To `run`, ahead of `Ready`: nothing is left but what init does by itself. Make the container known and say `Start`,
    /// for which init then does not have to wait.
    Furnished,
    /// Ready for `Start`.
    Ready,
    Warning(String),
    Failed(Report),
}

/// One end of the pair.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// Longest frame that is taken; reports are cut to it.
const LONGEST: usize = 64 * 1024;

impl Channel {
    /// A connected pair, close-on-exec.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .call(|| "socketpair".into())?;
        Ok((Channel { fd: a }, Channel { fd: b }))
    }

    /// The channel over a connected socket (`start`'s connection).
    pub fn over(fd: OwnedFd) -> Channel {
        Channel { fd }
    }

    /// A second handle of this end.
    pub fn share(&self) -> Result<Channel> {
        Ok(Channel { fd: self.fd.try_clone().call(|| "dup of the channel".into())? })
    }

    fn send(&self, kind: u8, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + 1);
        frame.push(kind);
        frame.extend_from_slice(&payload[..payload.len().min(LONGEST - 1)]);
        // write(2), the one call that seccomp profiles with a listener are not allowed to hand to it.
        nix::unistd::write(&self.fd, &frame).call(|| "write to the other side".into())?;
        Ok(())
    }

    /// The next frame, or `None` when the other side has closed.
    fn receive(&self) -> Result<Option<(u8, Vec<u8>)>> {
        let mut buffer = [0u8; 256];
        let mut length =
            self.read(&mut buffer, nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_TRUNC)?;
        if length == 0 {
            return Ok(None);
        }
        if length <= buffer.len() {
            let n = self.read(&mut buffer, nix::sys::socket::MsgFlags::empty())?;
            return Ok(buffer[..n].split_first().map(|(kind, rest)| (*kind, rest.to_vec())));
        }
        let mut large = vec![0u8; length];
        length = self.read(&mut large, nix::sys::socket::MsgFlags::empty())?;
        Ok(large[..length].split_first().map(|(kind, rest)| (*kind, rest.to_vec())))
    }

    fn read(&self, buffer: &mut [u8], flags: nix::sys::socket::MsgFlags) -> Result<usize> {
        loop {
            match nix::sys::socket::recv(self.fd.as_raw_fd(), buffer, flags) {
                // A peer that ended with frames unread resets the connection. That is told once, and before what it has sent.
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNRESET) => {}
                result => return result.call(|| "recv from the other side".into()),
            }
        }
    }

    /// Whether the other side is gone; does not wait.
    pub fn is_closed(&self) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).call(|| "poll".into())?;
        Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
    }

    pub fn tell_init(&self, message: ToInit) -> Result<()> {
        self.send(message as u8, &[])
    }

    /// What the runtime says next; `None` when it is gone.
    pub fn hear_runtime(&self) -> Result<Option<ToInit>> {
        match self.receive()? {
            None => Ok(None),
            Some((0, _)) => Ok(Some(ToInit::Go)),
            Some((1, _)) => Ok(Some(ToInit::Start)),
            Some((kind, _)) => bail!("unknown frame {kind} from the runtime"),
        }
    }

    pub fn tell_runtime(&self, message: &FromInit) -> Result<()> {
        match message {
            FromInit::Born(pid) => self.send(0, &pid.to_ne_bytes()),
            FromInit::NetworkReady => self.send(1, &[]),
            FromInit::MountsReady => self.send(2, &[]),
            FromInit::SeccompListener(fd) => self.send(3, &fd.to_ne_bytes()),
            FromInit::Ready => self.send(4, &[]),
            FromInit::Warning(text) => self.send(5, text.as_bytes()),
            FromInit::Failed(report) => self.send(6, &report.to_json()),
            FromInit::Furnished => self.send(7, &[]),
        }
    }

    /// Sends open files, at most 253.
    pub fn send_fds(&self, fds: &[OwnedFd]) -> Result<()> {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        socket::send_fds(self.fd.as_fd(), b"fds", &fds)
    }

    /// What [`Channel::send_fds`] sends.
    pub fn receive_fds(&self) -> Result<Vec<OwnedFd>> {
        crate::sys::socket::receive_fds(self.fd.as_fd()).call(|| "recvmsg SCM_RIGHTS".into())
    }

    /// What init says next; `None` when it is gone.
    pub fn hear_init(&self) -> Result<Option<FromInit>> {
        let Some((kind, payload)) = self.receive()? else { return Ok(None) };
        let number = || -> Result<i32> {
            let Ok(bytes) = payload.as_slice().try_into() else { bail!("a frame of {} bytes", payload.len()) };
            Ok(i32::from_ne_bytes(bytes))
        };
        Ok(Some(match kind {
            0 => FromInit::Born(number()?),
            1 => FromInit::NetworkReady,
            2 => FromInit::MountsReady,
            3 => FromInit::SeccompListener(number()?),
            4 => FromInit::Ready,
            5 => FromInit::Warning(String::from_utf8_lossy(&payload).into_owned()),
            6 => FromInit::Failed(Report::from_json(&payload)),
            7 => FromInit::Furnished,
            kind => bail!("unknown frame {kind} from init"),
        }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_sent() {
        let (runtime, init) = Channel::pair().unwrap();
        runtime.tell_init(ToInit::Start).unwrap();
        assert_eq!(init.hear_runtime().unwrap(), Some(ToInit::Start));
        init.tell_runtime(&FromInit::Born(77)).unwrap();
        init.tell_runtime(&FromInit::Warning("x".repeat(5000))).unwrap();
        assert!(matches!(runtime.hear_init().unwrap(), Some(FromInit::Born(77))));
        assert!(matches!(runtime.hear_init().unwrap(), Some(FromInit::Warning(text)) if text.len() == 5000));
    }

    #[test]
    fn open_files_arrive() {
        let (runtime, init) = Channel::pair().unwrap();
        let fds: Vec<OwnedFd> = (0..250).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        runtime.send_fds(&fds).unwrap();
        let received = init.receive_fds().unwrap();
        assert_eq!(received.len(), 250);
        assert!(received.iter().all(|fd| nix::sys::stat::fstat(fd).unwrap().st_rdev == libc::makedev(1, 3)));
        drop(runtime);
        assert_eq!(init.receive_fds().unwrap().len(), 0);
    }

    #[test]
    fn the_last_words_arrive_of_an_end_that_did_not_listen() {
        let (runtime, init) = Channel::pair().unwrap();
        init.tell_runtime(&FromInit::Warning("last words".into())).unwrap();
        runtime.tell_init(ToInit::Go).unwrap();
        drop(init);
        assert!(matches!(runtime.hear_init().unwrap(), Some(FromInit::Warning(text)) if text == "last words"));
        assert!(runtime.hear_init().unwrap().is_none());
    }

    #[test]
    fn a_closed_end_is_none() {
        let (runtime, init) = Channel::pair().unwrap();
        assert!(!runtime.is_closed().unwrap());
        drop(init);
        assert!(runtime.is_closed().unwrap());
        assert!(runtime.hear_init().unwrap().is_none());
    }
}
