//! `kill`: a signal to the container's process, or to all of them.

use super::Context;
use super::record::Record;
use crate::cgroup::Hold;
use crate::log;
use crate::store::Access;
use crate::sys::{Call, Errno, pidfd};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, BorrowedFd};

/// Sends `signal` to the container's first process; with `all`, to every process in the container's cgroup.
///
/// SIGKILL goes to all in any case where the container has no pid namespace of its own, because there nothing else ends
/// the others. An error if the container has ended; not with `all`: engines make sure with it that nothing is left.
/// A container whose record cannot be read is still signalled: its first process.
pub fn kill(context: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let entry = context.store().open(id, Access::Read)?;
    let init = entry.process()?;
    let record = match Record::of(&entry) {
        Err(error) if init.is_some() && !all => {
            log::warn(format_args!("{error:#}: only the container's first process gets the signal"));
            None
        }
        record => record?,
    };
    if all && record.is_none() {
        bail!("the container's record is missing");
    }
    let kills = signal == Signal::SIGKILL as i32;
    if let Some(record) = record.as_ref().filter(|record| all || (kills && record.shares_pids))
        && reach_all(record, signal)?
    {
        return Ok(());
    }
    match init {
        Some((_, init)) => signal_init(init.as_fd(), record.as_ref(), signal),
        None if all => Ok(()),
        None => bail!("container not running"),
    }
}

/// Signals everything in the cgroup; false where there is nothing, or no cgroup to tell whose a process is.
fn reach_all(record: &Record, signal: i32) -> Result<bool> {
    if record.cgroup.is_none() {
        if record.shares_pids || signal != Signal::SIGKILL as i32 {
            log::warn(format_args!(
                "{}: without a cgroup only the container's first process gets the signal",
                record.id
            ));
        }
        return Ok(false);
    }
    if record.cgroup.processes()?.is_empty() {
        return Ok(false);
    }
    // In a pid namespace of its own, what init starts meanwhile dies with it.
    let hold = if record.shares_pids { Hold::Frozen } else { Hold::No };
    record.cgroup.signal_all(signal, hold).context("signal all processes")?;
    Ok(true)
}

fn signal_init(init: BorrowedFd, record: Option<&Record>, signal: i32) -> Result<()> {
    match pidfd::send_signal(init, signal) {
        Err(Errno::ESRCH) => bail!("container not running"),
        result => result.call(|| format!("pidfd_send_signal {signal}"))?,
    }
    // A frozen process of cgroup v1 dies only when it is thawed.
    if signal == Signal::SIGKILL as i32
        && let Some(record) = record
        && record.cgroup.is_frozen()?
    {
        record.cgroup.thaw().context("thaw the cgroup")?;
    }
    Ok(())
}
