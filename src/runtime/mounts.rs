//! `mounts`: a container's mounts as `docker inspect` shows them.

use super::Context;
use super::storage::{MountPoint, record_of};
use crate::plan::mounts::clean;
use crate::plan::volume::LOCAL;
use crate::volumes::{Holder, Store};
use anyhow::Result;
use serde::Serialize;
use std::path::PathBuf;

/// An element of Docker's `.Mounts`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownMount {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    source: PathBuf,
    destination: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    mode: String,
    #[serde(rename = "RW")]
    rw: bool,
    propagation: String,
}

/// The binds, volumes and tmpfs of a container, in the order in which they are mounted.
pub fn mounts(context: &Context, id: &str) -> Result<Vec<ShownMount>> {
    let record = record_of(context, id)?;
    let holder = record.holder();
    let Some(storage) = record.storage else { return Ok(Vec::new()) };
    let store = Store::new(storage.volume_root);
    storage
        .mounts
        .into_iter()
        .map(|mount| match mount.volume.clone() {
            Some(name) => volume(&store, holder.as_ref(), name, mount),
            None => Ok(other(mount)),
        })
        .collect()
}

/// A bind or a tmpfs.
fn other(mount: MountPoint) -> ShownMount {
    let old = if mount.readonly { "ro" } else { "" };
    ShownMount {
        kind: if mount.tmpfs { "tmpfs" } else { "bind" },
        name: None,
        source: mount.source.map(|source| clean(&source)).unwrap_or_default(),
        destination: mount.destination,
        driver: None,
        mode: mount.mode.unwrap_or_else(|| old.to_owned()),
        rw: !mount.readonly,
        propagation: mount.propagation,
    }
}

fn volume(store: &Store, holder: Option<&Holder>, name: String, mount: MountPoint) -> Result<ShownMount> {
    let volume = store.read(&name)?;
    let driver = volume.as_ref().and_then(|volume| volume.metadata().ok()).map(|metadata| metadata.driver);
    let plugin = match (&volume, holder) {
        (Some(volume), Some(holder)) => volume.plugin_mount(holder)?.and_then(|mount| mount.path),
        _ => None,
    };
    let old = if mount.readonly { "ro" } else { "z" };
    Ok(ShownMount {
        kind: "volume",
        source: plugin.unwrap_or_else(|| store.data_path(&name)),
        name: Some(name),
        destination: mount.destination,
        driver: Some(driver.unwrap_or_else(|| LOCAL.into())),
        mode: mount.mode.unwrap_or_else(|| old.to_owned()),
        rw: !mount.readonly,
        // Docker leaves it empty for volumes.
        propagation: String::new(),
    })
}
