//! The runtime's side of a birth into a pid namespace: the pid, and what the newborn reports until it executes.

use super::dialogue::{Death, InitProcess};
use crate::init::newborn::{self, Call as Step};
use crate::init::{Loadable, Step as InitStep};
use crate::sys::script::Message;
use crate::sys::shared::SharedBirth;
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Result, anyhow, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Where a newborn is waited for.
///
/// The container can take the pipe's other end out of the newborn, write to it and keep it open. So the newborn's death
/// ends the waiting as the pipe's end does, a few bytes are read at most, and they mean no more than that the start failed.
pub(super) struct Cradle<'a> {
    pub shared: SharedBirth,
    pipe: OwnedFd,
    /// What is to be loaded.
    filter: Option<Loadable<'a>>,
}

impl<'a> Cradle<'a> {
    /// And the end of the pipe that the newborn gets.
    pub fn new(filter: Option<Loadable<'a>>) -> Result<(Cradle<'a>, OwnedFd)> {
        let (pipe, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).call(|| "pipe2".into())?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).call(|| "fcntl F_SETFL".into())?;
        if filter.is_some_and(|filter| filter.listens) {
            let size = i32::try_from(newborn::filler())?;
            fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(size)).call(|| format!("fcntl F_SETPIPE_SZ {size}"))?;
        }
        let shared = SharedBirth::new().call(|| "mmap a shared page".into())?;
        Ok((Cradle { shared, pipe, filter }, theirs))
    }

    /// For the child, which closes it.
    pub fn fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }

    /// The newborn, once its maker has ended.
    pub fn receive(&self, maker: &InitProcess) -> Result<InitProcess> {
        let end = pidfd::wait(maker.pidfd.as_fd());
        match (end, self.shared.pid()) {
            (Ok(pidfd::End::Exited(0)), Some(pid)) => {
                // Our own child and not reaped: the number is still its.
                let pidfd = pidfd::open(pid).call(|| format!("pidfd_open {pid}"))?;
                Ok(InitProcess { pid, pidfd })
            }
            (end, _) => match self.failure(&self.messages()?) {
                Some(error) => Err(error),
                None => Err(Death { end, step: InitStep::Exec.name() }.into()),
            },
        }
    }

    /// Returns when the program runs; `listener` hands on a seccomp listener.
    pub fn until_executed(&self, newborn: &InitProcess, listener: &dyn Fn(OwnedFd) -> Result<()>) -> Result<()> {
        if self.filter.is_some_and(|filter| filter.listens) && self.wait(newborn, PollFlags::POLLIN)? {
            self.take_listener(newborn, listener)?;
        }
        // Without POLLIN: nothing is read before the end.
        self.wait(newborn, PollFlags::empty())?;
        let messages = self.messages()?;
        if let Some(error) = self.failure(&messages) {
            return Err(error);
        }
        if messages.iter().any(|message| Step::from_code(message.code) == Some(Step::Executing)) {
            return Ok(());
        }
        Err(Death { end: pidfd::wait(newborn.pidfd.as_fd()), step: InitStep::Exec.name() }.into())
    }

    /// Waits for `events` of the pipe, its end, or that of the process; whether there is something in the pipe.
    fn wait(&self, process: &InitProcess, events: PollFlags) -> Result<bool> {
        let mut fds = [PollFd::new(self.pipe.as_fd(), events), PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                result => break result.call(|| "poll".into()).map(drop)?,
            }
        }
        Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
    }

    /// Of a newborn that waits until we have read as much as the pipe holds.
    fn take_listener(&self, newborn: &InitProcess, listener: &dyn Fn(OwnedFd) -> Result<()>) -> Result<()> {
        let message = match self.messages_of(1)?.first() {
            Some(message) if Step::from_code(message.code) == Some(Step::Listener) => *message,
            Some(message) => return Err(self.failure(&[*message]).unwrap_or_else(|| anyhow!(UNEXPECTED))),
            None => return Ok(()),
        };
        let Ok(number) = i32::try_from(message.value) else { bail!(UNEXPECTED) };
        listener(pidfd::get_fd(newborn.pidfd.as_fd(), number).call(|| format!("pidfd_getfd {number}"))?)?;
        let mut left = newborn::filler();
        while left > 0 && self.wait(newborn, PollFlags::POLLIN)? {
            left -= self.read(&mut vec![0; left])?;
        }
        Ok(())
    }

    /// What has been written, as far as a newborn of ours can have done so.
    fn messages(&self) -> Result<Vec<Message>> {
        const MOST: usize = 4;
        self.messages_of(MOST)
    }

    fn messages_of(&self, count: usize) -> Result<Vec<Message>> {
        let mut bytes = vec![0; count * Message::SIZE];
        let length = self.read(&mut bytes)?;
        // One byte alone is what follows the listener.
        let odd = length % Message::SIZE;
        let whole = bytes[odd..length].chunks_exact(Message::SIZE);
        Ok(whole.filter_map(|chunk| chunk.try_into().ok()).map(Message::from_bytes).collect())
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match nix::unistd::read(&self.pipe, buffer) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(0),
                result => return result.call(|| "read the report of the new process".into()),
            }
        }
    }

    fn failure(&self, messages: &[Message]) -> Option<anyhow::Error> {
        let failed = |message: &Message| Some((Step::from_code(message.code)?, message.errno()?));
        let (call, errno) = messages.iter().find_map(failed)?;
        Some(newborn::failure(call, errno, &self.shared.path(), self.filter))
    }
}

const UNEXPECTED: &str = "unexpected report from the new process";
