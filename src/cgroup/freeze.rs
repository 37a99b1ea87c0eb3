//! Pause and resume.

use super::group::Group;
use super::record::{Record, Version};
use super::wait::{self, Waited};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// A process that cannot be stopped (state D) keeps the cgroup from being frozen; it gets this long.
const PATIENCE: Duration = Duration::from_secs(10);

impl Record {
    /// Stops every process of the container and waits until all have stopped. If that fails they run again.
    pub fn freeze(&self) -> Result<()> {
        let Some((group, version)) = self.freezer_group()? else { bail!("the container has no cgroup to pause") };
        let result = match version {
            Version::V1 => freeze_v1(&group),
            Version::V2 => freeze_v2(&group),
        };
        result.or_else(|e| {
            thaw(&group, version).with_context(|| format!("after {e:#}"))?;
            Err(e)
        })
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<()> {
        let Some((group, version)) = self.freezer_group()? else { bail!("the container has no cgroup to resume") };
        thaw(&group, version)
    }

    /// The container is paused, or on the way there.
    pub fn is_frozen(&self) -> Result<bool> {
        let Some((group, version)) = self.freezer_group()? else { return Ok(false) };
        let (file, thawed) = match version {
            Version::V1 => ("freezer.state", "THAWED"),
            Version::V2 => ("cgroup.freeze", "0"),
        };
        match group.read(file) {
            Ok(text) => Ok(text.trim_end() != thawed),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(e) => Err(e).call(|| format!("read {}/{file}", group.shown().display())),
        }
    }
}

fn freeze_v2(group: &Group) -> Result<()> {
    write(group, "cgroup.freeze", "1")?;
    match wait::for_event(group, "frozen", "1", Instant::now() + PATIENCE)? {
        Waited::Reached => Ok(()),
        Waited::Gone => bail!("the cgroup {} is gone", group.shown().display()),
        Waited::TimedOut => bail!("some process cannot be stopped: not frozen after {} s", PATIENCE.as_secs()),
    }
}

/// v1 tells nobody when it is done, and a fork at the wrong moment leaves it at FREEZING until it is asked again.
fn freeze_v1(group: &Group) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    loop {
        write(group, "freezer.state", "FROZEN")?;
        let text = group.read("freezer.state").call(|| format!("read {}/freezer.state", group.shown().display()))?;
        if text.trim_end() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("some process cannot be stopped: not frozen after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn thaw(group: &Group, version: Version) -> Result<()> {
    match version {
        Version::V1 => write(group, "freezer.state", "THAWED"),
        Version::V2 => write(group, "cgroup.freeze", "0"),
    }
}

fn write(group: &Group, file: &str, value: &str) -> Result<()> {
    group.try_write(file, value).call(|| format!("write {value} to {}/{file}", group.shown().display()))
}
