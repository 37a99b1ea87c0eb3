//! The container's terminal.

use crate::ipc::socket;
use crate::plan::Process;
use crate::rootfs::{self, Root};
use crate::sys::{Call, tty};
use anyhow::Result;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Makes a pty in the container's devpts, binds its slave to /dev/console, makes it stdio,
/// and sends the master to the console socket (runtime.md leaves the protocol open; this is runc's).
pub(super) fn set_up(root: &Root, process: &Process, socket: OwnedFd) -> Result<()> {
    let (master, slave) = make(root.open_ptmx()?, process)?;
    root.bind_console(slave.as_fd())?;
    hand_over(master, &slave, socket)
}

/// Makes the terminal, which the standard streams are, the controlling one of the caller, who leads the session.
pub(super) fn take_control(process: Option<&Process>) -> Result<()> {
    match process.is_some_and(|process| process.terminal) {
        true => tty::set_controlling(std::io::stdin().as_fd()).call(|| "ioctl TIOCSCTTY".into()),
        false => Ok(()),
    }
}

/// The same for a process that comes later: `/dev/console` is the first one's. The pty is made the controlling terminal by
/// the process itself, which leads the session.
///
/// In the foreground the runtime joins the terminal with the caller's only when the program runs already, which may have
/// written lines by then: CR is left out from the start.
pub(super) fn set_up_later(root: BorrowedFd, process: &Process, socket: OwnedFd, foreground: bool) -> Result<()> {
    let (master, slave) = make(rootfs::open_ptmx(root)?, process)?;
    if foreground {
        tty::keep_line_feeds(master.as_fd()).call(|| "tcsetattr of the pty".into())?;
    }
    hand_over(master, &slave, socket)
}

/// Master and slave, with the size that the config asks for.
fn make(master: OwnedFd, process: &Process) -> Result<(OwnedFd, OwnedFd)> {
    let slave = tty::open_peer(master.as_fd()).call(|| "open the pty's slave".into())?;
    if let Some((rows, columns)) = process.console_size {
        tty::set_window_size(master.as_fd(), rows, columns).call(|| "ioctl TIOCSWINSZ".into())?;
    }
    Ok((master, slave))
}

fn hand_over(master: OwnedFd, slave: &OwnedFd, socket: OwnedFd) -> Result<()> {
    socket::send_fd(socket.as_fd(), b"/dev/ptmx", master.as_fd())?;
    dup2_stdin(slave).call(|| "dup2 stdin".into())?;
    dup2_stdout(slave).call(|| "dup2 stdout".into())?;
    dup2_stderr(slave).call(|| "dup2 stderr".into())
}
