//! What confines the container's process: capabilities, seccomp, LSM labels, keyring, and the attributes of a process.
//! Applied by `init` in its own order; nothing here knows of steps, sockets or stores.

pub mod attributes;
pub mod capabilities;
pub mod environment;
pub mod keyring;
pub mod lsm;
pub mod procfs;
pub mod seal;
pub mod seccomp;
