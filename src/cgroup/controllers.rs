//! Controllers of cgroup v2, enabled from the root down.

use super::group::{self, Group};
use super::resources::Needed;
use crate::sys::{Call, Errno};
use anyhow::{Result, bail};
use std::path::Path;

/// The controllers that are enabled on v2 where that is possible: for limits set later and for statistics.
pub const WELCOME: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Enables controllers from the root down to the group's parent.
///
/// The `needed` ones must be there afterwards; of the `welcome` ones those that the tree has and gives.
pub fn enable(group: &Group, welcome: &[&str], needed: &[Needed], notes: &mut Vec<String>) -> Result<()> {
    let shown = group.shown().display();
    let read = |path: &Path| group::read(group.root(), path).call(|| format!("read {} of {shown}", path.display()));
    let top = read(Path::new("cgroup.controllers"))?;
    let here = group.read("cgroup.controllers").call(|| format!("read {shown}/cgroup.controllers"))?;
    let has = |list: &str, name: &str| list.split_ascii_whitespace().any(|c| c == name);
    if let Some(Needed { controller, place }) = needed.iter().find(|n| !has(&top, &n.controller)) {
        bail!("{place}: cgroup v2 of this machine has no {controller} controller (cgroup.controllers)");
    }
    let all = welcome.iter().copied().chain(needed.iter().map(|n| n.controller.as_str()));
    let mut wanted: Vec<&str> = all.filter(|c| has(&top, c) && !has(&here, c)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut parents: Vec<&Path> = group.path().ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents {
        let file = parent.join("cgroup.subtree_control");
        let given = read(&file)?;
        for controller in wanted.iter().filter(|c| !has(&given, c)) {
            let Err(e) = group::write(group.root(), &file, &format!("+{controller}")) else { continue };
            let error = Err::<(), _>(e).call(|| format!("write +{controller} to /{}", file.display())).unwrap_err();
            if let Some(needed) = needed.iter().find(|n| n.controller == *controller) {
                return Err(error.context(why_not_enabled(e)).context(needed.place.clone()));
            }
            notes.push(format!("{controller} controller not enabled: {error:#}"));
        }
    }
    Ok(())
}

fn why_not_enabled(errno: Errno) -> &'static str {
    match errno {
        Errno::EBUSY => "a cgroup that has processes of its own can give no controllers to its children",
        Errno::ENOENT => "the parent cgroup was not given this controller",
        Errno::EACCES | Errno::EPERM | Errno::EROFS => "the cgroup is not delegated to this user",
        _ => "enable cgroup controller",
    }
}
