//! New limits for a running container.

use super::create::layout;
use super::record::{Record, Version};
use super::resources::{self, Settings, Write};
use super::{apply, controllers, devices, systemd};
use crate::plan::Problem;
use crate::plan::resources::limits::{Limit, Memory};
use crate::plan::resources::{Policy, Resources};
use crate::sys::Call;
use anyhow::{Context, Result, anyhow, bail};
use std::os::fd::AsFd;

impl Record {
    /// Changes what `change` names; `current` is what the container has, as it was planned or returned last.
    ///
    /// Returns what the container has now, and what could not be done and need not be. After an error the values of
    /// `current` are in force again, as far as the kernel takes them.
    pub fn update(&self, current: &Resources, change: &Resources) -> Result<(Resources, Vec<String>)> {
        if self.is_none() {
            bail!("the container has no cgroup of its own");
        }
        let next = current.updated_by(change);
        if change.memory != Memory::default() {
            agree(&next.memory, &change.memory)?;
        }
        let (mut before, mut notes) = (Vec::new(), Vec::new());
        let Err(e) = self.apply_changed(&next, change, &mut before, &mut notes) else { return Ok((next, notes)) };
        // What `current` knows nothing of had a value all the same.
        let undone = self
            .apply_changed(current, change, &mut Vec::new(), &mut Vec::new())
            .and_then(|()| self.write_back(&before));
        match undone {
            Ok(()) => Err(e),
            Err(undo) => Err(e.context(format!("the old limits could not be set again: {undo:#}"))),
        }
    }

    fn write_back(&self, before: &[Write]) -> Result<()> {
        let groups = super::record::open_groups(&self.mounts, &self.path, &self.hierarchies)?;
        for (index, group) in groups.iter().enumerate() {
            apply::apply(group, before.iter().filter(|w| w.hierarchy == index), &mut Vec::new())?;
        }
        Ok(())
    }

    /// Writes the sections of `all` that `change` touches. `before` gets what brings back the values that were there.
    fn apply_changed(
        &self,
        all: &Resources,
        change: &Resources,
        before: &mut Vec<Write>,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let mut touched = all.only_sections_of(change);
        if self.unit.is_some() {
            touched = systemd::rounded(&touched);
        }
        let members = &self.hierarchies;
        let groups = super::record::open_groups(&self.mounts, &self.path, members)?;
        let layout = layout(&touched, members, &groups)?;
        let mut settings = resources::settings("", &touched, &layout).map_err(|p| refuse(&p))?;
        let policy = (!change.devices.is_empty()).then(|| Policy::new(&all.devices));
        if let Some(policy) = policy.clone() {
            resources::add_devices(&mut settings, policy, &layout, false).map_err(|p| refuse(&[p]))?;
        }
        for (index, group) in groups.iter().enumerate() {
            if members[index].version == Version::V2 {
                controllers::enable(group, &[], &settings.controllers, notes)?;
            }
            let writes = || settings.writes.iter().filter(|w| w.hierarchy == index);
            before.extend(apply::snapshot(group, writes())?);
            apply::apply(group, writes(), notes)?;
        }
        if let Some(unit) = &self.unit {
            // Or it would write the old values when it reloads. Its device program gives way to ours below.
            let v1 = members.iter().any(|m| m.version == Version::V1);
            let mode = if v1 { systemd::Mode::V1 } else { systemd::Mode::V2 };
            notes.extend(unit.update(&touched, policy.as_ref(), mode)?);
        }
        self.replace_devices(&settings, &groups)
    }

    fn replace_devices(&self, settings: &Settings, groups: &[super::group::Group]) -> Result<()> {
        let v2 = self.hierarchies.iter().position(|m| m.version == Version::V2);
        let (Some(policy), Some(index)) = (&settings.devices, v2) else { return Ok(()) };
        let group = &groups[index];
        let directory = group.directory().call(|| format!("open {}", group.shown().display()))?;
        devices::replace(policy, directory.as_fd()).context("devices")
    }
}

/// A new value may not fit the one that is there.
fn agree(next: &Memory, change: &Memory) -> Result<()> {
    let (Some(Limit::To(limit)), Some(Limit::To(swap))) = (next.limit, next.swap) else { return Ok(()) };
    match limit > swap {
        false => Ok(()),
        true if change.swap.is_none() => {
            bail!("memory.limit: {limit} is above what memory and swap may be together, {swap} (memory.swap)")
        }
        true => bail!("memory.swap: {swap} is memory and swap together, but below the limit, {limit}"),
    }
}

pub(super) fn refuse(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    anyhow!("{}", lines.join("\n"))
}
