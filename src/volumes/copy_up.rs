//! Copy-up: the image's files at the mount point are copied into an empty volume, completely or not at all.
//!
//! Nothing in `_data` is read as a note of ours: a container writes there, and would command us. The copy is made beside
//! `_data`, in `_staging`. When it is complete, a rename makes it `_staged`. From then on it counts: if we are killed,
//! the next command that locks the volume finishes it. `_staged` has
//!
//! - `tree`: the copied files that are not in the data yet. They are renamed into the data one by one;
//! - `merging`: the same where rename(2) cannot reach the data (EXDEV: another filesystem is mounted there). It is
//!   copied a second time. After a crash, what was copied of it is removed from the data and copied again;
//! - `top`: a directory with the attributes that the data's directory is to have;
//! - `into`: the subpath of the data that the copy is for.
//!
//! All of this happens under the volume's lock, so no container gets the volume in between.

use super::hold::resolve_subpath;
use super::store::{Durable, make_dir};
use super::tree;
use super::volume::Volume;
use crate::plan::volume::CopyUp;
use crate::rootfs::copy::{Copied, Owners, Top, copy_attributes, copy_tree, copy_tree_watched};
use crate::sys::{Call, Errno, quota};
use anyhow::{Context, Result};
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::CStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const STAGING: &CStr = c"_staging";
const STAGED: &CStr = c"_staged";

/// In the stage; see the head of this file.
const TREE: &CStr = c"tree";
const MERGING: &CStr = c"merging";
const MERGED: &CStr = c"merged";
const ATTRIBUTES: &CStr = c"top";
const INTO: &str = "into";

/// Version 0.1 staged a copy in here, inside the data, where the data was a filesystem of its own or had a quota.
const OLD_STAGES: [&CStr; 2] = [c".rvol-staging", c".rvol-staged"];

/// How many names of a directory are in memory at a time.
const NAMES: usize = 16_384;

/// Finishes or removes what a killed command left in a volume that is locked.
pub(super) fn recover(volume: &Volume, data: BorrowedFd) -> Result<()> {
    match tree::open_dir(volume.dir(), STAGED) {
        Ok(_) => finish(volume, data).context("finish a copy-up that was interrupted")?,
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).call(|| "open _staged".into()),
    }
    // Mostly not there, which this finds out with one call.
    tree::remove(volume.dir(), STAGING).context("remove a copy-up that was interrupted")
}

/// Removes an interrupted copy-up of version 0.1 from the data, without reading it: a container may have forged it.
pub(super) fn remove_old_stages(data: BorrowedFd) -> Result<()> {
    for name in OLD_STAGES {
        tree::remove(data, name).context("remove a copy-up of version 0.1 that was interrupted")?;
    }
    Ok(())
}

/// Whether the volume (or the part of it that is asked for) has nothing in it yet.
pub(super) fn is_empty(dir: BorrowedFd) -> Result<bool> {
    tree::is_empty(dir).call(|| "read the volume".into())
}

/// What is to be copied where.
pub struct Job<'a> {
    pub data: BorrowedFd<'a>,
    /// What `into` is below the data.
    pub subpath: Option<&'a Path>,
    /// Empty.
    pub into: BorrowedFd<'a>,
    /// The image's directory.
    pub image: BorrowedFd<'a>,
    pub mode: CopyUp,
    pub owners: Owners<'a>,
    /// A quota counts what is in the data.
    pub limited: bool,
    pub durable: Durable,
}

/// Fills the volume, or the part of it that is asked for, from the image's directory.
pub fn fill(volume: &Volume, job: &Job, watch: &mut dyn FnMut(&Copied)) -> Result<Copied> {
    let Job { data, into, image, owners, .. } = *job;
    match job.mode {
        CopyUp::None => return Ok(Copied::default()),
        CopyUp::Meta => return copy_attributes(image, into, owners).map(|()| Copied::default()),
        CopyUp::Always | CopyUp::Once => {}
    }
    // The common case of a new directory without content needs no stage.
    if tree::is_empty(image).call(|| "read the image's directory".into())? {
        return copy_attributes(image, into, owners).map(|()| Copied::default());
    }
    match stage_copy(volume, job, watch) {
        Ok(copied) => finish(volume, data).map(|()| copied),
        Err(error) => {
            // The first error is the one to report (ENOSPC, mostly). `recover` removes what this cannot.
            let _ = tree::remove(volume.dir(), STAGING);
            Err(error)
        }
    }
}

fn stage_copy(volume: &Volume, job: &Job, watch: &mut dyn FnMut(&Copied)) -> Result<Copied> {
    let dir = make_dir(volume.dir(), &STAGING.to_string_lossy(), 0o700)?;
    mkdirat(&dir, TREE, Mode::S_IRWXU).call(|| "mkdir the copy".into())?;
    let tree = tree::open_dir(dir.as_fd(), TREE).call(|| "open the copy".into())?;
    if job.limited {
        // The quota counts the copy from the start, and rename(2) takes no file from one project into another (EXDEV).
        let project = quota::project(job.data).call(|| "ioctl FS_IOC_FSGETXATTR".into())?;
        quota::set_project(tree.as_fd(), project).call(|| "ioctl FS_IOC_FSSETXATTR".into())?;
    }
    if let Some(subpath) = job.subpath {
        note_subpath(dir.as_fd(), subpath)?;
    }
    let copied = copy_tree_watched(job.image, tree.as_fd(), Top::Keep, job.owners, watch)?;
    let top = make_dir(dir.as_fd(), &ATTRIBUTES.to_string_lossy(), 0o700)?;
    copy_attributes(job.image, top.as_fd(), job.owners)?;
    if job.durable == Durable::Yes {
        // From the rename on nobody copies again: what a power failure leaves of the files has to be all of them.
        tree::sync(dir.as_fd())?;
    }
    renameat(volume.dir(), STAGING, volume.dir(), STAGED).call(|| "rename the copy".into())?;
    Ok(copied)
}

/// Moves a complete copy into the data. Does as much as is left to do.
fn finish(volume: &Volume, data: BorrowedFd) -> Result<()> {
    let stage = tree::open_dir(volume.dir(), STAGED).call(|| "open the copy".into())?;
    let stage = stage.as_fd();
    let subpath = subpath_of(stage)?;
    let into = match resolve_subpath(data, subpath.as_deref().unwrap_or(Path::new("."))) {
        Ok(path) => tree::open_dir(path.as_fd(), c"."),
        Err(errno) => Err(errno),
    };
    let into = match into {
        // A container that has the volume has removed the directory since, or put something else there: there is
        // nothing to finish.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return tree::remove(volume.dir(), STAGED),
        into => into.call(|| "open the data".into())?,
    };
    if let Err(error) = move_in(stage, into.as_fd()) {
        if exists(stage, MERGING)? {
            // Left as it is, every later user of the volume would meet the same error (ENOSPC, mostly).
            let undone = clear_merge(stage, into.as_fd()).and_then(|()| tree::remove(volume.dir(), STAGED));
            undone.with_context(|| format!("{error:#}; to undo that"))?;
        }
        return Err(error);
    }
    tree::remove(volume.dir(), STAGED)
}

/// Brings the staged files into the data, by rename or by a second copy, then the attributes of the top.
fn move_in(stage: BorrowedFd, into: BorrowedFd) -> Result<()> {
    if exists(stage, MERGING)? {
        // Somebody was killed while he copied.
        clear_merge(stage, into)?;
        return merge(stage, into);
    }
    let copy = match tree::open_dir(stage, TREE) {
        // Killed while what was left of the stage was removed.
        Err(Errno::ENOENT) => return Ok(()),
        copy => copy.call(|| "open the copy".into())?,
    };
    if rename_all(copy.as_fd(), into)? == Renamed::OtherFilesystem {
        renameat(stage, TREE, stage, MERGING).call(|| "rename the copy".into())?;
        return merge(stage, into);
    }
    apply_top(stage, into)?;
    // First: this is what says that there is something left to do, and without the rest it could not be done.
    tree::remove(stage, TREE)
}

#[derive(PartialEq, Eq)]
enum Renamed {
    All,
    OtherFilesystem,
}

/// Renames the staged files into the data. A file of a container that has the volume already stays.
fn rename_all(copy: BorrowedFd, into: BorrowedFd) -> Result<Renamed> {
    loop {
        let names = tree::some_entries(copy, NAMES).call(|| "read the copy".into())?;
        if names.is_empty() {
            return Ok(Renamed::All);
        }
        for (name, _) in names {
            let name = name.as_c_str();
            let what = || format!("rename {}", name.to_string_lossy());
            match renameat2(copy, name, into, name, RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EEXIST) => tree::remove(copy, name)?,
                Err(Errno::EXDEV) => return Ok(Renamed::OtherFilesystem),
                // A filesystem without the flag; the directory was empty.
                Err(Errno::EINVAL) => renameat(copy, name, into, name).call(what)?,
                Err(errno) => return Err(errno).call(what),
            }
        }
    }
}

/// Copies the staged files into the data, which is on another filesystem, and marks the stage as done.
fn merge(stage: BorrowedFd, into: BorrowedFd) -> Result<()> {
    let copy = tree::open_dir(stage, MERGING).call(|| "open the copy".into())?;
    copy_tree(copy.as_fd(), into, Top::Keep)?;
    apply_top(stage, into)?;
    tree::sync(into)?;
    // At once: with a half removed `merging`, the next command would copy only that half again.
    renameat(stage, MERGING, stage, MERGED).call(|| "rename the copy".into())
}

/// Removes from the data what a merge that was not completed has put there.
fn clear_merge(stage: BorrowedFd, into: BorrowedFd) -> Result<()> {
    let copy = tree::open_dir(stage, MERGING).call(|| "open the copy".into())?;
    tree::each_entry(copy.as_fd(), &mut |name| tree::remove(into, name))
}

fn exists(stage: BorrowedFd, name: &CStr) -> Result<bool> {
    match tree::open_dir(stage, name) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno).call(|| format!("open {}", name.to_string_lossy())),
    }
}

fn apply_top(stage: BorrowedFd, into: BorrowedFd) -> Result<()> {
    let top = tree::open_dir(stage, ATTRIBUTES).call(|| "open the copy's attributes".into())?;
    copy_attributes(top.as_fd(), into, Owners::default())
}

fn note_subpath(stage: BorrowedFd, subpath: &Path) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(stage, INTO, flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| "note the subpath".into())?;
    std::fs::File::from(file).write_all(subpath.as_os_str().as_bytes()).call(|| "note the subpath".into())
}

fn subpath_of(stage: BorrowedFd) -> Result<Option<PathBuf>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(stage, INTO, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        file => file.call(|| "open the noted subpath".into())?,
    };
    let mut path = Vec::new();
    // No longer path could have been resolved when it was noted.
    let mut file = std::fs::File::from(file).take(libc::PATH_MAX as u64);
    file.read_to_end(&mut path).call(|| "read the noted subpath".into())?;
    Ok(Some(std::ffi::OsString::from_vec(path).into()))
}
