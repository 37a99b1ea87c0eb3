//! The systemd driver: a container's cgroup is that of a transient scope (or slice), asked for over D-Bus.
//!
//! systemd moves the container's process, which is there already and waits, and sets what it has properties for. All
//! limits are written to the files afterwards as well, as with runc: what this systemd does not know, what its parents'
//! controllers do not allow, and what it would round is found by that.

mod bus;
mod manager;
mod message;
mod properties;
#[cfg(test)]
mod tests;

use crate::plan::resources::devices::Policy;
use crate::plan::resources::limits::Resources;
use crate::plan::resources::unit::{Property, Unit};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use manager::{Exists, Manager};
pub use properties::{Mode, rounded};

/// What is recorded of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    pub name: String,
    pub slice: String,
    /// Of the user's systemd.
    pub user: bool,
}

/// A unit that is about to be started.
#[derive(Debug)]
pub struct Starter {
    manager: Manager,
    unit: Unit,
    mode: Mode,
    limits: Vec<Property>,
    /// In place of those in `limits`, where bfq has the weights of disks.
    bfq: Vec<Property>,
}

impl Handle {
    pub fn of(unit: &Unit) -> Handle {
        Handle { name: unit.name.clone(), slice: unit.slice.clone(), user: unit.user }
    }

    /// Stops the unit, if it is there and has this cgroup, and lets systemd forget it. A systemd that is not there (any
    /// more) has no units either.
    pub fn stop(&self, path: &Path) -> Result<()> {
        match Manager::connect(self.user) {
            Ok(mut manager) => manager.stop(&self.name, path),
            Err(e) if manager::is_absent(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Tells systemd of new limits, which are in the files already: `touched` are the sections that change, as a whole;
    /// `bfq`: this scheduler has the weights of disks.
    ///
    /// Returns what this systemd does not know or take.
    pub fn update(&self, touched: &Resources, devices: Option<&Policy>, mode: Mode, bfq: bool) -> Result<Vec<String>> {
        let mut all = devices.map(|policy| properties::of_devices(policy, mode)).unwrap_or_default();
        all.extend(properties::of_resources(touched, mode));
        if bfq {
            let weights = properties::of_bfq(touched);
            all.retain(|p| weights.iter().all(|w| w.name != p.name));
            all.extend(weights);
        }
        if all.is_empty() {
            return Ok(Vec::new());
        }
        Manager::connect(self.user)?.set(&self.name, all)
    }

    /// Moves a process into the unit's cgroup or one below it.
    pub fn attach(&self, below: &Path, pid: i32) -> Result<()> {
        Manager::connect(self.user)?.attach(&self.name, below, pid)
    }
}

impl Starter {
    pub fn new(manager: Manager, unit: &Unit, mode: Mode, resources: &Resources, devices: Option<&Policy>) -> Starter {
        let mut limits = devices.map(|policy| properties::of_devices(policy, mode)).unwrap_or_default();
        limits.extend(properties::of_resources(resources, mode));
        limits.extend(properties::at_start(resources, mode));
        let bfq = if mode == Mode::V2 { properties::of_bfq(resources) } else { Vec::new() };
        Starter { manager, unit: unit.clone(), mode, limits, bfq }
    }

    /// Starts the unit with this process in it. Returns what this systemd does not know or take.
    pub fn start(&mut self, pid: i32) -> Result<Vec<String>> {
        let mut required = properties::of_unit(&self.unit, self.mode, pid);
        required.extend(self.unit.properties.iter().cloned());
        let started = self.manager.start(&self.unit.name, &required, std::mem::take(&mut self.limits));
        let started = started.map_err(|e| match manager::refused_property(&e, &self.unit.properties) {
            Some(index) => e.context(format!("annotations.org.systemd.property.{}", self.unit.properties[index].name)),
            None => e,
        });
        started.context("start the container's unit")
    }

    /// Weights of disks are asked for, which systemd has another measure for if bfq has them.
    pub fn asks_for_weights(&self) -> bool {
        !self.bfq.is_empty()
    }

    /// Sets the weights again, for bfq. Returns what this systemd does not know or take.
    pub fn set_bfq(&mut self) -> Result<Vec<String>> {
        self.manager.set(&self.unit.name, std::mem::take(&mut self.bfq))
    }
}
