//! `delete`: removes everything of a container, from the record that `create` left.

use super::record::Record;
use super::remains;
use super::{Context, query};
use crate::state::Status;
use crate::store::{Access, Busy, Entry, NotFound, Store};
use crate::sys::{Call, Errno, pidfd};
use crate::volumes::Remove;
use crate::{holder, log};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long `delete --force` lets another command finish before it takes over. No command but one that waits for a hook,
/// for init or for somebody else takes that long.
const GRACE: Duration = Duration::from_secs(2);
/// How long a lock may outlive the SIGKILL of its holder.
const TAKEOVER: Duration = Duration::from_secs(2);
/// How long another `delete` is waited for: it is not ended.
const OTHER_DELETE: Duration = Duration::from_secs(11);
/// From SIGKILL to the error that says why the process has not ended.
const DEATH: Duration = Duration::from_secs(10);

/// Deletes a container that has stopped or was never started; with `force` any, and one that is not there is no error.
///
/// With `force` it takes the lock from a command that does not release it, and works from what is left of damaged
/// records. Without an error nothing of the container is left. Its volumes stay, unless `volumes` removes the anonymous
/// ones that nobody else uses.
pub fn delete(context: &Context, id: &str, force: bool, volumes: Remove) -> Result<()> {
    holder::announce_deletion()?;
    let store = context.store();
    if !force {
        let entry = store.open(id, Access::Change)?;
        return delete_stopped(&entry, id, volumes);
    }
    match open_by_force(&store, id) {
        Err(error) if error.downcast_ref::<NotFound>().is_some() => Ok(()),
        entry => remains::destroy(context, &entry?, volumes),
    }
}

fn delete_stopped(entry: &Entry, id: &str, volumes: Remove) -> Result<()> {
    let record = Record::of(entry)?;
    let status = match &record {
        Some(record) => query::status(entry, record)?.0,
        None => entry.status()?.0,
    };
    match status {
        Status::Running | Status::Paused => bail!("cannot delete container {id} that is not stopped: {status}"),
        Status::Stopped => take_down(entry, record.as_ref(), None, volumes),
        Status::Created | Status::Creating => destroy(entry, record.as_ref(), volumes),
    }
}

/// The container's directory, locked. A command that keeps the lock is ended, unless it deletes the container too.
fn open_by_force(store: &Store, id: &str) -> Result<Entry> {
    let error = match store.open_within(id, Access::Change, GRACE) {
        Ok(entry) => return Ok(entry),
        Err(error) => error,
    };
    let Some(busy) = error.downcast_ref::<Busy>() else { return Err(error) };
    let patience = match &busy.holder {
        Some(holder) if holder.is_deleting() => OTHER_DELETE,
        Some(holder) => {
            log::warn(format_args!("{id}: ending {holder}, which has the container's lock"));
            holder.kill()?;
            TAKEOVER
        }
        // It has just ended, or it cannot be seen; then the error says so.
        None => TAKEOVER,
    };
    store.open_within(id, Access::Change, patience)
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
pub(super) fn take_down(entry: &Entry, record: Option<&Record>, init: Option<Dying>, volumes: Remove) -> Result<()> {
    if let Some(record) = record {
        // Kills what else is in it, and thaws: a frozen init dies only now.
        record.take_away().or_else(|error| match &init {
            Some(init) => init.explain(error),
            None => Err(error),
        })?;
    }
    if let Some(init) = &init {
        init.wait()?;
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
fn kill_init(entry: &Entry) -> Result<Option<Dying>> {
    let Some((pid, pidfd)) = entry.process()? else { return Ok(None) };
    Dying::kill(pid, pidfd).map(Some)
}

/// A process that has been sent SIGKILL.
pub(super) struct Dying {
    pid: i32,
    pidfd: OwnedFd,
    /// Its pid namespace, for messages. It can no longer be opened when the process is ending.
    namespace: Option<OwnedFd>,
}

impl Dying {
    pub fn kill(pid: i32, pidfd: OwnedFd) -> Result<Dying> {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/pid")).ok().map(OwnedFd::from);
        match pidfd::send_signal(pidfd.as_fd(), Signal::SIGKILL as i32) {
            Ok(()) | Err(Errno::ESRCH) => Ok(Dying { pid, pidfd, namespace }),
            Err(errno) => Err(errno).call(|| "pidfd_send_signal SIGKILL".into()),
        }
    }

    /// # Errors
    /// It has not ended after [`DEATH`]; the error says what holds it.
    pub fn wait(&self) -> Result<()> {
        if pidfd::wait_for_end_within(self.pidfd.as_fd(), DEATH).call(|| "wait for the end of init".into())? {
            return Ok(());
        }
        bail!("init (process {}) does not end {} s after SIGKILL: {}", self.pid, DEATH.as_secs(), self.what_holds())
    }

    fn what_holds(&self) -> String {
        remains::what_holds(self.pid, self.namespace.as_ref().map(AsFd::as_fd))
    }

    /// Adds what keeps the process from ending to an error of removing its cgroup.
    fn explain(&self, error: anyhow::Error) -> Result<()> {
        if pidfd::has_ended(self.pidfd.as_fd()).call(|| "poll the pidfd of init".into())? {
            return Err(error);
        }
        Err(error).with_context(|| format!("init (process {}): {}", self.pid, self.what_holds()))
    }
}
