//! Mount options: one table that gives each option string its meaning.

use serde::Serialize;

/// Mount attributes to set and to clear (`MOUNT_ATTR_*` of mount_setattr(2)), on the mount itself and recursively.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attr {
    pub set: u64,
    pub clear: u64,
    /// From the options that start with `r` (`rro`, `rnosuid` …): for the mount and everything below it.
    pub recursive_set: u64,
    pub recursive_clear: u64,
}

/// The propagation type of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// Stub: the names of the options table come with the mount parts.
pub fn names() -> Vec<&'static str> {
    vec!["idmap", "lazytime", "nosymfollow", "rbind", "ro", "rro", "silent", "tmpcopyup"]
}
