//! What stands behind a volume: a directory of the store, something mounted over it, or a plugin.
//!
//! Knows what a driver has to do at each step of a volume's life; who uses a volume is the volume's own affair.

mod local;
mod mounted;
mod plugin;
mod quota;
mod resolve;

use super::metadata::Metadata;
use super::volume::{Holder, PluginMount, Volume};
use crate::sys::{Call, random};
use anyhow::{Context, Result, ensure};
use local::Local;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
#[cfg(any(test, fuzzing))]
pub(crate) use plugin::check_answer;
pub use plugin::{Plugin, Shown};
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
        return plugin::check(&metadata.driver);
    }
    Local::parse(&metadata.options).map(drop)
}

/// Makes what the driver has to have of a volume that is being made, before there is anything in it.
pub fn make(volume: &Volume, metadata: &Metadata) -> Result<()> {
    if metadata.is_plain() {
        return Ok(());
    }
    if metadata.is_local() {
        let size = Local::parse(&metadata.options)?.size;
        return size.map_or(Ok(()), |size| quota::limit(volume, size));
    }
    Plugin::find(&metadata.driver)?.create(volume.name(), &metadata.options)
}

/// Makes the data ready for the container, which is registered as a user: what has to be mounted is, if this is its first
/// user. Of a locked volume.
pub fn attach(volume: &Volume, metadata: &Metadata, holder: &Holder) -> Result<Source> {
    if !metadata.is_local() {
        return attach_plugin(volume, metadata, holder).with_context(|| format!("volume {}", volume.name()));
    }
    if !metadata.has_own_data()
        && let Some(wanted) = Local::parse(&metadata.options)?.mount
    {
        mounted::mount(volume, &wanted).with_context(|| format!("volume {}", volume.name()))?;
    }
    Ok(Source { data: volume.data()?, path: volume.data_path() })
}

/// A plugin counts its users by ids. The container's is noted before it is used, so that whoever comes after a killed
/// command can give it back.
fn attach_plugin(volume: &Volume, metadata: &Metadata, holder: &Holder) -> Result<Source> {
    ensure!(nix::unistd::geteuid().is_root(), "only root can use the volumes of a plugin");
    let plugin = Plugin::find(&metadata.driver)?;
    let noted = volume.plugin_mount(holder)?;
    let known = match &noted {
        // For another mount of the same container.
        Some(PluginMount { path: Some(_), .. }) => plugin.path(volume.name())?,
        _ => None,
    };
    let id = match noted {
        Some(noted) => noted.id,
        None => random::hex::<32>().call(|| "getrandom".into())?,
    };
    let path = match known {
        Some(path) => path,
        None => {
            volume.set_plugin_mount(holder, Some(PluginMount { id: id.clone(), path: None }))?;
            match plugin.mount(volume.name(), &id) {
                // It did not: there is nothing to give back. After any other error it may have.
                Err(error) if plugin::has_refused(&error) => {
                    volume.set_plugin_mount(holder, None)?;
                    return Err(error);
                }
                mounted => mounted?,
            }
        }
    };
    volume.set_plugin_mount(holder, Some(PluginMount { id, path: Some(path.clone()) }))?;
    let data = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open {}", path.display()))
        .with_context(|| format!("the mountpoint that plugin {} gave", metadata.driver))?;
    Ok(Source { data, path })
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
    if !metadata.is_local() {
        let Some(PluginMount { id, .. }) = volume.plugin_mount(holder)? else { return Ok(()) };
        return Plugin::find(&metadata.driver)?.unmount(volume.name(), &id);
    }
    if metadata.has_own_data() || volume.has_others(holder)? {
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

/// Whether there may be something for [`settle`] to do. Does not look at what is mounted: its server may be dead.
pub fn may_be_left(volume: &Volume) -> Result<bool> {
    let mounts = |metadata: Metadata| metadata.is_local() && !metadata.has_own_data();
    // What a damaged volume was, nobody knows.
    Ok(volume.metadata().is_ok_and(mounts) && volume.users()?.is_empty())
}

/// Takes away what the driver has of a volume that nobody uses and that is to be removed. Of a locked volume.
///
/// # Errors
/// [`is_missing`] tells of a plugin that is no more.
pub fn discard(volume: &Volume) -> Result<()> {
    let metadata = volume.metadata()?;
    if metadata.is_local() {
        return settle(volume);
    }
    let users = volume.users()?;
    ensure!(users.is_empty(), "volume is in use - [{}]", users.join(", "));
    Plugin::find(&metadata.driver)?.remove(volume.name())
}

/// Whether the error is that there is no such plugin.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<plugin::NotFound>().is_some()
}

/// Every plugin for volumes that can be found here, by its name; what is wrong with one goes to `warn`.
pub fn plugins(warn: &mut dyn FnMut(anyhow::Error)) -> Result<BTreeMap<String, Plugin>> {
    let mut plugins = BTreeMap::new();
    // Nobody else could use them, and mostly not even ask.
    if !nix::unistd::geteuid().is_root() {
        return Ok(plugins);
    }
    for name in plugin::names()? {
        match Plugin::find(&name) {
            Ok(plugin) => drop(plugins.insert(name, plugin)),
            Err(error) if error.downcast_ref::<plugin::NotForVolumes>().is_some() => {}
            Err(error) => warn(error),
        }
    }
    Ok(plugins)
}

/// Options for people: `o=size=1m type=tmpfs`.
pub fn shown(options: &BTreeMap<String, String>) -> String {
    options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
