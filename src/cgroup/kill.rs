//! Signals to everything in a cgroup, and the wait until it is empty.

use super::group::Group;
use super::record::Version;
use super::tree;
use super::wait::{self, Waited};
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Result, bail};
use nix::poll::{PollFd, PollFlags};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// After SIGKILL only the kernel can hold a process back (state D); it gets this long.
const DEATH: Duration = Duration::from_secs(10);
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
    fn freeze(&self, state: &str) -> Result<()> {
        let Some(group) = self.freezer.map(|i| &self.v1[i]) else { return Ok(()) };
        match group.try_write("freezer.state", state) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            result => result.call(|| format!("write {state} to {}/freezer.state", group.shown().display())),
        }
    }

    /// `cgroup.kill`, which reaches the frozen and the forking ones in one step.
    fn kill_v2(&self) -> Result<()> {
        let Some(group) = &self.v2 else { return Ok(()) };
        match group.try_write("cgroup.kill", "1") {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            result => result.call(|| format!("write 1 to {}/cgroup.kill", group.shown().display())),
        }
    }

    fn signal_target(&self) -> &[Group] {
        self.v2.as_ref().map_or(&self.v1, std::slice::from_ref)
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

/// Sends `signal` to every process, and to those that appear meanwhile.
pub fn signal_all(groups: &Groups, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL {
        groups.kill_v2()?;
        groups.freeze("FROZEN")?;
        let result = signal_members(&groups.v1, &processes(&groups.v1)?, signal);
        groups.freeze("THAWED")?;
        return result;
    }
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
    groups.freeze("THAWED")?;
    if let Some(group) = &groups.v2 {
        wait_unpopulated(group, deadline)?;
    }
    loop {
        let pids = processes(&groups.v1)?;
        if pids.is_empty() {
            return Ok(());
        }
        groups.freeze("FROZEN")?;
        let result = processes(&groups.v1).and_then(|pids| signal_members(&groups.v1, &pids, libc::SIGKILL));
        groups.freeze("THAWED")?;
        result?;
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
