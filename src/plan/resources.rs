//! `linux.cgroupsPath` and `linux.resources`.

use serde::Serialize;
use std::path::PathBuf;

/// Which cgroup the container is in, and who makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    pub manager: Manager,
    /// Absolute path below each hierarchy's root (cgroupfs).
    pub path: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    #[default]
    Cgroupfs,
    Systemd,
    Disabled,
}

// Stub until the merge.
pub fn plan(_: &oci_spec::runtime::Spec, request: &super::Request, _: &mut Vec<super::Problem>) -> Cgroup {
    Cgroup { manager: request.cgroup_manager, path: PathBuf::from("/").join(&request.id) }
}
