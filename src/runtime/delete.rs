//! `delete`: takes away whatever there is of a container, from the record that `create` left.

use super::record::Record;
use super::{Context, query};
use crate::state::Status;
use crate::store::{Access, Entry, NotFound};
use crate::sys::{Call, Errno, pidfd};
use crate::volumes::Remove;
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, OwnedFd};

/// Deletes a container that has stopped or was never started; with `force` any, and one that is not there is no error.
///
/// Its volumes stay, unless `volumes` removes the anonymous ones that nobody else uses.
pub fn delete(context: &Context, id: &str, force: bool, volumes: Remove) -> Result<()> {
    let entry = match context.store().open(id, Access::Change) {
        Err(error) if force && error.downcast_ref::<NotFound>().is_some() => return Ok(()),
        result => result?,
    };
    let record = Record::of(&entry)?;
    let status = match &record {
        Some(record) => query::status(&entry, record)?.0,
        None => entry.status()?.0,
    };
    match status {
        Status::Running | Status::Paused if !force => {
            bail!("cannot delete container {id} that is not stopped: {status}")
        }
        Status::Stopped => take_down(&entry, record.as_ref(), None, volumes),
        Status::Created | Status::Creating | Status::Running | Status::Paused => {
            destroy(&entry, record.as_ref(), volumes)
        }
    }
}

/// Ends the container's processes, removes its cgroup, resctrl groups and directory, and runs the poststop hooks.
pub(super) fn destroy(entry: &Entry, record: Option<&Record>, volumes: Remove) -> Result<()> {
    take_down(entry, record, kill_init(entry)?, volumes)
}

/// The same where the container's first process has been reaped.
pub(super) fn clear_away(entry: &Entry, record: Option<&Record>, volumes: Remove) -> Result<()> {
    take_down(entry, record, None, volumes)
}

/// `init` is what is about to end.
fn take_down(entry: &Entry, record: Option<&Record>, init: Option<OwnedFd>, volumes: Remove) -> Result<()> {
    if let Some(record) = record {
        // Kills what else is in it, and thaws: a frozen init dies only now.
        record.take_away()?;
    }
    if let Some(init) = init {
        pidfd::wait_for_end(init.as_fd()).call(|| "wait for the end of init".into())?;
    }
    if let Some(record) = record {
        // While the state is there: it is by that that prune knows a container that lives.
        record.give_back_volumes(volumes);
    }
    entry.remove()?;
    if let Some(record) = record {
        record.run_poststop_hooks();
    }
    Ok(())
}

/// Sends SIGKILL to the container's process, if it is there.
fn kill_init(entry: &Entry) -> Result<Option<OwnedFd>> {
    let Some(init) = entry.pidfd()? else { return Ok(None) };
    match pidfd::send_signal(init.as_fd(), Signal::SIGKILL as i32) {
        Ok(()) | Err(Errno::ESRCH) => Ok(Some(init)),
        Err(errno) => Err(errno).call(|| "pidfd_send_signal SIGKILL".into()),
    }
}
