//! The caller's terminal and the container's, joined for a foreground `run`.

use crate::sys::{Call, Errno, tty};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::io::{Stdin, Stdout, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The end at which the pty's master will arrive.
pub(super) struct Terminal {
    socket: OwnedFd,
}

impl Terminal {
    /// A pair: ours, and the console socket for init.
    pub fn prepare() -> Result<(Terminal, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .call(|| "socketpair".into())?;
        Ok((Terminal { socket: ours }, theirs))
    }

    /// Takes the master, which init has sent before it was ready, and makes the caller's terminal raw.
    pub fn begin(self) -> Result<Session> {
        let master = crate::sys::socket::receive_fd(self.socket.as_fd())
            .call(|| "receive the pty".into())?
            .context("init sent no pty")?;
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL).call(|| "fcntl F_GETFL".into())?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).call(|| "fcntl F_SETFL".into())?;
        // What is no terminal has no modes to save.
        let saved = tcgetattr(stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin(), SetArg::TCSANOW, &raw).call(|| "tcsetattr".into())?;
        }
        let session = Session {
            master,
            saved,
            input: Pipe::default(),
            output: Pipe::default(),
            stdin: stdin(),
            stdout: stdout(),
        };
        session.resize()?;
        Ok(session)
    }
}

/// Both terminals, with the bytes that are on their way between them.
pub(super) struct Session {
    master: OwnedFd,
    saved: Option<Termios>,
    /// From the caller to the container.
    input: Pipe,
    /// From the container to the caller.
    output: Pipe,
    stdin: Stdin,
    stdout: Stdout,
}

/// Bytes that are read and not yet written.
#[derive(Default)]
struct Pipe {
    pending: VecDeque<u8>,
    ended: bool,
}

impl Pipe {
    /// Reads once; the end of file, or a hang-up of the other side, ends the pipe.
    fn fill(&mut self, from: BorrowedFd) -> Result<()> {
        let mut buffer = [0u8; 8192];
        match nix::unistd::read(from, &mut buffer) {
            // EIO: the last holder of the slave has closed it.
            Ok(0) | Err(Errno::EIO) => self.ended = true,
            Ok(n) => self.pending.extend(&buffer[..n]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).call(|| "read a terminal".into()),
        }
        Ok(())
    }

    /// Writes once what fits.
    fn flush(&mut self, to: BorrowedFd) -> Result<()> {
        let (bytes, _) = self.pending.as_slices();
        match nix::unistd::write(to, bytes) {
            Ok(n) => drop(self.pending.drain(..n)),
            // Nobody reads any more: what was meant for them is lost.
            Err(Errno::EIO | Errno::EPIPE) => self.pending.clear(),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).call(|| "write to a terminal".into()),
        }
        Ok(())
    }

    fn wants_more(&self) -> bool {
        !self.ended && self.pending.len() < 64 * 1024
    }
}

impl Session {
    /// Three entries: the caller's stdin, the master, the caller's stdout.
    pub fn add_poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        fds.push(PollFd::new(self.stdin.as_fd(), when(self.input.wants_more(), PollFlags::POLLIN)));
        let master = when(self.output.wants_more(), PollFlags::POLLIN)
            | when(!self.input.pending.is_empty(), PollFlags::POLLOUT);
        // A hang-up is reported whether asked for or not: an ended master is taken out of the poll by a negative fd,
        // which PollFd cannot express, so stdout stands in for it.
        let fd = if self.output.ended { self.stdout.as_fd() } else { self.master.as_fd() };
        fds.push(PollFd::new(fd, if self.output.ended { PollFlags::empty() } else { master }));
        fds.push(PollFd::new(self.stdout.as_fd(), when(!self.output.pending.is_empty(), PollFlags::POLLOUT)));
    }

    /// Moves bytes as far as the three entries' results allow.
    pub fn transfer(&mut self, ready: &[PollFlags]) -> Result<()> {
        let [from_caller, master, to_caller] = ready else { return Ok(()) };
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if from_caller.intersects(readable) && self.input.wants_more() {
            self.input.fill(self.stdin.as_fd())?;
        }
        if !self.output.ended && master.intersects(readable) && self.output.wants_more() {
            self.output.fill(self.master.as_fd())?;
        }
        if master.contains(PollFlags::POLLOUT) && !self.input.pending.is_empty() {
            self.input.flush(self.master.as_fd())?;
        }
        if !to_caller.is_empty() && !self.output.pending.is_empty() {
            self.output.flush(self.stdout.as_fd())?;
        }
        Ok(())
    }

    /// After the process has ended: what it wrote last still reaches the caller.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            let before = self.output.pending.len();
            if !self.output.ended {
                self.output.fill(self.master.as_fd())?;
            }
            let nothing_new = self.output.pending.len() == before;
            while !self.output.pending.is_empty() {
                self.output.flush(self.stdout.as_fd())?;
            }
            if self.output.ended || nothing_new {
                return Ok(());
            }
        }
    }

    /// Gives the container's terminal the size of the caller's.
    pub fn resize(&self) -> Result<()> {
        match tty::window_size(self.stdin.as_fd()) {
            Ok((rows, columns)) => {
                tty::set_window_size(self.master.as_fd(), rows, columns).call(|| "ioctl TIOCSWINSZ".into())
            }
            // The caller has no terminal.
            Err(Errno::ENOTTY | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno).call(|| "ioctl TIOCGWINSZ".into()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved
            && let Err(errno) = tcsetattr(stdin(), SetArg::TCSANOW, saved)
        {
            crate::log::warn(format_args!("the terminal's modes could not be restored: {errno}"));
        }
    }
}
