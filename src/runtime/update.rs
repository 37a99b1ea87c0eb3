//! `update`: new limits for a container that is there.

use super::record::Record;
use super::{Context, query};
use crate::plan::resources::Resources;
use crate::plan::{Problems, rdt};
use crate::state::Status;
use crate::store::Access;
use crate::{log, rdt as resctrl};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// What `update` changes. What is not set stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub resources: Resources,
    /// `linux.intelRdt.l3CacheSchema`.
    pub l3_cache_schema: Option<String>,
    /// `linux.intelRdt.memBwSchema`.
    pub mem_bw_schema: Option<String>,
}

/// Sets new limits for a created, running or paused container. If one is refused the old ones are in force.
pub fn update(context: &Context, id: &str, change: &Change) -> Result<()> {
    let entry = context.store().open(id, Access::Change)?;
    let mut record = Record::of(&entry)?.context("the container's record is missing")?;
    if matches!(query::status(&entry, &record)?.0, Status::Creating | Status::Stopped) {
        bail!("container not running");
    }
    let current = record.resources()?;
    let asked = news(&change.resources, &current);
    let schemata = Schemata::write(&record, change)?;
    if asked == Resources::default() {
        return Ok(());
    }
    match record.cgroup.update(&current, &asked) {
        Ok((now, notes)) => {
            notes.iter().for_each(|note| log::debug(format_args!("{id}: {note}")));
            record.set_resources(&now)?;
            entry.replace_record(&record)
        }
        Err(error) => {
            if let Err(error) = schemata.take_back() {
                log::warn(format_args!("{id}: after the failed update: {error:#}"));
            }
            Err(error)
        }
    }
}

/// What of an update is to be done.
///
/// Kubernetes sends all resources of the container with every update. The device rules among them are the ones that it
/// was created with, to which a hook or an engine may have added devices since: they must not be set again.
fn news(change: &Resources, current: &Resources) -> Resources {
    let mut news = change.clone();
    if news.devices == current.devices {
        news.devices.clear();
    }
    news
}

/// Lines of resctrl that were written, and those that were there before.
struct Schemata(Option<(PathBuf, resctrl::Group, Vec<String>)>);

impl Schemata {
    fn write(record: &Record, change: &Change) -> Result<Schemata> {
        let mut problems = Vec::new();
        let (l3, mb) = (change.l3_cache_schema.as_deref(), change.mem_bw_schema.as_deref());
        let lines = rdt::fixed_lines(l3, mb, &mut problems);
        if !problems.is_empty() {
            bail!(Problems(problems));
        }
        if lines.is_empty() {
            return Ok(Schemata(None));
        }
        let Some((root, group)) = &record.intel_rdt else {
            bail!("linux.intelRdt: updating a non-existent Intel RDT configuration is not supported");
        };
        let before = group.update(root, &lines)?;
        Ok(Schemata(Some((root.clone(), group.clone(), before))))
    }

    fn take_back(self) -> Result<()> {
        match self.0 {
            Some((root, group, before)) => group.update(&root, &before).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;
    use serde_json::json;

    fn resources(value: serde_json::Value) -> Resources {
        bundle::resources(value).unwrap().0
    }

    #[test]
    fn device_rules_that_are_in_force_are_no_news() {
        let rules = json!([{ "allow": false, "access": "rwm" }]);
        let current = resources(json!({ "devices": rules, "pids": { "limit": 9 } }));
        let change = resources(json!({ "devices": rules, "pids": { "limit": 7 } }));
        assert_eq!(news(&change, &current), resources(json!({ "pids": { "limit": 7 } })));
        let other = resources(json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
        assert_eq!(news(&other, &current), other);
        assert_eq!(news(&Resources::default(), &current), Resources::default());
    }
}
