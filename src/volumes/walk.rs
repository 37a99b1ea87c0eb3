//! Going through a file tree by directory fds, however deep it is, with few of them open at a time.

use super::tree::{PORTION, Stream, open_dir};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::sys::stat::fstat;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How many directories are open at a time; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;

/// How many levels of directories a tree may have.
pub const DEPTH: usize = 4096;
/// How many bytes of memory the names of subdirectories may take that were found and not entered yet.
const WAITING: usize = 64 << 20;

/// What was found below the top.
pub struct Found<'a> {
    /// The directory that it is in.
    pub parent: BorrowedFd<'a>,
    pub name: &'a CStr,
    /// From the top, without a leading slash.
    pub path: &'a [u8],
    /// Itself, when it is a directory.
    pub directory: Option<BorrowedFd<'a>>,
}

struct Level {
    /// `None` while many levels deeper.
    dir: Option<OwnedFd>,
    id: (libc::dev_t, libc::ino_t),
    /// Subdirectories still to be seen.
    rest: Vec<CString>,
    /// The length of its path.
    length: usize,
}

/// Shows everything below `top` to `visit`: the files of a directory by name, then its subdirectories by name, each
/// followed by what is in it. In a directory of more than [`PORTION`] entries, only each portion of that many files is in
/// the order of names. No link is followed; a directory that vanishes meanwhile is left out.
///
/// # Errors
/// Those of `visit`, and a tree that is deeper than [`DEPTH`] or wider than [`WAITING`] allows: a container can make its
/// tree of any size, and our memory must not grow with it.
pub fn walk(top: BorrowedFd, visit: &mut dyn FnMut(&Found) -> Result<()>) -> Result<()> {
    let mut path = Vec::new();
    let top = open_dir(top, c".").call(|| "open a directory".into())?;
    let mut waiting = 0;
    let mut levels = vec![enter(top, &mut path, &mut waiting, visit)?];
    while let Some(level) = levels.last_mut() {
        let here = level.dir.as_ref().context("a directory was closed too early")?;
        path.truncate(level.length);
        let Some(name) = level.rest.pop() else {
            let done = levels.pop().and_then(|level| level.dir);
            if let (Some(done), Some(parent)) = (done, levels.last_mut()) {
                reopen(parent, done.as_fd()).with_context(|| shown(&path))?;
            }
            continue;
        };
        waiting -= cost(&name);
        push(&mut path, &name);
        let below = match open_dir(here.as_fd(), &name) {
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => continue,
            below => below.call(|| "open".into()).with_context(|| shown(&path))?,
        };
        visit(&Found { parent: here.as_fd(), name: &name, path: &path, directory: Some(below.as_fd()) })?;
        ensure!(levels.len() < DEPTH, "{}: the tree has more than {DEPTH} levels of directories", shown(&path));
        levels.push(enter(below, &mut path, &mut waiting, visit)?);
        if let Some(high) = levels.len().checked_sub(OPEN_LEVELS + 1) {
            levels[high].dir = None;
        }
    }
    Ok(())
}

/// Shows the files of a directory, and remembers its subdirectories.
fn enter(
    dir: OwnedFd,
    path: &mut Vec<u8>,
    waiting: &mut usize,
    visit: &mut dyn FnMut(&Found) -> Result<()>,
) -> Result<Level> {
    let length = path.len();
    let mut rest = Vec::new();
    let mut stream = Stream::new(dir.as_fd()).call(|| "open a directory".into()).with_context(|| shown(path))?;
    let mut entries = Vec::new();
    loop {
        let more =
            stream.read(PORTION, &mut entries).call(|| "read a directory".into()).with_context(|| shown(path))?;
        entries.sort_unstable();
        for (name, directory) in entries.drain(..) {
            if directory {
                *waiting += cost(&name);
                ensure!(
                    *waiting <= WAITING,
                    "{}: the names of subdirectories take more than {WAITING} bytes of memory",
                    shown(path)
                );
                rest.push(name);
                continue;
            }
            push(path, &name);
            visit(&Found { parent: dir.as_fd(), name: &name, path, directory: None })?;
            path.truncate(length);
        }
        if !more {
            break;
        }
    }
    drop(stream);
    // It is taken from the end.
    rest.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Level { id: id(dir.as_fd())?, dir: Some(dir), rest, length })
}

/// The memory that a name takes.
fn cost(name: &CStr) -> usize {
    name.count_bytes() + 32
}

fn reopen(level: &mut Level, below: BorrowedFd) -> Result<()> {
    if level.dir.is_some() {
        return Ok(());
    }
    let dir = open_dir(below, c"..").call(|| "open ..".into())?;
    ensure!(id(dir.as_fd())? == level.id, "a directory was moved while it was read");
    level.dir = Some(dir);
    Ok(())
}

fn id(dir: BorrowedFd) -> Result<(libc::dev_t, libc::ino_t)> {
    fstat(dir).map(|stat| (stat.st_dev, stat.st_ino)).call(|| "fstat".into())
}

fn push(path: &mut Vec<u8>, name: &CStr) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
}

/// A path for people: `.` for the top.
pub fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    fn seen(top: &std::path::Path) -> Vec<String> {
        let mut seen = Vec::new();
        let top: OwnedFd = File::open(top).unwrap().into();
        walk(top.as_fd(), &mut |found| {
            seen.push(shown(found.path) + if found.directory.is_some() { "/" } else { "" });
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(seen(dir.path()), [""; 0]);
        fs::create_dir_all(dir.path().join("b/c")).unwrap();
        fs::create_dir_all(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("b/c/file"), "").unwrap();
        fs::write(dir.path().join("z"), "").unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("link")).unwrap();
        assert_eq!(seen(dir.path()), ["link", "z", "a/", "b/", "b/c/", "b/c/file"]);
    }

    #[test]
    fn depth_needs_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let mut here: OwnedFd = File::open(dir.path()).unwrap().into();
        for _ in 0..1500 {
            for name in ["deep", "side"] {
                nix::sys::stat::mkdirat(&here, name, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
            here = open_dir(here.as_fd(), c"deep").unwrap();
        }
        let seen = seen(dir.path());
        assert_eq!(seen.len(), 3000);
        assert_eq!(seen.last().unwrap(), "side/");
        super::super::tree::remove(File::open(dir.path()).unwrap().as_fd(), c"deep").unwrap();
    }
}
