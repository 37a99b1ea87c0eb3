//! Unix sockets by path: `start`'s own, and those that callers name (console, pidfd).

use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `name` in the directory behind `dir`, short enough for `sun_path` (108 bytes) however long the directory's path is.
fn short_path(dir: BorrowedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Does `action` with a path of `name` in `dir` that fits into an address. By the working directory, which is the caller's
/// again afterwards: the way through procfs takes longer than all the rest of a connection.
#[cfg(not(test))]
fn with_path<T>(dir: BorrowedFd, name: &str, action: impl FnOnce(&Path) -> nix::Result<T>) -> nix::Result<T> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(here) = nix::fcntl::open(".", flags, nix::sys::stat::Mode::empty()) else {
        return action(&short_path(dir, name));
    };
    nix::unistd::fchdir(dir)?;
    let result = action(Path::new(name));
    nix::unistd::fchdir(&here)?;
    result
}

/// The same for tests, which share their working directory.
#[cfg(test)]
fn with_path<T>(dir: BorrowedFd, name: &str, action: impl FnOnce(&Path) -> nix::Result<T>) -> nix::Result<T> {
    action(&short_path(dir, name))
}

/// A listening `SOCK_SEQPACKET` socket called `name` in `dir`.
pub fn listen_in(dir: BorrowedFd, name: &str) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).call(|| "socket".into())?;
    with_path(dir, name, |path| bind(fd.as_raw_fd(), &UnixAddr::new(path)?)).call(|| format!("bind {name}"))?;
    listen(&fd, Backlog::new(8).unwrap_or(Backlog::MAXCONN)).call(|| format!("listen on {name}"))?;
    Ok(fd)
}

/// A connection to the socket `name` in `dir`; ECONNREFUSED when its listener is gone, ENOENT when there is none.
pub fn connect_in(dir: BorrowedFd, name: &str) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    with_path(dir, name, |path| connect(fd.as_raw_fd(), &UnixAddr::new(path)?))?;
    Ok(fd)
}

/// Whether anybody listens on the socket `name` in `dir`: the errors of [`connect_in`] if not, else the connection, which
/// does not block; `None` if the listener's queue is full.
///
/// Never waits: the queue of a listener that does not accept, because it is stopped or frozen, becomes full.
pub fn knock_in(dir: BorrowedFd, name: &str) -> nix::Result<Option<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    match with_path(dir, name, |path| connect(fd.as_raw_fd(), &UnixAddr::new(path)?)) {
        Err(Errno::EAGAIN) => Ok(None),
        result => result.map(|()| Some(fd)),
    }
}

/// Makes a connection of [`knock_in`] one that blocks.
pub fn set_blocking(connection: &OwnedFd) -> nix::Result<()> {
    fcntl(connection, FcntlArg::F_SETFL(OFlag::empty())).map(drop)
}

/// How long the listener of a socket that a caller or a config names may take to accept a connection or a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets `connect` and `send` on the socket fail with EAGAIN after [`PATIENCE`]: they wait where the listener's queue is
/// full, because it is stopped or does not accept.
pub fn limit_waits(socket: &OwnedFd) -> Result<()> {
    let time = TimeVal::seconds(PATIENCE.as_secs() as i64);
    setsockopt(socket, sockopt::SendTimeout, &time).call(|| "setsockopt SO_SNDTIMEO".into())
}

/// Says what EAGAIN means after [`limit_waits`].
pub fn no_answer(error: anyhow::Error) -> anyhow::Error {
    match errno_of(&error) {
        Some(Errno::EAGAIN) => {
            error.context(format!("its listener accepts nothing within {} s (is it stopped?)", PATIENCE.as_secs()))
        }
        _ => error,
    }
}

/// A connection to the stream socket at `path`, which a caller listens on. Waits for its listener, but not for ever.
pub fn connect_to(path: &Path) -> Result<OwnedFd> {
    connect_saying(path, &|| format!("connect {}", path.display()))
}

/// As [`connect_to`], with another description of the call in errors.
pub fn connect_saying(path: &Path, describe: &dyn Fn() -> String) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).call(|| "socket".into())?;
    limit_waits(&fd)?;
    let (dir, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().context(describe())?);
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let directory =
        nix::fcntl::open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
            .call(describe)?;
    let address =
        UnixAddr::new(&PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)).call(describe)?;
    connect(fd.as_raw_fd(), &address).call(describe).map_err(no_answer)?;
    Ok(fd)
}

/// A datagram socket called `name` in `dir`, for everybody to write to; reading it does not wait.
pub fn receive_datagrams_in(dir: BorrowedFd, name: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None).call(|| "socket".into())?;
    let path = short_path(dir, name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).call(|| format!("unlink {name}"))?,
        // Nobody reads from an earlier one any more.
        _ => {}
    }
    bind(fd.as_raw_fd(), &UnixAddr::new(&path).call(|| format!("address of {name}"))?)
        .call(|| format!("bind {name}"))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).call(|| format!("chmod {name}"))?;
    Ok(fd)
}

/// Whether anybody receives datagrams at the socket `name` in `dir`.
pub fn is_received_in(dir: BorrowedFd, name: &str) -> nix::Result<bool> {
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(fd.as_raw_fd(), &UnixAddr::new(&short_path(dir, name))?) {
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Sends a datagram, perhaps with an fd, to the socket at `address`: a path, or an abstract name that begins with `@`.
pub fn send_datagram(address: &OsStr, text: &[u8], fd: Option<BorrowedFd>) -> Result<()> {
    let describe = || format!("send to {}", address.display());
    let to = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(Path::new(address)),
    };
    let to = to.call(describe)?;
    let socket =
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).call(|| "socket".into())?;
    limit_waits(&socket)?;
    let fds: Vec<i32> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::MSG_NOSIGNAL, Some(&to))
        .call(describe)
        .map_err(no_answer)?;
    Ok(())
}

/// Sends one fd with `text` beside it (SCM_RIGHTS).
pub fn send_fd(socket: BorrowedFd, text: &[u8], fd: BorrowedFd) -> Result<()> {
    send_fds(socket, text, &[fd.as_raw_fd()])
}

/// Sends open fds by their numbers.
pub(super) fn send_fds(socket: BorrowedFd, text: &[u8], fds: &[RawFd]) -> Result<()> {
    let control = [ControlMessage::ScmRights(fds)];
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(text)], &control, MsgFlags::MSG_NOSIGNAL, None)
        .call(|| "sendmsg SCM_RIGHTS".into())?;
    Ok(())
}
