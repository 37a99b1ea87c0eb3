//! The state directory: one directory a container, each file in it written whole.
//!
//! `<root>/<id>/` is locked (flock on the directory itself) by whoever changes the container. `container.json` is
//! written before the first side effect of `create` and is what `delete` works from; `init.json` is written when init is
//! ready. Status is derived from what is, never stored. Knows nothing of how containers are made.

mod status;

pub use crate::sys::procstat::start_time;
pub use status::Look;

use crate::holder::Holder;
use crate::sys::alarm::lock_within;
use crate::sys::file::{Lock, lock};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for another one that works on the same container.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The file of an intent: another one when that has been written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    inode: u64,
    changed: (i64, i64),
}

/// The container's first process. A pid alone may be reused; with its start time it is one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitRecord {
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

/// Init listens here until it executes the program.
pub const START_SOCKET: &str = "start.sock";
const RECORD: &str = "container.json";
const INIT: &str = "init.json";
const FILTER: &str = "seccomp.bpf";

/// The directory that holds all containers' directories.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// A container's directory.
#[derive(Debug)]
pub struct Entry {
    id: String,
    /// With [`Access::Change`] it holds the lock, which ends when the last copy of the fd is closed.
    dir: OwnedFd,
    root: PathBuf,
    access: Access,
}

/// Whether an [`Entry`] is opened to look or to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No lock: reads what is there now.
    Read,
    /// Waits for the exclusive lock, at most [`LOCK_PATIENCE`].
    Change,
}

impl Store {
    pub fn new(root: PathBuf) -> Store {
        Store { root }
    }

    /// Makes the directory of a new container and locks it. An id that is taken is an error.
    pub fn create(&self, id: &str) -> Result<Entry> {
        let path = self.root.join(id);
        let made = match mkdir_private(&path) {
            Err(Errno::ENOENT) => {
                make_root(&self.root)?;
                mkdir_private(&path)
            }
            result => result,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EEXIST) => bail!("container with id exists: {id}"),
            Err(errno) => return Err(errno).call(|| format!("mkdir {}", path.display())),
        }
        self.lock_new(id).inspect_err(|_| {
            // Empty, and nobody's if it is not ours any more; the first error is the one to tell.
            let _ = unlinkat(nix::fcntl::AT_FDCWD, &path, UnlinkatFlags::RemoveDir);
        })
    }

    fn lock_new(&self, id: &str) -> Result<Entry> {
        let entry = self.entry(id, Access::Change, LOCK_PATIENCE)?;
        // Between the mkdir and the lock a `delete --force` may have taken the directory away again.
        if !entry.is_linked() {
            bail!("container {id} was deleted while it was created");
        }
        Ok(entry)
    }

    /// The directory of an existing container. An error of type [`Busy`] if another command keeps its lock.
    pub fn open(&self, id: &str, access: Access) -> Result<Entry> {
        self.open_within(id, access, LOCK_PATIENCE)
    }

    /// As [`Store::open`], with another time to wait for the lock.
    pub fn open_within(&self, id: &str, access: Access, patience: Duration) -> Result<Entry> {
        check_id(id)?;
        loop {
            let entry = self.entry(id, access, patience)?;
            // Whoever held the lock may have deleted the container.
            if access == Access::Read || entry.is_linked() {
                return Ok(entry);
            }
        }
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut dir = match Dir::open(&self.root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            dir => dir.call(|| format!("open {}", self.root.display()))?,
        };
        let mut ids = Vec::new();
        for entry in dir.iter() {
            let entry = entry.call(|| format!("read {}", self.root.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_id(&name).is_ok() && entry.file_type() != Some(nix::dir::Type::File) {
                ids.push(name);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn open_dir(&self, id: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&self.root.join(id), flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => bail!(NotFound(id.to_owned())),
            result => result.call(|| format!("open {}", self.root.join(id).display())),
        }
    }

    fn entry(&self, id: &str, access: Access, patience: Duration) -> Result<Entry> {
        let dir = self.open_dir(id)?;
        if access == Access::Change {
            lock_dir(dir.as_fd(), id, patience)?;
        }
        Ok(Entry { id: id.to_owned(), dir, root: self.root.clone(), access })
    }
}

fn lock_dir(dir: BorrowedFd, id: &str, patience: Duration) -> Result<()> {
    if lock_within(dir, patience).call(|| format!("flock {id}"))? {
        return Ok(());
    }
    bail!(Busy { id: id.to_owned(), holder: Holder::of(dir), seconds: patience.as_secs() })
}

/// Another command has the container's lock.
#[derive(Debug)]
pub struct Busy {
    pub id: String,
    pub holder: Option<Holder>,
    /// How long the lock was waited for.
    pub seconds: u64,
}

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "container {} is busy: ", self.id)?;
        match &self.holder {
            Some(holder) => write!(f, "{holder}")?,
            None => write!(f, "a process that cannot be seen from here")?,
        }
        write!(f, " has not released its lock within {} s; wait for it, or end it by delete --force", self.seconds)
    }
}

impl std::error::Error for Busy {}

/// There is no container with this id. Engines search for "does not exist".
#[derive(Debug)]
pub struct NotFound(pub String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "container does not exist: {}", self.0)
    }
}

impl std::error::Error for NotFound {}

impl Entry {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives the lock back and stays with the directory.
    pub fn unlock(self) -> Result<Entry> {
        lock(self.dir(), Lock::Release).call(|| format!("unlock {}", self.id))?;
        Ok(Entry { access: Access::Read, ..self })
    }

    /// Waits for the lock; `None` when the container has been deleted. One that was created under the same id since is
    /// another one.
    pub fn lock_again(self) -> Result<Option<Entry>> {
        lock_dir(self.dir(), &self.id, LOCK_PATIENCE)?;
        Ok(Some(Entry { access: Access::Change, ..self }).filter(Entry::is_linked))
    }

    /// For messages.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Writes the intent: what `delete` must know, before anything is done.
    pub fn write_record(&self, record: &impl Serialize) -> Result<()> {
        self.write_new(RECORD, record)
    }

    /// Which of the files it is that the intent has been written to.
    pub fn edition(&self) -> Result<Edition> {
        let stat = nix::sys::stat::fstatat(self.dir(), RECORD, AtFlags::AT_SYMLINK_NOFOLLOW)
            .call(|| format!("stat {RECORD} of container {}", self.id))?;
        Ok(Edition { inode: stat.st_ino, changed: (stat.st_ctime, stat.st_ctime_nsec) })
    }

    /// Writes the intent anew, after a change of the container.
    pub fn replace_record(&self, record: &impl Serialize) -> Result<()> {
        match unlinkat(self.dir(), format!(".{RECORD}").as_str(), UnlinkatFlags::NoRemoveDir) {
            // One is there only if an earlier change was killed.
            Ok(()) | Err(Errno::ENOENT) => self.write_new(RECORD, record),
            Err(errno) => Err(errno).call(|| format!("unlink .{RECORD} in the state directory")),
        }
    }

    /// Writes init's identity, which nobody sees before [`Entry::publish_init`].
    pub fn write_init(&self, init: &InitRecord) -> Result<()> {
        self.write_aside(INIT, init)
    }

    /// Shows what [`Entry::write_init`] wrote. From here on the container is created.
    pub fn publish_init(&self) -> Result<()> {
        self.put_in_place(INIT)
    }

    /// Keeps the compiled seccomp filter for `exec`; before [`Entry::publish_init`], which tells that it is whole.
    pub fn write_filter(&self, program: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.dir(), FILTER, flags, Mode::from_bits_truncate(0o600))
            .call(|| format!("create {FILTER} in the state directory"))?;
        std::fs::File::from(file).write_all(program).call(|| format!("write {FILTER} in the state directory"))
    }

    /// The compiled seccomp filter of a container that has one.
    pub fn filter(&self) -> Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.dir(), FILTER, flags, Mode::empty())
            .call(|| format!("open {FILTER} of container {}", self.id))?;
        let mut program = Vec::with_capacity(4096);
        std::fs::File::from(file)
            .read_to_end(&mut program)
            .call(|| format!("read {FILTER} of container {}", self.id))?;
        Ok(program)
    }

    /// The intent; `None` when `create` was killed before it wrote it.
    pub fn record<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.read(RECORD)
    }

    /// Init's identity; `None` before the container is created.
    pub fn init(&self) -> Result<Option<InitRecord>> {
        self.read(INIT)
    }

    /// Removes the directory and what is in it. Other processes that wait for the lock then see that it is gone.
    pub fn remove(&self) -> Result<()> {
        let path = self.root.join(&self.id);
        let rmdir = || match unlinkat(nix::fcntl::AT_FDCWD, &path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        };
        // Mostly that is all.
        let known = [FILTER, INIT, RECORD].map(|name| unlinkat(self.dir(), name, UnlinkatFlags::NoRemoveDir));
        if known.into_iter().all(|done| matches!(done, Ok(()) | Err(Errno::ENOENT))) && rmdir().is_ok() {
            return Ok(());
        }
        self.remove_files()?;
        rmdir().call(|| format!("rmdir {}", path.display()))
    }

    /// Removes all that is in the directory.
    fn remove_files(&self) -> Result<()> {
        let describe = |name: &str| format!("unlink {}/{}/{name}", self.root.display(), self.id);
        let mut dir = Dir::openat(self.dir(), ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("open {}", self.id))?;
        for entry in dir.iter() {
            let entry = entry.call(|| format!("read {}", self.id))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match unlinkat(self.dir(), name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR) => remove_directory(self.dir(), name).call(|| describe(&name.to_string_lossy()))?,
                Err(errno) => return Err(errno).call(|| describe(&name.to_string_lossy())),
            }
        }
        Ok(())
    }

    /// Makes a directory in the container's directory; its absolute path.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(&self.id).join(name);
        mkdirat(self.dir(), name, Mode::S_IRWXU).call(|| format!("mkdir {}", path.display()))?;
        Ok(path)
    }

    /// A directory in the container's directory; `None` if there is no such thing.
    pub fn directory(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(self.dir(), name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            result => result.call(|| format!("open {name} of container {}", self.id)).map(Some),
        }
    }

    /// Removes an empty directory in the container's directory.
    pub fn remove_directory(&self, name: &str) -> Result<()> {
        unlinkat(self.dir(), name, UnlinkatFlags::RemoveDir).call(|| format!("rmdir {name} of container {}", self.id))
    }

    /// Removes the start socket's name, after init has executed the program.
    pub fn remove_start_socket(&self) -> Result<()> {
        match unlinkat(self.dir(), START_SOCKET, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).call(|| format!("unlink {START_SOCKET}")),
        }
    }

    /// Whether another process holds the lock, as `create` does while it works.
    pub fn is_busy(&self) -> Result<bool> {
        if self.access == Access::Change {
            return Ok(false);
        }
        // A second open file of the directory: a lock taken on `self.dir` would stay with it.
        let dir = openat(self.dir(), ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("open {}", self.id))?;
        match lock(dir.as_fd(), Lock::TryShared) {
            Ok(()) => Ok(false),
            Err(Errno::EWOULDBLOCK) => Ok(true),
            Err(errno) => Err(errno).call(|| format!("flock {}", self.id)),
        }
    }

    /// Whether the container has not been deleted.
    pub fn is_linked(&self) -> bool {
        let by_path =
            nix::sys::stat::fstatat(nix::fcntl::AT_FDCWD, &self.root.join(&self.id), AtFlags::AT_SYMLINK_NOFOLLOW);
        match (by_path, fstat(self.dir())) {
            (Ok(path), Ok(fd)) => path.st_ino == fd.st_ino && path.st_dev == fd.st_dev,
            _ => false,
        }
    }

    fn write_new(&self, name: &str, value: &impl Serialize) -> Result<()> {
        self.write_aside(name, value)?;
        self.put_in_place(name)
    }

    fn write_aside(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let temporary = format!(".{name}");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.dir(), temporary.as_str(), flags, Mode::from_bits_truncate(0o600))
            .call(|| format!("create {name} in the state directory"))?;
        let json = serde_json::to_vec(value).with_context(|| format!("serialise {name}"))?;
        std::fs::File::from(file).write_all(&json).call(|| format!("write {name} in the state directory"))
    }

    /// By a rename: nobody ever reads half a file.
    fn put_in_place(&self, name: &str) -> Result<()> {
        let temporary = format!(".{name}");
        nix::fcntl::renameat(self.dir(), temporary.as_str(), self.dir(), name)
            .call(|| format!("rename {name} in the state directory"))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(self.dir(), name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            result => result.call(|| format!("open {name} of container {}", self.id))?,
        };
        let json =
            crate::sys::file::read_small(file.as_fd()).call(|| format!("read {name} of container {}", self.id))?;
        serde_json::from_slice(&json).with_context(|| format!("{name} of container {} is damaged", self.id)).map(Some)
    }
}

/// Removes a directory that holds nothing but files.
fn remove_directory(parent: BorrowedFd, name: &std::ffi::CStr) -> nix::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(parent, name, flags, Mode::empty())?;
    let names: Vec<_> = dir.iter().map(|entry| entry.map(|e| e.file_name().to_owned())).collect::<nix::Result<_>>()?;
    for file in names.iter().filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..") {
        unlinkat(&dir, file.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

fn mkdir_private(path: &Path) -> nix::Result<()> {
    mkdirat(nix::fcntl::AT_FDCWD, path, Mode::S_IRWXU)
}

fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).call(|| format!("mkdir {}", root.display()))
}

/// Refuses ids that could name another directory: `^[A-Za-z0-9_+.-]+$`, not `.` or `..`, at most 255 bytes.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
    if id.is_empty() {
        bail!("container id cannot be empty");
    }
    if id == "." || id == ".." || id.len() > 255 || !id.bytes().all(allowed) {
        bail!("invalid container id format: {id:?} (letters, digits and _ + . - , at most 255)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("state"));
        (dir, store)
    }

    #[test]
    fn one_id_is_created_once() {
        let (_dir, store) = store();
        let entry = store.create("a").unwrap();
        assert_eq!(store.create("a").unwrap_err().to_string(), "container with id exists: a");
        entry.remove().unwrap();
        assert_eq!(store.open("a", Access::Read).unwrap_err().to_string(), "container does not exist: a");
        store.create("a").unwrap();
        assert_eq!(store.ids().unwrap(), ["a"]);
    }

    #[test]
    fn who_gives_the_lock_back_takes_no_successor() {
        let (_dir, store) = store();
        let first = store.create("a").unwrap().unlock().unwrap();
        let first = first.lock_again().unwrap().unwrap().unlock().unwrap();
        store.open("a", Access::Change).unwrap().remove().unwrap();
        let _second = store.create("a").unwrap();
        assert!(first.lock_again().unwrap().is_none());
    }

    #[test]
    fn a_creator_is_seen_as_busy() {
        let (_dir, store) = store();
        let entry = store.create("a").unwrap();
        let other = store.open("a", Access::Read).unwrap();
        assert!(other.is_busy().unwrap());
        drop(entry);
        assert!(!other.is_busy().unwrap());
    }

    #[test]
    fn ids_cannot_leave_the_directory() {
        for bad in ["", ".", "..", "a/b", "../a", "a b", "é", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A.b-c_d+1", "..."] {
            check_id(good).unwrap();
        }
    }
}
