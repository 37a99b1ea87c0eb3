//! Facts about the machine and about ourselves, as a plain struct that tests construct.

use std::path::PathBuf;

/// What planning may depend on.
#[derive(Debug, Clone)]
pub struct Host {
    /// Major and minor version of the running kernel.
    pub kernel: (u32, u32),
    pub uid: u32,
    pub gid: u32,
    /// The runtime's own user namespace is not the initial one.
    pub in_user_namespace: bool,
    pub cgroup: CgroupMode,
    /// Where cgroups are mounted.
    pub cgroup_root: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMode {
    /// One cgroup2 tree at the root.
    Unified,
    /// v1 hierarchies (names of the directories below the root), possibly with a cgroup2 at `unified`.
    Legacy {
        hierarchies: Vec<String>,
        hybrid: bool,
    },
    None,
}

impl Host {
    /// Asks the kernel.
    pub fn probe() -> anyhow::Result<Host> {
        todo!()
    }
}
