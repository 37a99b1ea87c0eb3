//! The sources of all mounts: what the runtime looks at and clones before init is there, and what init opens.
//!
//! Init clones a source in its own mount namespace when it is its turn, so that the source has the mounts that were made
//! before, and the kernel's table has the listed order (since Linux 6.8 it is sorted by when a mount was cloned). A mount
//! can only be cloned in the namespace that it is in. What init cannot reach, or may not clone, the runtime therefore
//! clones before ([`cloner`], [`by_runtime`]). Knows nothing of targets.

use super::attr::{self, Calls, Tree};
use super::source::{self, Links};
use super::{diagnose, idmap};
use crate::plan::devices::{Device, DeviceKind, MakeDevice};
use crate::plan::mounts::{Bind, MountIdMap};
use crate::plan::namespaces::Namespace;
use crate::plan::options::{Propagation, PropagationKind};
use crate::plan::{Mount, MountOp, Plan, Requirement};
use crate::sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree, open_tree_at_cwd};
use crate::sys::{Call, Errno, SyscallError, errno_of};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fstat};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories that the runtime has opened already (volumes), by the index of the mount in `plan.mounts`.
pub type OpenSources = BTreeMap<usize, OpenSource>;

/// A directory that is open, and its path, by which init finds it in its own mount namespace. What init finds must be the
/// same directory.
#[derive(Debug)]
pub struct OpenSource {
    pub fd: OwnedFd,
    pub path: PathBuf,
}

/// Who clones the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloner {
    Runtime,
    /// Init, in the mount namespace that is made for it.
    Init,
}

/// The sources of all mounts. The runtime keeps its copy until init may go on.
#[derive(Debug)]
pub struct Prepared {
    /// The root filesystem as a detached tree; `None`: init clones it.
    pub(super) root: Option<OwnedFd>,
    /// One for each of `plan.mounts`.
    pub(super) sources: Vec<Source>,
    /// Which of the sources may lead into the root filesystem.
    pub(super) may_lead_inside: Vec<bool>,
    pub(super) open: OpenSources,
    /// The mappings of new filesystems, too, have to be made in the runtime: init, in its pid namespace, does not know its
    /// children by the names that the host's `/proc` has for them.
    pub(super) idmaps: idmap::Namespaces,
    pub(super) limit: Option<RaisedLimit>,
    needs_user_namespace: bool,
}

/// What a mount operation comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// It needs nothing, or has been carried out.
    Nothing,
    /// A detached tree that the runtime has cloned.
    Tree(OwnedFd),
    /// Init opens it, before it attaches anything.
    Host,
    /// Opened by init, which clones it when it is its turn.
    Opened(OwnedFd),
    /// The runtime has still to make it (the cgroup's directory); init opens it then.
    Coming,
    /// It could not be opened: the error is reported when it is its turn.
    Failed(anyhow::Error),
}

impl Prepared {
    /// Looks at the root filesystem and every source of `plan.mounts`, in the caller's mount namespace, and clones what
    /// init will not.
    ///
    /// Nothing is attached anywhere, and all of it vanishes with the fds. Fails with the place in the config where a source
    /// is missing, is not what it has to be, or the kernel refuses its attributes. `open` are sources that are open
    /// already; those in or below the directories `coming` are left to [`super::Root::open_coming`].
    /// What is not as the config asks goes to `warn`.
    pub fn for_init(
        plan: &Plan,
        open: OpenSources,
        coming: &[PathBuf],
        warn: &mut dyn FnMut(String),
    ) -> Result<Prepared> {
        Prepared::new(plan, open, coming, cloner(plan), warn)
    }

    /// As [`Prepared::for_init`], with everything cloned by the caller.
    pub fn cloned(plan: &Plan, open: OpenSources, warn: &mut dyn FnMut(String)) -> Result<Prepared> {
        Prepared::new(plan, open, &[], Cloner::Runtime, warn)
    }

    fn new(
        plan: &Plan,
        open: OpenSources,
        coming: &[PathBuf],
        cloner: Cloner,
        warn: &mut dyn FnMut(String),
    ) -> Result<Prepared> {
        let limit = RaisedLimit::for_mounts(&plan.mounts)?;
        let mut prepared = Prepared {
            root: None,
            sources: Vec::with_capacity(plan.mounts.len()),
            may_lead_inside: Vec::with_capacity(plan.mounts.len()),
            open,
            idmaps: idmap::Namespaces::default(),
            limit,
            needs_user_namespace: plan.mounts.iter().any(|mount| of_container(mount).is_some()),
        };
        match prepared.fill(plan, coming, cloner, warn) {
            // A runtime without CAP_SYS_ADMIN cannot clone; init can, as root of its user namespace.
            Err(error) if cloner == Cloner::Runtime && may_not_clone(&error) => {
                ensure_no_idmap(plan)?;
                prepared.fill(plan, coming, Cloner::Init, warn)?;
            }
            filled => filled?,
        }
        Ok(prepared)
    }

    fn fill(&mut self, plan: &Plan, coming: &[PathBuf], cloner: Cloner, warn: &mut dyn FnMut(String)) -> Result<()> {
        self.sources.clear();
        self.may_lead_inside.clear();
        let root = find_root(plan)?;
        self.root = match cloner {
            Cloner::Runtime => Some(clone_root(plan, root.fd.as_fd())?),
            Cloner::Init => None,
        };
        for (index, mount) in plan.mounts.iter().enumerate() {
            let (source, links) = match is_coming(mount, coming) {
                true => (Ok(Source::Coming), Links::None),
                false => self.look_at(plan, index, cloner, warn),
            };
            let inside = !self.open.contains_key(&index)
                && host_path(mount).is_some_and(|path| source::may_lead_inside(plan, root.links, path, links));
            self.sources.push(as_required(mount, inside, source)?);
            self.may_lead_inside.push(inside);
        }
        Ok(())
    }

    /// Sees whether one source is there, and clones it if init does not.
    fn look_at(
        &mut self,
        plan: &Plan,
        index: usize,
        cloner: Cloner,
        warn: &mut dyn FnMut(String),
    ) -> (Result<Source>, Links) {
        if let Err(error) = self.make_idmap(&plan.mounts[index]) {
            return (Err(error), Links::None);
        }
        let mount = &plan.mounts[index];
        let Some(path) = host_path(mount) else { return (Ok(Source::Nothing), Links::None) };
        if let Some(open) = self.open.get(&index) {
            return match cloner {
                Cloner::Init => (Ok(Source::Host), Links::None),
                Cloner::Runtime => {
                    (clone_source(plan, index, open.fd.as_fd(), &mut self.idmaps, warn).map(Source::Tree), Links::None)
                }
            };
        }
        let found = match source::find(path) {
            Ok(found) => found,
            Err(errno) => {
                // A link may lead to where an earlier mount brings something.
                let links = if source::has_links(path) { Links::Some } else { Links::None };
                let error = Err::<(), _>(errno).call(|| format!("open {}", path.display())).unwrap_err();
                return (Err(diagnose::source(error, path)), links);
            }
        };
        let source = match cloner {
            Cloner::Init if !by_runtime(plan, mount, found.links) => Ok(Source::Host),
            _ => clone_source(plan, index, found.fd.as_fd(), &mut self.idmaps, warn).map(Source::Tree),
        };
        match source {
            // Rootless; init follows the links itself.
            Err(error) if cloner == Cloner::Init && may_not_clone(&error) => (Ok(Source::Host), found.links),
            source => (source, found.links),
        }
    }

    /// Made now, by the process that can.
    fn make_idmap(&mut self, mount: &Mount) -> Result<()> {
        let map = match &mount.op {
            MountOp::Bind(bind) => &bind.idmap,
            MountOp::Fs(fs) => &fs.idmap,
            _ => return Ok(()),
        };
        match map.as_ref().filter(|map| !map.of_container) {
            Some(map) => self.idmaps.get(map).map(drop).with_context(|| at(mount)),
            None => Ok(()),
        }
    }

    /// Whether [`Prepared::map_ids`] has anything to do.
    pub fn needs_user_namespace(&self) -> bool {
        self.needs_user_namespace
    }

    /// Maps the ids of the mounts that are to have the mapping of the container's own user namespace.
    ///
    /// In the runtime, after the maps are written and before init goes on: init attaches the same trees.
    pub fn map_ids(&self, plan: &Plan, container_userns: BorrowedFd) -> Result<()> {
        for (mount, source) in plan.mounts.iter().zip(&self.sources) {
            if let (Some(map), Source::Tree(tree)) = (of_container(mount), source) {
                map_tree(tree.as_fd(), map, container_userns).with_context(|| at(mount))?;
            }
        }
        Ok(())
    }
}

/// Init clones the sources in a mount namespace that is made for it. With a user namespace that one has locked copies of
/// the host's mounts, which cannot be cloned without what is mounted below them (mount_namespaces(7)); and in a namespace
/// that is joined or shared the sources are not the host's, or cannot be cut off from it.
fn cloner(plan: &Plan) -> Cloner {
    match plan.namespaces.user == Namespace::Inherit && plan.namespaces.mount == Namespace::New {
        true => Cloner::Init,
        false => Cloner::Runtime,
    }
}

/// Whether the runtime clones this source although init clones the others: its path means something else in init, or it is
/// to stay in the host's peer group, as the root filesystem's propagation allows.
fn by_runtime(plan: &Plan, mount: &Mount, links: Links) -> bool {
    let is_shared = |propagation: &Propagation| propagation.kind == PropagationKind::Shared;
    links == Links::OfProcess
        || (plan.rootfs.propagation.as_ref().is_some_and(is_shared)
            && matches!(&mount.op, MountOp::Bind(bind) if is_shared(&bind.propagation)))
}

/// In init, in its own mount namespace: opens the sources that are there, before anything is attached.
pub(super) fn open_sources(plan: &Plan, prepared: &mut Prepared) -> Result<()> {
    for (index, source) in prepared.sources.iter_mut().enumerate() {
        if matches!(source, Source::Host) {
            let mount = &plan.mounts[index];
            let opened = open_source(mount, prepared.open.get(&index)).map(Source::Opened);
            *source = as_required(mount, prepared.may_lead_inside[index], opened)?;
        }
    }
    Ok(())
}

/// In init: opens the sources that were not there before.
pub(super) fn open_coming(plan: &Plan, sources: &mut [Source]) -> Result<()> {
    for (mount, source) in plan.mounts.iter().zip(sources) {
        if matches!(source, Source::Coming) {
            *source = as_required(mount, false, open_source(mount, None).map(Source::Opened))?;
        }
    }
    Ok(())
}

fn open_source(mount: &Mount, known: Option<&OpenSource>) -> Result<OwnedFd> {
    let path = match known {
        Some(known) => &known.path,
        None => host_path(mount).context("a mount without a source")?,
    };
    let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open {}", path.display()))
        .map_err(|e| diagnose::source(e, path))?;
    if let Some(known) = known {
        let identity = |fd: BorrowedFd| {
            fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).call(|| format!("fstat {}", path.display()))
        };
        ensure!(
            identity(known.fd.as_fd())? == identity(fd.as_fd())?,
            "{} was exchanged while the container was created",
            path.display()
        );
    }
    Ok(fd)
}

/// A source that could not be opened is an error now or, if the mount is not indispensable or an earlier one may bring the
/// source in, when it is its turn.
fn as_required(mount: &Mount, may_come: bool, source: Result<Source>) -> Result<Source> {
    match source {
        Err(error) if (mount.requirement != Requirement::Must || may_come) && !may_not_clone(&error) => {
            Ok(Source::Failed(error))
        }
        source => source.with_context(|| at(mount)),
    }
}

fn is_coming(mount: &Mount, coming: &[PathBuf]) -> bool {
    let MountOp::Bind(bind) = &mount.op else { return false };
    // Both as the plan has them, without `.` and double slashes: the bytes tell.
    let source = bind.source.as_os_str().as_bytes();
    let is_in = |rest: &[u8]| rest.is_empty() || rest[0] == b'/';
    coming.iter().any(|directory| source.strip_prefix(directory.as_os_str().as_bytes()).is_some_and(is_in))
}

/// The path on the host that a mount comes from, if it comes from one.
pub(super) fn host_path(mount: &Mount) -> Option<&Path> {
    match &mount.op {
        MountOp::Bind(bind) => Some(&bind.source),
        MountOp::Device(Device { make: MakeDevice::Bind(source), .. }) => Some(source),
        _ => None,
    }
}

/// Clones what `plan.mounts[index]` comes from, in the mount namespace that the fd was opened in.
pub(super) fn clone_source(
    plan: &Plan,
    index: usize,
    fd: BorrowedFd,
    idmaps: &mut idmap::Namespaces,
    warn: &mut dyn FnMut(String),
) -> Result<OwnedFd> {
    match &plan.mounts[index].op {
        MountOp::Bind(bind) => {
            let mut warn = |text: String| warn(format!("{}: {text}", at(&plan.mounts[index])));
            clone_bind(bind, fd, attr::readonly_at_end(plan, index), idmaps, &mut warn)
        }
        MountOp::Device(device @ Device { make: MakeDevice::Bind(source), .. }) => clone_node(source, fd, device),
        _ => bail!("a mount without a source"),
    }
}

/// `mounts[3] /data`: where an operation stands in the config, and its target.
pub(super) fn at(mount: &Mount) -> String {
    format!("{} {}", mount.place, mount.target.path.display())
}

/// The mapping of a bind that is to be that of the container's user namespace. A new filesystem needs none: made in
/// that namespace, it has its ids already.
pub(super) fn of_container(mount: &Mount) -> Option<&MountIdMap> {
    match &mount.op {
        MountOp::Bind(bind) => bind.idmap.as_ref().filter(|map| map.of_container),
        _ => None,
    }
}

pub(super) fn map_tree(tree: BorrowedFd, map: &MountIdMap, namespace: BorrowedFd) -> Result<()> {
    let depth = if map.recursive { Tree::Recursive } else { Tree::Top };
    attr::map_ids(tree, namespace, depth).call(|| "mount_setattr idmap".into()).map_err(|e| diagnose::idmap(e, tree))
}

/// The failure is for want of CAP_SYS_ADMIN over the mount namespace.
fn may_not_clone(error: &anyhow::Error) -> bool {
    crate::sys::errno_of(error) == Some(Errno::EPERM)
        && open_tree_at_cwd(b"/", OPEN_TREE_CLONE).is_err_and(|errno| errno == Errno::EPERM)
}

fn ensure_no_idmap(plan: &Plan) -> Result<()> {
    for mount in &plan.mounts {
        let idmap = match &mount.op {
            MountOp::Bind(bind) => &bind.idmap,
            MountOp::Fs(fs) => &fs.idmap,
            _ => continue,
        };
        ensure!(
            idmap.is_none(),
            "{}: an idmapped mount needs CAP_SYS_ADMIN in the user namespace of the host's mounts",
            at(mount)
        );
    }
    Ok(())
}

/// The root filesystem's directory, as the runtime and init find it by its path.
pub(super) fn find_root(plan: &Plan) -> Result<source::Found> {
    let path = &plan.rootfs.path;
    // With the slash it has to be a directory.
    let mut slashed = path.as_os_str().to_owned();
    slashed.push("/");
    match source::find(Path::new(&slashed)) {
        Err(Errno::ENOTDIR) if path.is_file() => bail!("root.path {}: not a directory", path.display()),
        Err(Errno::ENOENT) => {
            let error = SyscallError { call: format!("open {}", path.display()), errno: Errno::ENOENT };
            Err(error).with_context(|| format!("root.path {} does not exist", path.display()))
        }
        found => found
            .call(|| "open".into())
            .map_err(|e| diagnose::source(e, path))
            .with_context(|| format!("root.path {}", path.display())),
    }
}

/// The root filesystem as a detached tree, with the propagation that it has until the root is changed.
pub(super) fn clone_root(plan: &Plan, directory: BorrowedFd) -> Result<OwnedFd> {
    let path = &plan.rootfs.path;
    let clone = || -> Result<OwnedFd> {
        let tree = open_tree(directory, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
            .call(|| "open_tree".into())
            .map_err(|e| diagnose::clone(e, path))?;
        Calls::of_root(plan.rootfs.propagation).apply(tree.as_fd())?;
        Ok(tree)
    };
    clone().with_context(|| format!("root.path {}", path.display()))
}

fn clone_bind(
    bind: &Bind,
    source: BorrowedFd,
    readonly_at_end: bool,
    idmaps: &mut idmap::Namespaces,
    warn: &mut dyn FnMut(String),
) -> Result<OwnedFd> {
    let (depth, recursive) = if bind.recursive { (Tree::Recursive, AT_RECURSIVE) } else { (Tree::Top, 0) };
    let attr = if readonly_at_end { attr::writable(&bind.attr) } else { bind.attr };
    let (tree, left) = Calls::new(&attr, bind.propagation, depth)
        .clone_tree(source, b"", AT_EMPTY_PATH | recursive)
        .call(|| format!("open_tree {}", bind.source.display()))
        .map_err(|e| diagnose::clone(e, &bind.source))?;
    if let Err(error) = left.apply(tree.as_fd()) {
        let locked = attr::without_locked(tree.as_fd(), &attr).filter(|_| errno_of(&error) == Some(Errno::EPERM));
        let error = diagnose::locked(error, tree.as_fd(), bind.attr.clear | bind.attr.recursive_clear);
        let Some(possible) = locked else { return Err(error) };
        Calls::new(&possible, bind.propagation, depth).apply(tree.as_fd())?;
        attr::ensure_set(tree.as_fd(), &attr)?;
        warn(format!("{error:#}; it stays so"));
    }
    if let Some(map) = bind.idmap.as_ref().filter(|map| !map.of_container) {
        map_tree(tree.as_fd(), map, idmaps.get(map)?)?;
    }
    Ok(tree)
}

/// A directory of the host as a detached tree, with the attributes and the propagation that are asked for.
///
/// For the drivers of volumes, which know no plan; an idmap is none of theirs.
pub fn clone_directory(bind: &Bind) -> Result<OwnedFd> {
    let found = source::find(&bind.source)
        .call(|| format!("open {}", bind.source.display()))
        .map_err(|e| diagnose::source(e, &bind.source))?;
    clone_bind(bind, found.fd.as_fd(), false, &mut idmap::Namespaces::default(), &mut |_| ())
}

/// The host's node of a device that could not be made, as its path leads to it; see [`clone_node`].
pub(super) fn open_node(source: &Path, device: &Device) -> Result<OwnedFd> {
    let opened = open(source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open {}", source.display()))
        .map_err(|e| diagnose::source(e, source))?;
    clone_node(source, opened.as_fd(), device)
}

/// The host's device node, detached; it has to be the device that the config describes.
fn clone_node(source: &Path, opened: BorrowedFd, device: &Device) -> Result<OwnedFd> {
    let node = open_tree(opened, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        .call(|| format!("open_tree {}", source.display()))
        .map_err(|e| diagnose::clone(e, source))?;
    let stat = fstat(&node).call(|| format!("fstat {}", source.display()))?;
    let kind = match device.kind {
        DeviceKind::Char => libc::S_IFCHR,
        DeviceKind::Block => libc::S_IFBLK,
        DeviceKind::Fifo => libc::S_IFIFO,
    };
    let same_number = device.kind == DeviceKind::Fifo
        || (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) == (device.major, device.minor);
    ensure!(
        stat.st_mode & libc::S_IFMT == kind && same_number,
        "{} on the host is not the {:?} device {}:{}",
        source.display(),
        device.kind,
        device.major,
        device.minor
    );
    Ok(node)
}

/// A soft RLIMIT_NOFILE that is raised while the sources are open; the old one comes back when this is dropped.
#[derive(Debug)]
pub(super) struct RaisedLimit {
    soft: u64,
    hard: u64,
}

impl RaisedLimit {
    /// Fds that are open besides the sources, at most.
    const OTHERS: u64 = 128;
    /// No usual limit is below this.
    const FEW: u64 = 200;

    fn for_mounts(mounts: &[Mount]) -> Result<Option<RaisedLimit>> {
        let sources = mounts.iter().filter(|m| matches!(m.op, MountOp::Bind(_) | MountOp::Device(_))).count() as u64;
        if sources < Self::FEW {
            return Ok(None);
        }
        let needed = sources + Self::OTHERS;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).call(|| "getrlimit RLIMIT_NOFILE".into())?;
        if soft >= needed {
            return Ok(None);
        }
        ensure!(
            hard >= needed,
            "{sources} mount sources need {needed} file descriptors, but the hard limit (RLIMIT_NOFILE) is {hard}"
        );
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard).call(|| format!("setrlimit RLIMIT_NOFILE {needed}"))?;
        Ok(Some(RaisedLimit { soft, hard }))
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        // Lowering a soft limit of ours cannot fail.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
    }
}
