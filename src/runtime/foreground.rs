//! The foreground of `run`: one poll over signals, the container's process and the terminal.

use super::dialogue::InitProcess;
use super::notify::Relay;
use super::terminal::{Session, Terminal};
use crate::sys::{Call, Errno, pidfd};
use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;

/// Signals and, with a terminal, its two ends; from before the program starts until it has ended.
pub(super) struct Foreground {
    signals: SignalFd,
    session: Option<Session>,
    /// Until the container has said that it is ready.
    relay: Option<Relay>,
}

impl Foreground {
    /// Blocks all signals, so that none is lost, and puts the caller's terminal into raw mode.
    pub fn take_over(terminal: Option<Terminal>) -> Result<Foreground> {
        let mut foreground = Foreground::block_signals()?;
        foreground.join(terminal)?;
        Ok(foreground)
    }

    /// Blocks all signals, so that none is lost.
    pub fn block_signals() -> Result<Foreground> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).call(|| "sigprocmask".into())?;
        let signals =
            SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).call(|| "signalfd".into())?;
        Ok(Foreground { signals, session: None, relay: None })
    }

    /// Joins the caller's terminal with the container's, when that has been made.
    pub fn join(&mut self, terminal: Option<Terminal>) -> Result<()> {
        self.session = terminal.map(Terminal::begin).transpose()?;
        Ok(())
    }

    /// Passes on that the container is ready, as the message of this process, which the service manager has started.
    pub fn relay(&mut self, relay: Option<Relay>) {
        self.relay = relay;
    }

    /// Until the process ends; its exit code, or 128 and the number of the signal that ended it.
    pub fn wait_for(mut self, init: &InitProcess) -> Result<i32> {
        loop {
            if self.poll_once(init)? {
                let end = pidfd::wait(init.pidfd.as_fd()).call(|| format!("waitid {}", init.pid))?;
                if let Some(session) = &mut self.session {
                    session.drain()?;
                }
                return Ok(end.code());
            }
        }
    }

    /// One round; true when the process has ended.
    fn poll_once(&mut self, init: &InitProcess) -> Result<bool> {
        let mut fds = vec![
            PollFd::new(init.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.relay.as_ref().map(|relay| PollFd::new(relay.as_fd(), PollFlags::POLLIN)));
        let interests = self.session.as_ref().map(Session::interests);
        let wanted = interests.iter().flatten().filter(|(_, events)| !events.is_empty());
        fds.extend(wanted.map(|(fd, events)| PollFd::new(*fd, *events)));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(false),
            result => result.call(|| "poll".into())?,
        };
        let mut results = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = || results.next().unwrap_or(PollFlags::empty());
        let (ended, signalled) = (!next().is_empty(), !next().is_empty());
        let notified = self.relay.is_some() && !next().is_empty();
        let ready = interests.map(|all| all.map(|(_, events)| if events.is_empty() { events } else { next() }));
        if signalled {
            self.forward_signals(init)?;
        }
        if notified
            && let Some(relay) = &self.relay
            && relay.pass_on(std::process::id().cast_signed())?
        {
            self.relay = None;
        }
        if let (Some(session), Some(ready)) = (&mut self.session, ready) {
            session.transfer(ready);
        }
        Ok(ended)
    }

    fn forward_signals(&mut self, init: &InitProcess) -> Result<()> {
        while let Some(info) = self.signals.read_signal().call(|| "read signalfd".into())? {
            let number = info.ssi_signo.cast_signed();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => reap_others(init)?,
                Ok(Signal::SIGWINCH) => {
                    if let Some(session) = &self.session {
                        session.resize()?;
                    }
                }
                // Urgent data on our own sockets, a write to a closed pipe: ours, not the container's.
                Ok(Signal::SIGURG | Signal::SIGPIPE) => {}
                _ => match pidfd::send_signal(init.pidfd.as_fd(), number) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno).call(|| format!("pidfd_send_signal {number}")),
                },
            }
        }
        Ok(())
    }
}

/// Reaps what the subreaper has inherited; init itself is left for [`Foreground::wait_for`].
fn reap_others(init: &InitProcess) -> Result<()> {
    while let Some(pid) = pidfd::ended_child().call(|| "waitid".into())?.filter(|pid| *pid != init.pid) {
        pidfd::reap(pid).call(|| format!("waitid {pid}"))?;
    }
    Ok(())
}
