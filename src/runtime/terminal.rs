//! The caller's terminal and the container's, joined for a foreground `run`.

use crate::log;
use crate::sys::{Call, Errno, tty};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
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
        // The caller's terminal makes CR LF of a line feed. Where there is none, as in a pipe, the output is what the
        // program wrote (runc does the same).
        tty::keep_line_feeds(master.as_fd()).call(|| "tcsetattr of the pty".into())?;
        // What is no terminal has no modes to save.
        let saved = tcgetattr(stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            cfmakeraw(&mut raw);
            // It goes on making CR LF, as the container's terminal does not.
            raw.output_flags.insert(OutputFlags::OPOST);
            tcsetattr(stdin(), SetArg::TCSANOW, &raw).call(|| "tcsetattr".into())?;
        }
        let session = Session {
            master: Some(master),
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
    /// `None` once it has been hung up.
    master: Option<OwnedFd>,
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
    complained: bool,
    /// Who reads the other end has closed it.
    reader_gone: bool,
}

impl Pipe {
    /// Reads once; the end of file, or a hang-up of the other side, ends the pipe.
    fn fill(&mut self, from: BorrowedFd) {
        let mut buffer = [0u8; 8192];
        match nix::unistd::read(from, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => self.pending.extend(&buffer[..n]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: the last holder of the slave has closed it.
            Err(errno) => {
                self.ended = true;
                self.complain("read", errno);
            }
        }
    }

    /// Writes once what fits. At most a page: that is what a pipe which is ready has room for, and a write that waits
    /// for its reader would keep signals from the container.
    fn flush(&mut self, to: BorrowedFd) {
        let (bytes, _) = self.pending.as_slices();
        match nix::unistd::write(to, &bytes[..bytes.len().min(4096)]) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Nobody reads any more, or the disk is full: what was meant for them is lost.
            Err(errno) => {
                self.pending.clear();
                self.reader_gone = errno == Errno::EPIPE;
                self.complain("write to", errno);
            }
        }
    }

    /// Once, and not of a side that has just gone.
    fn complain(&mut self, what: &str, errno: Errno) {
        if !matches!(errno, Errno::EIO | Errno::EPIPE) && !self.complained {
            self.complained = true;
            log::warn(format_args!("{what} a terminal: {errno}"));
        }
    }

    fn wants_more(&self) -> bool {
        !self.ended && self.pending.len() < 64 * 1024
    }
}

impl Session {
    /// The caller's stdin, the master and the caller's stdout, each with what it is waited for. Nothing is: leave it out
    /// of the poll, which would report its hang-up for ever.
    pub fn interests(&self) -> [(BorrowedFd<'_>, PollFlags); 3] {
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        let hung_up = self.output.ended;
        let events = when(self.output.wants_more(), PollFlags::POLLIN)
            | when(!hung_up && !self.input.pending.is_empty(), PollFlags::POLLOUT);
        // Without a master nothing is waited for, and the fd in its place is left out.
        let master = self.master.as_ref().map_or(self.stdin.as_fd(), AsFd::as_fd);
        [
            (self.stdin.as_fd(), when(!hung_up && self.input.wants_more(), PollFlags::POLLIN)),
            (master, events),
            (self.stdout.as_fd(), when(!self.output.pending.is_empty(), PollFlags::POLLOUT)),
        ]
    }

    /// Moves bytes as far as the results of [`Session::interests`] allow.
    pub fn transfer(&mut self, [from_caller, master, to_caller]: [PollFlags; 3]) {
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if from_caller.intersects(readable) {
            self.input.fill(self.stdin.as_fd());
        }
        if let Some(fd) = &self.master {
            if master.intersects(readable) && self.output.wants_more() {
                self.output.fill(fd.as_fd());
            }
            if master.contains(PollFlags::POLLOUT) {
                self.input.flush(fd.as_fd());
            }
        }
        if !to_caller.is_empty() {
            self.output.flush(self.stdout.as_fd());
        }
        if self.output.reader_gone {
            self.hang_up();
        }
    }

    /// Closes the master: the process gets SIGHUP, as from a terminal that has gone, and its writes fail.
    fn hang_up(&mut self) {
        self.master = None;
        self.output.ended = true;
        self.input.ended = true;
    }

    /// After the process has ended: what it wrote last still reaches the caller.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            let before = self.output.pending.len();
            if let Some(master) = self.master.as_ref().filter(|_| !self.output.ended) {
                self.output.fill(master.as_fd());
            }
            let nothing_new = self.output.pending.len() == before;
            while !self.output.pending.is_empty() {
                // The caller's stdout may be non-blocking.
                let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Err(Errno::EINTR) => {}
                    result => drop(result.call(|| "poll".into())?),
                }
                self.output.flush(self.stdout.as_fd());
            }
            if self.output.ended || nothing_new {
                return Ok(());
            }
        }
    }

    /// Gives the container's terminal the size of the caller's.
    pub fn resize(&self) -> Result<()> {
        let Some(master) = &self.master else { return Ok(()) };
        match tty::window_size(self.stdin.as_fd()) {
            Ok((rows, columns)) => {
                tty::set_window_size(master.as_fd(), rows, columns).call(|| "ioctl TIOCSWINSZ".into())
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
            log::warn(format_args!("the terminal's modes could not be restored: {errno}"));
        }
    }
}
