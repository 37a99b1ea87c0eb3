//! clone3, and what belongs to a process at birth.

use super::check;
use super::script::{Arg, Script};
use super::shared::SharedBirth;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub const CLONE_NEWTIME: u64 = 0x0000_0080;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller's.
    Caller,
    /// The caller's parent's (CLONE_PARENT), with the caller's own exit signal.
    CallersParent,
}

/// Who returns from [`clone3`].
pub enum Cloned {
    Child,
    Parent { pid: libc::pid_t, pidfd: OwnedFd },
}

/// `struct clone_args` of `<linux/sched.h>`, version 2 (88 bytes).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3(2)` like fork: the child returns with a copy of the caller's memory.
///
/// `namespaces` are `CLONE_NEW*` bits; with `cgroup`, an fd of a cgroup v2 directory, the child is born in it.
/// The caller must be single-threaded: after a fork only the calling thread exists.
pub fn clone3(namespaces: u64, cgroup: Option<BorrowedFd>, parent: Parent) -> nix::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        ..CloneArgs::default()
    };
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        Parent::CallersParent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout and size of clone_args version 2; without CLONE_VM the child has its own copy of
    // memory and continues on the same stack, as with fork; the process is single-threaded, so no lock is held by
    // another thread.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    if pidfd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the kernel stored a new fd here (CLONE_PIDFD) that nobody else owns.
    Ok(Cloned::Parent { pid: pid as libc::pid_t, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Adds to a script that a sibling of the caller is cloned, which goes on with it; the caller ends. The sibling's pid is
/// written into `shared`, which it does not get itself.
pub fn add_sibling(script: &mut Script, code: u64, shared: SharedBirth) {
    let memory = shared.range();
    let dontfork = [Arg::Is(memory.start as u64), Arg::Is(memory.len() as u64), Arg::from(libc::MADV_DONTFORK)];
    script.call(code, libc::SYS_madvise, &dontfork);
    let flags = (libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64;
    // Version 1 of `struct clone_args`; the exit signal is that of the caller.
    let arguments = script.words(&[
        Arg::Is(flags),
        Arg::Is(0),
        Arg::Is(0),
        Arg::Is(shared.address_of_pid() as u64),
        Arg::Is(0),
        Arg::Is(0),
        Arg::Is(0),
        Arg::Is(0),
    ]);
    script.call_in_clone(code, libc::SYS_clone3, &[Arg::At(arguments), Arg::Is(64)]);
}

/// `setns(2)` with the namespace kinds in `kinds` (`CLONE_NEW*`), or 0 for any.
pub fn setns(fd: BorrowedFd, kinds: u64) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds as libc::c_int) }).map(drop)
}

/// The number that process `pid` of the caller's pid namespace has in `namespace`; `None` where it is not in there.
/// ENOTTY before Linux 6.11. Zombies have their numbers until they are reaped.
pub fn pid_in_namespace(namespace: BorrowedFd, pid: libc::pid_t) -> nix::Result<Option<libc::pid_t>> {
    /// `NS_GET_PID_IN_PIDNS` of `<linux/nsfs.h>`: `_IOR(0xb7, 8, int)`.
    const GET_PID_IN_PIDNS: libc::c_ulong = 0x8004_b708;
    // SAFETY: the argument is a number.
    match check(unsafe { libc::ioctl(namespace.as_raw_fd(), GET_PID_IN_PIDNS as _, libc::c_long::from(pid)) }.into()) {
        Err(Errno::ESRCH) => Ok(None),
        result => result.map(|number| Some(number as libc::pid_t)),
    }
}

/// `unshare(2)` of `CLONE_NEW*` bits, CLONE_NEWTIME included.
pub fn unshare(kinds: u64) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds as libc::c_int) }).map(drop)
}

/// `pivot_root(".", ".")`: makes the working directory the root and stacks the old root upon it
/// (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_root_here() -> nix::Result<()> {
    // SAFETY: both arguments are static NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}
