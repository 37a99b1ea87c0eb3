//! Masked and read-only paths: each is resolved once and mounted over by that fd (GHSA-3q8j-pf29-vwv8).

use super::{Root, attr, diagnose, fs, target};
use crate::plan::{Mount, MountOp};
use crate::sys::mount::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MountAttr, OPEN_TREE_CLONE, mount_setattr, move_mount, open_tree,
};
use crate::sys::path::mount_id_of;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What masked paths are covered with: each is attached once, then clones of that.
#[derive(Debug, Default)]
pub struct Covers {
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

impl Root {
    /// Hides a path or makes it read-only. What does not exist needs neither.
    pub(super) fn mask(&mut self, mount: &Mount) -> Result<()> {
        let path = &mount.target.path;
        let target = match target::open(self.dir.as_fd(), path, mount.target.symlinks) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            result => result.call(|| format!("openat2 {}", path.display()))?,
        };
        // A directory below a cover is no longer where its path leads.
        self.parent = None;
        let is_root = same_directory(target.as_fd(), self.dir.as_fd())?;
        match mount.op {
            // A cover would not be the root that we go on with, and so hide nothing.
            MountOp::Mask if is_root => bail!("{} is the root directory, which cannot be masked", path.display()),
            MountOp::Mask => self.cover(target.as_fd()),
            // The root itself: a mount on it would not be the root that we go on with.
            _ if is_root => attr::make_readonly(self.dir.as_fd()).call(|| "mount_setattr +ro".into()),
            MountOp::ReadOnly => make_readonly(target.as_fd()),
            _ => bail!("not a masked or read-only path"),
        }
    }

    fn cover(&mut self, target: BorrowedFd) -> Result<()> {
        let stat = fstat(target).call(|| "fstat".into())?;
        let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let kept = if directory { &mut self.masks.directory } else { &mut self.masks.file };
        let tree = match kept {
            Some(first) => clone(first.as_fd())?,
            None if directory => fs::make_empty()?,
            None => null_device()?,
        };
        attach(tree.as_fd(), target)?;
        // Only an attached mount can be cloned again (before Linux 6.15).
        kept.get_or_insert(tree);
        Ok(())
    }
}

/// Whether two fds are the same directory of the same mount, whatever path led there.
fn same_directory(a: BorrowedFd, b: BorrowedFd) -> Result<bool> {
    let mount = |fd| mount_id_of(fd).call(|| "statx".into());
    let inode = |fd| fstat(fd).call(|| "fstat".into()).map(|stat| (stat.st_dev, stat.st_ino));
    Ok(inode(a)? == inode(b)? && mount(a)? == mount(b)?)
}

fn clone(mount: BorrowedFd) -> Result<OwnedFd> {
    open_tree(mount, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH).call(|| "open_tree of a mask".into())
}

fn attach(tree: BorrowedFd, target: BorrowedFd) -> Result<()> {
    move_mount(tree, target).call(|| "move_mount".into()).map_err(|e| diagnose::attach(e, tree, target))
}

/// The host's `/dev/null`, proved to be it: the container's may be a link to anything (CVE-2025-31133).
pub(super) fn null_device() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let null = open("/dev/null", flags, Mode::empty()).call(|| "open /dev/null of the host".into())?;
    let stat = fstat(&null).call(|| "fstat /dev/null".into())?;
    ensure!(
        stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3),
        "/dev/null of the host is not the null device"
    );
    let tree = clone(null.as_fd())?;
    // Read-only: the container's root may not give the host's device another mode or owner. Writing to it goes on.
    let attr = MountAttr { attr_set: MOUNT_ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), 0, &attr).call(|| "mount_setattr ro,private".into())?;
    Ok(tree)
}

/// Mounts the tree at `target` onto itself, read-only at its top as in other runtimes; what else holds for it stays.
fn make_readonly(target: BorrowedFd) -> Result<()> {
    let tree = open_tree(target, b"", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH).call(|| "open_tree".into())?;
    attr::make_readonly(tree.as_fd()).call(|| "mount_setattr +ro".into())?;
    attach(tree.as_fd(), target).context("readonly")
}
