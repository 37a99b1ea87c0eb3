//! `size`: a limit on the directory of a volume, by a project quota of the filesystem that the store is on (xfs, or ext4
//! with the feature `project`, mounted with `prjquota`).
//!
//! A project is a number. It stays with the directory and its limit with the filesystem, so there is nothing to do when
//! the volume is used, renamed or removed.

use crate::sys::quota::{self, Usage};
use crate::sys::{Call, Errno, random};
use crate::volumes::volume::Volume;
use anyhow::{Context, Result, bail};
use std::os::fd::{AsFd, BorrowedFd};

/// Limits the bytes in a volume that is being made.
///
/// # Errors
/// Docker's, where the filesystem has no project quotas.
pub fn limit(volume: &Volume, bytes: u64) -> Result<()> {
    let data = volume.data()?;
    let project = unused(data.as_fd())?;
    quota::set_limit(data.as_fd(), project, bytes).map_err(unsupported)?;
    quota::set_project(data.as_fd(), project)
        .call(|| format!("ioctl FS_IOC_FSSETXATTR projid={project}"))
        .context("quota size requested but no quota support")
}

/// A project that nothing on the filesystem belongs to. By chance: there is no list of them, and no lock.
fn unused(data: BorrowedFd) -> Result<u32> {
    for _ in 0..16 {
        // Above what people and other programs number.
        let number: String = random::hex::<4>().call(|| "getrandom".into())?;
        let project = (u32::from_str_radix(&number, 16)? & 0x3fff_ffff) | 0x4000_0000;
        match quota::usage(data, project) {
            Ok(Usage { bytes: 0, files: 0 }) | Err(Errno::ENOENT) => return Ok(project),
            Ok(_) => {}
            Err(errno) => return Err(unsupported(errno)),
        }
    }
    bail!("no unused project was found for a quota")
}

fn unsupported(errno: Errno) -> anyhow::Error {
    let error = Err::<(), _>(errno).call(|| "quotactl_fd PRJQUOTA".into()).unwrap_err();
    error.context("quota size requested but no quota support")
}
