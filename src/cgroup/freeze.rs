//! Pause and resume.

use super::group::Group;
use super::record::{Record, Version};
use super::wait::{self, Waited};
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process that cannot be stopped (state D) keeps the cgroup from being frozen; it gets this long.
const PATIENCE: Duration = Duration::from_secs(10);

impl Record {
    /// Stops every process of the container and waits until all have stopped. If that fails they run again.
    ///
    /// On a machine with both versions cgroup v2 does it: it tells when it is done, and what it froze can be killed.
    pub fn freeze(&self) -> Result<()> {
        for (group, version) in self.freezers()? {
            if !group.exists()? {
                continue;
            }
            let result = match version {
                Version::V1 => freeze_v1(&group),
                Version::V2 => freeze_v2(&group),
            };
            return result.or_else(|e| {
                thaw(&group, version).with_context(|| format!("after {e:#}"))?;
                Err(e)
            });
        }
        bail!("the container has no cgroup to pause")
    }

    /// The directory whose freezer criu may use; `None` if the container has none. Where there are both it is v1's, as
    /// long as the container is not paused by the other.
    pub fn freezer_directory(&self) -> Result<Option<PathBuf>> {
        let mut found = None;
        for (group, version) in self.freezers()? {
            if !group.exists()? {
                continue;
            }
            found = Some(group.shown().to_path_buf());
            if version == Version::V2 && is_frozen(&group, version)? {
                break;
            }
        }
        Ok(found)
    }

    /// Lets the processes run again, whichever version of cgroups stopped them.
    pub fn thaw(&self) -> Result<()> {
        let mut thawed = false;
        for (group, version) in self.freezers()? {
            match thaw(&group, version) {
                Err(e) if matches!(errno_of(&e), Some(Errno::ENOENT | Errno::ENODEV)) => {}
                result => {
                    result?;
                    thawed = true;
                }
            }
        }
        if !thawed {
            bail!("the container has no cgroup to resume");
        }
        Ok(())
    }

    /// The container is paused, or on the way there.
    pub fn is_frozen(&self) -> Result<bool> {
        for (group, version) in self.freezers()? {
            if is_frozen(&group, version)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// There is a cgroup that can stop the container.
    pub(super) fn can_freeze(&self) -> Result<bool> {
        for (group, _) in self.freezers()? {
            if group.exists()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The cgroups that can stop the container, cgroup v2 first.
    fn freezers(&self) -> Result<Vec<(Group, Version)>> {
        let mut found = Vec::with_capacity(2);
        for member in [self.member(|m| m.version == Version::V2), self.member(|m| m.has("freezer"))] {
            let Some(member) = member else { continue };
            found.extend(self.group(member)?.map(|group| (group, member.version)));
        }
        Ok(found)
    }
}

/// One that is not there is not frozen.
fn is_frozen(group: &Group, version: Version) -> Result<bool> {
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

fn freeze_v2(group: &Group) -> Result<()> {
    write(group, "cgroup.freeze", "1")?;
    match wait::for_event(group, "frozen", "1", Instant::now() + PATIENCE)? {
        Waited::Reached => Ok(()),
        Waited::Gone => bail!("the cgroup {} is gone", group.shown().display()),
        Waited::TimedOut => bail!("some process cannot be stopped: not frozen after {} s", PATIENCE.as_secs()),
    }
}

/// v1 has no event for it: who wants to know has to ask, and one that forks at the wrong moment has to be told again.
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
