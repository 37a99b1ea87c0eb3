//! `state` and `list`.

use super::Context;
use super::record::Record;
use crate::log;
use crate::state::{State, Status};
use crate::store::{Access, Entry, NotFound};
use anyhow::{Result, bail};

/// The state of one container.
pub fn state(context: &Context, id: &str) -> Result<State> {
    let entry = context.store().open(id, Access::Read)?;
    match describe(&entry)? {
        Some(state) => Ok(state),
        None if !entry.is_linked() => bail!(NotFound(id.to_owned())),
        None if entry.is_busy()? => bail!("container {id} is being created or deleted"),
        None => bail!("container {id} is damaged: its create was killed; delete it"),
    }
}

/// The ids of all containers, without a look at any of them.
pub fn ids(context: &Context) -> Result<Vec<String>> {
    context.store().ids()
}

/// The states of all containers, by id. One that cannot be read is a warning, one that has just gone is nothing.
pub fn list(context: &Context) -> Result<Vec<State>> {
    let store = context.store();
    let mut states = Vec::new();
    for id in store.ids()? {
        let entry = match store.open(&id, Access::Read) {
            Ok(entry) => entry,
            Err(error) if error.downcast_ref::<NotFound>().is_some() => continue,
            Err(error) => {
                log::warn(format_args!("container {id}: {error:#}"));
                continue;
            }
        };
        match describe(&entry) {
            Ok(Some(state)) => states.push(state),
            // On its way in or out.
            Ok(None) if !entry.is_linked() || entry.is_busy()? => {}
            Ok(None) => log::warn(format_args!("container {id} is damaged: its create was killed; delete it")),
            Err(error) => log::warn(format_args!("container {id}: {error:#}")),
        }
    }
    Ok(states)
}

/// The status as `state` shows it, and the pid: a container whose cgroup is frozen is paused, also before its start.
pub(super) fn status(entry: &Entry, record: &Record) -> Result<(Status, Option<i32>)> {
    let (status, pid) = entry.status()?;
    let lives = matches!(status, Status::Created | Status::Running);
    if lives && record.cgroup.is_frozen()? {
        return Ok((Status::Paused, pid));
    }
    Ok((status, pid))
}

fn describe(entry: &Entry) -> Result<Option<State>> {
    let Some(record) = Record::of(entry)? else { return Ok(None) };
    let (status, pid) = status(entry, &record)?;
    Ok(Some(State {
        oci_version: record.oci_version,
        id: record.id,
        pid: pid.unwrap_or(0),
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: login_name(record.owner),
    }))
}

/// The name of a user id in /etc/passwd, else the number.
fn login_name(uid: u32) -> String {
    if uid == 0 {
        return "root".into();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&number.as_str()))
        .map_or(number, |fields| fields[0].to_owned())
}
