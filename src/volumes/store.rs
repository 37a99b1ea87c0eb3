//! The directory of all volumes: finding, making, locking and removing them, each change whole or not at all.
//!
//! A volume is made in a directory that no name finds (`.new-…`) and renamed; it is removed by a rename to `.gone-…` and
//! emptied there. Whoever works on a directory holds its flock, so what a killed command left is told from what another
//! one is about. Everything below the root goes by fds, and no link is followed.

use super::metadata::Metadata;
use super::tree;
use super::volume::{DATA, METADATA, REFS, Volume};
use crate::holder::Holder;
use crate::plan::volume::check_name;
use crate::sys::alarm::lock_within;
use crate::sys::{Call, Errno, random};
use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::cmp::Ordering;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a volume that is being made, or removed, is called.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// How long a command waits for another one that works on the same volume. That may copy an image's files into it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where all volumes are.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// There is no volume with this name. Docker's words.
#[derive(Debug)]
pub struct NoSuchVolume(pub String);

impl std::fmt::Display for NoSuchVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "get {0}: no such volume", self.0)
    }
}

impl std::error::Error for NoSuchVolume {}

/// Whether a new volume has to outlive a power failure from the first moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    Yes,
    No,
}

impl Store {
    pub fn new(root: PathBuf) -> Store {
        Store { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a volume's data is, whether it exists or not.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.root.join(name).join(DATA)
    }

    /// All names, in the order of `docker volume ls`.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let Some(root) = self.open()? else { return Ok(names) };
        let mut dir = Dir::from_fd(root).call(|| self.shown("read"))?;
        for entry in dir.iter() {
            let entry = entry.call(|| self.shown("read"))?;
            let name = entry.file_name().to_string_lossy();
            let directory = !matches!(entry.file_type(), Some(kind) if kind != nix::dir::Type::Directory);
            if directory && check_name(&name).is_ok() {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable_by(|a, b| natural(a, b));
        Ok(names)
    }

    /// A volume as it is now, not locked; `None` where there is none.
    pub fn read(&self, name: &str) -> Result<Option<Volume>> {
        let Some(root) = self.open()? else { return Ok(None) };
        Ok(self.open_volume(root.as_fd(), name)?.map(|dir| Volume::plain(self, name, dir)))
    }

    /// As [`Store::read`], where the volume has to exist.
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.read(name)?.ok_or_else(|| NoSuchVolume(name.to_owned()).into())
    }

    /// A volume, locked against everybody else; waits for whoever has the lock. `None` where there is none.
    pub fn lock(&self, name: &str) -> Result<Option<Volume>> {
        let Some(root) = self.open()? else { return Ok(None) };
        loop {
            let Some(dir) = self.open_volume(root.as_fd(), name)? else { return Ok(None) };
            let lock = lock_waiting(dir, name)?;
            // Whoever had the lock may have removed or renamed it.
            if is_linked(root.as_fd(), name, &lock) {
                return Ok(Some(Volume::locked(self, name, root, lock)));
            }
        }
    }

    /// As [`Store::lock`], where the volume has to exist.
    pub fn lock_existing(&self, name: &str) -> Result<Volume> {
        self.lock(name)?.ok_or_else(|| NoSuchVolume(name.to_owned()).into())
    }

    /// Makes a volume and returns it locked, or `None` if the name is taken. `fill` may put more into it, before
    /// anybody can see it.
    pub fn make(
        &self,
        name: &str,
        metadata: &Metadata,
        durable: Durable,
        fill: impl FnOnce(&Volume) -> Result<()>,
    ) -> Result<Option<Volume>> {
        check_name(name).map_err(anyhow::Error::msg)?;
        let root = self.open_or_make()?;
        // Only to save the work; what counts is the rename.
        if fstatat(&root, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            return Ok(None);
        }
        let draft =
            self.draft_in(root, name, metadata, durable, fill).with_context(|| format!("make volume {name}"))?;
        match draft.publish(self, durable) {
            Ok(true) => Ok(Some(draft.volume)),
            failed => {
                let discarded = draft.discard();
                failed.and(discarded).with_context(|| format!("make volume {name}"))?;
                Ok(None)
            }
        }
    }

    /// Makes a volume that no name finds, for [`Draft::publish`]. `fill` may put more into it.
    pub(super) fn draft(
        &self,
        name: &str,
        metadata: &Metadata,
        durable: Durable,
        fill: impl FnOnce(&Volume) -> Result<()>,
    ) -> Result<Draft> {
        check_name(name).map_err(anyhow::Error::msg)?;
        self.draft_in(self.open_or_make()?, name, metadata, durable, fill)
    }

    fn draft_in(
        &self,
        root: OwnedFd,
        name: &str,
        metadata: &Metadata,
        durable: Durable,
        fill: impl FnOnce(&Volume) -> Result<()>,
    ) -> Result<Draft> {
        let (aside, lock) = self.make_aside(root.as_fd())?;
        let draft = Draft { volume: Volume::locked(self, name, root, lock), aside };
        match draft.complete(metadata, durable, fill) {
            Ok(()) => Ok(draft),
            Err(error) => {
                // The first error is the one that tells (ENOSPC, mostly); what stays is swept by prune.
                let _ = draft.discard();
                Err(error)
            }
        }
    }

    /// A directory that only we know, and its lock.
    fn make_aside(&self, root: BorrowedFd) -> Result<(String, Flock<OwnedFd>)> {
        loop {
            let name = format!("{NEW}{}", random::hex::<8>().call(|| "getrandom".into())?);
            mkdirat(root, name.as_str(), Mode::S_IRWXU).call(|| self.shown("mkdir in"))?;
            match lock_aside(root, &name) {
                Ok(Some(lock)) => return Ok((name, lock)),
                // Another command has removed it as a dead one, before it was locked.
                Ok(None) => {}
                Err(error) => {
                    // Empty. Ignored, so that the original error is reported; `gc` finds what stays.
                    let _ = unlinkat(root, name.as_str(), UnlinkatFlags::RemoveDir);
                    return Err(error);
                }
            }
        }
    }

    /// Removes a locked volume that nobody uses. From the first rename on there is no such volume.
    pub(super) fn remove(&self, volume: &Volume) -> Result<()> {
        let root = volume.root();
        let gone = format!("{GONE}{}", random::hex::<8>().call(|| "getrandom".into())?);
        renameat(root, volume.name(), root, gone.as_str()).call(|| format!("rename volume {}", volume.name()))?;
        tree::remove(root, &text(&gone)).with_context(|| format!("empty the removed volume {}", volume.name()))
    }

    /// Gives a locked volume another name; an error where that is taken.
    pub fn rename(&self, volume: &Volume, to: &str) -> Result<()> {
        check_name(to).map_err(anyhow::Error::msg)?;
        let root = volume.root();
        match renameat(root, volume.name(), root, to) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => bail!("volume {to} exists already"),
            renamed => renamed.call(|| format!("rename volume {} to {to}", volume.name()))?,
        }
        fsync(root).call(|| self.shown("fsync"))
    }

    /// Removes what killed commands left: volumes that were never finished, and those that were half removed.
    pub fn sweep(&self) -> Result<()> {
        let Some(root) = self.open()? else { return Ok(()) };
        for (name, _) in tree::entries(root.as_fd()).call(|| self.shown("read"))? {
            if !name.to_bytes().starts_with(NEW.as_bytes()) && !name.to_bytes().starts_with(GONE.as_bytes()) {
                continue;
            }
            let Ok(dir) = tree::open_dir(root.as_fd(), &name) else { continue };
            if lock(dir, FlockArg::LockExclusiveNonblock).call(|| "flock".into())?.is_some() {
                tree::remove(root.as_fd(), &name)?;
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&self.root, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            root => root.call(|| self.shown("open")).map(Some),
        }
    }

    fn open_or_make(&self) -> Result<OwnedFd> {
        if let Some(root) = self.open()? {
            return Ok(root);
        }
        // Nobody else has business in there: it holds files of containers, set-uid ones among them (CVE-2021-41091).
        std::fs::DirBuilder::new().recursive(true).mode(0o701).create(&self.root).call(|| self.shown("mkdir"))?;
        self.open()?.with_context(|| self.shown("it has vanished:"))
    }

    fn open_volume(&self, root: BorrowedFd, name: &str) -> Result<Option<OwnedFd>> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(root, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                bail!("{} is not the directory of a volume", self.root.join(name).display())
            }
            dir => dir.call(|| format!("open volume {name}")).map(Some),
        }
    }

    fn shown(&self, verb: &str) -> String {
        format!("{verb} volume store {}", self.root.display())
    }
}

/// A volume that is complete and has no name yet. Locked.
pub(super) struct Draft {
    pub volume: Volume,
    aside: String,
}

impl Draft {
    fn complete(&self, metadata: &Metadata, durable: Durable, fill: impl FnOnce(&Volume) -> Result<()>) -> Result<()> {
        let volume = &self.volume;
        make_dir(volume.dir(), DATA, 0o755)?;
        make_dir(volume.dir(), REFS, 0o700)?;
        volume.write(METADATA, metadata, durable)?;
        fill(volume)?;
        if durable == Durable::Yes {
            fsync(volume.dir()).call(|| "fsync a new volume".into())?;
        }
        Ok(())
    }

    /// Gives it its name. False if that is taken.
    pub fn publish(&self, store: &Store, durable: Durable) -> Result<bool> {
        let (root, name) = (self.volume.root(), self.volume.name());
        // A volume's directory is never empty, so that one which exists is not replaced.
        match renameat(root, self.aside.as_str(), root, name) {
            Ok(()) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => return Ok(false),
            Err(errno) => return Err(errno).call(|| format!("rename a new volume to {name}")),
        }
        if durable == Durable::Yes {
            fsync(root).call(|| store.shown("fsync"))?;
        }
        Ok(true)
    }

    /// Puts the data in the place of that of a volume which has none, in one step. Both are locked.
    ///
    /// # Errors
    /// ENOTEMPTY, when the volume has data by now.
    pub fn publish_in(&self, volume: &Volume) -> Result<()> {
        renameat(self.volume.dir(), DATA, volume.dir(), DATA)
            .call(|| format!("rename the data into volume {}", volume.name()))?;
        fsync(volume.dir()).call(|| "fsync a volume".into())
    }

    pub fn discard(&self) -> Result<()> {
        tree::remove(self.volume.root(), &text(&self.aside))
    }
}

/// Locks a directory that was just made; `None` if it is gone.
fn lock_aside(root: BorrowedFd, name: &str) -> Result<Option<Flock<OwnedFd>>> {
    let dir = match tree::open_dir(root, &text(name)) {
        Err(Errno::ENOENT) => return Ok(None),
        dir => dir.call(|| format!("open {name}"))?,
    };
    let lock = lock(dir, FlockArg::LockExclusiveNonblock).call(|| format!("flock {name}"))?;
    Ok(lock.filter(|lock| is_linked(root, name, lock)))
}

fn text(name: &str) -> CString {
    // Made of letters and digits.
    CString::new(name).unwrap_or_default()
}

/// The lock, or `None` where it is taken (or a signal came while waiting).
pub(super) fn lock(dir: OwnedFd, how: FlockArg) -> nix::Result<Option<Flock<OwnedFd>>> {
    match Flock::lock(dir, how) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EINTR | Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno),
    }
}

/// The lock of a volume; waits while another command has it.
///
/// # Errors
/// The other command has it for longer than [`PATIENCE`]; the error names it.
fn lock_waiting(dir: OwnedFd, name: &str) -> Result<Flock<OwnedFd>> {
    let describe = || format!("flock volume {name}");
    let (dir, errno) = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err(failed) => failed,
    };
    if errno != Errno::EWOULDBLOCK {
        return Err(errno).call(describe);
    }
    if !lock_within(dir.as_fd(), PATIENCE).call(describe)? {
        let holder =
            Holder::of(dir.as_fd()).map_or("a process that cannot be seen from here".into(), |h| h.to_string());
        bail!("volume {name} is busy: {holder} has not released its lock within {} s", PATIENCE.as_secs());
    }
    // The open file has the lock by now.
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).call(describe)
}

fn is_linked(at: BorrowedFd, name: &str, lock: &Flock<OwnedFd>) -> bool {
    let same = |a: FileStat, b: FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    match (fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW), fstat(lock.as_fd())) {
        (Ok(named), Ok(open)) => same(named, open),
        _ => false,
    }
}

/// A directory with this very mode, whatever the umask.
pub(super) fn make_dir(at: BorrowedFd, name: &str, mode: u32) -> Result<OwnedFd> {
    mkdirat(at, name, Mode::S_IRWXU).call(|| format!("mkdir {name}"))?;
    let dir = tree::open_dir(at, &text(name)).call(|| format!("open {name}"))?;
    if mode != 0o700 {
        fchmod(&dir, Mode::from_bits_truncate(mode)).call(|| format!("fchmod {name}"))?;
    }
    Ok(dir)
}

/// Unlinks a file; that it is gone is as good.
pub(super) fn unlink(at: BorrowedFd, name: &str) -> Result<()> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).call(|| format!("unlink {name}")),
    }
}

/// Digits by their value: `data2` before `data10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digits = |s: &[u8]| s.iter().take_while(|c| c.is_ascii_digit()).count();
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let (m, n) = (digits(a), digits(b));
        if m == 0 || n == 0 {
            match x.cmp(y) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                unequal => return unequal,
            }
            continue;
        }
        let value = |s: &[u8]| s[..digits(s)].iter().skip_while(|c| **c == b'0').copied().collect::<Vec<_>>();
        let (v, w) = (value(a), value(b));
        match v.len().cmp(&w.len()).then(v.cmp(&w)).then(m.cmp(&n)) {
            Ordering::Equal => (a, b) = (&a[m..], &b[n..]),
            unequal => return unequal,
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests;
