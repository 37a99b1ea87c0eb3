//! Volumes as the commands see them: the store's operations, and what they need to know of containers.

use super::Context;
use super::record::Record;
use crate::host;
use crate::plan::volume::check_name;
use crate::store::{self, Access};
use crate::volumes::{Durable, Holder, Metadata, NoSuchVolume, Store, anonymous_name, check_same, driver};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Context {
    /// The store of volumes.
    ///
    /// # Errors
    /// Not as root, when neither `XDG_DATA_HOME` nor `HOME` is set.
    pub fn volumes(&self) -> Result<Store> {
        let root = self.volume_root.clone().map_or_else(default_root, Ok)?;
        Ok(Store::new(root))
    }
}

/// Where root's volumes are.
pub(super) const ROOTS: &str = "/var/lib/rvol-runc/volumes";

pub(super) fn default_root() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() && !host::acts_for_user()? {
        return Ok(ROOTS.into());
    }
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    let data =
        data.context("no directory for volumes: XDG_DATA_HOME and HOME are not set, and there is no --volume-root")?;
    Ok(data.join("rvol-runc/volumes"))
}

/// What `volume create` is asked for.
#[derive(Debug, Default)]
pub struct NewVolume {
    pub name: Option<String>,
    pub driver: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// Makes a volume, or finds that one like it exists. Returns its name.
pub fn create(context: &Context, new: NewVolume) -> Result<String> {
    let store = context.volumes()?;
    let anonymous = new.name.is_none();
    let name = new.name.map_or_else(anonymous_name, Ok)?;
    check_name(&name).map_err(anyhow::Error::msg)?;
    let metadata = Metadata::new(new.driver.as_deref(), new.labels, new.options, anonymous);
    driver::check(&metadata)?;
    loop {
        if store.make(&name, &metadata, Durable::Yes, |_| Ok(()))?.is_some() {
            return Ok(name);
        }
        // It may be removed again in between.
        let Some(existing) = store.read(&name)? else { continue };
        let existing = existing.metadata()?;
        check_same(&name, &existing, Some(&metadata.driver), &metadata.options)?;
        if existing.options != metadata.options {
            bail!("volume {name} exists already with driver options: {}", driver::shown(&existing.options));
        }
        if existing.labels != metadata.labels {
            bail!("volume {name} exists already with other labels: {}", driver::shown(&existing.labels));
        }
        return Ok(name);
    }
}

/// Whether a missing volume is an error of `volume rm`, and a damaged one is removed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

/// Removes a volume that nobody uses.
pub fn remove(context: &Context, name: &str, force: Force) -> Result<()> {
    let store = context.volumes()?;
    let Some(volume) = store.lock(name)? else {
        return if force == Force::Yes { Ok(()) } else { Err(NoSuchVolume(name.to_owned()).into()) };
    };
    if force == Force::No {
        volume.metadata()?;
    }
    volume.remove(&store).with_context(|| format!("remove {name}"))?;
    store.sweep()
}

/// A volume as lists show it.
#[derive(Debug)]
pub struct Listed {
    pub name: String,
    pub mountpoint: PathBuf,
    pub metadata: Metadata,
    /// Containers and commands that use it.
    pub users: Vec<String>,
}

/// One volume.
pub fn inspect(context: &Context, name: &str) -> Result<Listed> {
    let volume = context.volumes()?.get(name)?;
    let (metadata, users) = (volume.metadata()?, volume.users()?);
    Ok(Listed { name: name.to_owned(), mountpoint: volume.data_path(), metadata, users })
}

/// All volumes. One that is damaged is a warning, one that has just gone is nothing.
pub fn list(context: &Context, warn: &mut dyn FnMut(String)) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for name in context.volumes()?.names()? {
        match inspect(context, &name) {
            Ok(volume) => listed.push(volume),
            Err(_) if context.volumes()?.read(&name).is_ok_and(|volume| volume.is_none()) => {}
            Err(error) => warn(format!("{error:#}")),
        }
    }
    Ok(listed)
}

/// Removes a volume if it is still unused, and otherwise leaves it. Returns the bytes that it held.
pub fn prune_one(context: &Context, name: &str) -> Result<Option<u64>> {
    let store = context.volumes()?;
    let Some(volume) = store.lock(name)? else { return Ok(None) };
    if !volume.users()?.is_empty() {
        return Ok(None);
    }
    let size = volume.size()?;
    volume.remove(&store).with_context(|| format!("remove {name}"))?;
    Ok(Some(size))
}

/// The bytes that a volume holds.
pub fn size(context: &Context, name: &str) -> Result<u64> {
    context.volumes()?.get(name)?.size()
}

/// Takes off the lists those containers whose state is gone without `delete` (a reboot empties /run), and removes what
/// killed commands left of volumes.
pub fn sweep(context: &Context) -> Result<()> {
    let store = context.volumes()?;
    for name in store.names()? {
        let Some(volume) = store.read(&name)? else { continue };
        if volume.holders().is_ok_and(|holders| !holders.iter().any(is_gone)) {
            continue;
        }
        let Some(volume) = store.lock(&name)? else { continue };
        for holder in volume.holders()?.iter().filter(|holder| is_gone(holder)) {
            volume.release(holder)?;
        }
    }
    store.sweep()
}

/// Whether a container is no more: never true of one that could still be there.
fn is_gone(holder: &Holder) -> bool {
    let store = store::Store::new(holder.state.clone());
    match store.open(&holder.id, Access::Read) {
        Err(error) => error.downcast_ref::<store::NotFound>().is_some() && !unreadable(&holder.state),
        // Another one of this name.
        Ok(entry) => matches!(Record::of(&entry), Ok(Some(record)) if record.created != holder.created),
    }
}

/// A directory that exists and cannot be looked into tells nothing of what is in it.
fn unreadable(state: &Path) -> bool {
    matches!(std::fs::read_dir(state), Err(error) if error.kind() != std::io::ErrorKind::NotFound)
}
