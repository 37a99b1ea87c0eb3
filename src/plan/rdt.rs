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
    /// A monitoring group `mon_groups/<id>` is made and removed with the container.
    pub monitoring: bool,
}
