//! What copying a file tree needs: reflinks, in-kernel copies, extended attributes.

use super::check;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `ioctl(FICLONE)`: makes `to` share all the data of `from`. EOPNOTSUPP, EXDEV, EINVAL or ENOTTY where the
/// filesystem cannot.
pub fn clone_data(from: BorrowedFd, to: BorrowedFd) -> nix::Result<()> {
    const FICLONE: libc::c_ulong = 0x4004_9409;
    // SAFETY: the argument is an fd, passed by value.
    check(unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.as_raw_fd()) }.into()).map(drop)
}

/// `copy_file_range(2)` between the fds' own offsets: copies at most `length` bytes, on the server or as shared extents
/// where the filesystem can; 0 at the end of file. EXDEV between filesystems of different types.
pub fn copy_range(from: BorrowedFd, to: BorrowedFd, length: usize) -> nix::Result<usize> {
    let (here, flags) = (std::ptr::null_mut::<libc::off64_t>(), 0u32);
    // SAFETY: null offsets are allowed and mean the fds' own.
    let n = check(unsafe {
        libc::syscall(libc::SYS_copy_file_range, from.as_raw_fd(), here, to.as_raw_fd(), here, length, flags)
    })?;
    Ok(n as usize)
}

/// `sendfile(2)` between the fds' own offsets: copies at most `length` bytes within the kernel; 0 at the end of file.
pub fn send_data(from: BorrowedFd, to: BorrowedFd, length: usize) -> nix::Result<usize> {
    // SAFETY: a null offset is allowed and means the fd's own.
    let n = check(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), std::ptr::null_mut(), length) } as i64)?;
    Ok(n as usize)
}

/// The content of a small file that is written at once: a regular file, or one of procfs that a single read(2) gives
/// whole. One call where it is shorter than 4 KiB; EFBIG where it is longer than 16 MiB.
pub fn read_small(file: BorrowedFd) -> nix::Result<Vec<u8>> {
    const STEP: usize = 4096;
    const LARGEST: usize = 16 << 20;
    let mut content = Vec::new();
    loop {
        let mut buffer = [0u8; STEP];
        match nix::unistd::read(file, &mut buffer) {
            Err(Errno::EINTR) => {}
            result => {
                let length = result?;
                content.extend_from_slice(&buffer[..length]);
                if length < STEP {
                    return Ok(content);
                }
                if content.len() > LARGEST {
                    return Err(Errno::EFBIG);
                }
            }
        }
    }
}

/// A file as the owner of extended attributes.
pub enum Inode<'a> {
    /// A file or directory that is open for reading or writing.
    Open(BorrowedFd<'a>),
    /// The path of a file that cannot be opened so (a link, a device): the path's last component is not followed.
    Path(CString),
}

impl<'a> Inode<'a> {
    /// The entry `name` of the directory `dir`, itself (a link is not followed). Needs `/proc`.
    pub fn entry(dir: BorrowedFd, name: &CStr) -> nix::Result<Inode<'a>> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        CString::new(path).map(Inode::Path).map_err(|_| Errno::EINVAL)
    }

    /// `flistxattr(2)` or `llistxattr(2)`: the names of all extended attributes.
    pub fn xattr_names(&self) -> nix::Result<Vec<CString>> {
        let names = grow(|buffer, length| match self {
            // SAFETY: the buffer is writable for the length given; the path is NUL-terminated.
            Inode::Open(fd) => unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.cast(), length) },
            // SAFETY: as above.
            Inode::Path(path) => unsafe { libc::llistxattr(path.as_ptr(), buffer.cast(), length) },
        })?;
        Ok(names.split_inclusive(|b| *b == 0).filter_map(|n| CString::from_vec_with_nul(n.to_vec()).ok()).collect())
    }

    /// `fgetxattr(2)` or `lgetxattr(2)`.
    pub fn xattr(&self, name: &CStr) -> nix::Result<Vec<u8>> {
        grow(|buffer, length| match self {
            // SAFETY: the buffer is writable for the length given; the strings are NUL-terminated.
            Inode::Open(fd) => unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.cast(), length) },
            // SAFETY: as above.
            Inode::Path(path) => unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.cast(), length) },
        })
    }

    /// `fsetxattr(2)` or `lsetxattr(2)`.
    pub fn set_xattr(&self, name: &CStr, value: &[u8]) -> nix::Result<()> {
        let data = value.as_ptr().cast();
        let ret = match self {
            // SAFETY: the kernel reads `value.len()` bytes at `data`; the strings are NUL-terminated.
            Inode::Open(fd) => unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), data, value.len(), 0) },
            // SAFETY: as above.
            Inode::Path(path) => unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), data, value.len(), 0) },
        };
        check(ret.into()).map(drop)
    }
}

/// Calls `get` with a buffer, a small one first and then one of the size that the kernel asks for, until it fits.
fn grow(get: impl Fn(*mut u8, usize) -> isize) -> nix::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 512];
    loop {
        let n = get(buffer.as_mut_ptr(), buffer.len());
        match check(n as i64) {
            Ok(n) => {
                buffer.truncate(n as usize);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => {
                let needed = check(get(std::ptr::null_mut(), 0) as i64)? as usize;
                buffer.resize(needed.max(buffer.len() * 2), 0);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// A lock of flock(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// EWOULDBLOCK where another open file has the exclusive one.
    TryShared,
    /// Gives it back, whatever copies of the open file there are.
    Release,
}

/// `flock(2)`; EINTR is retried. The lock ends when the last copy of the open file is closed, in a fork too.
pub fn lock(fd: BorrowedFd, lock: Lock) -> nix::Result<()> {
    let operation = match lock {
        Lock::TryShared => libc::LOCK_SH | libc::LOCK_NB,
        Lock::Release => libc::LOCK_UN,
    };
    loop {
        // SAFETY: no pointers are passed.
        match check(unsafe { libc::flock(fd.as_raw_fd(), operation) }.into()) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}
