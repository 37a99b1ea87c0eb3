//! Where the sources of mounts are: on the host, or inside the root filesystem.
//!
//! A source is opened (O_PATH) once, and cloned from that fd when it is its turn. A path that leads into the root
//! filesystem is different: mounts that were made before are in its way, and the container's image decides what its links
//! say. From there on it is resolved as the container would, and cannot lead out (CVE-2017-1002101, CVE-2021-30465).

use super::target;
use crate::plan::Plan;
use crate::plan::mounts::Symlinks;
use crate::sys::path::mount_id_of;
use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The symbolic links on the way to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    None,
    Some,
    /// Links whose meaning depends on the process that follows them: `/proc/self`, `/dev/fd/3`, `/proc/1/root`.
    OfProcess,
}

/// A source as the runtime finds it on the host.
#[derive(Debug)]
pub struct Found {
    pub fd: OwnedFd,
    pub links: Links,
}

const PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Whether there is a symbolic link on the way to a source, as far as that leads.
pub fn has_links(path: &Path) -> bool {
    openat2(AT_FDCWD, path, without_links(PATH)).is_err_and(|errno| errno == Errno::ELOOP)
}

fn without_links(flags: OFlag) -> OpenHow {
    OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// Opens a source by its path. A filesystem that autofs mounts on demand is mounted by this.
pub fn find(path: &Path) -> nix::Result<Found> {
    // O_PATH alone does not trigger an automount; O_DIRECTORY does (openat(2)).
    let opened = match openat2(AT_FDCWD, path, without_links(PATH | OFlag::O_DIRECTORY)) {
        Err(Errno::ENOTDIR) => openat2(AT_FDCWD, path, without_links(PATH)),
        opened => opened,
    };
    match opened {
        Err(Errno::ELOOP) => follow(path),
        opened => opened.map(|fd| Found { fd, links: Links::None }),
    }
}

fn follow(path: &Path) -> nix::Result<Found> {
    let fd = match open(path, PATH | OFlag::O_DIRECTORY, Mode::empty()) {
        Err(Errno::ENOTDIR) => open(path, PATH, Mode::empty())?,
        opened => opened?,
    };
    let ordinary = OpenHow::new().flags(PATH).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let links = match openat2(AT_FDCWD, path, ordinary) {
        Err(Errno::ELOOP) => Links::OfProcess,
        Err(errno) => return Err(errno),
        // `/proc/self` is an ordinary link for the kernel.
        Ok(_) if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC => Links::OfProcess,
        Ok(_) => Links::Some,
    };
    Ok(Found { fd, links })
}

/// Whether a source may lead into the root filesystem, by what is cheap to see. Links and `..` lead anywhere.
pub fn may_lead_inside(plan: &Plan, root_links: Links, source: &Path, links: Links) -> bool {
    root_links != Links::None
        || links == Links::Some
        || source.starts_with(&plan.rootfs.path)
        || source.components().any(|part| part == Component::ParentDir)
}

/// Opens what a source's path leads to inside the root filesystem `root`, which is attached at its own path; `None` if the
/// path leads elsewhere.
pub fn find_inside(root: BorrowedFd, source: &Path) -> Result<Option<OwnedFd>> {
    let Some(path) = walk(root, source)? else { return Ok(None) };
    target::open(root, &path, Symlinks::Follow)
        .call(|| format!("openat2 {} in the root filesystem", path.display()))
        .map(Some)
}

/// The limit of the kernel (MAXSYMLINKS).
const MAX_LINKS: u32 = 40;

/// Walks down from `/` until a component is the directory `root`; returns what of the path is left there.
///
/// `None` also where the path does not lead on: it was opened before, and that error is the one to report.
fn walk(root: BorrowedFd, source: &Path) -> Result<Option<PathBuf>> {
    let root_mount = mount_id_of(root).call(|| "statx the root filesystem".into())?;
    let top = open("/", PATH | OFlag::O_DIRECTORY, Mode::empty()).call(|| "open /".into())?;
    let (mut above, mut rest, mut links) = (Vec::<OwnedFd>::new(), Vec::new(), 0);
    push(&mut rest, source);
    loop {
        let inside = match above.last() {
            Some(here) => mount_id_of(here.as_fd()).call(|| "statx a source".into())? == root_mount,
            None => false,
        };
        if inside && rest.last().is_none_or(|next| next != "..") {
            return Ok(Some(rest.iter().rev().collect()));
        }
        let Some(name) = rest.pop() else { return Ok(None) };
        if name == ".." {
            above.pop();
            continue;
        }
        let here = above.last().map_or(top.as_fd(), |fd| fd.as_fd());
        let Ok(next) = openat(here, name.as_os_str(), PATH | OFlag::O_NOFOLLOW, Mode::empty()) else {
            return Ok(None);
        };
        if fstat(&next).call(|| "fstat a source".into())?.st_mode & libc::S_IFMT != libc::S_IFLNK {
            above.push(next);
            continue;
        }
        links += 1;
        let Some(text) = (links <= MAX_LINKS).then(|| readlinkat(&next, "").ok()).flatten() else { return Ok(None) };
        let text = PathBuf::from(text);
        if text.has_root() {
            above.clear();
        }
        push(&mut rest, &text);
    }
}

/// Puts the components of `path` in front of what is still to be walked, the next one last.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    rest.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}
