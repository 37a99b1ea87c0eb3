//! Out-of-memory events, as the kernel tells them.

use super::group::{Group, field};
use super::record::{Record, Version};
use super::wait::{open_events, reread};
use crate::sys::{Call, Errno, event};
use anyhow::{Result, bail};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Watches the container's memory cgroup. Wait for one of [`OomWatch::fds`] with poll(2), then [`OomWatch::take`].
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { counter: OwnedFd, group: Group },
    V2 { memory: File, populated: File, kills: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Woken for something else.
    Nothing,
    Oom,
    /// No process is left, or the cgroup is gone: there is nothing more to come.
    End,
}

/// The kills for want of memory in all that systemd has put beside the container, and in the container.
///
/// systemd removes a cgroup as soon as nobody is in it, and then nothing is left that tells why. What stands above it
/// counts those below, too (cgroup-v2.rst, `memory.events`), and stays.
#[derive(Debug)]
pub struct KillsAbove {
    group: Group,
    before: u64,
}

impl KillsAbove {
    /// To be called before the container's process is in its cgroup. `None`: its own cgroup stays until it is deleted, or
    /// nobody counts.
    pub fn of(record: &Record) -> Result<Option<KillsAbove>> {
        let top: Option<PathBuf> = record.path.iter().next().map(PathBuf::from).filter(|_| record.unit.is_some());
        let member = record.member(|m| m.version == Version::V2).filter(|_| record.hierarchies.len() == 1);
        let (Some(top), Some(member)) = (top, member) else { return Ok(None) };
        let Some(group) = record.group_at(member, &top)? else { return Ok(None) };
        let before = count(&group)?;
        Ok(Some(KillsAbove { group, before }))
    }

    /// Somebody was killed since.
    pub fn have_grown(&self) -> Result<bool> {
        Ok(count(&self.group)? > self.before)
    }
}

/// None of a cgroup that is not there, or without the controller.
fn count(group: &Group) -> Result<u64> {
    match group.read("memory.events") {
        Ok(text) => Ok(kills(&text)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(0),
        Err(e) => Err(e).call(|| format!("read {}/memory.events", group.shown().display())),
    }
}

impl Record {
    /// Starts to watch. Errors: the container has no memory cgroup.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        match self.controller_group("memory")? {
            Some((group, Version::V1)) => watch_v1(group),
            Some((group, Version::V2)) => watch_v2(&group),
            None => bail!("the container is in no cgroup with the memory controller"),
        }
    }
}

/// The kernel adds 1 to an eventfd for each event, and when the cgroup is removed (cgroup-v1/memory.rst, 9 and 10).
fn watch_v1(group: Group) -> Result<OomWatch> {
    let shown = group.shown().display();
    let counter = event::eventfd().call(|| "eventfd".into())?;
    let control =
        group.open("memory.oom_control", OFlag::O_RDONLY).call(|| format!("open {shown}/memory.oom_control"))?;
    let line = format!("{} {}", counter.as_raw_fd(), control.as_raw_fd());
    group.try_write("cgroup.event_control", &line).call(|| format!("write {line} to {shown}/cgroup.event_control"))?;
    Ok(OomWatch { source: Source::V1 { counter, group } })
}

fn watch_v2(group: &Group) -> Result<OomWatch> {
    let (Some(memory), Some(populated)) = (open_events(group, "memory.events")?, open_events(group, "cgroup.events")?)
    else {
        bail!("the container is in no cgroup with the memory controller");
    };
    let text = reread(&memory).call(|| "read memory.events".into())?.unwrap_or_default();
    // Both are read once, because poll tells of changes since the last read.
    reread(&populated).call(|| "read cgroup.events".into())?;
    Ok(OomWatch { source: Source::V2 { memory, populated, kills: kills(&text) } })
}

fn kills(text: &str) -> u64 {
    field(text, "oom_kill").and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl OomWatch {
    /// What to wait for.
    pub fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.source {
            Source::V1 { counter, .. } => vec![(counter.as_fd(), PollFlags::POLLIN)],
            Source::V2 { memory, populated, .. } => {
                vec![(memory.as_fd(), PollFlags::POLLPRI), (populated.as_fd(), PollFlags::POLLPRI)]
            }
        }
    }

    /// Takes what has happened; never blocks.
    pub fn take(&mut self) -> Result<OomEvent> {
        match &mut self.source {
            Source::V1 { counter, group } => {
                let mut count = [0; 8];
                match nix::unistd::read(&*counter, &mut count) {
                    Err(nix::errno::Errno::EAGAIN) => return Ok(OomEvent::Nothing),
                    result => result.call(|| "read eventfd".into())?,
                };
                Ok(if group.exists()? { OomEvent::Oom } else { OomEvent::End })
            }
            Source::V2 { memory, populated, kills: seen } => {
                let now = reread(memory).call(|| "read memory.events".into())?;
                let events = reread(populated).call(|| "read cgroup.events".into())?;
                let now = now.map_or(*seen, |text| kills(&text));
                if now > *seen {
                    *seen = now;
                    return Ok(OomEvent::Oom);
                }
                let empty = events.is_none_or(|text| field(&text, "populated") == Some("0"));
                Ok(if empty { OomEvent::End } else { OomEvent::Nothing })
            }
        }
    }
}
