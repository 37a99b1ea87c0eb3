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
    // There is one thread to synchronise, and the kernel refuses the flag together with a listener.
    let flags = flags & !FILTER_FLAG_TSYNC;
    load_filter(program, flags).map_err(|e| (e, hint(e))).or_else(|(e, hint)| {
        let count = program.len() / 8;
        Err(e).call(|| format!("load a filter of {count} instructions with flags {flags:#x}{hint}: seccomp"))
    })
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EACCES => " (needs noNewPrivileges or CAP_SYS_ADMIN)",
        Errno::EINVAL => " (a flag or the program is not known to this kernel)",
        Errno::EBUSY => " (a filter with a listener is loaded already)",
        _ => "",
    }
}
