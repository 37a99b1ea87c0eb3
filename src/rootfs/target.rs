//! Where a mount goes: paths of the container, resolved and made only through the fd of its root.
//!
//! What exists is found with one openat2(2) (`RESOLVE_IN_ROOT`). What is missing is made component by component on
//! O_PATH fds, each opened with O_NOFOLLOW and links resolved here, so that another process that exchanges directories
//! and links meanwhile never leads outside (CVE-2024-45310). Knows nothing of mounts.

use crate::plan::mounts::Symlinks;
use crate::sys::{self, Call, Errno};
use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// What a missing target becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// A directory of mode 0755, its parents too.
    Directory,
    /// An empty file of mode 0644; its parents are directories.
    File,
}

const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);
/// The limit of the kernel (MAXSYMLINKS).
const MAX_LINKS: u32 = 40;
/// How often one component may vanish or change under our hands before that is an error.
const MAX_RACES: u32 = 128;

/// Opens what is there, as an O_PATH fd on top of all mounts.
pub fn open(root: BorrowedFd, path: &Path, symlinks: Symlinks) -> nix::Result<OwnedFd> {
    sys::path::open_in_root(root, path, OFlag::O_PATH, how(symlinks))
}

/// Opens the target and makes it first where it is missing (`make` is asked only then).
/// The modes hold if the umask is 0.
pub fn open_or_make(
    root: BorrowedFd,
    path: &Path,
    symlinks: Symlinks,
    make: impl FnOnce() -> Result<Make>,
) -> Result<OwnedFd> {
    match open(root, path, symlinks) {
        Err(Errno::ENOENT) => {
            let make = make()?;
            match make_last(root, path, symlinks, make) {
                Ok(made) => Ok(made),
                Err(_) => Walk::new(root, path, symlinks).run(make),
            }
        }
        result => result.call(|| format!("openat2 {}", path.display())),
    }
}

/// The directory that holds the last component of `path`, made where it is missing, and that component.
pub fn open_parent<'p>(root: BorrowedFd, path: &'p Path, symlinks: Symlinks) -> Result<(OwnedFd, &'p OsStr)> {
    let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok((open_or_make(root, parent, symlinks, || Ok(Make::Directory))?, name))
}

/// The common case: only the last component is missing. On any failure nothing is lost, the walk finds out.
fn make_last(root: BorrowedFd, path: &Path, symlinks: Symlinks, make: Make) -> nix::Result<OwnedFd> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    let parent = open(root, path.parent().unwrap_or(Path::new("/")), symlinks)?;
    make_in(parent.as_fd(), name, make)
}

/// Makes `name`, which nothing has yet, in an open directory.
pub fn make_in(parent: BorrowedFd, name: &OsStr, make: Make) -> nix::Result<OwnedFd> {
    match make {
        Make::Directory => {
            mkdirat(parent, name, DIRECTORY_MODE)?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            openat(parent, name, flags, Mode::empty())
        }
        Make::File => create(parent, name),
    }
}

/// A new, empty file. EEXIST where the name is taken, be it by a dangling link.
fn create(parent: BorrowedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, FILE_MODE)
}

fn how(symlinks: Symlinks) -> sys::path::Symlinks {
    match symlinks {
        Symlinks::Follow => sys::path::Symlinks::Follow,
        Symlinks::Refuse => sys::path::Symlinks::Refuse,
    }
}

/// A walk down from the root that makes what is missing.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// The directories from below the root to where we are. `..` goes back along it and never asks the kernel,
    /// so a directory that is moved away meanwhile does not change what is above.
    above: Vec<OwnedFd>,
    /// What is still to be walked, the next component last.
    rest: Vec<OsString>,
    /// Where we are, for messages.
    place: PathBuf,
    symlinks: Symlinks,
    links: u32,
}

impl<'r> Walk<'r> {
    fn new(root: BorrowedFd<'r>, path: &Path, symlinks: Symlinks) -> Walk<'r> {
        let mut walk =
            Walk { root, above: Vec::new(), rest: Vec::new(), place: PathBuf::from("/"), symlinks, links: 0 };
        walk.push(path);
        walk
    }

    /// Puts the components of `path` in front of what is still to be walked.
    fn push(&mut self, path: &Path) {
        if path.has_root() {
            self.above.clear();
            self.place = PathBuf::from("/");
        }
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.rest.push(name.to_owned()),
                Component::ParentDir => self.rest.push("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, |fd| fd.as_fd())
    }

    fn run(mut self, make: Make) -> Result<OwnedFd> {
        let mut races = 0;
        while let Some(name) = self.rest.pop() {
            if name == ".." {
                self.above.pop();
                self.place.pop();
                continue;
            }
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            match openat(self.here(), name.as_os_str(), flags, Mode::empty()) {
                Ok(fd) => {
                    races = 0;
                    self.enter(fd, name)?;
                }
                Err(Errno::ENOENT) if races < MAX_RACES => {
                    races += 1;
                    self.make(&name, if self.rest.is_empty() { make } else { Make::Directory })?;
                    self.rest.push(name);
                }
                Err(errno) => return Err(errno).call(|| format!("openat {}", self.place.join(&name).display())),
            }
        }
        match self.above.pop() {
            Some(fd) => Ok(fd),
            None => self.root.try_clone_to_owned().call(|| "dup the root directory".into()),
        }
    }

    /// Goes into what `name` is, or, if it is a link, to where that points.
    fn enter(&mut self, fd: OwnedFd, name: OsString) -> Result<()> {
        let path = || self.place.join(&name).display().to_string();
        let stat = fstat(&fd).call(|| format!("fstat {}", path()))?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => {
                self.links += 1;
                if self.symlinks == Symlinks::Refuse || self.links > MAX_LINKS {
                    return Err(Errno::ELOOP).call(|| format!("resolve {}", path()));
                }
                let text = readlinkat(&fd, "").call(|| format!("readlink {}", path()))?;
                self.push(Path::new(&text));
            }
            libc::S_IFDIR => {
                self.place.push(&name);
                self.above.push(fd);
            }
            _ if self.rest.is_empty() => self.above.push(fd),
            _ => bail!(sys::SyscallError { call: format!("resolve {}", path()), errno: Errno::ENOTDIR }),
        }
        Ok(())
    }

    /// Makes `name` here. That it exists by now is as good: the caller looks again.
    fn make(&self, name: &OsStr, make: Make) -> Result<()> {
        let (call, made) = match make {
            Make::Directory => ("mkdirat", mkdirat(self.here(), name, DIRECTORY_MODE)),
            Make::File => ("create", create(self.here(), name).map(drop)),
        };
        match made {
            Err(Errno::EEXIST) => Ok(()),
            result => result.call(|| format!("{call} {}", self.place.join(name).display())),
        }
    }
}
