//! `gc`: what killed commands and reboots have left.

use super::record::Record;
use super::{Context, delete, volume};
use crate::log;
use crate::store::{Access, NotFound, Store};
use crate::volumes::Remove;
use anyhow::{Context as _, Result};

/// Deletes containers whose `create` was killed before there was one, takes containers that are gone off the lists of
/// their volumes, and removes volumes that were half made or half removed. Touches neither containers that were created
/// nor volumes. Returns the ids of what was deleted; what could not be is a warning.
pub fn gc(context: &Context) -> Result<Vec<String>> {
    let store = context.store();
    let mut deleted = Vec::new();
    for id in store.ids()? {
        match delete_half(&store, &id) {
            Ok(true) => deleted.push(id),
            Ok(false) => {}
            Err(error) if error.downcast_ref::<NotFound>().is_some() => {}
            Err(error) => log::warn(format_args!("container {id}: {error:#}")),
        }
    }
    volume::sweep(context)?;
    Ok(deleted)
}

fn delete_half(store: &Store, id: &str) -> Result<bool> {
    let entry = store.open(id, Access::Read)?;
    if entry.is_busy()? {
        return Ok(false);
    }
    if entry.init()?.is_some() {
        Record::of(&entry).context("it is not touched; delete --force removes it")?;
        return Ok(false);
    }
    let entry = store.open(id, Access::Change)?;
    if entry.init()?.is_some() {
        return Ok(false);
    }
    // Nobody has ever used its anonymous volumes.
    delete::destroy(&entry, Record::of(&entry)?.as_ref(), Remove::Yes)?;
    Ok(true)
}
