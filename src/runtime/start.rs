//! `start`: lets init execute the program, and runs the poststart hooks.

use super::dialogue::hear_start;
use super::notify::Relay;
use super::record::Record;
use super::{Context, create, delete};
use crate::ipc::{Channel, ToInit, socket};
use crate::state::Status;
use crate::store::{Access, Entry, Look, START_SOCKET};
use crate::sys::{Call, pidfd};
use crate::volumes::Remove;
use crate::{hooks, log, trace};
use anyhow::{Context as _, Result, bail};
use std::os::fd::AsFd;

/// Starts a created container. Returns when the program is executed and the poststart hooks have run.
pub fn start(context: &Context, id: &str) -> Result<()> {
    let entry = context.store().open(id, Access::Change)?;
    trace::phase("look at the container");
    let Look { status, pid, connection } = entry.look()?;
    match status {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Creating => bail!("cannot start a container that is still being created"),
        Status::Running | Status::Paused => bail!("cannot start an already running container"),
    }
    let record = Record::of(&entry)?.context("the container's record is missing")?;
    if record.cgroup.is_frozen()? {
        bail!("cannot start a paused container");
    }
    if !record.has_process {
        bail!("cannot start: config.json has no `process`");
    }
    let relay = match Relay::listen(&entry)? {
        Some(relay) => entry.process()?.map(|process| (relay, process)),
        None => None,
    };
    trace::phase("wait for the program to be executed");
    let connection = match connection {
        Some(connection) => socket::set_blocking(&connection).map(|()| connection),
        None => socket::connect_in(entry.dir(), START_SOCKET),
    };
    let channel = Channel::over(connection.call(|| format!("connect {START_SOCKET}"))?);
    channel.tell_init(ToInit::Start)?;
    let started = hear_start(&channel).and_then(|()| check_executed(&entry, &record, pid));
    after_start(&entry, &record, pid, started, Remove::WithContainer)?;
    // Other commands may now work on the container.
    drop(entry);
    relay.map_or(Ok(()), |(relay, (pid, end))| relay.wait(pid, end.as_fd()))
}

/// The start connection is closed by the program's execution or by the death of init, which is then waited for: what is
/// asked next is told that the container has stopped.
fn check_executed(entry: &Entry, record: &Record, pid: Option<i32>) -> Result<()> {
    let Some(pid) = pid else { return Ok(()) };
    if !entry.never_executed(pid)? {
        return Ok(());
    }
    if let Some(dying) = entry.pidfd()? {
        pidfd::wait_for_end(dying.as_fd()).call(|| format!("poll the pidfd of {pid}"))?;
    }
    let killed = "init was killed before it executed the program";
    match record.want_of_memory() {
        Some(why) => bail!("{killed}: {why}"),
        None => bail!(killed),
    }
}

/// What follows once init has answered: poststart hooks, or the end that a failed hook asks for.
pub(super) fn after_start(
    entry: &Entry,
    record: &Record,
    pid: Option<i32>,
    started: Result<()>,
    volumes: Remove,
) -> Result<()> {
    let result = started.and_then(|()| {
        entry.remove_start_socket()?;
        if record.hooks.poststart.is_empty() {
            return Ok(());
        }
        hooks::run_all(&record.hooks.poststart, &record.hook_state(Status::Running, pid), None)
    });
    if let Err(error) = &result
        && create::failed_in_hook(error)
    {
        // runtime.md, lifecycle steps 7 and 9: stop the container and go on at step 12.
        if let Err(error) = delete::destroy(entry, Some(record), volumes) {
            log::warn(format_args!("{}: after the failed hook: {error:#}", record.id));
        }
    }
    result
}
