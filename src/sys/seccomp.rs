//! seccomp(2): loading a compiled filter.

use super::check;
use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd};

pub const FILTER_FLAG_TSYNC: u32 = 1 << 0;
pub const FILTER_FLAG_LOG: u32 = 1 << 1;
pub const FILTER_FLAG_SPEC_ALLOW: u32 = 1 << 2;
pub const FILTER_FLAG_NEW_LISTENER: u32 = 1 << 3;
pub const FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;

#[repr(C)]
struct Program {
    len: u16,
    filter: *const libc::sock_filter,
}

/// Loads a classic BPF program (`sock_filter` records of 8 bytes each, native byte order, as libseccomp exports it).
/// With [`FILTER_FLAG_NEW_LISTENER`] the notification fd is returned. The caller has `no_new_privs` or CAP_SYS_ADMIN.
pub fn load_filter(program: &[u8], flags: u32) -> nix::Result<Option<OwnedFd>> {
    const RECORD: usize = size_of::<libc::sock_filter>();
    if program.is_empty() || !program.len().is_multiple_of(RECORD) {
        return Err(Errno::EINVAL);
    }
    let filter: Vec<libc::sock_filter> = program
        .chunks_exact(RECORD)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let len = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` points to `len` records that outlive the call; the kernel copies them.
    let ret = check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) })?;
    if flags & FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the return value is a new fd.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }))
}

/// Whether the kernel knows a filter flag: an unknown one is EINVAL, a known one reaches the null program (EFAULT).
pub fn flag_supported(flag: u32) -> bool {
    // The kernel refuses WAIT_KILLABLE_RECV without NEW_LISTENER.
    let flag = if flag == FILTER_FLAG_WAIT_KILLABLE_RECV { flag | FILTER_FLAG_NEW_LISTENER } else { flag };
    // SAFETY: a null program is a deliberate EFAULT; nothing is loaded.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flag, std::ptr::null::<Program>()) };
    check(ret) == Err(Errno::EFAULT)
}

/// Whether the kernel knows a return action (`SECCOMP_RET_*`).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 from the pointer.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) }).is_ok()
}
