//! Capability sets, resource limits and groups of the calling process.

use super::check;
use nix::errno::Errno;
use std::os::raw::{c_int, c_long};

/// The three sets of capget(2), bit n being capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

/// `struct __user_cap_header_struct`; version 3 has 64 capabilities in two words.
#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`: 32 capabilities of each set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Header {
    fn caller() -> Header {
        const VERSION_3: u32 = 0x2008_0522;
        Header { version: VERSION_3, pid: 0 }
    }
}

/// `capget(2)` of the calling thread.
pub fn capget() -> nix::Result<CapabilitySets> {
    let mut header = Header::caller();
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 makes the kernel write two records, which is what `data` holds.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// `capset(2)` of the calling thread: the three sets in one call. EPERM if a set exceeds what capabilities(7) allows.
pub fn capset(sets: &CapabilitySets) -> nix::Result<()> {
    let mut header = Header::caller();
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 makes the kernel read two records, which is what `data` holds.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

fn prctl(option: c_int, second: c_long, third: c_long) -> nix::Result<c_int> {
    // SAFETY: the options used in this file take numbers only.
    check(unsafe { libc::prctl(option, second, third, 0 as c_long, 0 as c_long) }.into()).map(|r| r as c_int)
}

/// `prctl(PR_CAPBSET_DROP)`: EINVAL if the kernel does not know the capability, EPERM without CAP_SETPCAP.
pub fn drop_from_bounding(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// `prctl(PR_CAPBSET_READ)`: EINVAL if the kernel does not know the capability.
pub fn is_in_bounding(capability: u32) -> nix::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability.into(), 0).map(|r| r == 1)
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)`.
pub fn clear_ambient() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.into(), 0).map(drop)
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE)`: EPERM unless the capability is permitted and inheritable.
pub fn raise_ambient(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE.into(), capability.into()).map(drop)
}

/// A soft and a hard limit (`RLIM_INFINITY` is `u64::MAX`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// `prlimit64(2)` that reads: the limit of process `pid` (0: the caller). `resource` is an `RLIMIT_*` number.
pub fn limit(pid: libc::pid_t, resource: u32) -> nix::Result<Limit> {
    let mut old = Limit::default();
    // SAFETY: `old` has the layout of struct rlimit64; no new limit is passed.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, std::ptr::null::<Limit>(), &raw mut old) })?;
    Ok(old)
}

/// `prlimit64(2)` that sets the limit of process `pid` (0: the caller).
pub fn set_limit(pid: libc::pid_t, resource: u32, new: Limit) -> nix::Result<()> {
    // SAFETY: `new` has the layout of struct rlimit64 and outlives the call; no old limit is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const new, std::ptr::null_mut::<Limit>()) })
        .map(drop)
}

/// `setgroups(2)`: EPERM without CAP_SETGID or where the user namespace denies it, EINVAL for an unmapped gid.
pub fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: the pointer and the length describe `groups`; gid_t is u32 for this syscall on every 64-bit machine.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// `setresgid(2)` of all three group ids: EINVAL for an unmapped gid.
pub fn set_gid(gid: u32) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// `setresuid(2)` of all three user ids: EINVAL for an unmapped uid.
pub fn set_uid(uid: u32) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// `faccessat2(AT_FDCWD, path, X_OK, AT_EACCESS)`: whether the caller, with its effective ids and capabilities, may
/// execute the file (or search the directory).
pub fn may_execute(path: &std::path::Path) -> nix::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
        .map(drop)
}
