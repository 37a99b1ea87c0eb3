//! execve and the descriptors that survive it.

use super::check;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The detached mount that the program was executed from, if its fd is still open: the kernel names the program
/// `/dev/fd/N` then (execveat(2), "Notes"). To be called once; the caller has seen that the program is on a read-only mount.
pub fn take_executed_mount() -> Option<OwnedFd> {
    // SAFETY: getauxval(3) only reads what the kernel has passed.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: the value of AT_EXECFN is a NUL-terminated string that stays as long as the process.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    let number: i32 = name.strip_prefix("/dev/fd/")?.parse().ok()?;
    // A caller of fexecve(3) may pass an fd of its own here, which is not O_PATH as that of a mount is.
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let flags = check(unsafe { libc::fcntl(number, libc::F_GETFL) }.into()).ok()?;
    if flags & libc::c_long::from(libc::O_PATH) == 0 {
        return None;
    }
    // SAFETY: the fd is open, was opened for this execution, and nobody else takes it.
    let mount = unsafe { OwnedFd::from_raw_fd(number) };
    nix::fcntl::fcntl(&mount, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).ok()?;
    Some(mount)
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
