//! The floor: what the kernel at least takes for a container of the measured configs, with no config read, no state
//! written, and no error handling beyond naming the call. It starts without Rust's runtime, so that its own start is
//! that of a small static C program.
//!
//! ```text
//! rvol-floor run  PROFILE ROOTFS HIERARCHIES CGROUP FILTER BINDS PROGRAM [ARGUMENT…]
//! rvol-floor exec PROFILE INIT   HIERARCHIES CGROUP FILTER       PROGRAM [ARGUMENT…]
//! ```
//!
//! PROFILE is `minimal` or `docker`, with `@BYTES` after it for a memory limit; HIERARCHIES the cgroup mount points with commas between, CGROUP a path from their
//! roots whose parent exists, FILTER a file with a compiled seccomp filter, BINDS `DIR:COUNT` for bind mounts of
//! `DIR/000`… onto `/mnt/000`…, or `-`.
#![no_main]
#![allow(unsafe_code)]

mod bpf;
mod cgroup;
mod container;
mod exec;
mod privileges;
mod raw;

use std::ffi::CStr;

/// The command line, taken apart.
pub struct Request<'a> {
    pub docker: bool,
    /// Bytes in decimal, for the file of the limit.
    pub memory: &'a [u8],
    /// The rootfs, or the pid of the container's first process.
    pub place: &'a CStr,
    pub hierarchies: &'a [u8],
    pub cgroup: &'a [u8],
    pub filter: &'a CStr,
    pub binds: &'a [u8],
    /// NULL-terminated.
    pub program: &'a [*const libc::c_char],
}

/// # Safety
/// Called by the C library's start code with the process's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: libc::c_int, argv: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: the kernel gives argc pointers to NUL-terminated strings that live as long as the process, then NULL.
    let words = unsafe { std::slice::from_raw_parts(argv, argc as usize + 1) };
    // SAFETY: as above, for indices below argc.
    let word = |i: usize| unsafe { CStr::from_ptr(words[i]) };
    let command = if argc > 1 { word(1).to_bytes() } else { b"" };
    let run = command == b"run" && argc >= 9;
    let exec = command == b"exec" && argc >= 8;
    if !run && !exec {
        raw::fail("usage: rvol-floor run|exec … (see bench/src/floor/main.rs)", libc::EINVAL);
    }
    let profile = word(2).to_bytes();
    let request = Request {
        docker: profile.starts_with(b"docker"),
        memory: profile.split(|byte| *byte == b'@').nth(1).unwrap_or_default(),
        place: word(3),
        hierarchies: word(4).to_bytes(),
        cgroup: word(5).to_bytes(),
        filter: word(6),
        binds: if run { word(7).to_bytes() } else { b"-" },
        program: &words[if run { 8 } else { 7 }..],
    };
    if run { container::run(&request) } else { exec::exec(&request) }
}
