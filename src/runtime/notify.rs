//! sd_notify(3) for the container: a socket of its own, from which `READY=1` goes on to the caller's `NOTIFY_SOCKET`.
//!
//! The names are runc's: `notify/notify.sock` in the container's directory, which the container has read-only as
//! `/run/notify`. The socket lives in the command that starts the container.

use crate::ipc::socket;
use crate::log;
use crate::plan::Plan;
use crate::plan::mounts::{AddedMount, MissingSource};
use crate::store::Entry;
use crate::sys::{Call, Errno};
use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Below the container's directory.
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
const IN_CONTAINER: &str = "/run/notify";

/// How long the service manager may take to say that it has read the message (sd_notify_barrier(3)), in ms.
const PATIENCE: u16 = 30_000;

/// The socket of the service manager that called us, if there is one.
pub(super) fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// The directory with the socket, for a container whose state is kept in `root`.
pub(super) fn mount(root: &Path, id: &str) -> AddedMount {
    AddedMount {
        place: "NOTIFY_SOCKET".into(),
        destination: IN_CONTAINER.into(),
        kind: "bind".into(),
        source: Some(root.join(id).join(DIRECTORY)),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).into(),
        missing: MissingSource::Made,
        ..AddedMount::default()
    }
}

/// Tells the program where the socket is.
pub(super) fn set_variable(plan: &mut Plan) {
    if let Some(process) = &mut plan.process {
        process.env.push(format!("NOTIFY_SOCKET={IN_CONTAINER}/{SOCKET}"));
    }
}

/// What a container is left with by the command that has started it; an image keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notifying {
    /// The container has the directory of the socket.
    pub mounted: bool,
    /// Somebody waits for it to say that it is ready.
    pub awaited: bool,
}

impl Notifying {
    /// As it is at this moment.
    pub fn of(entry: &Entry) -> Result<Notifying> {
        let Some(directory) = entry.directory(DIRECTORY)? else { return Ok(Notifying::default()) };
        let awaited = socket::is_received_in(directory.as_fd(), SOCKET).call(|| format!("connect {SOCKET}"))?;
        Ok(Notifying { mounted: true, awaited })
    }
}

/// The container's socket, and where its message goes.
#[derive(Debug)]
pub(super) struct Relay {
    socket: OwnedFd,
    manager: OsString,
}

impl Relay {
    /// For a container that was created with a `NOTIFY_SOCKET`, if there is one now too. To be made before the program
    /// runs.
    pub fn listen(entry: &Entry) -> Result<Option<Relay>> {
        let Some(manager) = manager() else { return Ok(None) };
        let Some(directory) = entry.directory(DIRECTORY)? else { return Ok(None) };
        let socket = socket::receive_datagrams_in(directory.as_fd(), SOCKET).context("NOTIFY_SOCKET")?;
        Ok(Some(Relay { socket, manager }))
    }

    /// Readable when the container has sent something.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes what has come; true when it was `READY=1` and has been passed on, as the message of process `main`.
    pub fn pass_on(&self, main: i32) -> Result<bool> {
        let mut buffer = [0u8; 4096];
        let length = match nix::unistd::read(&self.socket, &mut buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            result => result.call(|| "read the notify socket".into())?,
        };
        let Some(ready) = buffer[..length].split(|b| *b == b'\n').find(|line| line.starts_with(b"READY=")) else {
            return Ok(false);
        };
        self.tell(ready, main).map(|()| true)
    }

    /// For a container that says nothing any more.
    pub fn say_ready(&self, main: i32) -> Result<()> {
        self.tell(b"READY=1", main)
    }

    fn tell(&self, ready: &[u8], main: i32) -> Result<()> {
        let message = [ready, b"\nMAINPID=", main.to_string().as_bytes(), b"\n"].concat();
        socket::send_datagram(&self.manager, &message, None).context("NOTIFY_SOCKET")
    }

    /// Waits until the container has said that it is ready, or has ended, and the service manager has heard of it.
    pub fn wait(&self, main: i32, end: BorrowedFd) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN), PollFd::new(end, PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result.call(|| "poll".into())?,
            };
            let [readable, ended] = fds.map(|fd| fd.any().unwrap_or(false));
            if readable && self.pass_on(main)? {
                return self.synchronise();
            }
            if ended && !readable {
                return Ok(());
            }
        }
    }

    /// Until the service manager has read what it was sent: a message is dropped when its sender has gone before.
    pub fn synchronise(&self) -> Result<()> {
        let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).call(|| "pipe2".into())?;
        socket::send_datagram(&self.manager, b"BARRIER=1", Some(theirs.as_fd())).context("NOTIFY_SOCKET")?;
        drop(theirs);
        let mut fds = [PollFd::new(ours.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::from(PATIENCE)).call(|| "poll".into())? == 0 {
            log::warn(format_args!("NOTIFY_SOCKET: the service manager has not confirmed within {PATIENCE} ms"));
        }
        Ok(())
    }
}
