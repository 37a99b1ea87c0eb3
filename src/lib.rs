//! rvol-runc: an OCI container runtime with native volumes. `docs/architecture.md` is the map of these modules.

pub mod annotations;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod clock;
pub mod criu;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod holder;
pub mod hooks;
pub mod host;
pub mod init;
pub mod ipc;
pub mod log;
pub mod network;
pub mod plan;
pub mod rdt;
pub mod rootfs;
pub mod runtime;
pub mod security;
pub mod state;
pub mod store;
pub mod sys;
pub mod trace;
pub mod volumes;
