//! New limits for a running container.

use super::create::layout;
use super::group::Group;
use super::record::{Record, Version};
use super::resources::{self, Rules, Settings, Standing, Write};
use super::unit::has_bfq;
use super::{apply, controllers, devices, systemd};
use crate::plan::Problem;
use crate::plan::resources::limits::{Limit, Memory};
use crate::plan::resources::{Policy, Resources};
use crate::sys::Call;
use anyhow::{Context, Result, anyhow, bail};
use std::os::fd::AsFd;

/// What an update leaves behind.
#[derive(Default)]
struct Trail {
    /// Writes that bring back the values that were there.
    before: Vec<Write>,
    /// What could not be done and need not be.
    notes: Vec<String>,
}

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
        let mut trail = Trail::default();
        let Err(e) = self.lead(current, &next, change, &mut trail) else { return Ok((next, trail.notes)) };
        // What `current` knows nothing of had a value all the same.
        let undone =
            self.lead(&next, current, change, &mut Trail::default()).and_then(|()| self.write_back(&trail.before));
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

    /// Writes the sections of `to` that `change` touches, in a cgroup that has `from`.
    fn lead(&self, from: &Resources, to: &Resources, change: &Resources, trail: &mut Trail) -> Result<()> {
        let mut touched = to.only_sections_of(change);
        if self.unit.is_some() {
            touched = systemd::rounded(&touched);
        }
        let members = &self.hierarchies;
        let groups = super::record::open_groups(&self.mounts, &self.path, members)?;
        let layout = layout(&touched, members, &groups)?;
        let mut settings = resources::settings("", &touched, &layout).map_err(|p| refuse(&p))?;
        let policy = (!change.devices.is_empty()).then(|| Policy::new(&to.devices));
        let Some(policy) = policy else { return self.write_all(&settings, &groups, &touched, None, trail) };
        let now = match layout.devices() {
            Some(index) => device_rules(&groups[index], &Policy::new(&from.devices))?,
            None => Standing::Fresh,
        };
        resources::add_devices(&mut settings, policy.clone(), &layout, &now).map_err(|p| refuse(&[p]))?;
        // systemd writes the default of v1 every time.
        let resets = settings.reset_devices() || (layout.devices().is_some() && self.unit.is_some());
        let held = if resets { self.hold()? } else { false };
        let written = self.write_all(&settings, &groups, &touched, Some(&policy), trail);
        if held {
            self.thaw()?;
        }
        written
    }

    /// Stops the container, for a change that cannot be made at once. False: it stands still already, or cannot be stopped
    /// by any cgroup.
    fn hold(&self) -> Result<bool> {
        if !self.can_freeze()? || self.is_frozen()? {
            return Ok(false);
        }
        self.freeze().context("stop the container while its device rules are changed")?;
        Ok(true)
    }

    fn write_all(
        &self,
        settings: &Settings,
        groups: &[Group],
        touched: &Resources,
        policy: Option<&Policy>,
        trail: &mut Trail,
    ) -> Result<()> {
        for (index, group) in groups.iter().enumerate() {
            if self.hierarchies[index].version == Version::V2 {
                controllers::enable(group, &[], &settings.controllers, &mut trail.notes)?;
            }
            let writes = || settings.writes.iter().filter(|w| w.hierarchy == index);
            trail.before.extend(apply::snapshot(group, writes())?);
            apply::apply(group, writes(), &mut trail.notes)?;
        }
        if let Some(unit) = &self.unit {
            // Or it would write the old values when it reloads. Its device program gives way to ours below.
            let v1 = self.hierarchies.iter().any(|m| m.version == Version::V1);
            let mode = if v1 { systemd::Mode::V1 } else { systemd::Mode::V2 };
            let v2 = self.hierarchies.iter().position(|m| m.version == Version::V2).filter(|_| !v1);
            let bfq = v2.map_or(Ok(false), |index| has_bfq(&groups[index]))?;
            trail.notes.extend(unit.update(touched, policy, mode, bfq)?);
        }
        self.replace_devices(settings, groups)
    }

    fn replace_devices(&self, settings: &Settings, groups: &[Group]) -> Result<()> {
        let v2 = self.hierarchies.iter().position(|m| m.version == Version::V2);
        let (Some(policy), Some(index)) = (&settings.devices, v2) else { return Ok(()) };
        let group = &groups[index];
        let directory = group.directory().call(|| format!("open {}", group.shown().display()))?;
        devices::replace(policy, directory.as_fd()).context("devices")
    }
}

/// What a v1 cgroup permits now; `planned` is what it was given last.
fn device_rules(group: &Group, planned: &Policy) -> Result<Standing> {
    let list = group.read("devices.list").call(|| format!("read {}/devices.list", group.shown().display()))?;
    Ok(Standing::InForce(Rules::read(&list, planned)?))
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
