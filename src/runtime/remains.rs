//! What `delete --force` does with a container whose records are damaged, cut, missing, or of a newer version, and what it
//! says of a process that does not end.
//!
//! From a damaged record nothing is believed that would widen the harm: only a process whose start time matches is killed,
//! only a cgroup that is named after the container is removed, and never one that this process is in.

use super::record::Record;
use super::{Context, delete, volume};
use crate::store::Entry;
use crate::sys::{ns, procstat};
use crate::volumes::Remove;
use crate::{cgroup, log};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What is still known of a container.
pub(super) struct Remains {
    record: Option<Record>,
    /// The container's first process, while it lives.
    process: Option<(i32, OwnedFd)>,
    /// What cannot be read, and why; empty for a container whose records are whole.
    damage: Vec<String>,
}

impl Remains {
    fn of(entry: &Entry) -> Result<Remains> {
        let mut damage = Vec::new();
        let record = Record::of_any_version(entry).unwrap_or_else(|error| {
            damage.push(format!("{error:#}"));
            None
        });
        if let Some(record) = record.as_ref().filter(|record| record.is_newer()) {
            log::warn(format_args!("{}: it was created by a newer version of this program", record.id));
        }
        let process = match entry.process() {
            Ok(process) => process,
            Err(error) => {
                damage.push(format!("{error:#}"));
                None
            }
        };
        let known = Remains { record, process, damage };
        known.check_enough(entry)?;
        Ok(known)
    }

    /// A container of which a process may be left that nothing names is not removed.
    fn check_enough(&self, entry: &Entry) -> Result<()> {
        let cgroup = self.record.as_ref().is_some_and(|record| !record.cgroup.is_none());
        if self.damage.is_empty() || self.process.is_some() || cgroup {
            return Ok(());
        }
        let damage = self.damage.join("; ");
        if entry.init().is_ok_and(|init| init.is_some()) {
            // Its process has ended, and nothing names a cgroup.
            return Ok(());
        }
        bail!(
            "{damage}; neither its process nor its cgroup is known: end what is left of container {} and remove {}",
            entry.id(),
            entry.path().display()
        )
    }
}

/// Ends and removes a container of which not everything may be known; warns of what could not be known.
pub(super) fn destroy(context: &Context, entry: &Entry, volumes: Remove) -> Result<()> {
    let remains = Remains::of(entry)?;
    if remains.damage.is_empty() && (remains.record.is_some() || remains.process.is_none()) {
        return delete::destroy(entry, remains.record.as_ref(), volumes);
    }
    let id = entry.id();
    for damage in &remains.damage {
        log::warn(format_args!("{damage}"));
    }
    let cgroup = match (&remains.record, &remains.process) {
        (None, Some((pid, _))) => cgroup::Record::named_after(*pid, id)?,
        _ => None,
    };
    let dying = remains.process.map(|(pid, pidfd)| delete::Dying::kill(pid, pidfd)).transpose()?;
    if let Some(cgroup) = &cgroup {
        cgroup.remove().context("remove the cgroup")?;
    }
    delete::take_down(entry, remains.record.as_ref(), dying, volumes)?;
    if remains.record.is_none() {
        let cgroup = if cgroup.is_some() { "" } else { " and its cgroup may be left" };
        log::warn(format_args!("{id}: its record could not be read: its poststop hooks are not run{cgroup}"));
        // Its references are known by the state directory, which is gone now.
        volume::sweep(context)?;
    }
    Ok(())
}

/// What keeps a process from ending that has been sent SIGKILL; `namespace` is its pid namespace.
pub(super) fn what_holds(pid: i32, namespace: Option<BorrowedFd>) -> String {
    if let Some(path) = cgroup::frozen_by(pid) {
        return format!("it is frozen by the cgroup {}: thaw that one", path.display());
    }
    if let Some((zombie, parent)) = namespace.and_then(|namespace| unreaped_in(namespace, pid)) {
        let name = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        return format!(
            "process {zombie} of its pid namespace has ended, but process {parent} ({}), its parent, does not reap it",
            name.trim_end()
        );
    }
    match procstat::state(pid) {
        Some(b'D') => "it is in state D: the kernel waits for a device or a network filesystem".into(),
        Some(state) => format!("it is in state {}", char::from(state)),
        None => "it has just ended; try again".into(),
    }
}

/// A zombie of the pid namespace whose first process is `init`, with its parent, which is outside: the kernel lets the
/// first process end only when all others are reaped (pid_namespaces(7)). `None` before Linux 6.11, too.
fn unreaped_in(namespace: BorrowedFd, init: i32) -> Option<(i32, i32)> {
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_inside = |pid| matches!(ns::pid_in_namespace(namespace, pid), Ok(Some(_)));
    processes.filter(|pid| *pid != init && is_inside(*pid) && procstat::state(*pid) == Some(b'Z')).find_map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        (!is_inside(parent)).then_some((pid, parent))
    })
}
