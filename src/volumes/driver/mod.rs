//! What stands behind a volume: a directory of the store, something mounted over it, or a plugin.
//!
//! Knows what a driver has to do at each step of a volume's life; who uses a volume is the volume's own affair.

mod local;
mod mounted;
mod resolve;

use super::metadata::Metadata;
use super::volume::{Holder, Volume};
use anyhow::{Context, Result, bail, ensure};
use local::Local;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where a container finds the data of a volume.
#[derive(Debug)]
pub struct Source {
    pub data: OwnedFd,
    /// For people.
    pub path: PathBuf,
}

/// Refuses what there is no driver for, and options that the driver does not know, before anything is made.
pub fn check(metadata: &Metadata) -> Result<()> {
    if !metadata.is_local() {
        bail!("error looking up volume plugin {0}: plugin \"{0}\" not found", metadata.driver);
    }
    let local = Local::parse(&metadata.options)?;
    ensure!(local.size.is_none(), "quota size requested but no quota support");
    Ok(())
}

/// Makes the data ready for the container, which is registered as a user: what has to be mounted is, if this is its first
/// user. Of a locked volume.
pub fn attach(volume: &Volume, metadata: &Metadata) -> Result<Source> {
    if !metadata.has_own_data() {
        check(metadata)?;
        if let Some(wanted) = Local::parse(&metadata.options)?.mount {
            mounted::mount(volume, &wanted).with_context(|| format!("volume {}", volume.name()))?;
        }
    }
    Ok(Source { data: volume.data()?, path: volume.data_path() })
}

/// Takes away for a container what [`attach`] did, before it is taken off the list of users: what is mounted goes with
/// the last of them. Of a locked volume.
pub fn detach(volume: &Volume, holder: &Holder) -> Result<()> {
    let metadata = match volume.metadata() {
        Ok(metadata) => metadata,
        // Damaged, and there is nothing that it could tell us to do.
        Err(_) if matches!(mounted::is_in_place(volume), Ok(false)) => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.has_own_data() || !metadata.is_local() || volume.has_others(holder)? {
        return Ok(());
    }
    mounted::unmount(volume)
}

/// Takes away what a killed command left mounted, if nobody uses the volume. Of a locked volume.
pub fn settle(volume: &Volume) -> Result<()> {
    let metadata = volume.metadata()?;
    if metadata.has_own_data() || !metadata.is_local() || !volume.users()?.is_empty() {
        return Ok(());
    }
    mounted::unmount(volume)
}

/// Whether there may be something for [`settle`] to do.
pub fn is_mounted(volume: &Volume) -> Result<bool> {
    mounted::is_in_place(volume)
}

/// Options for people: `o=size=1m type=tmpfs`.
pub fn shown(options: &BTreeMap<String, String>) -> String {
    options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
