//! The container's terminal.

use crate::ipc::socket;
use crate::plan::Process;
use crate::rootfs::Root;
use crate::sys::{Call, tty};
use anyhow::Result;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::os::fd::{AsFd, OwnedFd};

/// Makes a pty in the container's devpts, binds its slave to /dev/console, makes it stdio and the controlling terminal,
/// and sends the master to the console socket (runtime.md leaves the protocol open; this is runc's).
pub(super) fn set_up(root: &Root, process: &Process, socket: OwnedFd) -> Result<()> {
    let master = root.open_ptmx()?;
    let slave = tty::open_peer(master.as_fd()).call(|| "open the pty's slave".into())?;
    if let Some((rows, columns)) = process.console_size {
        tty::set_window_size(master.as_fd(), rows, columns).call(|| "ioctl TIOCSWINSZ".into())?;
    }
    root.bind_console(slave.as_fd())?;
    socket::send_fd(socket.as_fd(), b"/dev/ptmx", master.as_fd())?;
    dup2_stdin(&slave).call(|| "dup2 stdin".into())?;
    dup2_stdout(&slave).call(|| "dup2 stdout".into())?;
    dup2_stderr(&slave).call(|| "dup2 stderr".into())?;
    tty::set_controlling(slave.as_fd()).call(|| "ioctl TIOCSCTTY".into())
}
