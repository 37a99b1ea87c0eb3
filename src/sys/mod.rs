//! The kernel's calls that the crates do not offer, as safe functions.
//!
//! Owns every `unsafe` block of the program. Takes and gives `OwnedFd` / `BorrowedFd`, returns `nix::Result`;
//! [`Call`] turns an errno into an error that names the call. Knows nothing of containers, plans or bundles.
#![allow(unsafe_code)]

pub mod alarm;
pub mod bpf;
pub mod credentials;
mod error;
pub mod event;
pub mod exec;
pub mod file;
pub mod kernel;
pub mod mount;
pub mod net;
pub mod netns;
pub mod ns;
pub mod path;
pub mod pidfd;
pub mod process;
pub mod procstat;
pub mod quota;
pub mod random;
pub mod raw;
pub mod script;
pub mod seccomp;
pub mod shared;
pub mod socket;
pub mod tty;

pub use error::{Call, ContextError, SyscallError, errno_of};
pub use nix::errno::Errno;

/// The kernel's answer to a raw syscall as a `Result`.
fn check(ret: libc::c_long) -> nix::Result<libc::c_long> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}
