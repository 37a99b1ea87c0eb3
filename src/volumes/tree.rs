//! File trees by directory fd: removing, measuring, looking whether there is anything.

use super::walk::{shown, walk};
use crate::sys::{Call, Errno, path, random};
use anyhow::Result;
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Opens a subdirectory for reading; a link is refused.
pub fn open_dir(at: BorrowedFd, name: &CStr) -> nix::Result<OwnedFd> {
    openat(at, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// The names in a directory, without `.` and `..`, each with whether it is a directory. For directories of the store
/// only: a container may make any number of names in its own.
pub fn entries(dir: BorrowedFd) -> nix::Result<Vec<(CString, bool)>> {
    some_entries(dir, usize::MAX)
}

/// As [`entries`], but at most `limit` of them: the first that the filesystem lists.
pub fn some_entries(dir: BorrowedFd, limit: usize) -> nix::Result<Vec<(CString, bool)>> {
    let mut entries = Vec::new();
    let mut stream = Stream::new(dir)?;
    stream.read(limit, &mut entries)?;
    Ok(entries)
}

/// A directory that is read in portions, so that its size does not matter.
pub struct Stream<'d> {
    dir: BorrowedFd<'d>,
    stream: nix::dir::OwningIter,
}

impl<'d> Stream<'d> {
    pub fn new(dir: BorrowedFd<'d>) -> nix::Result<Stream<'d>> {
        Ok(Stream { dir, stream: Dir::from_fd(open_dir(dir, c".")?)?.into_iter() })
    }

    /// Appends at most `limit` of the next names; false at the end of the directory.
    pub fn read(&mut self, limit: usize, entries: &mut Vec<(CString, bool)>) -> nix::Result<bool> {
        let mut count = 0;
        while count < limit {
            let Some(entry) = self.stream.next() else { return Ok(false) };
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let directory = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                None => match fstatat(self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    // Removed meanwhile.
                    Err(Errno::ENOENT) => continue,
                    stat => is_dir(&stat?),
                },
            };
            entries.push((name.to_owned(), directory));
            count += 1;
        }
        Ok(true)
    }
}

/// Shows every name in a directory, without `.` and `..`, to `visit`. The directory is not changed meanwhile.
pub fn each_entry(dir: BorrowedFd, visit: &mut dyn FnMut(&CStr) -> Result<()>) -> Result<()> {
    let mut stream = Stream::new(dir).call(|| "open a directory".into())?;
    loop {
        let mut entries = Vec::new();
        let more = stream.read(PORTION, &mut entries).call(|| "read a directory".into())?;
        entries.iter().try_for_each(|(name, _)| visit(name))?;
        if !more {
            return Ok(());
        }
    }
}

/// How many names of one directory are in memory at a time.
pub const PORTION: usize = 16_384;

fn is_dir(stat: &nix::sys::stat::FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

/// Removes what `name` is in the directory `at`, with all that is in it. No link is followed, and what is mounted below
/// is an error (EBUSY), never emptied. That it is gone already is as good.
pub fn remove(at: BorrowedFd, name: &CStr) -> Result<()> {
    let what = || format!("remove {}", name.to_string_lossy());
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // EPERM is what POSIX has for a directory.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno).call(what),
    }
    let top = match open_beneath(at, name) {
        Err(Errno::ENOENT) => return Ok(()),
        opened => opened.call(what)?,
    };
    empty(top.as_fd())?;
    match unlinkat(at, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).call(what),
    }
}

/// How many levels are open at a time; what is deeper becomes a child of the top.
const OPEN_LEVELS: usize = 64;

/// A directory that is being emptied.
struct Level {
    dir: OwnedFd,
    /// Its name in the level above.
    name: CString,
    /// Subdirectories that are still there.
    rest: Vec<CString>,
    /// There may be entries that were not read.
    more: bool,
}

impl Level {
    fn enter(dir: OwnedFd, name: CString) -> Result<Level> {
        let mut level = Level { dir, name, rest: Vec::new(), more: false };
        level.read()?;
        Ok(level)
    }

    /// Unlinks the next entries that are no directories, and remembers those that are.
    fn read(&mut self) -> Result<()> {
        let names = some_entries(self.dir.as_fd(), PORTION).call(|| "read a directory".into())?;
        self.more = names.len() == PORTION;
        for (name, directory) in names {
            if directory {
                self.rest.push(name);
                continue;
            }
            match unlinkat(&self.dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR) => self.rest.push(name),
                Err(errno) => return Err(errno).call(|| format!("unlink {}", name.to_string_lossy())),
            }
        }
        Ok(())
    }
}

/// Removes everything in a directory.
fn empty(top: BorrowedFd) -> Result<()> {
    let mut moved = 0u64;
    loop {
        let mut levels =
            vec![Level::enter(open_dir(top, c".").call(|| "open a directory".into())?, CString::default())?];
        let before = moved;
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { break };
            let Some(name) = level.rest.pop() else {
                if level.more {
                    level.read()?;
                    continue;
                }
                let done = levels.pop().map(|level| level.name).unwrap_or_default();
                match levels.last() {
                    Some(parent) => remove_dir(parent.dir.as_fd(), &done).call(|| rmdir(&done))?,
                    None => break,
                };
                continue;
            };
            match remove_dir(level.dir.as_fd(), &name) {
                Ok(()) => {}
                Err(Errno::ENOTEMPTY | Errno::EEXIST) if depth < OPEN_LEVELS => {
                    let opened =
                        open_beneath(level.dir.as_fd(), &name).call(|| format!("open {}", name.to_string_lossy()))?;
                    levels.push(Level::enter(opened, name)?);
                }
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                    moved += 1;
                    move_up(level.dir.as_fd(), &name, top)?;
                }
                Err(errno) => return Err(errno).call(|| rmdir(&name)),
            }
        }
        if moved == before {
            return Ok(());
        }
    }
}

/// Renames a directory into `top`, under a name that no container can have made to be in the way.
fn move_up(dir: BorrowedFd, name: &CStr, top: BorrowedFd) -> Result<()> {
    let up = format!(".rvol-removing-{}", random::hex::<16>().call(|| "getrandom".into())?);
    nix::fcntl::renameat(dir, name, top, up.as_str()).call(|| format!("rename {up}"))
}

fn rmdir(name: &CStr) -> String {
    format!("rmdir {}", name.to_string_lossy())
}

fn remove_dir(at: BorrowedFd, name: &CStr) -> nix::Result<()> {
    match unlinkat(at, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// A subdirectory on the same mount: what is mounted over it does not belong to the tree.
fn open_beneath(at: BorrowedFd, name: &CStr) -> nix::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    match path::open_beneath(at, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
        Err(Errno::EXDEV) => Err(Errno::EBUSY),
        result => result,
    }
}

/// Whether there is nothing in a directory but `lost+found`.
pub fn is_empty(dir: BorrowedFd) -> nix::Result<bool> {
    let names = some_entries(dir, 2)?;
    Ok(names.iter().all(|(name, _)| name.as_c_str() == c"lost+found"))
}

/// How many files with several names [`size`] remembers, 24 bytes each.
const SEEN: usize = 1_000_000;

/// The bytes of all regular files and links below, each file once whatever its names; what Docker calls a volume's size.
/// With more than [`SEEN`] files of several names, each further name counts for its share of the file.
pub fn size(dir: BorrowedFd) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut total = 0;
    walk(dir, &mut |found| {
        if found.directory.is_some() {
            return Ok(());
        }
        match fstatat(found.parent, found.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let (size, id) = (stat.st_size.max(0) as u64, (stat.st_dev, stat.st_ino));
                total += match stat.st_nlink {
                    0 | 1 => size,
                    _ if seen.contains(&id) => 0,
                    names if seen.len() >= SEEN => size / names,
                    _ => {
                        seen.insert(id);
                        size
                    }
                };
            }
            // Removed meanwhile.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| format!("stat {}", shown(found.path))),
        }
        Ok(())
    })?;
    Ok(total)
}

/// Waits until the filesystem has what was written to it on disk (one call for a whole tree).
pub fn sync(dir: BorrowedFd) -> Result<()> {
    nix::unistd::syncfs(dir).call(|| "syncfs".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn removes_deep_and_wide_trees_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/keep"), "x").unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        std::os::unix::fs::symlink("../outside", top.join("link")).unwrap();
        let mut here = open(&top);
        for _ in 0..500 {
            nix::sys::stat::mkdirat(&here, "deeper", Mode::S_IRWXU).unwrap();
            nix::sys::stat::mkdirat(&here, "beside", Mode::S_IRWXU).unwrap();
            here = open_dir(here.as_fd(), c"deeper").unwrap();
        }
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::write(top.join("a/b/c/file"), "x").unwrap();
        remove(open(dir.path()).as_fd(), c"top").unwrap();
        assert!(!top.exists());
        assert!(dir.path().join("outside/keep").exists());
        remove(open(dir.path()).as_fd(), c"top").unwrap();
    }

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("a"), vec![0; 1000]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("sub/b")).unwrap();
        fs::write(dir.path().join("sub/c"), "12345").unwrap();
        assert_eq!(size(open(dir.path()).as_fd()).unwrap(), 1005);
    }

    #[test]
    fn lost_and_found_is_no_content() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path());
        assert!(is_empty(fd.as_fd()).unwrap());
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(is_empty(fd.as_fd()).unwrap());
        fs::write(dir.path().join(".hidden"), "").unwrap();
        assert!(!is_empty(fd.as_fd()).unwrap());
    }
}
