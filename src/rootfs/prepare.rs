//! Opens everything that mounts come from, as detached trees with their attributes set, while the process is still the
//! runtime: it has the host's mounts before it, the peer groups they are in, and its privileges.
//!
//! Knows nothing of targets. A runtime without CAP_SYS_ADMIN cannot clone mounts; then init opens the sources, once it
//! is root in its user namespace, from its copies of the host's mounts.

use super::attr::{self, Calls, Tree};
use super::order::{self, Cloning, Outstanding};
use super::{diagnose, idmap};
use crate::plan::devices::{Device, DeviceKind, MakeDevice};
use crate::plan::mounts::{Bind, MountIdMap};
use crate::plan::{Mount, MountOp, Plan, Requirement};
use crate::sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree_at_cwd};
use crate::sys::{Call, Errno, SyscallError};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::AT_FDCWD;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::fstat;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories that are open already, by the index of the mount in `plan.mounts` that they are the source of: no path
/// leads to them a second time.
pub type OpenSources = BTreeMap<usize, OwnedFd>;

/// The sources of all mounts, open. The runtime keeps its copy until init has gone ahead, then drops it.
#[derive(Debug)]
pub struct Prepared {
    /// `None`: init opens everything.
    pub(super) sources: Option<Sources>,
    /// For init, where it has to open everything.
    pub(super) open: OpenSources,
    pub(super) limit: Option<RaisedLimit>,
    needs_user_namespace: bool,
}

/// Detached trees.
#[derive(Debug)]
pub(super) struct Sources {
    pub root: OwnedFd,
    /// One for each of `plan.mounts`.
    pub trees: Vec<Source>,
    /// The mappings of new filesystems, too, have to be made here: init, in its pid namespace, does not know its
    /// children by the names that the host's `/proc` has for them.
    pub idmaps: idmap::Namespaces,
}

/// What a mount operation comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// It needs nothing, or has been carried out.
    Nothing,
    Tree(OwnedFd),
    /// Cloned by the runtime when it is its turn (`order`); what of it is open already.
    InTurn(Option<OwnedFd>),
    /// Not there yet: init opens it, once it is.
    Coming,
    /// It could not be opened, and is not indispensable: the error is told when it is its turn.
    Failed(anyhow::Error),
}

impl Source {
    /// The tree, once; `None` where the operation needs none.
    pub fn take(&mut self) -> Result<Option<OwnedFd>> {
        match std::mem::replace(self, Source::Nothing) {
            Source::Nothing => Ok(None),
            Source::Tree(tree) => Ok(Some(tree)),
            Source::InTurn(_) | Source::Coming => bail!("the source was not cloned"),
            Source::Failed(error) => Err(error),
        }
    }
}

impl Prepared {
    /// Opens the root filesystem and every source of `plan.mounts`, in the caller's mount namespace.
    ///
    /// Before the clone; nothing is attached anywhere, and all of it vanishes with the fds. Fails with the place in
    /// the config where a source is missing, is not what it has to be, or the kernel refuses its attributes.
    pub fn open(plan: &Plan) -> Result<Prepared> {
        Prepared::with_sources(plan, OpenSources::new(), &[], Cloning::AtOnce)
    }

    /// As [`Prepared::open`], with the sources of some binds open already, and those of others, which are `coming`
    /// directories or in them, left to [`super::Root::open_coming`]. Of what is cloned later, [`Prepared::rest`] is to be
    /// kept until init has asked for it.
    pub fn with_sources(plan: &Plan, open: OpenSources, coming: &[PathBuf], cloning: Cloning) -> Result<Prepared> {
        let limit = RaisedLimit::for_mounts(&plan.mounts)?;
        let sources = match Sources::open(plan, &open, coming, By::Fd, cloning) {
            Ok(sources) => Some(sources),
            Err(error) if may_not_clone(&error) => {
                ensure_no_idmap(plan)?;
                None
            }
            Err(error) => return Err(error),
        };
        let needs_user_namespace = plan.mounts.iter().any(|mount| of_container(mount).is_some());
        Ok(Prepared { sources, open, limit, needs_user_namespace })
    }

    /// Whether [`Prepared::map_ids`] has anything to do.
    pub fn needs_user_namespace(&self) -> bool {
        self.needs_user_namespace
    }

    /// Maps the ids of the mounts that are to have the mapping of the container's own user namespace.
    ///
    /// In the runtime, after the maps are written and before init goes on: init attaches the same trees.
    pub fn map_ids(&self, plan: &Plan, container_userns: BorrowedFd) -> Result<()> {
        let Some(sources) = &self.sources else { return Ok(()) };
        for (mount, tree) in plan.mounts.iter().zip(&sources.trees) {
            if let (Some(map), Source::Tree(tree)) = (of_container(mount), tree) {
                map_tree(tree.as_fd(), map, container_userns).with_context(|| at(mount))?;
            }
        }
        Ok(())
    }

    /// What the runtime keeps: the sources that it clones when init gets to them. All else is closed. `userns` is the
    /// container's user namespace, where [`Prepared::map_ids`] was called with it.
    pub fn rest(self, userns: Option<OwnedFd>) -> Outstanding {
        let (trees, idmaps) = self.sources.map(|sources| (sources.trees, sources.idmaps)).unwrap_or_default();
        Outstanding::new(trees, idmaps, userns, self.limit)
    }
}

impl Sources {
    /// From the mounts of the caller's own namespace: the runtime's, or init's where the runtime could not.
    pub fn open(plan: &Plan, opened: &OpenSources, coming: &[PathBuf], by: By, cloning: Cloning) -> Result<Sources> {
        let root = open_root(plan)?;
        let mut idmaps = idmap::Namespaces::default();
        let mut filesystem_before = false;
        let mut open = |(index, mount): (usize, &Mount)| {
            let opened = opened.get(&index).map(|fd| (fd.as_fd(), by));
            let later = cloning == Cloning::InTurn && filesystem_before && order::matters(plan, index);
            filesystem_before |= matches!(mount.op, MountOp::Fs(_));
            if is_coming(mount, coming) {
                return Ok(Source::Coming);
            }
            as_required(mount, open_source(plan, index, opened, later, &mut idmaps))
        };
        let trees = plan.mounts.iter().enumerate().map(&mut open).collect::<Result<_>>()?;
        Ok(Sources { root, trees, idmaps })
    }
}

/// In init: opens the sources that were not there before.
pub(super) fn open_coming(plan: &Plan, sources: &mut [Source], idmaps: &mut idmap::Namespaces) -> Result<()> {
    for (index, source) in sources.iter_mut().enumerate().filter(|(_, s)| matches!(s, Source::Coming)) {
        *source = as_required(&plan.mounts[index], open_source(plan, index, None, false, idmaps))?;
    }
    Ok(())
}

/// A source that could not be opened is an error now or, if the mount is not indispensable, when it is its turn.
fn as_required(mount: &Mount, source: Result<Source>) -> Result<Source> {
    match source {
        Err(error) if mount.requirement != Requirement::Must && !may_not_clone(&error) => Ok(Source::Failed(error)),
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

fn open_root(plan: &Plan) -> Result<OwnedFd> {
    let path = &plan.rootfs.path;
    // With the slash it has to be a directory.
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(b'/');
    let root = match open_tree_at_cwd(&bytes, OPEN_TREE_CLONE | AT_RECURSIVE) {
        Err(Errno::ENOTDIR) if path.is_file() => bail!("root.path {}: not a directory", path.display()),
        Err(Errno::ENOENT) => {
            let error = SyscallError { call: format!("open_tree {}", path.display()), errno: Errno::ENOENT };
            return Err(error).with_context(|| format!("root.path {} does not exist", path.display()));
        }
        result => result
            .call(|| "open_tree".into())
            .map_err(|e| diagnose::source(e, path))
            .with_context(|| format!("root.path {}", path.display()))?,
    };
    Calls::of_root(plan.rootfs.propagation)
        .apply(root.as_fd())
        .with_context(|| format!("root.path {}", path.display()))?;
    Ok(root)
}

fn open_source(
    plan: &Plan,
    index: usize,
    opened: Option<(BorrowedFd, By)>,
    later: bool,
    idmaps: &mut idmap::Namespaces,
) -> Result<Source> {
    // Made now, by the process that can.
    let mut make = |map: &Option<MountIdMap>| match map.as_ref().filter(|map| !map.of_container) {
        Some(map) => idmaps.get(map).map(drop),
        None => Ok(()),
    };
    match &plan.mounts[index].op {
        MountOp::Bind(bind) => {
            make(&bind.idmap)?;
            if later {
                let again = |(fd, _): (BorrowedFd, By)| fd.try_clone_to_owned();
                let again = opened.map(again).transpose().call(|| format!("dup {}", bind.source.display()))?;
                return Ok(Source::InTurn(again));
            }
            open_bind(bind, opened, attr::readonly_at_end(plan, index), idmaps).map(Source::Tree)
        }
        MountOp::Device(device) => match &device.make {
            MakeDevice::Bind(source) => open_node(source, device).map(Source::Tree),
            MakeDevice::Mknod => Ok(Source::Nothing),
        },
        MountOp::Fs(fs) => make(&fs.idmap).map(|()| Source::Nothing),
        _ => Ok(Source::Nothing),
    }
}

/// How a source that is open already is cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Fd,
    /// In another mount namespace than the fd's, where only the path has the mount (open_tree(2)); it has to lead to the
    /// very directory that is open.
    Path,
}

/// The tree, with what of `calls` is left to be done.
fn clone_source(
    bind: &Bind,
    opened: Option<(BorrowedFd, By)>,
    recursive: u32,
    calls: Calls,
) -> Result<(OwnedFd, Calls)> {
    let source = bind.source.display();
    if let Some((fd, By::Fd)) = opened {
        return calls
            .clone_tree(fd, b"", AT_EMPTY_PATH | recursive)
            .call(|| format!("open_tree {source}"))
            .map_err(|e| diagnose::source(e, &bind.source));
    }
    let (tree, left) = calls
        .clone_tree(AT_FDCWD, bind.source.as_os_str().as_bytes(), recursive)
        .call(|| format!("open_tree {source}"))
        .map_err(|e| diagnose::source(e, &bind.source))?;
    if let Some((fd, By::Path)) = opened {
        let identity =
            |fd: BorrowedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).call(|| format!("fstat {source}"));
        ensure!(identity(fd)? == identity(tree.as_fd())?, "{source} was exchanged while the container was created");
    }
    Ok((tree, left))
}

pub(super) fn open_bind(
    bind: &Bind,
    opened: Option<(BorrowedFd, By)>,
    readonly_at_end: bool,
    idmaps: &mut idmap::Namespaces,
) -> Result<OwnedFd> {
    let (depth, recursive) = if bind.recursive { (Tree::Recursive, AT_RECURSIVE) } else { (Tree::Top, 0) };
    let attr = if readonly_at_end { attr::writable(&bind.attr) } else { bind.attr };
    let (tree, left) = clone_source(bind, opened, recursive, Calls::new(&attr, bind.propagation, depth))?;
    left.apply(tree.as_fd())
        .map_err(|e| diagnose::locked(e, tree.as_fd(), bind.attr.clear | bind.attr.recursive_clear))?;
    if let Some(map) = bind.idmap.as_ref().filter(|map| !map.of_container) {
        map_tree(tree.as_fd(), map, idmaps.get(map)?)?;
    }
    Ok(tree)
}

/// A directory of the host as a detached tree, with the attributes and the propagation that are asked for.
///
/// For the drivers of volumes, which know no plan; an idmap is none of theirs.
pub fn clone_directory(bind: &Bind) -> Result<OwnedFd> {
    open_bind(bind, None, false, &mut idmap::Namespaces::default())
}

/// The host's device node, detached; it has to be the device that the config describes.
pub(super) fn open_node(source: &Path, device: &Device) -> Result<OwnedFd> {
    let node = open_tree_at_cwd(source.as_os_str().as_bytes(), OPEN_TREE_CLONE)
        .call(|| format!("open_tree {}", source.display()))
        .map_err(|e| diagnose::source(e, source))?;
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
