//! A child of the runtime that becomes criu, which makes the container's process from an image: in the container's
//! cgroup, and in a mount namespace where the sources of its mounts are laid out.

use super::birth::wait_for_go;
use super::fail;
use super::steps::{Progress, Step};
use crate::cgroup;
use crate::ipc::{Channel, FromInit};
use crate::plan::Plan;
use crate::rootfs::Prepared;
use crate::sys::shared::SharedWord;
use crate::sys::{Call, exec, ns, process};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::dup3;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// What the runtime hands to its child.
pub struct Restored<'a> {
    pub plan: &'a Plan,
    pub channel: Channel,
    pub progress: SharedWord,
    pub cgroup: &'a cgroup::Created,
    pub prepared: Prepared,
    /// Where the sources are laid out ([`crate::rootfs::stage`]).
    pub stage: &'a Path,
    /// Criu as execve(2) takes it.
    pub program: CString,
    pub environment: Vec<CString>,
    /// What criu is to find open, under the same numbers.
    pub inherited: Vec<BorrowedFd<'a>>,
    /// Directories that it finds open too: criu mounts in them, so they have to be of its own mount namespace.
    pub directories: Vec<(PathBuf, OwnedFd)>,
    /// The runtime has to attach the child to its cgroup first.
    pub waits: bool,
    /// Fds of the runtime that the child must not keep.
    pub not_ours: Vec<RawFd>,
}

/// Becomes criu. Never returns; a failure is reported over the channel, which execve closes.
pub fn run(child: Restored) -> ! {
    let channel = match child.channel.share() {
        Ok(channel) => channel,
        // Nobody can be told; the runtime sees the end of the connection.
        Err(_) => process::exit_now(1),
    };
    let progress = Progress::new(child.progress);
    let Err(error) = become_criu(child, &progress);
    fail(&channel, &progress, &error)
}

fn become_criu(mut child: Restored, at: &Progress) -> Result<Infallible> {
    at.step(Step::Birth, || {
        for fd in child.not_ours.drain(..) {
            nix::unistd::close(fd).call(|| format!("close {fd}"))?;
        }
        if child.waits { wait_for_go(&child.channel) } else { Ok(()) }
    })?;
    at.step(Step::Cgroup, || child.cgroup.enter_self())?;
    at.step(Step::Namespaces, || ns::unshare(libc::CLONE_NEWNS as u64).call(|| "unshare mount".into()))?;
    at.step(Step::Mounts, || child.prepared.stage(child.plan, child.stage))?;
    let directories =
        child.directories.into_iter().map(|(path, fd)| open_again(&path, fd)).collect::<Result<Vec<_>>>()?;
    // Criu looks for the directories by their numbers in the process that has made the socket: this one.
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .call(|| "socketpair".into())?;
    child.channel.tell_runtime(&FromInit::Ready)?;
    child.channel.send_fds(&[ours])?;
    at.step(Step::Exec, || {
        let kept = child.inherited.into_iter().chain(directories.iter().map(AsFd::as_fd)).chain([theirs.as_fd()]);
        for fd in kept {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).call(|| format!("fcntl F_SETFD {}", fd.as_raw_fd()))?;
        }
        process::reset_sigpipe().call(|| "sigaction".into())?;
        let number = CString::new(theirs.as_raw_fd().to_string()).context("a number")?;
        exec::execve(&child.program, &[c"criu".into(), c"swrk".into(), number], &child.environment)
            .call(|| format!("execve {}", child.program.to_string_lossy()))
            .context("criu")
    })
}

/// The directory in this process's mount namespace, under the same number.
fn open_again(path: &Path, mut directory: OwnedFd) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let again = open(path, flags, Mode::empty()).call(|| format!("open {}", path.display()))?;
    let identity =
        |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).call(|| format!("fstat {}", path.display()));
    ensure!(identity(&again)? == identity(&directory)?, "{} was exchanged meanwhile", path.display());
    dup3(&again, &mut directory, OFlag::O_CLOEXEC).call(|| "dup3".into())?;
    Ok(directory)
}
