//! The moment when systemd takes the container's process into its unit, and what is written then.

use super::group::Group;
use super::record::Version;
use super::resources::{Settings, Write};
use super::{apply, controllers, delegate, devices, systemd};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use std::os::fd::AsFd;

/// A unit to be started with the container's process, and the limits for its files.
#[derive(Debug)]
pub struct Attachment {
    pub starter: systemd::Starter,
    pub groups: Vec<Group>,
    pub versions: Vec<Version>,
    pub settings: Settings,
    pub owner: Option<u32>,
}

/// Limits for when the process is in.
type Late = Vec<(Group, Write)>;

impl Attachment {
    /// Returns the limits that come later, and notes of what was left out.
    pub fn attach(self, pid: i32) -> Result<(Late, Vec<String>)> {
        let Attachment { mut starter, groups, versions, settings, owner } = self;
        let mut notes = starter.start(pid)?;
        for (index, (group, version)) in groups.iter().zip(&versions).enumerate() {
            if *version == Version::V2 {
                // Of a slice nobody but us puts a process in, and a systemd that uses v1 may not know the v2 beside.
                join_v2(group, pid)?;
                controllers::enable(group, &[], &settings.controllers, &mut notes)?;
                if starter.asks_for_weights() && has_bfq(group)? {
                    notes.extend(starter.set_bfq()?);
                }
            }
            let writes = settings.writes.iter().filter(|w| w.hierarchy == index && !w.late);
            apply::apply(group, writes, &mut notes)?;
            if *version == Version::V2 {
                finish_v2(group, &settings, owner)?;
            }
        }
        let mut late = Vec::new();
        for write in settings.writes.into_iter().filter(|w| w.late) {
            late.push((groups[write.hierarchy].again()?, write));
        }
        Ok((late, notes))
    }
}

/// Whether the scheduler bfq has the weights of disks in this cgroup v2.
pub fn has_bfq(group: &Group) -> Result<bool> {
    match group.open("io.bfq.weight", OFlag::O_PATH) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(e).call(|| format!("open {}/io.bfq.weight", group.shown().display())),
    }
}

/// Sees to it that the process is in the cgroup v2.
fn join_v2(group: &Group, pid: i32) -> Result<()> {
    let shown = group.shown().display();
    let processes = match group.read("cgroup.procs") {
        Err(Errno::ENOENT) => bail!("systemd has not made the cgroup {shown} for the unit"),
        text => text.call(|| format!("read {shown}/cgroup.procs"))?,
    };
    if processes.lines().any(|line| line.parse() == Ok(pid)) {
        return Ok(());
    }
    group.try_write("cgroup.procs", &pid.to_string()).call(|| format!("write {pid} to {shown}/cgroup.procs"))
}

fn finish_v2(group: &Group, settings: &Settings, owner: Option<u32>) -> Result<()> {
    if settings.devices.is_none() && owner.is_none() {
        return Ok(());
    }
    let directory = group.directory().call(|| format!("open {}", group.shown().display()))?;
    if let Some(policy) = &settings.devices {
        // In the place of systemd's: what a list cannot say is then in force too.
        devices::replace(policy, directory.as_fd()).context("linux.resources.devices")?;
    }
    if let Some(owner) = owner {
        delegate::give(directory.as_fd(), owner).with_context(|| format!("delegate {}", group.shown().display()))?;
    }
    Ok(())
}
