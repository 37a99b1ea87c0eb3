//! Loading a compiled program.

use crate::sys::seccomp::{FILTER_FLAG_NEW_LISTENER, FILTER_FLAG_TSYNC, load_filter};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;

/// Puts the filter in force for the calling process and what it executes. `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// The caller has no_new_privs set or CAP_SYS_ADMIN in its user namespace.
pub fn load(program: &[u8], flags: u32) -> Result<()> {
    attach(program, flags & !FILTER_FLAG_NEW_LISTENER).map(drop)
}

/// As [`load`], for a filter with notifications: returns the fd on which they arrive. From then on every system call
/// that the filter notifies of blocks until somebody who has this fd answers.
pub fn load_with_listener(program: &[u8], flags: u32) -> Result<OwnedFd> {
    attach(program, flags | FILTER_FLAG_NEW_LISTENER)?.context("seccomp gave no notification fd")
}

fn attach(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    let flags = flags & !FILTER_FLAG_TSYNC;
    load_filter(program, flags).or_else(|e| Err(e).call(|| describe(program, flags, e)))
}

/// The flags that the kernel gets. There is one thread to synchronise, and the kernel refuses TSYNC together with a
/// listener.
pub fn effective_flags(flags: u32, listens: bool) -> u32 {
    let flags = flags & !(FILTER_FLAG_TSYNC | FILTER_FLAG_NEW_LISTENER);
    if listens { flags | FILTER_FLAG_NEW_LISTENER } else { flags }
}

/// Instructions of a compiled program, as many as a filter may have.
pub fn count(program: &[u8]) -> Result<u16> {
    const RECORD: usize = 8;
    let whole = !program.is_empty() && program.len().is_multiple_of(RECORD);
    let count = u16::try_from(program.len() / RECORD).ok().filter(|_| whole);
    count.with_context(|| format!("a filter of {} bytes", program.len()))
}

/// The call that has failed, for an error.
pub fn describe(program: &[u8], flags: u32, errno: Errno) -> String {
    let count = program.len() / 8;
    let flags = flags & !FILTER_FLAG_TSYNC;
    format!("load a filter of {count} instructions with flags {flags:#x}{}: seccomp", hint(errno))
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EACCES => " (needs noNewPrivileges or CAP_SYS_ADMIN)",
        Errno::EINVAL => " (a flag or the program is not known to this kernel)",
        Errno::EBUSY => " (a filter with a listener is loaded already)",
        _ => "",
    }
}
