//! `linux.intelRdt`: cache and memory bandwidth allocation.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntelRdt {
    /// Directory below `/sys/fs/resctrl`: the config's closID, else the container's id.
    pub clos_id: String,
    /// The closID is given by the config (the directory may exist, and is kept on delete).
    pub explicit: bool,
    /// Lines for `schemata`; empty: the directory must exist.
    pub schemata: Vec<String>,
    /// So many of `schemata`, from the front, come from l3CacheSchema and memBwSchema: what an existing group has must
    /// agree with them.
    pub fixed: usize,
    /// A monitoring group `mon_groups/<id>` is made and removed with the container.
    pub monitoring: bool,
}
