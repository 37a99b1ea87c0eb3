//! Volumes as the commands see them: the store's operations, and what they need to know of containers.

use super::Context;
use super::record::Record;
use crate::host;
use crate::log;
use crate::plan::volume::check_name;
use crate::rootfs::copy::{Top, copy_tree};
use crate::store::{self, Access};
use crate::volumes::{
    ANONYMOUS_LABEL, Durable, Holder, Metadata, NoSuchVolume, Store, anonymous_name, check_same, driver, let_go,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
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
        driver::settle(&volume).with_context(|| format!("remove {name}"))?;
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

/// Makes a volume with the content, labels and options of another, whole or not at all.
pub fn clone(context: &Context, from: &str, to: &str) -> Result<()> {
    let store = context.volumes()?;
    check_name(to).map_err(anyhow::Error::msg)?;
    let source = store.lock_existing(from)?;
    let old = source.metadata()?;
    ensure!(old.has_own_data(), "volume {from} has a driver or is mounted by one: only its driver can copy it");
    let data = source.data()?;
    // The lock goes, so that containers may start with the source; what keeps it from being removed is this.
    let _pin = source.pin("clone")?;
    drop(source);
    let mut labels = old.labels;
    labels.remove(ANONYMOUS_LABEL);
    let metadata = Metadata { copied: old.copied, ..Metadata::new(Some(&old.driver), labels, old.options, false) };
    let made = store.make(to, &metadata, Durable::Yes, |volume| {
        copy_tree(data.as_fd(), volume.data()?.as_fd(), Top::Copy)
            .map(drop)
            .with_context(|| format!("copy volume {from}"))
    })?;
    ensure!(made.is_some(), "volume {to} exists already");
    Ok(())
}

/// Gives a volume another name. One that is in use keeps its own: its containers know it by that.
pub fn rename(context: &Context, from: &str, to: &str) -> Result<()> {
    let store = context.volumes()?;
    let volume = store.lock_existing(from)?;
    let users = volume.users()?;
    ensure!(users.is_empty(), "rename {from}: volume is in use - [{}]", users.join(", "));
    let mut metadata = volume.metadata()?;
    if metadata.anonymous {
        // With a name it is not for prune any more. Before the rename: what is killed in between keeps too much.
        metadata.anonymous = false;
        metadata.labels.remove(ANONYMOUS_LABEL);
        volume.set_metadata(&metadata)?;
    }
    store.rename(&volume, to)
}

/// The bytes that a volume holds; `None` where the data is not in the store.
pub fn size(context: &Context, name: &str) -> Result<Option<u64>> {
    let volume = context.volumes()?.get(name)?;
    if volume.metadata()?.has_own_data() { volume.size().map(Some) } else { Ok(None) }
}

/// Takes off the lists those containers whose state is gone without `delete` (a reboot empties /run), and removes what
/// killed commands left of volumes.
pub fn sweep(context: &Context) -> Result<()> {
    let store = context.volumes()?;
    for name in store.names()? {
        // What one volume's driver cannot do keeps no other from being swept.
        let warn_of = |result: Result<()>| {
            if let Err(error) = result {
                log::warn(format_args!("volume {name}: {error:#}"));
            }
        };
        let Some(volume) = store.read(&name)? else { continue };
        let settled = volume.holders().is_ok_and(|holders| !holders.iter().any(is_gone));
        if settled && !driver::is_mounted(&volume)? {
            continue;
        }
        let Some(volume) = store.lock(&name)? else { continue };
        for holder in volume.holders()?.iter().filter(|holder| is_gone(holder)) {
            warn_of(let_go(&volume, holder));
        }
        if driver::is_mounted(&volume)? {
            warn_of(driver::settle(&volume));
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
