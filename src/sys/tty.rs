//! Pseudo-terminals.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Unlocks the pty behind a `/dev/ptmx` fd and opens its slave (TIOCGPTPEER): by fd, so that no path of the
/// container's `/dev/pts` is trusted (CVE-2025-52565).
pub fn open_peer(master: BorrowedFd) -> nix::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) }.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags by value and returns a new fd.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the fd is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// TIOCSCTTY: makes `tty` the controlling terminal of the calling session leader.
pub fn set_controlling(tty: BorrowedFd) -> nix::Result<()> {
    // SAFETY: the argument is passed by value.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// TIOCGWINSZ: rows and columns.
pub fn window_size(tty: BorrowedFd) -> nix::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills the winsize.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// TIOCSWINSZ.
pub fn set_window_size(tty: BorrowedFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads the winsize.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}

/// Stops the terminal from writing CR LF for a line feed (ONLCR, termios(3)).
pub fn keep_line_feeds(tty: BorrowedFd) -> nix::Result<()> {
    use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
    let mut modes = tcgetattr(tty)?;
    modes.output_flags.remove(OutputFlags::ONLCR);
    tcsetattr(tty, SetArg::TCSANOW, &modes)
}

/// Whether the fd is a pty slave (its major number is 136 to 143).
pub fn is_pty(fd: BorrowedFd) -> Result<bool, Errno> {
    let stat = nix::sys::stat::fstat(fd)?;
    let char_device = stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
    Ok(char_device && (136..=143).contains(&libc::major(stat.st_rdev)))
}
