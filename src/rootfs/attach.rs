//! Mounts that fill the root filesystem: binds, new filesystems, remounts.

use super::target::{self, Make};
use super::{Root, attr, copy, diagnose, fs, prepare};
use crate::plan::devices::MakeDevice;
use crate::plan::mounts::{Fs, FsOption, Symlinks};
use crate::plan::options::{Attr, Propagation};
use crate::plan::{CreateTarget, Mount, MountOp, Plan, Requirement, Target};
use crate::sys::mount::{MOUNT_ATTR_RDONLY, move_mount};
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result, ensure};
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// When a mount becomes read-only, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readonly {
    /// It is as it shall be.
    AsMade,
    AtEnd,
}

/// Whether a target existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    Made,
}

impl Root {
    /// One operation of `plan.mounts`.
    pub(super) fn carry_out(&mut self, plan: &Plan, index: usize, warn: &mut dyn FnMut(String)) -> Result<()> {
        let mount = &plan.mounts[index];
        let readonly = if attr::readonly_at_end(plan, index) { Readonly::AtEnd } else { Readonly::AsMade };
        match &mount.op {
            MountOp::Bind(_) => {
                let tree = self.take_tree(plan, index, warn)?.context("the source was not opened")?;
                self.bind(mount, tree, readonly)
            }
            MountOp::Fs(fs) => ordinary(fs, mount, self.mount_fs(mount, fs, readonly, warn)),
            MountOp::Remount { attr, propagation, options } => self.remount(mount, attr, *propagation, options),
            MountOp::Device(device) => match (&device.make, self.take_tree(plan, index, warn)?) {
                (MakeDevice::Bind(_), Some(node)) => self.bind_node(mount, node),
                _ => self.make_device(mount, device),
            },
            MountOp::Symlink { text } => self.make_symlink(mount, text),
            MountOp::Mask | MountOp::ReadOnly => self.mask(mount),
        }
    }

    /// Attaches a host's device node onto a file.
    pub(super) fn bind_node(&mut self, mount: &Mount, node: OwnedFd) -> Result<()> {
        let (target, found) = self.open_target(&mount.target, CreateTarget::File, None)?;
        self.attach(mount, node, (target, found), Readonly::AsMade)
    }

    /// Attaches a bind's tree.
    fn bind(&mut self, mount: &Mount, tree: OwnedFd, readonly: Readonly) -> Result<()> {
        let (target, found) = self.open_target(&mount.target, mount.target.create, Some(tree.as_fd()))?;
        ensure_proc_is_safe(mount, Some(tree.as_fd()), target.as_fd(), found)?;
        self.attach(mount, tree, (target, found), readonly)
    }

    fn mount_fs(&mut self, mount: &Mount, fs: &Fs, readonly: Readonly, warn: &mut dyn FnMut(String)) -> Result<()> {
        let (target, found) = self.open_target(&mount.target, mount.target.create, None)?;
        if mount.target.symlinks == Symlinks::Refuse && !is_directory(target.as_fd())? {
            return Err(Errno::ENOTDIR).call(|| format!("open {}", mount.target.path.display()));
        }
        ensure_proc_is_safe(mount, None, target.as_fd(), found)?;
        let idmap = match fs.idmap.as_ref().filter(|map| !map.of_container) {
            Some(map) => Some(self.idmaps.get(map)?),
            None => None,
        };
        let extra = fs::Extra {
            mode: if found == Found::There { mode_of_target(fs, target.as_fd())? } else { None },
            writable: readonly == Readonly::AtEnd || fs.copy_up,
            idmap,
            in_user_namespace: self.in_user_namespace,
        };
        let tree = match fs::make(fs, extra) {
            Err(error) if may_use_host_sysfs(mount, fs, &error) => {
                warn(format!("{}: {error:#}; the host's /sys is bound in its place", prepare::at(mount)));
                fs::host_sysfs(fs)?
            }
            made => made?,
        };
        if fs.copy_up {
            self.copy_up(fs, target.as_fd(), tree.as_fd())?;
            if fs.attr.set & MOUNT_ATTR_RDONLY != 0 && readonly == Readonly::AsMade {
                attr::make_readonly(tree.as_fd()).call(|| "mount_setattr +ro".into())?;
            }
        }
        self.attach(mount, tree, (target, found), readonly)
    }

    /// Fills the new filesystem, still detached, with what the container would see at the target. The root directory's
    /// own attributes are taken over where the options do not give them.
    fn copy_up(&self, fs: &Fs, target: BorrowedFd, tree: BorrowedFd) -> Result<()> {
        let given = ["mode", "uid", "gid"].iter().any(|key| has_option(fs, key));
        let top = if given { copy::Top::Keep } else { copy::Top::Copy };
        copy::copy_tree(target, tree, top).map(drop).context("tmpcopyup")
    }

    /// Opens the target of a bind (of `tree`) or a filesystem; made where it is missing.
    fn open_target(
        &mut self,
        wanted: &Target,
        create: CreateTarget,
        tree: Option<BorrowedFd>,
    ) -> Result<(OwnedFd, Found)> {
        if let Some(made) = self.make_beside_the_last(wanted, create, tree)? {
            return Ok((made, Found::Made));
        }
        let path = &wanted.path;
        let describe = || format!("openat2 {}", path.display());
        match target::open(self.dir.as_fd(), path, wanted.symlinks) {
            Err(Errno::ENOENT) => {}
            result => return Ok((result.call(describe)?, Found::There)),
        }
        let Some(make) = what_to_make(create, tree)? else { return Err(Errno::ENOENT).call(describe) };
        let made = match self.parent_of(path, wanted.symlinks) {
            Ok((parent, name)) => target::make_in(parent, name, make).ok(),
            Err(_) => None,
        };
        if let Some(made) = made {
            return Ok((made, Found::Made));
        }
        // Something is in the way: this can go around it, or tells what it is.
        match target::open_or_make(self.dir.as_fd(), path, wanted.symlinks, || Ok(make)) {
            Err(error) if errno_of(&error) == Some(Errno::EROFS) => {
                Err(error.context("cannot make the mount point on a read-only filesystem"))
            }
            result => Ok((result?, Found::Made)),
        }
    }

    /// The target, made in the directory that was used last, if it is in that and missing. Mount points are mostly made
    /// several to a directory, and that needs no look at the whole path.
    fn make_beside_the_last(
        &mut self,
        wanted: &Target,
        create: CreateTarget,
        tree: Option<BorrowedFd>,
    ) -> Result<Option<OwnedFd>> {
        let (Some(directory), Some(name)) = (wanted.path.parent(), wanted.path.file_name()) else { return Ok(None) };
        let Some(parent) = self.parent.as_ref().filter(|last| last.is(directory, wanted.symlinks)) else {
            return Ok(None);
        };
        let Some(make) = what_to_make(create, tree)? else { return Ok(None) };
        // Whatever is in the way, be it only that the target exists: the whole path tells.
        Ok(target::make_in(parent.fd.as_fd(), name, make).ok())
    }

    /// Moves a detached tree onto its target. From here on, paths are resolved through it.
    fn attach(&mut self, mount: &Mount, tree: OwnedFd, target: (OwnedFd, Found), readonly: Readonly) -> Result<()> {
        let (target, found) = target;
        move_mount(tree.as_fd(), target.as_fd())
            .call(|| "move_mount".into())
            .map_err(|e| diagnose::attach(e, tree.as_fd(), target.as_fd()))?;
        let path = &mount.target.path;
        // The directory in which a target has just been made cannot be under that target. Any other may be now.
        self.parent.take_if(|last| found != Found::Made || Some(last.path.as_path()) != path.parent());
        if readonly == Readonly::AtEnd {
            let kept = tree.try_clone().call(|| "dup a mount".into())?;
            self.readonly_at_end.push((path.clone(), kept));
        }
        if mount.target.is_root() {
            // What was the root directory is under this now, and the walk from its fd would not see what covers it.
            self.dir = tree;
        }
        Ok(())
    }

    fn remount(&mut self, mount: &Mount, attr: &Attr, to: Option<Propagation>, options: &[FsOption]) -> Result<()> {
        let path = &mount.target.path;
        let target = target::open(self.dir.as_fd(), path, mount.target.symlinks)
            .call(|| format!("openat2 {}", path.display()))?;
        if !options.is_empty() {
            fs::reconfigure(target.as_fd(), options)?;
        }
        if attr.clear & MOUNT_ATTR_RDONLY != 0 {
            self.readonly_at_end.retain(|(later, _)| later != path);
        }
        attr::Calls::remount(attr, to)
            .apply(target.as_fd())
            .map_err(|e| diagnose::remount(e, target.as_fd(), attr.clear | attr.recursive_clear))
    }
}

/// The error text of procfs and sysfs where a link or a file stands at the target (CVE-2019-19921, CVE-2023-27561).
fn ordinary(fs: &Fs, mount: &Mount, done: Result<()>) -> Result<()> {
    done.map_err(|error| match errno_of(&error) {
        Some(Errno::ELOOP | Errno::ENOTDIR) if mount.target.symlinks == Symlinks::Refuse => {
            error.context(format!("filesystem {:?} must be mounted on ordinary directory", fs.fstype))
        }
        _ => error,
    })
}

/// What lxcfs and the like put over single files of procfs.
const OVER_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Only a procfs may be what the container has at `/proc`, and almost nothing may be mounted inside it: programs, and
/// we, write labels and sysctls to it and trust where these go (CVE-2019-16884, CVE-2019-19921).
fn ensure_proc_is_safe(mount: &Mount, tree: Option<BorrowedFd>, target: BorrowedFd, found: Found) -> Result<()> {
    let proc = Path::new("/proc");
    let path = &mount.target.path;
    if path.as_os_str() == proc.as_os_str() {
        let is_proc = match (&mount.op, tree) {
            (MountOp::Fs(fs), _) => fs.fstype == "proc",
            // A directory below the root, such as /proc/sys, has other files under the names that we write to.
            (_, Some(tree)) => is_procfs(tree)? && inode(tree)? == PROC_ROOT_INODE,
            (_, None) => false,
        };
        ensure!(is_proc, "\"/proc\" cannot be mounted because it is not of type proc, or not the root of a procfs");
        return Ok(());
    }
    let below = mount.target.is_in(proc);
    if below && OVER_PROC.iter().any(|allowed| path.as_os_str() == *allowed) {
        return Ok(());
    }
    // Nothing can be made in a procfs.
    let inside = below || (found == Found::There && is_procfs(target)?);
    ensure!(!inside, "{:?} cannot be mounted because it is inside /proc", path.display().to_string());
    Ok(())
}

/// `None`: the target has to be there.
pub(super) fn what_to_make(create: CreateTarget, tree: Option<BorrowedFd>) -> Result<Option<Make>> {
    Ok(match (create, tree) {
        (CreateTarget::Nothing, _) => None,
        (CreateTarget::File, _) => Some(Make::File),
        (CreateTarget::LikeSource, Some(tree)) if !is_directory(tree)? => Some(Make::File),
        (CreateTarget::Directory | CreateTarget::LikeSource, _) => Some(Make::Directory),
    })
}

fn is_procfs(fd: BorrowedFd) -> Result<bool> {
    Ok(fstatfs(fd).call(|| "fstatfs".into())?.filesystem_type() == PROC_SUPER_MAGIC)
}

/// `PROC_ROOT_INO` of the kernel: the root directory of every procfs, and no other file of one, has it.
const PROC_ROOT_INODE: libc::ino_t = 1;

fn inode(fd: BorrowedFd) -> Result<libc::ino_t> {
    Ok(fstat(fd).call(|| "fstat".into())?.st_ino)
}

fn is_directory(fd: BorrowedFd) -> Result<bool> {
    Ok(fstat(fd).call(|| "fstat".into())?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn has_option(fs: &Fs, name: &str) -> bool {
    fs.options.iter().any(|option| matches!(option, FsOption::Value(key, _) if key == name))
}

/// A tmpfs has the permissions of the directory that it covers, unless its options say otherwise.
fn mode_of_target(fs: &Fs, target: BorrowedFd) -> Result<Option<u32>> {
    if fs.fstype != "tmpfs" || has_option(fs, "mode") {
        return Ok(None);
    }
    Ok(Some(fstat(target).call(|| "fstat".into())?.st_mode & 0o7777))
}

fn may_use_host_sysfs(mount: &Mount, fs: &Fs, error: &anyhow::Error) -> bool {
    fs.fstype == "sysfs" && matches!(mount.requirement, Requirement::BestEffort(_)) && fs::is_refused(error)
}
