//! Signals to everything in a cgroup, and the wait until it is empty.

use super::group::Group;
use super::record::Version;
use super::tree;
use super::wait::{self, Waited};
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Result, bail};
use nix::poll::{PollFd, PollFlags};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// After SIGKILL only the kernel can hold a process back (state D); it gets this long.
const DEATH: Duration = Duration::from_secs(10);
/// How long the processes may take to freeze before they are sent a signal.
const HOLD: Duration = Duration::from_secs(1);
/// pidfds open at one time.
const BATCH: usize = 256;

/// A container's cgroup in all its hierarchies.
#[derive(Default)]
pub struct Groups {
    v1: Vec<Group>,
    v2: Option<Group>,
    /// Index into `v1`.
    freezer: Option<usize>,
}

impl Groups {
    pub fn add(&mut self, group: Group, version: Version, freezer: bool) {
        match version {
            Version::V2 => self.v2 = Some(group),
            Version::V1 => {
                if freezer {
                    self.freezer = Some(self.v1.len());
                }
                self.v1.push(group);
            }
        }
    }

    /// v1 only: new processes of a freezing cgroup are frozen too, so nobody outruns the signals.
    fn freeze(&self) -> Result<()> {
        let Some(group) = self.freezer.map(|i| &self.v1[i]) else { return Ok(()) };
        unless_gone(group, "freezer.state", group.try_write("freezer.state", "FROZEN"))
    }

    /// v1 only, with every cgroup below: a container may have frozen some of its own, and in them SIGKILL would wait.
    fn thaw(&self) -> Result<()> {
        let Some(group) = self.freezer.map(|i| &self.v1[i]) else { return Ok(()) };
        let Some(top) = tree::open(group.root(), group.path())? else { return Ok(()) };
        let mut thaw = |directory: BorrowedFd| {
            let written = super::group::write(directory, Path::new("freezer.state"), "THAWED");
            unless_gone(group, "freezer.state", written)
        };
        tree::walk(top, &mut thaw, &mut |_, _| Ok(()))
    }

    /// Freezes those that are to be signalled; what is still on its way after a moment is not waited for.
    fn hold(&self) -> Result<()> {
        let Some(group) = &self.v2 else { return self.freeze() };
        unless_gone(group, "cgroup.freeze", group.try_write("cgroup.freeze", "1"))?;
        wait::for_event(group, "frozen", "1", Instant::now() + HOLD).map(drop)
    }

    fn release(&self) -> Result<()> {
        let Some(group) = &self.v2 else { return self.thaw() };
        unless_gone(group, "cgroup.freeze", group.try_write("cgroup.freeze", "0"))
    }

    /// `cgroup.kill`, which reaches the frozen and the forking ones in one step.
    fn kill_v2(&self) -> Result<()> {
        let Some(group) = &self.v2 else { return Ok(()) };
        unless_gone(group, "cgroup.kill", group.try_write("cgroup.kill", "1"))
    }

    fn signal_target(&self) -> &[Group] {
        self.v2.as_ref().map_or(&self.v1, std::slice::from_ref)
    }
}

/// A cgroup that is gone has nobody to act on.
fn unless_gone(group: &Group, file: &str, written: nix::Result<()>) -> Result<()> {
    match written {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        result => result.call(|| format!("write to {}/{file}", group.shown().display())),
    }
}

/// The processes of these cgroups and of all below, sorted.
pub fn processes(groups: &[Group]) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for group in groups {
        if let Some(top) = tree::open(group.root(), group.path())? {
            pids.extend(tree::processes(top)?);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Whether processes are frozen while they are sent a signal, so that none can fork meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Frozen,
    No,
}

/// Sends `signal` to every process, and to those that appear meanwhile.
pub fn signal_all(groups: &Groups, signal: i32, hold: Hold) -> Result<()> {
    if signal == libc::SIGKILL {
        groups.kill_v2()?;
        return kill_members(groups);
    }
    if hold == Hold::No {
        return signal_each(groups, signal);
    }
    let result = groups.hold().and_then(|()| signal_each(groups, signal));
    // Whatever came of it: they must not stay frozen.
    groups.release()?;
    result
}

/// SIGKILL to everybody in v1.
fn kill_members(groups: &Groups) -> Result<()> {
    groups.freeze()?;
    let result = processes(&groups.v1).and_then(|pids| signal_members(&groups.v1, &pids, libc::SIGKILL));
    groups.thaw()?;
    result
}

fn signal_each(groups: &Groups, signal: i32) -> Result<()> {
    let mut seen = BTreeSet::new();
    loop {
        let pids = processes(groups.signal_target())?;
        let new: Vec<i32> = pids.into_iter().filter(|pid| seen.insert(*pid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        signal_members(groups.signal_target(), &new, signal)?;
    }
}

/// Kills every process and waits until there are none.
pub fn kill_all(groups: &Groups) -> Result<()> {
    let deadline = Instant::now() + DEATH;
    groups.kill_v2()?;
    groups.thaw()?;
    if let Some(group) = &groups.v2 {
        wait_unpopulated(group, deadline)?;
    }
    loop {
        let pids = processes(&groups.v1)?;
        if pids.is_empty() {
            return Ok(());
        }
        kill_members(groups)?;
        wait_gone(&groups.v1, deadline)?;
    }
}

/// Signals those of `pids` that are still in the cgroups.
fn signal_members(groups: &[Group], pids: &[i32], signal: i32) -> Result<()> {
    for batch in pids.chunks(BATCH) {
        for (pid, fd) in open_members(groups, batch)? {
            match pidfd::send_signal(fd.as_fd(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => return Err(e).call(|| format!("pidfd_send_signal {pid} {signal}")),
            }
        }
    }
    Ok(())
}

/// pidfds of `pids`, of which each was in the cgroups after its pidfd was open: a number that the kernel gave to another
/// process meanwhile is left out.
fn open_members(groups: &[Group], pids: &[i32]) -> Result<Vec<(i32, OwnedFd)>> {
    let mut open = Vec::with_capacity(pids.len());
    for pid in pids {
        if *pid == 0 {
            bail!("a process in the cgroup belongs to another pid namespace and cannot be signalled from here");
        }
        match pidfd::open(*pid) {
            Ok(fd) => open.push((*pid, fd)),
            Err(Errno::ESRCH) => {}
            Err(e) => return Err(e).call(|| format!("pidfd_open {pid}")),
        }
    }
    let now = processes(groups)?;
    open.retain(|(pid, _)| now.binary_search(pid).is_ok());
    Ok(open)
}

/// Waits until a batch of the processes that are in the cgroups now has ended.
fn wait_gone(groups: &[Group], deadline: Instant) -> Result<()> {
    let pids = processes(groups)?;
    for (pid, fd) in open_members(groups, &pids[..pids.len().min(BATCH)])? {
        let mut poll_fd = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        if !wait::ready(&mut poll_fd, deadline)? {
            bail!("process {pid} does not end {} s after SIGKILL", DEATH.as_secs());
        }
    }
    Ok(())
}

/// Waits until the cgroup has no process.
fn wait_unpopulated(group: &Group, deadline: Instant) -> Result<()> {
    match wait::for_event(group, "populated", "0", deadline)? {
        Waited::Reached | Waited::Gone => Ok(()),
        Waited::TimedOut => {
            let left = processes(std::slice::from_ref(group))?;
            bail!("processes {left:?} do not end {} s after SIGKILL", DEATH.as_secs())
        }
    }
}
