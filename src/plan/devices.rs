//! Device nodes: the defaults of the spec and `linux.devices`.

use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Ids in the container.
    pub uid: u32,
    pub gid: u32,
    pub make: MakeDevice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// How the node comes into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MakeDevice {
    Mknod,
    /// Bound from the host's node at this path: in a user namespace mknod(2) is not allowed.
    Bind(PathBuf),
}
