//! The sources of a plan's mounts laid out below one directory, each at a path of its own, for a program that mounts by
//! itself (criu).
//!
//! All of it is in a mount namespace that ends with that program; the host sees an empty directory.

use super::{Umask, attach, attr, isolate, mask, prepare, target};
use crate::plan::devices::MakeDevice;
use crate::plan::{CreateTarget, MountOp, Plan, Requirement};
use crate::rootfs::Prepared;
use crate::rootfs::prepare::Source;
use crate::sys::Call;
use crate::sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, move_mount, open_tree};
use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, fstat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const ROOT: &str = "root";
const NULL: &str = "null";

/// Where [`Prepared::stage`] puts things below its directory.
#[derive(Debug, Clone, Copy)]
pub struct Staged<'a>(pub &'a Path);

impl Staged<'_> {
    /// The root filesystem.
    pub fn root(self) -> PathBuf {
        self.0.join(ROOT)
    }

    /// The source of `plan.mounts[index]`, if that is a bind of something of the host.
    pub fn source(self, index: usize) -> PathBuf {
        self.0.join(index.to_string())
    }

    /// What masked files are covered with.
    pub fn null(self) -> PathBuf {
        self.0.join(NULL)
    }
}

/// Whether a mount of the plan has a source that is staged.
pub fn has_source(op: &MountOp) -> bool {
    match op {
        MountOp::Bind(_) => true,
        MountOp::Device(device) => matches!(device.make, MakeDevice::Bind(_)),
        _ => false,
    }
}

impl Prepared {
    /// Lays everything out below `directory` (see [`Staged`]) and makes the mount points that the root filesystem and the
    /// binds lack.
    ///
    /// In a mount namespace of the caller's own, which is cut off from the host's.
    pub fn stage(self, plan: &Plan, directory: &Path) -> Result<()> {
        let root = self.root.context("mounts cannot be cloned without CAP_SYS_ADMIN")?;
        isolate()?;
        let _umask = Umask::none();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        nix::mount::mount(Some("tmpfs"), directory, Some("tmpfs"), flags, Some("mode=700"))
            .call(|| format!("mount a tmpfs at {}", directory.display()))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let stage = open(directory, flags, Mode::empty()).call(|| format!("open {}", directory.display()))?;
        put(stage.as_fd(), ROOT, root.as_fd()).context("root.path")?;
        put(stage.as_fd(), NULL, mask::null_device()?.as_fd()).context("the cover of masked files")?;
        let mut trees = Vec::with_capacity(self.sources.len());
        for (index, source) in self.sources.into_iter().enumerate() {
            let at = || prepare::at(&plan.mounts[index]);
            let tree = match source {
                Source::Nothing => None,
                Source::Tree(tree) => Some(tree),
                Source::Host | Source::Opened(_) | Source::Coming => bail!("{}: the source was not cloned", at()),
                Source::Failed(error) if plan.mounts[index].requirement == Requirement::Must => {
                    return Err(error).with_context(at);
                }
                // criu says so if the container has had it.
                Source::Failed(_) => None,
            };
            if let Some(tree) = &tree {
                put(stage.as_fd(), &index.to_string(), tree.as_fd()).with_context(at)?;
            }
            trees.push(tree);
        }
        make_mount_points(plan, root.as_fd(), &trees)?;
        for (index, tree) in trees.iter().enumerate() {
            let Some(tree) = tree.as_ref().filter(|_| attr::readonly_at_end(plan, index)) else { continue };
            attr::make_readonly(tree.as_fd())
                .call(|| "mount_setattr +ro".into())
                .with_context(|| prepare::at(&plan.mounts[index]))?;
        }
        Ok(())
    }
}

/// Attaches a detached tree as `name` in `directory`.
fn put(directory: BorrowedFd, name: &str, tree: BorrowedFd) -> Result<()> {
    let is_directory = fstat(tree).call(|| "fstat".into())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let make = if is_directory { target::Make::Directory } else { target::Make::File };
    let point = target::make_in(directory, OsStr::new(name), make).call(|| format!("make {name}"))?;
    move_mount(tree, point.as_fd()).call(|| "move_mount".into())
}

/// What `create` makes on its way: the targets of all mounts in the root filesystem, and in binds. What is below a new
/// filesystem is in the image, or the kernel's.
fn make_mount_points(plan: &Plan, root: BorrowedFd, trees: &[Option<OwnedFd>]) -> Result<()> {
    let mut binds = Attached(Vec::new());
    let mut filesystems: Vec<&Path> = Vec::new();
    for (mount, tree) in plan.mounts.iter().zip(trees) {
        let path = mount.target.path.as_path();
        let in_filesystem = filesystems.iter().any(|above| path.starts_with(above));
        let create = match &mount.op {
            _ if in_filesystem || mount.target.is_root() => continue,
            MountOp::Bind(_) if tree.is_some() => mount.target.create,
            MountOp::Device(_) if tree.is_some() => CreateTarget::File,
            MountOp::Fs(_) => CreateTarget::Directory,
            _ => continue,
        };
        let tree = tree.as_ref().map(AsFd::as_fd);
        let make = || attach::what_to_make(create, tree)?.context("the mount point is missing");
        let target =
            target::open_or_make(root, path, mount.target.symlinks, make).with_context(|| prepare::at(mount))?;
        match tree {
            Some(tree) => binds.attach(tree, target.as_fd()).with_context(|| prepare::at(mount))?,
            None => filesystems.push(path),
        }
    }
    Ok(())
}

/// Mounts that are there for a moment.
struct Attached(Vec<OwnedFd>);

impl Attached {
    fn attach(&mut self, tree: BorrowedFd, target: BorrowedFd) -> Result<()> {
        let clone = open_tree(tree, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
            .call(|| "open_tree of a staged source".into())?;
        move_mount(clone.as_fd(), target).call(|| "move_mount".into())?;
        self.0.push(clone);
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for mount in self.0.drain(..).rev() {
            // They end with the namespace at the latest; criu says so if one is in its way.
            let _ = umount2(format!("/proc/self/fd/{}", mount.as_raw_fd()).as_str(), MntFlags::MNT_DETACH);
        }
    }
}
