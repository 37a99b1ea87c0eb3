//! Mounts over the data of a volume: made at the first use, taken away after the last.
//!
//! Nothing is noted of them. Whether there is one is seen by the mount that the data is on, and who needs it by the
//! volume's references; so whoever was killed in between leaves nothing that the next one would misunderstand. All under
//! the volume's lock.

use super::local::{DataMount, Operation};
use super::resolve;
use crate::plan::options::Propagation;
use crate::rootfs;
use crate::sys::mount::{AT_RECURSIVE, MountAttr, mount_setattr, move_mount};
use crate::sys::{Call, Errno, errno_of, path};
use crate::volumes::volume::{DATA, Volume};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, stat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Mounts what the volume is made of over its directory, unless that has been done.
///
/// # Errors
/// With the options (secrets left out) and the call that failed; nothing is mounted then.
pub fn mount(volume: &Volume, wanted: &DataMount) -> Result<()> {
    let data = open_data(volume)?;
    if is_mounted(volume, data.as_fd())? {
        return Ok(());
    }
    let failed = |error: anyhow::Error| {
        let error = error.context(format!("failed to mount local volume: {wanted}"));
        without_secrets(explain(error, wanted), wanted)
    };
    attach(data.as_fd(), wanted).map_err(failed)
}

fn attach(data: BorrowedFd, wanted: &DataMount) -> Result<()> {
    let (tree, propagation) = match wanted.resolved(resolve::lookup)? {
        Operation::Filesystem(fs) => (rootfs::make_for_host(&fs)?, fs.propagation),
        Operation::Bind(bind) => (rootfs::clone_directory(&bind)?, bind.propagation),
    };
    ensure!(is_directory(tree.as_fd())?, "device={} is not a directory", wanted.device);
    move_mount(tree.as_fd(), data).call(|| "move_mount onto the volume's data".into())?;
    // Upon a shared mount it has become shared too.
    unshare(tree.as_fd(), propagation).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = detach(tree.as_fd());
    })
}

fn unshare(tree: BorrowedFd, propagation: Propagation) -> Result<()> {
    use crate::plan::options::PropagationKind;
    let kind = match propagation.kind {
        PropagationKind::Private => libc::MS_PRIVATE,
        PropagationKind::Slave => libc::MS_SLAVE,
        PropagationKind::Unbindable => bail!("an unbindable mount cannot be given to a container"),
        PropagationKind::Shared => return Ok(()),
    };
    let attr = MountAttr { propagation: kind, ..MountAttr::default() };
    let depth = if propagation.recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(tree, depth, &attr).call(|| format!("mount_setattr {propagation}"))
}

/// Takes away everything that is mounted over the volume's data. That nothing is, is as good.
///
/// By name: to open or stat it, a server that is dead would be asked whether it is still the same.
pub fn unmount(volume: &Volume) -> Result<()> {
    let path = format!("/proc/self/fd/{}/{DATA}", volume.dir().as_raw_fd());
    loop {
        // As Docker does it: who is in there still, stays in there.
        match umount2(path.as_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // No mount, or no right to find out; then it was not we who mounted it.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EPERM) if !is_in_place(volume)? => return Ok(()),
            Err(errno) => {
                return Err(errno)
                    .call(|| "umount2".into())
                    .with_context(|| format!("unmount {}", volume.data_path().display()));
            }
        }
    }
}

/// Whether something is mounted over the volume's data.
pub fn is_in_place(volume: &Volume) -> Result<bool> {
    match open_data(volume) {
        Err(error) if errno_of(&error) == Some(Errno::ENOENT) => Ok(false),
        data => is_mounted(volume, data?.as_fd()),
    }
}

/// Of what has just been mounted.
fn detach(mount: BorrowedFd) -> Result<()> {
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    umount2(path.as_str(), MntFlags::MNT_DETACH).call(|| "umount2".into())
}

/// The data, with what is mounted over it.
fn open_data(volume: &Volume) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(volume.dir(), DATA, flags, Mode::empty()).call(|| format!("open {}", volume.data_path().display()))
}

fn is_mounted(volume: &Volume, data: BorrowedFd) -> Result<bool> {
    let id = |fd| path::mount_id_of(fd).call(|| format!("statx {}", volume.data_path().display()));
    Ok(id(volume.dir())? != id(data)?)
}

fn is_directory(fd: BorrowedFd) -> Result<bool> {
    let stat = nix::sys::stat::fstat(fd).call(|| "fstat".into())?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// What the errno alone does not say.
fn explain(error: anyhow::Error, wanted: &DataMount) -> anyhow::Error {
    match errno_of(&error) {
        Some(Errno::EPERM | Errno::EACCES) if !nix::unistd::geteuid().is_root() => {
            error.context("only root may mount what a volume's type, device and o ask for")
        }
        Some(Errno::ENOTBLK) if is_file(&wanted.device) => error.context(format!(
            "{} is a file and not a block device: attach it to a loop device (losetup) and give that",
            wanted.device
        )),
        Some(Errno::ENOTBLK) => error.context(format!("{} is not a block device", wanted.device)),
        _ => error,
    }
}

fn is_file(path: &str) -> bool {
    stat(path).is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}

/// The error without the passwords among the options.
fn without_secrets(error: anyhow::Error, wanted: &DataMount) -> anyhow::Error {
    let text = format!("{error:#}");
    let masked = wanted.masked(&text);
    if masked == text { error } else { anyhow!(masked) }
}
