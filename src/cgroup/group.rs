//! One directory of one hierarchy, reached from the hierarchy's root.

use crate::sys::path::open_beneath;
use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A cgroup that may or may not exist: the root of its hierarchy and the path below.
#[derive(Debug)]
pub struct Group {
    root: OwnedFd,
    /// Below `root`, without a leading slash; never empty, never with `..`.
    path: PathBuf,
    /// For messages.
    shown: PathBuf,
}

/// Opens the directory of a hierarchy below the place where cgroups are mounted; "" is that place itself.
pub fn open_hierarchy(mounts: BorrowedFd, directory: &str) -> nix::Result<OwnedFd> {
    let directory = if directory.is_empty() { "." } else { directory };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(mounts, directory, flags, Mode::empty())
}

impl Group {
    /// `hierarchy` is the hierarchy's path on the host, for messages only.
    pub fn new(root: OwnedFd, hierarchy: &Path, path: &Path) -> Group {
        Group { root, path: path.to_path_buf(), shown: hierarchy.join(path) }
    }

    /// The same cgroup for another owner.
    pub fn again(&self) -> Result<Group> {
        let root = self.root.try_clone().call(|| "dup a cgroup hierarchy".into())?;
        Ok(Group { root, path: self.path.clone(), shown: self.shown.clone() })
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path on the host.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The directory, as an `O_PATH` fd; ENOENT when the cgroup is not there.
    pub fn directory(&self) -> nix::Result<OwnedFd> {
        open_beneath(self.root(), &self.path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    pub fn exists(&self) -> Result<bool> {
        self.has(&self.path)
    }

    /// Whether `path` is there, below the hierarchy's root as [`Group::path`] is. A cgroup filesystem has no links.
    pub fn has(&self, path: &Path) -> Result<bool> {
        match fstatat(&self.root, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(e).call(|| format!("stat {} for cgroup {}", path.display(), self.shown.display())),
        }
    }

    pub fn open(&self, file: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        open_beneath(self.root(), &self.path.join(file), flags)
    }

    pub fn read(&self, file: &str) -> nix::Result<String> {
        read(self.root(), &self.path.join(file))
    }

    pub fn try_write(&self, file: &str, value: &str) -> nix::Result<()> {
        write(self.root(), &self.path.join(file), value)
    }
}

/// The whole text of a cgroup file beneath `dir`.
pub fn read(dir: BorrowedFd, path: &Path) -> nix::Result<String> {
    let file = open_beneath(dir, path, OFlag::O_RDONLY)?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match nix::unistd::read(&file, &mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// One `write(2)` of the whole value: the kernel parses each write on its own.
pub fn write(dir: BorrowedFd, path: &Path, value: &str) -> nix::Result<()> {
    let file = open_beneath(dir, path, OFlag::O_WRONLY)?;
    nix::unistd::write(&file, value.as_bytes()).map(drop)
}

/// The value of `key` in a file of `key value` lines, such as `cgroup.events`.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}
