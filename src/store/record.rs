//! What is written into a container's directory.

use crate::plan::{Hooks, Plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The format of the files here; a newer one is refused, older ones stay readable.
pub const VERSION: u32 = 1;

/// What later commands need of the config, fixed at `create`: changes of config.json afterwards have no effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub id: String,
    pub oci_version: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub annotations: BTreeMap<String, String>,
    pub hooks: Hooks,
    pub has_process: bool,
    /// User id of the creator.
    pub owner: u32,
    /// RFC 3339, UTC.
    pub created: String,
    pub cgroup: crate::cgroup::Record,
    /// Directories below the resctrl tree that go with the container.
    #[serde(default)]
    pub intel_rdt: Vec<PathBuf>,
}

impl Record {
    pub fn new(plan: &Plan, owner: u32, created: String) -> Record {
        Record {
            version: VERSION,
            id: plan.id.clone(),
            oci_version: plan.oci_version.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            annotations: plan.annotations.clone(),
            hooks: plan.hooks.clone(),
            has_process: plan.process.is_some(),
            owner,
            created,
            cgroup: crate::cgroup::Record::none(),
            intel_rdt: Vec::new(),
        }
    }
}

/// The container's first process. A pid alone may be reused; with its start time it is one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitRecord {
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}
