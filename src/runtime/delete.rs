//! `delete`: takes away whatever there is of a container, from the record that `create` left.

use super::{Context, create};
use crate::cgroup;
use crate::rdt;
use crate::state::Status;
use crate::store::{Access, Entry, NotFound, Record};
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

/// Deletes a container that has stopped or was never started; with `force` any, and one that is not there is no error.
pub fn delete(context: &Context, id: &str, force: bool) -> Result<()> {
    let entry = match context.store().open(id, Access::Change) {
        Err(error) if force && error.downcast_ref::<NotFound>().is_some() => return Ok(()),
        result => result?,
    };
    let (status, _) = entry.status()?;
    match status {
        Status::Running | Status::Paused if !force => {
            bail!("cannot delete container {id} that is not stopped: {status}")
        }
        Status::Stopped | Status::Created | Status::Creating | Status::Running | Status::Paused => {}
    }
    let record = entry.record()?;
    destroy(&entry, record.as_ref())
}

/// Ends the container's processes, removes its cgroup, resctrl groups and directory, and runs the poststop hooks.
pub(super) fn destroy(entry: &Entry, record: Option<&Record>) -> Result<()> {
    kill_init(entry)?;
    if let Some(record) = record {
        record.cgroup.as_ref().map_or(Ok(()), cgroup::Record::remove).context("remove the cgroup")?;
        rdt::remove(&record.intel_rdt).context("remove the resctrl group")?;
    }
    entry.remove()?;
    if let Some(record) = record {
        create::run_poststop_hooks(record, &record.hooks);
    }
    Ok(())
}

fn kill_init(entry: &Entry) -> Result<()> {
    let Some(init) = entry.pidfd()? else { return Ok(()) };
    match pidfd::send_signal(init.as_fd(), Signal::SIGKILL as i32) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(errno) => return Err(errno).call(|| "pidfd_send_signal SIGKILL".into()),
    }
    // A frozen process dies only when it is thawed; removing the cgroup does that, so do not wait for it here.
    if let Some(record) = entry.record()?
        && let Some(cgroup) = &record.cgroup
    {
        cgroup.thaw().context("thaw the cgroup")?;
    }
    pidfd::wait_for_end(init.as_fd()).call(|| "wait for the end of init".into())
}
