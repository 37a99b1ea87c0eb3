//! Drives an OCI runtime binary from outside: bundles are written, commands run, and what a payload sees is compared
//! with what the runtime-spec asks for. It knows command lines, exit codes and files, and nothing of the runtime's code.
//!
//! `RUNTIME` names the binary (a path, or a name in PATH); without it the tests build and use `rvol-runc`
//! ([`mod@runtime`]). Each test owns a [`Case`]: a directory with a bundle and a state root, a container id and a cgroup.
//! When the case goes out of scope, the container is deleted and nothing of it may be left ([`leaks`]).
//! A test of what a peer cannot do says so with [`needs!`] and is skipped there.

pub mod attack;
pub mod case;
pub mod cgroups;
pub mod checkpoints;
pub mod command;
pub mod config;
pub mod console;
pub mod criu;
pub mod facts;
pub mod features;
pub mod host_mounts;
pub mod leaks;
pub mod loop_device;
pub mod machine;
pub mod nfs;
pub mod payload;
pub mod raw;
pub mod runtime;
pub mod strace;
pub mod trees;
pub mod unprivileged;
pub mod volumes;
pub mod waiting;
pub mod words;

pub use case::Case;
pub use command::Outcome;
pub use facts::Facts;
pub use features::Feature;
pub use runtime::{Kind, runtime};
pub use serde_json::{Value, json};
