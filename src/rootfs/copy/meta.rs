//! Owner, mode, extended attributes and times of a copied file, in the order in which none undoes another.

use crate::sys::file::Inode;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// For a file or directory that is open on both sides. Returns the extended attributes that were left out.
pub fn apply(from: BorrowedFd, to: BorrowedFd, stat: &FileStat) -> Result<Vec<CString>> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    // chown clears set-id bits and file capabilities; chmod changes the mask of an ACL.
    fchown(to, Some(uid), Some(gid)).call(|| format!("fchown {uid}:{gid}"))?;
    fchmod(to, mode(stat)).call(|| "fchmod".into())?;
    let left_out = copy_xattrs(&Inode::Open(from), &Inode::Open(to))?;
    let (atime, mtime) = times(stat);
    futimens(to, &atime, &mtime).call(|| "futimens".into())?;
    Ok(left_out)
}

/// For a link, device, FIFO or socket, by name.
pub fn apply_to_entry(from: BorrowedFd, to: BorrowedFd, name: &CStr, stat: &FileStat) -> Result<Vec<CString>> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).call(|| format!("fchownat {uid}:{gid}"))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
        // We have just made it, in a directory that only we can enter; with the bit, no link is followed all the same.
        fchmodat(to, name, mode(stat), FchmodatFlags::NoFollowSymlink).call(|| "fchmodat".into())?;
    }
    let from = Inode::entry(from, name).call(|| "name an entry".into())?;
    let to_entry = Inode::entry(to, name).call(|| "name an entry".into())?;
    let left_out = copy_xattrs(&from, &to_entry)?;
    let (atime, mtime) = times(stat);
    utimensat(to, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink).call(|| "utimensat".into())?;
    Ok(left_out)
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

fn copy_xattrs(from: &Inode, to: &Inode) -> Result<Vec<CString>> {
    let names = match from.xattr_names() {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        names => names.call(|| "listxattr".into())?,
    };
    let mut left_out = Vec::new();
    for name in names {
        let value = match from.xattr(&name) {
            // Removed meanwhile.
            Err(Errno::ENODATA) => continue,
            value => value.call(|| "getxattr".into()).with_context(|| name.to_string_lossy().into_owned())?,
        };
        match to.set_xattr(&name, &value) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP) => left_out.push(name),
            // trusted.* and security.* belong to the host's administrator; a label is given by the destination.
            Err(Errno::EPERM) if !name.to_bytes().starts_with(b"user.") => left_out.push(name),
            Err(errno) => {
                return Err(errno).call(|| "setxattr".into()).with_context(|| name.to_string_lossy().into_owned());
            }
        }
    }
    Ok(left_out)
}
