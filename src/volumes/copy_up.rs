//! Copy-up: what the image has at the mount point goes into an empty volume, whole or not at all.
//!
//! The copy is made in a directory beside the data (`_staging`). When it is complete a rename makes it `_staged`: from
//! there on it counts, and whoever has the volume locked next finishes it, should we be killed. Its entries are then
//! moved into the data one by one, and the directory's own attributes follow. All under the volume's lock: nobody mounts
//! a volume in between.

use super::store::{Durable, make_dir};
use super::tree;
use super::volume::Volume;
use crate::plan::volume::CopyUp;
use crate::rootfs::copy::{Copied, Owners, Top, copy_attributes, copy_tree_watched};
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result};
use nix::fcntl::{RenameFlags, renameat, renameat2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

const STAGING: &CStr = c"_staging";
const STAGED: &CStr = c"_staged";
/// The same inside the data, where that is a filesystem of its own.
const INNER_STAGING: &CStr = c".rvol-staging";
const INNER_STAGED: &CStr = c".rvol-staged";

/// Where a copy is prepared.
struct Stage<'a> {
    parent: BorrowedFd<'a>,
    staging: &'static CStr,
    staged: &'static CStr,
}

/// In the stage: the copy, a directory that keeps the attributes of its top (which change as the copy is moved away), and
/// the path below the data that it is for.
const TREE: &CStr = c"tree";
const ATTRIBUTES: &CStr = c"top";
const INTO: &str = "into";

/// Whether a name in the data is this module's and no content.
fn is_stage(name: &CStr) -> bool {
    name == INNER_STAGING || name == INNER_STAGED
}

/// Finishes or removes what a killed command left in a volume that is locked.
pub(super) fn recover(volume: &Volume, data: BorrowedFd) -> Result<()> {
    for stage in [beside(volume), inside(data)] {
        match tree::open_dir(stage.parent, stage.staged) {
            Ok(_) => finish(&stage, data).context("finish a copy-up that was interrupted")?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| "open _staged".into()),
        }
        // Mostly not there, which this finds out with one call.
        tree::remove(stage.parent, stage.staging).context("remove a copy-up that was interrupted")?;
    }
    Ok(())
}

fn beside(volume: &Volume) -> Stage<'_> {
    Stage { parent: volume.dir(), staging: STAGING, staged: STAGED }
}

fn inside(data: BorrowedFd<'_>) -> Stage<'_> {
    Stage { parent: data, staging: INNER_STAGING, staged: INNER_STAGED }
}

/// Whether the volume (or the part of it that is asked for) has nothing in it yet.
pub(super) fn is_empty(dir: BorrowedFd) -> Result<bool> {
    tree::is_empty(dir, is_stage).call(|| "read the volume".into())
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
    /// A quota counts what is in the data: rename(2) takes no directory from one quota's project into another's (EXDEV).
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
    if tree::is_empty(image, |_| false).call(|| "read the image's directory".into())? {
        return copy_attributes(image, into, owners).map(|()| Copied::default());
    }
    let same = |a: BorrowedFd, b: BorrowedFd| -> nix::Result<bool> { Ok(fstat(a)?.st_dev == fstat(b)?.st_dev) };
    let renames = !job.limited && same(volume.dir(), into).call(|| "fstat".into())?;
    let stage = if renames { beside(volume) } else { inside(data) };
    match stage_copy(&stage, job, watch) {
        Ok(copied) => finish(&stage, data).map(|()| copied),
        Err(error) => {
            // Not with `?`: the first error is the one that tells (ENOSPC, mostly); what stays is swept next time.
            let _ = tree::remove(stage.parent, stage.staging);
            Err(error)
        }
    }
}

fn stage_copy(stage: &Stage, job: &Job, watch: &mut dyn FnMut(&Copied)) -> Result<Copied> {
    let name = stage.staging.to_string_lossy();
    let dir = make_dir(stage.parent, &name, 0o700)?;
    mkdirat(&dir, TREE, Mode::S_IRWXU).call(|| "mkdir the copy".into())?;
    let tree = tree::open_dir(dir.as_fd(), TREE).call(|| "open the copy".into())?;
    if let Some(subpath) = job.subpath {
        use nix::fcntl::{OFlag, openat};
        use std::os::unix::ffi::OsStrExt;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&dir, INTO, flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| "note the subpath".into())?;
        std::fs::File::from(file).write_all(subpath.as_os_str().as_bytes()).call(|| "note the subpath".into())?;
    }
    let copied = copy_tree_watched(job.image, tree.as_fd(), Top::Keep, job.owners, watch)?;
    let top = make_dir(dir.as_fd(), &ATTRIBUTES.to_string_lossy(), 0o700)?;
    copy_attributes(job.image, top.as_fd(), job.owners)?;
    if job.durable == Durable::Yes {
        // From the rename on nobody copies again: what a power failure leaves of the files has to be all of them.
        tree::sync(dir.as_fd())?;
    }
    renameat(stage.parent, stage.staging, stage.parent, stage.staged).call(|| "rename the copy".into())?;
    Ok(copied)
}

/// Moves a complete copy into the data. Does as much as is left to do.
fn finish(stage: &Stage, data: BorrowedFd) -> Result<()> {
    let dir = tree::open_dir(stage.parent, stage.staged).call(|| "open the copy".into())?;
    let into = match subpath_of(dir.as_fd())? {
        Some(path) => match super::hold::open_subpath(data, &path) {
            // Taken away since: there is nothing to finish.
            Err(error) if errno_of(&error) == Some(Errno::ENOENT) => return tree::remove(stage.parent, stage.staged),
            into => into?,
        },
        None => tree::open_dir(data, c".").call(|| "open the data".into())?,
    };
    match tree::open_dir(dir.as_fd(), TREE) {
        Ok(copy) => {
            for (name, _) in tree::entries(copy.as_fd()).call(|| "read the copy".into())? {
                match renameat2(&copy, name.as_c_str(), &into, name.as_c_str(), RenameFlags::RENAME_NOREPLACE) {
                    // Somebody who has the volume already was first, with a file of that name.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    // A filesystem without the flag; the directory was empty.
                    Err(Errno::EINVAL) => renameat(&copy, name.as_c_str(), &into, name.as_c_str())
                        .call(|| format!("rename {}", name.to_string_lossy()))?,
                    Err(errno) => return Err(errno).call(|| format!("rename {}", name.to_string_lossy())),
                }
            }
            let top = tree::open_dir(dir.as_fd(), ATTRIBUTES).call(|| "open the copy's attributes".into())?;
            copy_attributes(top.as_fd(), into.as_fd(), Owners::default())?;
        }
        // Killed while what was left of the stage was removed.
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).call(|| "open the copy".into()),
    }
    let times = fstat(&into).call(|| "fstat".into())?;
    // First, since it is what says that there is something left to do; without the rest, it could not be done.
    tree::remove(dir.as_fd(), TREE)?;
    tree::remove(stage.parent, stage.staged)?;
    if stage.staged == INNER_STAGED {
        restore_times(into.as_fd(), &times)?;
    }
    Ok(())
}

/// Removing the stage from within the directory has changed its times.
fn restore_times(dir: BorrowedFd, stat: &nix::sys::stat::FileStat) -> Result<()> {
    use nix::sys::time::TimeSpec;
    let (atime, mtime) =
        (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec));
    nix::sys::stat::futimens(dir, &atime, &mtime).call(|| "futimens".into())
}

fn subpath_of(stage: BorrowedFd) -> Result<Option<PathBuf>> {
    use nix::fcntl::{OFlag, openat};
    use std::io::Read;
    use std::os::unix::ffi::OsStringExt;
    let file = match openat(stage, INTO, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        file => file.call(|| "open the noted subpath".into())?,
    };
    let mut path = Vec::new();
    std::fs::File::from(file).read_to_end(&mut path).call(|| "read the noted subpath".into())?;
    Ok(Some(std::ffi::OsString::from_vec(path).into()))
}
