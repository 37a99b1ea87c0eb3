//! The root filesystem: carries out the plan's mounts by fd, from opening the sources to pivot_root.
//!
//! [`Prepared`] is the runtime's part, before the clone: a look at the sources, and those as detached trees that init
//! cannot clone. [`Root`] is init's: it clones each source when it is its turn and attaches it inside the root filesystem,
//! whose fd is the only way to any path of the container. A path is resolved once; from then on its fd is used
//! (CVE-2021-30465, CVE-2025-52881).
//! Knows nothing of processes, cgroups or sockets.

mod attach;
mod attr;
mod console;
pub mod copy;
mod devices;
mod diagnose;
mod fs;
mod idmap;
mod mask;
mod pivot;
mod prepare;
mod source;
pub mod stage;
pub mod target;

pub use console::open_ptmx;
pub use fs::make_for_host;
pub use prepare::{OpenSource, OpenSources, Prepared, clone_directory};

use crate::plan::mounts::Symlinks;
use crate::plan::namespaces::Namespace;
use crate::plan::{MountOp, Plan, RootChange};
use crate::sys::mount::move_mount;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, umask};
use prepare::{RaisedLimit, Source};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the root filesystem is attached until the root is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Upon the directory that it is a clone of: hooks find it by its path.
    OwnPath,
    /// Upon `/`.
    Top,
}

/// The container's root filesystem, attached in its mount namespace.
#[derive(Debug)]
pub struct Root {
    /// The directory that is to be `/`, on top of everything mounted there.
    dir: OwnedFd,
    place: Place,
    sources: Vec<Source>,
    /// The first of `plan.mounts` that is not carried out yet.
    next: usize,
    /// Which of the sources may lead into the root filesystem itself.
    may_lead_inside: Vec<bool>,
    idmaps: idmap::Namespaces,
    /// The soft limit of open files, raised while there are sources.
    limit: Option<RaisedLimit>,
    in_user_namespace: bool,
    /// Mounts that become read-only when everything in them is made, and their targets.
    readonly_at_end: Vec<(PathBuf, OwnedFd)>,
    /// Where the last mount point or device was made: the next one is mostly beside it.
    parent: Option<Parent>,
    masks: mask::Covers,
}

/// A directory of the root filesystem that is open, and how it was looked up.
#[derive(Debug)]
struct Parent {
    path: PathBuf,
    symlinks: Symlinks,
    fd: OwnedFd,
}

impl Parent {
    fn is(&self, path: &Path, symlinks: Symlinks) -> bool {
        self.path == path && self.symlinks == symlinks
    }
}

impl Root {
    /// Takes the mount namespace that the caller has unshared or joined, and attaches the root filesystem in it.
    ///
    /// In init, as root of its user namespace, before anything else is mounted.
    pub fn enter(plan: &Plan, prepared: Prepared) -> Result<Root> {
        let mut prepared = prepared;
        if plan.root_change != RootChange::Chroot {
            isolate()?;
        }
        let dir = match prepared.root.take() {
            Some(tree) => tree,
            None => prepare::clone_root(plan, prepare::find_root(plan)?.fd.as_fd())?,
        };
        prepare::open_sources(plan, &mut prepared)?;
        let Prepared { sources, may_lead_inside, idmaps, limit, .. } = prepared;
        let place = attach_root(plan, dir.as_fd())?;
        Ok(Root {
            dir,
            place,
            sources,
            next: 0,
            may_lead_inside,
            idmaps,
            limit,
            in_user_namespace: plan.namespaces.user != Namespace::Inherit,
            readonly_at_end: Vec::new(),
            parent: None,
            masks: mask::Covers::default(),
        })
    }

    /// Carries out the first of `plan.mounts`, up to one that waits for the container's cgroup: it shows the cgroup, or its
    /// contents count as the cgroup's memory.
    ///
    /// A failure of what the plan calls best effort goes to `warn`.
    pub fn mount_ahead(&mut self, plan: &Plan, warn: &mut dyn FnMut(String)) -> Result<()> {
        let waits = |index: usize, source: &Source| match &plan.mounts[index].op {
            MountOp::Fs(fs) => fs.copy_up || fs.fstype.starts_with("cgroup"),
            _ => matches!(source, Source::Coming),
        };
        let end = (0..plan.mounts.len()).find(|&index| waits(index, &self.sources[index]));
        self.mount_until(end.unwrap_or(plan.mounts.len()), plan, warn)
    }

    /// Opens the sources that were not there before. The host's mounts are still seen.
    pub fn open_coming(&mut self, plan: &Plan) -> Result<()> {
        prepare::open_coming(plan, &mut self.sources)
    }

    /// Carries out `plan.mounts` in order, those that are left: binds, filesystems, devices and links.
    ///
    /// A failure of what the plan calls best effort goes to `warn`.
    pub fn mount_all(&mut self, plan: &Plan, warn: &mut dyn FnMut(String)) -> Result<()> {
        self.mount_until(plan.mounts.len(), plan, warn)?;
        self.parent = None;
        self.limit = None;
        Ok(())
    }

    fn mount_until(&mut self, end: usize, plan: &Plan, warn: &mut dyn FnMut(String)) -> Result<()> {
        let _umask = Umask::none();
        for index in self.next..end {
            let mount = &plan.mounts[index];
            let done = self.carry_out(plan, index, warn);
            required(mount, done, warn)?;
        }
        self.next = end;
        Ok(())
    }

    /// The detached tree that `plan.mounts[index]` attaches, once; `None` where it needs none.
    fn take_tree(&mut self, plan: &Plan, index: usize, warn: &mut dyn FnMut(String)) -> Result<Option<OwnedFd>> {
        let source = std::mem::replace(&mut self.sources[index], Source::Nothing);
        if self.may_lead_inside[index]
            && let Some(path) = prepare::host_path(&plan.mounts[index])
            && let Some(inside) = source::find_inside(self.dir.as_fd(), path).map_err(|e| diagnose::source(e, path))?
        {
            return prepare::clone_source(plan, index, inside.as_fd(), &mut self.idmaps, warn).map(Some);
        }
        match source {
            Source::Nothing => Ok(None),
            Source::Tree(tree) => Ok(Some(tree)),
            Source::Opened(fd) => prepare::clone_source(plan, index, fd.as_fd(), &mut self.idmaps, warn).map(Some),
            Source::Host | Source::Coming => bail!("the source was not opened"),
            Source::Failed(error) => Err(error),
        }
    }

    /// Makes read-only what had to stay writable until now, then carries out `plan.masks`: masked and read-only paths.
    ///
    /// After `make_cwd` and `bind_console`: nothing is made in the root filesystem any more.
    pub fn mask_all(&mut self, plan: &Plan, warn: &mut dyn FnMut(String)) -> Result<()> {
        for (path, mount) in self.readonly_at_end.drain(..) {
            attr::make_readonly(mount.as_fd()).call(|| format!("mount_setattr +ro {}", path.display()))?;
        }
        for mount in &plan.masks {
            let done = self.mask(mount);
            required(mount, done, warn)?;
        }
        Ok(())
    }

    /// Makes the root filesystem the current directory.
    pub fn make_current(&self) -> Result<()> {
        nix::unistd::fchdir(&self.dir).call(|| "fchdir to the root filesystem".into())
    }

    /// Makes the directory `process.cwd` where it is missing.
    pub fn make_cwd(&self, cwd: &Path) -> Result<()> {
        if cwd == Path::new("/") {
            return Ok(());
        }
        let _umask = Umask::none();
        target::open_or_make(self.dir.as_fd(), cwd, Symlinks::Follow, || Ok(target::Make::Directory))
            .map(drop)
            .with_context(|| format!("make process.cwd {}", cwd.display()))
    }
}

/// Cuts the mount namespace off from the host's: nothing that we mount or unmount may reach it. Slave and not private:
/// what the host unmounts goes away here as well, and no device is kept busy while hooks run.
fn isolate() -> Result<()> {
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .call(|| "make / a recursive slave".into())
}

fn attach_root(plan: &Plan, root: BorrowedFd) -> Result<Place> {
    let path = &plan.rootfs.path;
    let (point, place) = open_point(path)?;
    ensure!(
        plan.root_change != RootChange::Chroot || place == Place::OwnPath,
        "root.path {}: without a mount namespace the host's own root would be covered",
        path.display()
    );
    move_mount(root, point.as_fd())
        .call(|| "move_mount".into())
        .with_context(|| format!("root.path {}", path.display()))?;
    Ok(place)
}

/// The directory that the root filesystem is attached to: its own path. Where the root of a user namespace may not go
/// there, or a joined namespace has no such path, `/` does as well: pivot_root(2) takes any mount below the old root.
fn open_point(path: &Path) -> Result<(OwnedFd, Place)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    if path.parent().is_some() {
        match open(path, flags, Mode::empty()) {
            Ok(point) => return Ok((point, Place::OwnPath)),
            Err(Errno::EACCES | Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| format!("open root.path {}", path.display())),
        }
    }
    Ok((open("/", flags, Mode::empty()).call(|| "open /".into())?, Place::Top))
}

/// Adds the operation's place to its error, or makes a warning of it where the plan allows that.
fn required(mount: &crate::plan::Mount, done: Result<()>, warn: &mut dyn FnMut(String)) -> Result<()> {
    use crate::plan::Requirement;
    let Err(error) = done.with_context(|| prepare::at(mount)) else { return Ok(()) };
    match mount.requirement {
        Requirement::Must => Err(error),
        Requirement::BestEffort(why) => {
            warn(format!("{error:#} (left out: {why})"));
            Ok(())
        }
    }
}

/// A umask of 0, so that modes are what they say; the old one comes back when this is dropped.
struct Umask(Mode);

impl Umask {
    fn none() -> Umask {
        Umask(umask(Mode::empty()))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        umask(self.0);
    }
}
