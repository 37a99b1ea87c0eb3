//! The container's cgroup: made, entered, signalled, removed.

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Record {}
