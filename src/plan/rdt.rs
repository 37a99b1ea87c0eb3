//! `linux.intelRdt`: cache and memory bandwidth allocation.

use super::{Problem, Request};
use oci_spec::runtime::{Linux, LinuxIntelRdt};
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntelRdt {
    /// Directory below `/sys/fs/resctrl`: the config's closID, else the container's id. `/` is the root itself.
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

/// `linux.intelRdt`.
pub fn plan(linux: Option<&Linux>, request: &Request, problems: &mut Vec<Problem>) -> Option<IntelRdt> {
    let config = linux?.intel_rdt().as_ref()?;
    let clos_id = config.clos_id().as_deref().filter(|id| !id.is_empty());
    if let Some(Err(message)) = clos_id.map(check_clos_id) {
        problems.push(Problem::new("linux.intelRdt.closID", message));
    }
    let (schemata, fixed) = schemata(config, problems);
    Some(IntelRdt {
        clos_id: clos_id.unwrap_or(&request.id).to_string(),
        explicit: clos_id.is_some(),
        schemata,
        fixed,
        monitoring: config.enable_monitoring().unwrap_or(false),
    })
}

/// One directory's name, or `/` for the default class. Not one of those that resctrl makes itself.
fn check_clos_id(id: &str) -> Result<(), String> {
    match id {
        "/" => Ok(()),
        "." | ".." => Err(format!("{id:?} is not a name of a directory")),
        "info" | "mon_groups" | "mon_data" => Err(format!("{id:?} is a directory of resctrl itself")),
        _ if id.contains(['/', '\n']) => Err(format!("{id:?} is not a single name: it contains a / or a line break")),
        _ => Ok(()),
    }
}

/// The lines to write: l3CacheSchema, memBwSchema, schemata, in the order that config-linux.md asks for;
/// and how many of them come from the first two.
fn schemata(config: &LinuxIntelRdt, problems: &mut Vec<Problem>) -> (Vec<String>, usize) {
    let mut lines = fixed_lines(config.l3_cache_schema().as_deref(), config.mem_bw_schema().as_deref(), problems);
    let fixed = lines.len();
    for (i, line) in config.schemata().iter().flatten().enumerate() {
        if line.is_empty() || line.contains('\n') {
            let message = "must be one line: it is empty or contains a line break";
            problems.push(Problem::new(format!("linux.intelRdt.schemata[{i}]"), message));
        }
        lines.push(line.clone());
    }
    (lines, fixed)
}

/// The lines of l3CacheSchema and memBwSchema, of a config or an update.
pub fn fixed_lines(l3: Option<&str>, mb: Option<&str>, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut lines = Vec::new();
    // "SHOULD NOT contain newlines": some write several resources into it, and resctrl takes them one a line.
    lines.extend(l3.unwrap_or_default().lines().filter(|line| !line.is_empty()).map(str::to_string));
    if let Some(mb) = mb.filter(|mb| !mb.is_empty()) {
        let mut wrong = |message: &str| problems.push(Problem::new("linux.intelRdt.memBwSchema", message));
        if !mb.starts_with("MB:") {
            wrong("must start with \"MB:\"");
        }
        if mb.contains('\n') {
            wrong("must not contain a line break");
        }
        lines.push(mb.to_string());
    }
    lines
}
