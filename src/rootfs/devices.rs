//! Device nodes and the symbolic links of `/dev`, made through the fd of the directory they stand in.

use super::{Parent, Root, prepare, target};
use crate::plan::Mount;
use crate::plan::devices::{Device, DeviceKind};
use crate::plan::mounts::Symlinks;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

impl Root {
    /// Makes the node; one that is there already is left as it is, if it is the same device: under a bind of the host's
    /// `/dev` it is the host's. Where mknod(2) is not allowed, the host's node of that name is bound, if it is the same.
    pub(super) fn make_device(&mut self, mount: &Mount, device: &Device) -> Result<()> {
        let (parent, name) = self.parent_of(&mount.target.path, mount.target.symlinks)?;
        let (kind, number) = match device.kind {
            DeviceKind::Char => (SFlag::S_IFCHR, libc::makedev(device.major, device.minor)),
            DeviceKind::Block => (SFlag::S_IFBLK, libc::makedev(device.major, device.minor)),
            DeviceKind::Fifo => (SFlag::S_IFIFO, 0),
        };
        let mode = Mode::from_bits_truncate(device.mode);
        match mknodat(parent, name, kind, mode, number) {
            // The umask is 0 and we are root: mode and owner are right unless another owner is asked for.
            Ok(()) if device.uid == 0 && device.gid == 0 => Ok(()),
            Ok(()) => own(parent, name, device),
            Err(Errno::EEXIST) => ensure_same(parent, name, device, kind, number),
            Err(Errno::EPERM) if device.kind != DeviceKind::Fifo => self.bind_host_node(mount, device),
            Err(errno) => Err(errno).call(|| format!("mknodat {}", mount.target.path.display())),
        }
    }

    fn bind_host_node(&mut self, mount: &Mount, device: &Device) -> Result<()> {
        let refused = || "mknod is not permitted here, and the host's node cannot take its place";
        let node = prepare::open_node(&mount.target.path, device).with_context(refused)?;
        self.bind_node(mount, node)
    }

    /// A symbolic link; whatever has its name already stays.
    pub(super) fn make_symlink(&mut self, mount: &Mount, text: &Path) -> Result<()> {
        let (parent, name) = self.parent_of(&mount.target.path, mount.target.symlinks)?;
        match symlinkat(text, parent, name) {
            Err(Errno::EEXIST) => Ok(()),
            result => result.call(|| format!("symlinkat {}", mount.target.path.display())),
        }
    }

    /// The directory of `path`, made where it is missing, and the name in it.
    pub(super) fn parent_of<'p>(&mut self, path: &'p Path, symlinks: Symlinks) -> Result<(BorrowedFd<'_>, &'p OsStr)> {
        let directory = path.parent().unwrap_or(path);
        let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
        if self.parent.as_ref().is_none_or(|last| !last.is(directory, symlinks)) {
            let fd = target::open_or_make(self.dir.as_fd(), directory, symlinks, || Ok(target::Make::Directory))?;
            self.parent = Some(Parent { path: directory.to_owned(), symlinks, fd });
        }
        let last = self.parent.as_ref().expect("just set");
        Ok((last.fd.as_fd(), name))
    }
}

fn own(parent: BorrowedFd, name: &OsStr, device: &Device) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .call(|| format!("fchownat to {}:{}", device.uid, device.gid))
}

/// What has the name has to be the device (config-linux.md, Devices).
fn ensure_same(parent: BorrowedFd, name: &OsStr, device: &Device, kind: SFlag, number: libc::dev_t) -> Result<()> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).call(|| "fstatat".into())?;
    let same =
        stat.st_mode & libc::S_IFMT == kind.bits() && (device.kind == DeviceKind::Fifo || stat.st_rdev == number);
    ensure!(same, "a file that is not this device exists already");
    Ok(())
}
