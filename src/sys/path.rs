//! Paths that are resolved beneath a directory fd.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// What a symbolic link in the path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Symlinks {
    /// Followed, with `root` as the root directory (`RESOLVE_IN_ROOT`).
    Follow,
    /// An error (ELOOP) anywhere in the path (`RESOLVE_NO_SYMLINKS`).
    Refuse,
}

/// `openat2(2)` of `path` with `root` as its root directory: `..`, absolute paths and links never leave it and
/// magic links are refused. Retries EAGAIN, which the kernel gives when a rename races with `..`.
pub fn open_in_root(root: BorrowedFd, path: &Path, flags: OFlag, symlinks: Symlinks) -> nix::Result<OwnedFd> {
    let mut resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    if symlinks == Symlinks::Refuse {
        resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
    }
    let mode = if flags.contains(OFlag::O_CREAT) { Mode::from_bits_truncate(0o644) } else { Mode::empty() };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut tries = 0;
    loop {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN) if tries < 128 => tries += 1,
            result => return result,
        }
    }
}

/// `openat2(2)` beneath `dir` without any link, magic link or mount crossing: for procfs, sysfs and cgroupfs files.
pub fn open_beneath(dir: BorrowedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    loop {
        match openat2(dir, path, how) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
}

/// The id of the mount on top at `path` (statx(2), STATX_MNT_ID, Linux 5.8).
pub fn mount_id(path: &Path) -> nix::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    statx_mount_id(libc::AT_FDCWD, &path, 0)
}

/// The id of the mount that an open file is on.
pub fn mount_id_of(fd: BorrowedFd) -> nix::Result<u64> {
    use std::os::fd::AsRawFd;
    statx_mount_id(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

fn statx_mount_id(dir: i32, path: &std::ffi::CStr, flags: i32) -> nix::Result<u64> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `path` is NUL-terminated and `found` is a statx that the kernel fills.
    super::check(i64::from(unsafe { libc::statx(dir, path.as_ptr(), flags, libc::STATX_MNT_ID, found.as_mut_ptr()) }))?;
    // SAFETY: all zeroes is a valid statx, so it is initialised whatever the kernel filled in.
    Ok(unsafe { found.assume_init() }.stx_mnt_id)
}
