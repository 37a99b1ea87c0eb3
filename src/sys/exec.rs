//! execve and the descriptors that survive it.

use super::check;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Set before `main` where the program's start has seen that its file is on a read-only mount.
pub static FROM_READ_ONLY: AtomicBool = AtomicBool::new(false);

/// Whether the program's start has seen that its file is on a read-only mount; false where it has not looked.
pub fn is_from_read_only() -> bool {
    FROM_READ_ONLY.load(Ordering::Relaxed)
}

/// Set before `main` to the fd of the detached mount that the program was executed from.
pub static SEALED_MOUNT: AtomicI32 = AtomicI32::new(-1);

/// The detached mount that the program was executed from, once; `None` where it was executed from none, or it is closed.
pub fn take_sealed_mount() -> Option<OwnedFd> {
    let fd = SEALED_MOUNT.swap(-1, Ordering::Relaxed);
    // SAFETY: the program's start has found it open in the name of the program, and nobody else takes it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `execve(2)`. Returns only on failure.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> nix::Result<Infallible> {
    nix::unistd::execve(path, args, env)
}

/// `execveat(fd, "", AT_EMPTY_PATH)`: executes the file behind the fd. Returns only on failure.
pub fn execve_fd(file: BorrowedFd, args: &[CString], env: &[CString]) -> nix::Result<Infallible> {
    let pointers =
        |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect::<Vec<_>>();
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both vectors are null-terminated arrays of NUL-terminated strings that outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(check(ret).err().unwrap_or(Errno::EINVAL))
}

/// `close_range(2)`: closes every fd from `first` on but those in `keep`. The caller owns no other that it goes on using.
pub fn close_others(first: u32, keep: &[BorrowedFd]) -> nix::Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if from < fd {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: no pointers are passed; the caller of `close_others` says that nobody uses these fds.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Whether fd `number` is open and came through an exec (it is not close-on-exec, as all of ours are).
pub fn is_inherited(number: i32) -> nix::Result<bool> {
    // SAFETY: F_GETFD takes no argument and touches no memory.
    match check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into()) {
        Ok(flags) => Ok(flags & libc::c_long::from(libc::FD_CLOEXEC) == 0),
        Err(Errno::EBADF) => Ok(false),
        Err(errno) => Err(errno),
    }
}
