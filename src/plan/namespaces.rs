//! Namespaces and id mappings.

use serde::Serialize;
use std::path::PathBuf;

/// What the container has of each kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    pub user: Namespace,
    pub pid: Namespace,
    pub mount: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
    /// The mappings of a new user namespace, or of the joined one as far as the config states them.
    pub id_map: Option<IdMap>,
    /// Offsets for a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// The runtime's own.
    #[default]
    Inherit,
    New,
    /// The one behind this path, which is absolute.
    Join(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdMap {
    pub uid: Vec<IdRange>,
    pub gid: Vec<IdRange>,
    pub writer: IdMapWriter,
}

/// Who writes `/proc/<pid>/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapWriter {
    /// The runtime itself: it is privileged in the parent user namespace, or maps one id, its own.
    Runtime,
    /// newuidmap(1) and newgidmap(1), by /etc/subuid and /etc/subgid.
    Helpers,
}

/// `linux.uidMappings[]`: `size` ids from `container` on are `host` and up outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IdRange {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    pub seconds: i64,
    pub nanoseconds: u32,
}
