//! Copies a file tree from one directory fd into another, with everything that belongs to the files: owners, modes,
//! times, extended attributes and ACLs, hard links, holes, links, devices, FIFOs, sockets.
//!
//! For `tmpcopyup` and the copy-up of volumes. Every name is looked up in the directory fd that it was read from and no
//! link is followed, so the copy stays inside the two trees whatever happens to them meanwhile. Knows nothing of mounts.

mod data;
mod meta;

use crate::plan::IdRange;
use crate::sys::file::Inode;
use crate::sys::{Call, Errno, SyscallError};
use anyhow::{Context, Result, bail, ensure};
use data::Method;
pub use meta::{Attributes, xattrs};
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What happens to the attributes of the destination directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// They become those of the source directory.
    Copy,
    Keep,
}

/// What was copied.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Files of every kind, directories and further names of one file included.
    pub files: u64,
    /// Sizes of regular files.
    pub bytes: u64,
    /// Extended attributes that the destination's filesystem, or our privileges, do not allow, as `path: name`.
    pub left_out: Vec<String>,
}

/// Who is told how far a copy has come.
pub type Watch<'a> = &'a mut dyn FnMut(&Copied);

/// How many levels of directories are open at a time, two fds each; above, they are reopened on the way back.
const OPEN_LEVELS: usize = 64;

/// How many levels of directories a tree may have.
const DEPTH: usize = 4096;
/// How many bytes of memory the names of subdirectories may take that were found and not copied yet.
const WAITING: usize = 64 << 20;
/// How many bytes of memory the paths of files with several names may take.
pub const LINKS: usize = 256 << 20;
/// How many attributes that were left out are listed.
const NOTES: usize = 100;

/// Copies what is in the directory `from` into the directory `to`, which may be O_PATH fds. `to` should be empty: a name
/// that is taken is an error. Mounts below `from` are copied as what they show.
///
/// The errors name the path below `from`. What has been copied before an error stays.
pub fn copy_tree(from: BorrowedFd, to: BorrowedFd, top: Top) -> Result<Copied> {
    copy_tree_watched(from, to, top, Owners::default(), &mut |_| {})
}

/// Gives `to` the attributes of the directory `from`, and nothing else.
pub fn copy_attributes(from: BorrowedFd, to: BorrowedFd, owners: Owners) -> Result<()> {
    let (from, to) = (open_directory(from, c".")?, open_directory(to, c".")?);
    let stat = owners.of(fstat(&from).call(|| "fstat the source".into())?);
    owners.attributes(&stat, &Inode::Open(from.as_fd()))?.apply(to.as_fd()).map(drop)
}

/// How owners are written down: as they are, or, in what is to be mounted with a mapping of ids, so that they look the
/// same through it. An id that the mapping does not have stays what it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owners<'a> {
    pub uid: &'a [IdRange],
    pub gid: &'a [IdRange],
}

impl Owners<'_> {
    fn of(&self, mut stat: FileStat) -> FileStat {
        stat.st_uid = stored(self.uid, stat.st_uid);
        stat.st_gid = stored(self.gid, stat.st_gid);
        stat
    }

    /// The attributes of a file: the ids in its ACLs and file capabilities, too, are the mapping's.
    fn attributes(&self, stat: &FileStat, file: &Inode) -> Result<Attributes> {
        let mut attributes = Attributes::of(stat, file)?;
        if self.uid.is_empty() && self.gid.is_empty() {
            return Ok(attributes);
        }
        for (name, value) in &mut attributes.xattrs {
            if name.to_bytes().starts_with(b"system.posix_acl_") {
                meta::map_acl(value, |uid| stored(self.uid, uid), |gid| stored(self.gid, gid));
            } else if name.as_c_str() == meta::FILE_CAPABILITY {
                meta::map_capability(value, |uid| stored(self.uid, uid));
            }
        }
        Ok(attributes)
    }
}

fn stored(ranges: &[IdRange], id: u32) -> u32 {
    let range = ranges.iter().find(|range| id.checked_sub(range.host).is_some_and(|offset| offset < range.size));
    range.map_or(id, |range| range.container + (id - range.host))
}

/// As [`copy_tree`]; `watch` is told again and again how far it has come.
pub fn copy_tree_watched(from: BorrowedFd, to: BorrowedFd, top: Top, owners: Owners, watch: Watch) -> Result<Copied> {
    let (from, to) = (open_directory(from, c".")?, open_directory(to, c".")?);
    let root = to.try_clone().call(|| "dup the destination".into())?;
    let stat = owners.of(fstat(&from).call(|| "fstat the source".into())?);
    let (links, method, done) = (HashMap::new(), Method::default(), Copied::default());
    let copy = Copy { root, links, kept: 0, waiting: 0, path: PathBuf::new(), method, owners, newborn: None, done };
    copy.run(Level::new(from, to, stat)?, top, watch)
}

/// A directory that is being copied.
struct Level {
    /// `None` while many levels deeper.
    open: Option<(OwnedFd, OwnedFd)>,
    stat: FileStat,
    /// Identity of the destination, to know it again.
    to: (libc::dev_t, libc::ino_t),
    /// The owner that a new file in it gets, where that is known: of the directories that we made.
    newborn: Option<(libc::uid_t, libc::gid_t)>,
    /// Subdirectories still to be copied.
    rest: Vec<CString>,
}

impl Level {
    fn new(from: OwnedFd, to: OwnedFd, stat: FileStat) -> Result<Level> {
        let made = fstat(&to).call(|| "fstat a new directory".into())?;
        Ok(Level { open: Some((from, to)), stat, to: (made.st_dev, made.st_ino), newborn: None, rest: Vec::new() })
    }

    /// Of a directory that we have just made.
    fn newborn(from: OwnedFd, to: OwnedFd, stat: FileStat) -> Result<Level> {
        let made = fstat(&to).call(|| "fstat a new directory".into())?;
        let newborn = Some((made.st_uid, made.st_gid));
        Ok(Level { open: Some((from, to)), stat, to: (made.st_dev, made.st_ino), newborn, rest: Vec::new() })
    }

    fn fds(&self) -> Result<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let (from, to) = self.open.as_ref().context("a directory was closed too early")?;
        Ok((from.as_fd(), to.as_fd()))
    }

    /// Opens it again as the parent of a level below; it has to be the directory that it was.
    fn reopen(&mut self, (from, to): (BorrowedFd, BorrowedFd)) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let (from, to) = (open_directory(from, c"..")?, open_directory(to, c"..")?);
        let ids = |fd: &OwnedFd| fstat(fd).map(|s| (s.st_dev, s.st_ino)).call(|| "fstat a directory".into());
        ensure!(
            ids(&from)? == (self.stat.st_dev, self.stat.st_ino) && ids(&to)? == self.to,
            "a directory was moved while it was copied"
        );
        self.open = Some((from, to));
        Ok(())
    }
}

/// The first name of a file with several.
struct First {
    path: PathBuf,
    /// How many names are still to come, as far as all of them are in the tree.
    missing: libc::nlink_t,
}

/// The memory that a name or path takes.
fn cost(bytes: usize) -> usize {
    bytes + 48
}

/// A copy under way.
struct Copy<'o> {
    /// The destination's top: hard links start from here.
    root: OwnedFd,
    /// Where a file with several names was copied to, below `root`.
    links: HashMap<(libc::dev_t, libc::ino_t), First>,
    /// The memory that `links` takes, and that names of subdirectories take, in bytes.
    kept: usize,
    waiting: usize,
    /// Where we are below the top.
    path: PathBuf,
    method: Method,
    owners: Owners<'o>,
    /// That of the present directory.
    newborn: Option<(libc::uid_t, libc::gid_t)>,
    done: Copied,
}

impl Copy<'_> {
    fn run(mut self, first: Level, top: Top, watch: Watch) -> Result<Copied> {
        let mut levels = vec![first];
        self.fill(&mut levels[0], watch)?;
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.rest.pop() {
                self.waiting -= cost(name.count_bytes());
                self.path.push(OsStr::from_bytes(name.to_bytes()));
                let mut below = self.descend(level, &name)?;
                self.fill(&mut below, watch)?;
                levels.push(below);
                ensure!(levels.len() <= DEPTH, "{}: more than {DEPTH} levels of directories", self.shown(None));
                if let Some(high) = levels.len().checked_sub(OPEN_LEVELS + 1) {
                    levels[high].open = None;
                }
                continue;
            }
            let Some(done) = levels.pop() else { break };
            let (from, to) = done.fds()?;
            if let Some(parent) = levels.last_mut() {
                parent.reopen((from, to)).with_context(|| self.shown(None))?;
            } else if top == Top::Keep {
                break;
            }
            // Last, because what is made in a directory changes its times, and its mode may not let us write.
            self.finish_directory(from, to, &done.stat).with_context(|| self.shown(None))?;
            self.path.pop();
        }
        Ok(self.done)
    }

    /// Makes the directory `name` and opens both sides. Only we can enter it until it is complete.
    fn descend(&mut self, level: &Level, name: &CStr) -> Result<Level> {
        let make = || {
            let (from, to) = level.fds()?;
            let from = open_directory(from, name)?;
            let stat = self.owners.of(fstat(&from).call(|| "fstat".into())?);
            mkdirat(to, name, Mode::S_IRWXU).call(|| "mkdirat".into())?;
            Level::newborn(from, open_directory(to, name)?, stat)
        };
        self.done.files += 1;
        make().with_context(|| self.shown(None))
    }

    /// Copies everything in the directory but its subdirectories, which it remembers.
    fn fill(&mut self, level: &mut Level, watch: Watch) -> Result<()> {
        let (from, to) = level.open.as_ref().context("a directory was closed too early")?;
        let list = from.try_clone().and_then(|fd| Dir::from_fd(fd).map_err(Into::into));
        for entry in list.call(|| "read a directory".into()).with_context(|| self.shown(None))? {
            let entry = entry.call(|| "getdents64".into()).with_context(|| self.shown(None))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let directory = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                None => is_directory(from.as_fd(), name).with_context(|| self.shown(Some(name)))?,
            };
            if directory {
                self.waiting += cost(name.count_bytes());
                ensure!(
                    self.waiting <= WAITING,
                    "{}: the names of subdirectories take more than {WAITING} bytes of memory",
                    self.shown(None)
                );
                level.rest.push(name.to_owned());
                continue;
            }
            let regular = entry.file_type() == Some(Type::File);
            self.newborn = level.newborn;
            self.copy_entry(from.as_fd(), to.as_fd(), name, regular, watch).with_context(|| self.shown(Some(name)))?;
            watch(&self.done);
        }
        Ok(())
    }

    /// Anything but a directory.
    fn copy_entry(&mut self, from: BorrowedFd, to: BorrowedFd, name: &CStr, regular: bool, watch: Watch) -> Result<()> {
        self.done.files += 1;
        if regular {
            return self.copy_regular(from, to, name, watch);
        }
        let stat = self.owners.of(fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).call(|| "fstatat".into())?);
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            return self.copy_regular(from, to, name, watch);
        }
        if self.linked(to, name, &stat)? {
            return Ok(());
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => {
                let text = readlinkat(from, name).call(|| "readlinkat".into())?;
                symlinkat(text.as_os_str(), to, name).call(|| "symlinkat".into())?;
            }
            libc::S_IFDIR => bail!("became a directory while it was copied"),
            kind => mknodat(to, name, SFlag::from_bits_truncate(kind), Mode::S_IRUSR | Mode::S_IWUSR, stat.st_rdev)
                .call(|| "mknodat".into())?,
        }
        let source = Inode::entry(from, name).call(|| "name an entry".into())?;
        let link = stat.st_mode & libc::S_IFMT == libc::S_IFLNK;
        let left_out = self.owners.attributes(&stat, &source)?.apply_to_entry(to, name, link)?;
        self.note(left_out, name);
        Ok(())
    }

    fn copy_regular(&mut self, from: BorrowedFd, to: BorrowedFd, name: &CStr, watch: Watch) -> Result<()> {
        // O_NONBLOCK: what was a file may be a FIFO by now.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let source = openat(from, name, flags, Mode::empty()).call(|| "openat".into())?;
        let stat = self.owners.of(fstat(&source).call(|| "fstat".into())?);
        ensure!(stat.st_mode & libc::S_IFMT == libc::S_IFREG, "stopped being a regular file while it was copied");
        if self.linked(to, name, &stat)? {
            return Ok(());
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let copy = openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| "create".into())?;
        let before = self.done.bytes;
        self.method.copy(source.as_fd(), copy.as_fd(), &stat, &mut |copied| {
            self.done.bytes += copied;
            watch(&self.done);
        })?;
        self.done.bytes = before + stat.st_size as u64;
        let mut attributes = self.owners.attributes(&stat, &Inode::Open(source.as_fd()))?;
        // Nothing to change in most files: what the copier is, root, owns most.
        attributes.owner = attributes.owner.filter(|owner| self.newborn != Some(*owner));
        let left_out = attributes.apply(copy.as_fd())?;
        self.note(left_out, name);
        Ok(())
    }

    /// Gives a file that was copied under another name its further name.
    fn linked(&mut self, to: BorrowedFd, name: &CStr, stat: &FileStat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let id = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get_mut(&id) else {
            let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
            self.kept += cost(path.as_os_str().len());
            ensure!(self.kept <= LINKS, "the paths of files with several names take more than {LINKS} bytes of memory");
            self.links.insert(id, First { path, missing: stat.st_nlink - 1 });
            return Ok(false);
        };
        let (parent, source) = open_deep(self.root.as_fd(), &first.path)?;
        linkat(&parent, source, to, name, AtFlags::empty()).call(|| "linkat".into())?;
        first.missing -= 1;
        if first.missing == 0 {
            self.kept -= cost(first.path.as_os_str().len());
            self.links.remove(&id);
        }
        Ok(true)
    }

    fn finish_directory(&mut self, from: BorrowedFd, to: BorrowedFd, stat: &FileStat) -> Result<()> {
        let left_out = self.owners.attributes(stat, &Inode::Open(from))?.apply(to)?;
        self.note(left_out, c"");
        Ok(())
    }

    fn note(&mut self, left_out: Vec<CString>, name: &CStr) {
        let shown = |attribute: CString| format!("{}: {}", self.shown(Some(name)), attribute.to_string_lossy());
        let room = (NOTES + 1).saturating_sub(self.done.left_out.len());
        let mut notes: Vec<String> = left_out.into_iter().take(room).map(shown).collect();
        if !notes.is_empty() && self.done.left_out.len() + notes.len() > NOTES {
            notes.pop();
            notes.push(format!("and other attributes, after {NOTES} of them"));
        }
        self.done.left_out.extend(notes);
    }

    /// `copy etc/passwd`: for errors.
    fn shown(&self, name: Option<&CStr>) -> String {
        let path = match name {
            Some(name) if !name.is_empty() => self.path.join(OsStr::from_bytes(name.to_bytes())),
            _ => self.path.clone(),
        };
        format!("copy {}", if path.as_os_str().is_empty() { Path::new(".") } else { &path }.display())
    }
}

fn is_directory(from: BorrowedFd, name: &CStr) -> Result<bool> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).call(|| "fstatat".into())?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn open_directory(at: BorrowedFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).call(|| "openat a directory".into())
}

/// The directory of `path` below `root`, which may be longer than the kernel takes at once, and the last component.
fn open_deep<'p>(root: BorrowedFd, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
    let name = path.file_name().ok_or(SyscallError { call: "linkat".into(), errno: Errno::EINVAL })?;
    let mut here = root.try_clone_to_owned().call(|| "dup the destination".into())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut step = PathBuf::new();
    let mut components = parent.components().peekable();
    while let Some(component) = components.next() {
        step.push(component);
        if components.peek().is_none() || step.as_os_str().len() > 2048 {
            here = openat(&here, step.as_path(), flags, Mode::empty())
                .call(|| "openat a linked file's directory".into())?;
            step.clear();
        }
    }
    Ok((here, name))
}
