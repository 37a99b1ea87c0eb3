//! `events`: what a container uses, from time to time, and when it runs out of memory.

use super::record::Record;
use super::{Context, query};
use crate::cgroup::stats::Stats;
use crate::cgroup::{OomEvent, OomWatch};
use crate::state::Status;
use crate::store::{Access, Entry};
use crate::sys::{Call, Errno};
use crate::{log, rdt};
use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// One line of `events`: the keys are runc's.
#[derive(Debug, Clone, Serialize)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    pub kind: Kind,
    pub id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Stats,
    Oom,
}

#[derive(Debug, Clone, Serialize)]
pub struct Data {
    #[serde(flatten)]
    pub cgroup: Stats,
    pub intel_rdt: rdt::Stats,
    /// The runtime makes no interfaces, so it counts for none: `null`, as in runc.
    pub network_interfaces: (),
}

/// Statistics of a container that has not ended.
pub fn stats<'a>(context: &Context, id: &'a str) -> Result<Event<'a>> {
    let (_, record) = open(context, id)?;
    measure(&record, id)
}

/// Tells of statistics at every `interval`, and of each time that the container runs out of memory. Returns when the
/// container's process has ended, or `tell` breaks off.
pub fn events(
    context: &Context,
    id: &str,
    interval: Duration,
    tell: &mut dyn FnMut(&Event) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let (entry, record) = open(context, id)?;
    let Some(init) = entry.pidfd()? else { bail!("container with id {id} is not running") };
    drop(entry);
    // Where memory cannot be watched the statistics are still worth having.
    let mut watch = record.cgroup.watch_oom().map(Some).unwrap_or_else(|error| {
        log::warn(format_args!("{id}: no events of memory: {error:#}"));
        None
    });
    let mut next = Instant::now().checked_add(interval);
    loop {
        let woken = wait(&init, watch.as_ref(), next)?;
        let mut ended = woken.ended;
        while let Some(watch) = watch.as_mut().filter(|_| woken.memory || woken.ended) {
            match watch.take()? {
                OomEvent::Oom => {
                    if tell(&Event { kind: Kind::Oom, id, data: None })?.is_break() {
                        return Ok(());
                    }
                }
                OomEvent::Nothing => break,
                OomEvent::End => {
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            return Ok(());
        }
        let now = Instant::now();
        if next.is_some_and(|next| next <= now) {
            if tell(&measure(&record, id)?)?.is_break() {
                return Ok(());
            }
            next = now.checked_add(interval);
        }
    }
}

fn open(context: &Context, id: &str) -> Result<(Entry, Record)> {
    let entry = context.store().open(id, Access::Read)?;
    let record = Record::of(&entry)?.context("the container's record is missing")?;
    if matches!(query::status(&entry, &record)?.0, Status::Stopped | Status::Creating) {
        bail!("container with id {id} is not running");
    }
    Ok((entry, record))
}

fn measure<'a>(record: &Record, id: &'a str) -> Result<Event<'a>> {
    let intel_rdt = match &record.intel_rdt {
        Some((root, group)) => group.stats(root)?,
        None => rdt::Stats::default(),
    };
    let data = Data { cgroup: record.cgroup.stats()?, intel_rdt, network_interfaces: () };
    Ok(Event { kind: Kind::Stats, id, data: Some(data) })
}

/// What ended a wait; neither: it was time.
struct Woken {
    ended: bool,
    memory: bool,
}

/// `poll(2)` until the container's process ends, the kernel tells of its memory, or the time comes.
fn wait(init: &OwnedFd, watch: Option<&OomWatch>, until: Option<Instant>) -> Result<Woken> {
    let watched: Vec<(BorrowedFd, PollFlags)> = watch.map(OomWatch::fds).unwrap_or_default();
    let mut fds = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    fds.extend(watched.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // Rounded up: to wake too early would mean to ask again and again.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            let rounded = left.saturating_add(Duration::from_micros(999));
            PollTimeout::try_from(rounded.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            result => {
                result.call(|| "poll".into())?;
                break;
            }
        }
    }
    let ready = |fd: &PollFd| fd.any().unwrap_or(true);
    Ok(Woken { ended: ready(&fds[0]), memory: fds[1..].iter().any(ready) })
}
