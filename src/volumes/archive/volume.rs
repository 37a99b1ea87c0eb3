//! From a volume to an archive, and back: what is locked, held and renamed for it.

use super::Watch;
use crate::sys::{Errno, errno_of};
use crate::volumes::copy_up::is_empty;
use crate::volumes::{Durable, Metadata, Store, Volume};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Writes a volume's data to `out`. Containers may use it meanwhile; it cannot be removed.
pub fn export(store: &Store, name: &str, out: &mut dyn Write, watch: &mut dyn Watch) -> Result<()> {
    let volume = store.lock_existing(name)?;
    let metadata = volume.metadata()?;
    ensure!(metadata.has_own_data(), "volume {name} has a driver or is mounted by one: only its driver can read it");
    let data = volume.settled_data()?;
    // The lock goes, so that containers may start with the volume; what keeps it from being removed is this.
    let _pin = volume.pin("export")?;
    drop(volume);
    super::export::export(data.as_fd(), out, watch).with_context(|| format!("read volume {name}"))
}

/// Makes a volume of an archive, or fills one that exists, is empty and has no users. It is unpacked where nobody sees
/// it and synced; one rename makes it the volume's data.
pub fn import(store: &Store, name: &str, input: &mut dyn Read, watch: &mut dyn Watch) -> Result<()> {
    // Only to save the work; what counts is the rename.
    if let Some(volume) = store.lock(name)? {
        check_fillable(&volume)?;
    }
    let metadata = Metadata::new(None, BTreeMap::new(), BTreeMap::new(), false);
    let draft = store.draft(name, &metadata, Durable::Yes, |volume| {
        super::import::import(input, volume.data()?.as_fd(), watch)?;
        volume.sync()
    })?;
    loop {
        match draft.publish(store, Durable::Yes) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                let _ = draft.discard();
                return Err(error);
            }
        }
        // It may be removed again in between.
        let Some(volume) = store.lock(name)? else { continue };
        let filled = check_fillable(&volume).and_then(|()| match draft.publish_in(&volume) {
            Err(error) if errno_of(&error) == Some(Errno::ENOTEMPTY) => Err(not_empty(name)),
            filled => filled,
        });
        let discarded = draft.discard();
        return filled.and(discarded);
    }
}

fn check_fillable(volume: &Volume) -> Result<()> {
    let name = volume.name();
    let users = volume.users()?;
    ensure!(users.is_empty(), "volume is in use - [{}]", users.join(", "));
    // Another directory in the place of its data would not have a quota that was set on that.
    if !volume.metadata()?.is_plain() {
        bail!("volume {name} has a driver or driver options: what is put in its place would be without them");
    }
    ensure!(is_empty(volume.settled_data()?.as_fd())?, not_empty(name));
    Ok(())
}

fn not_empty(name: &str) -> anyhow::Error {
    anyhow::anyhow!("volume {name} is not empty: import makes a new volume, or fills an empty one")
}
