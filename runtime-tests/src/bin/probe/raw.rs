//! The syscalls that no crate wraps; the only `unsafe` of the probe.
#![allow(unsafe_code)]

use nix::errno::Errno;

/// Any syscall by number, with up to six plain numbers; the result or the errno.
pub fn syscall(number: i64, args: &[u64]) -> Result<i64, Errno> {
    let a = |i: usize| args.get(i).copied().unwrap_or(0);
    // SAFETY: the numbers come from the test that starts the probe, which passes no pointers into this process
    // other than 0 and invalid ones, for which the kernel answers EFAULT.
    Errno::result(unsafe { libc::syscall(number, a(0), a(1), a(2), a(3), a(4), a(5)) })
}

/// `rt_sigtimedwait` for any signal, without an end.
pub fn wait_for_signal() -> i32 {
    let all = nix::sys::signal::SigSet::all();
    loop {
        // SAFETY: the set is initialised; the info pointer may be null.
        let signal = unsafe { libc::sigwaitinfo(all.as_ref(), std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// `get_mempolicy(2)`: mode with its flags, and the nodes.
pub fn mempolicy() -> Result<(i32, Vec<usize>), Errno> {
    let mut mode: libc::c_int = 0;
    let mut nodes = [0u64; 16];
    // SAFETY: both pointers are valid for the sizes given (maxnode counts bits).
    Errno::result(unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 1024usize, 0usize, 0usize)
    })?;
    Ok((mode, (0..1024).filter(|n| nodes[n / 64] >> (n % 64) & 1 == 1).collect()))
}

#[repr(C)]
#[derive(Default)]
pub struct SchedAttr {
    size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// `sched_getattr(2)` of the caller.
pub fn scheduler() -> Result<SchedAttr, Errno> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: `attr` has the layout of sched_attr version 0 and the size given.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    Ok(attr)
}

/// `keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING)` and the description of that keyring.
pub fn session_keyring() -> Result<(i64, String), Errno> {
    const GET_KEYRING_ID: libc::c_int = 0;
    const DESCRIBE: libc::c_int = 6;
    const SESSION: libc::c_int = -3;
    // SAFETY: no pointers are passed.
    let id = Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION, 0) })?;
    let mut text = vec![0u8; 1024];
    // SAFETY: the buffer has the length given.
    let n = Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, id, text.as_mut_ptr(), text.len()) })?;
    text.truncate((n as usize).saturating_sub(1).min(1024));
    Ok((id, String::from_utf8_lossy(&text).into_owned()))
}

/// Rows and columns of the terminal behind an fd.
pub fn window_size(fd: i32) -> Result<(u16, u16), Errno> {
    // SAFETY: winsize is plain data; the kernel fills it.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for a winsize.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// `prctl` of an option that takes and gives numbers.
pub fn prctl(option: i32, arg2: u64) -> Result<i32, Errno> {
    // SAFETY: callers use options without pointers.
    Errno::result(unsafe { libc::prctl(option, arg2, 0, 0, 0) })
}

/// fork(2).
pub fn fork_single() -> nix::unistd::ForkResult {
    // SAFETY: the probe has one thread.
    unsafe { nix::unistd::fork() }.expect("fork")
}

/// An fd that a system call has returned.
pub fn own(fd: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}
