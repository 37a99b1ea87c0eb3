//! `kill`: a signal to the container's process, or to all of them.

use super::Context;
use super::record::Record;
use crate::state::Status;
use crate::store::Access;
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

/// Sends `signal`; with `all`, to every process in the container's cgroup.
///
/// An error if the container is neither created nor running; with `all` a stopped one may still have processes.
pub fn kill(context: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let entry = context.store().open(id, Access::Read)?;
    if all {
        let record = Record::of(&entry)?.context("the container's record is missing")?;
        if record.cgroup.is_none() {
            bail!("kill --all: the container has no cgroup of its own");
        }
        return record.cgroup.signal_all(signal).context("kill --all");
    }
    let (status, _) = entry.status()?;
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        bail!("container not running");
    }
    let Some(init) = entry.pidfd()? else { bail!("container not running") };
    match pidfd::send_signal(init.as_fd(), signal) {
        Err(Errno::ESRCH) => bail!("container not running"),
        result => result.call(|| format!("pidfd_send_signal {signal}"))?,
    }
    // A frozen process of cgroup v1 dies only when it is thawed.
    if signal == Signal::SIGKILL as i32
        && let Some(record) = Record::of(&entry)?
        && record.cgroup.is_frozen()?
    {
        record.cgroup.thaw().context("thaw the cgroup")?;
    }
    Ok(())
}
