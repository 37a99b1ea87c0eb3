//! Volumes as the commands see them: the store's operations, and what they need to know of containers.

use super::Context;
use super::progress::Progress;
use super::record::Record;
use crate::host;
use crate::log;
use crate::plan::tenant::{self, CONTAINER_LABEL, LABEL_PREFIX};
use crate::plan::volume::check_name;
use crate::rootfs::copy::{Copied, Owners, Top, copy_tree_watched};
use crate::store::{self, Access};
use crate::volumes::driver::Shown;
use crate::volumes::{
    ANONYMOUS_LABEL, Durable, Holder, Metadata, NoSuchVolume, Store, Volume, anonymous_name, archive, check_same,
    driver, let_go, natural,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
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
    let metadata = Metadata::new(new.driver.as_deref(), new.labels, new.options, anonymous);
    create_or_find(&store, &name, &metadata).with_context(|| format!("create {name}"))?;
    Ok(name)
}

fn create_or_find(store: &Store, name: &str, metadata: &Metadata) -> Result<()> {
    // Docker asks a plugin before it looks at the name, and the local driver after it.
    if !metadata.is_local() {
        driver::check(metadata)?;
    }
    check_name(name).map_err(anyhow::Error::msg)?;
    check_labels(&metadata.labels)?;
    driver::check(metadata)?;
    loop {
        if store.make(name, metadata, Durable::Yes, |volume| driver::make(volume, metadata))?.is_some() {
            return Ok(());
        }
        // It may be removed again in between.
        let Some(existing) = store.read(name)? else { continue };
        let existing = existing.metadata()?;
        check_same(name, &existing, Some(&metadata.driver), &metadata.options)?;
        if existing.options != metadata.options {
            bail!("volume {name} exists already with driver options: {}", driver::shown(&existing.options));
        }
        if existing.labels != metadata.labels {
            bail!("volume {name} exists already with other labels: {}", driver::shown(&existing.labels));
        }
        return Ok(());
    }
}

/// Refuses labels by which nobody could tell who reaches the volume.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    labels.iter().try_for_each(|(key, value)| tenant::check_label(key, value).map_err(anyhow::Error::msg))
}

/// What `volume label` does to one label.
#[derive(Debug, PartialEq, Eq)]
pub enum LabelChange {
    Set(String, String),
    Remove(String),
}

impl LabelChange {
    /// Reads `KEY=VALUE` or `KEY-`.
    pub fn parse(text: &str) -> Result<LabelChange> {
        let change = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) => LabelChange::Set(key.to_owned(), value.to_owned()),
            (None, Some(key)) => LabelChange::Remove(key.to_owned()),
            (None, None) => bail!("label {text:?}: neither KEY=VALUE, which sets it, nor KEY-, which removes it"),
        };
        let (LabelChange::Set(key, _) | LabelChange::Remove(key)) = &change;
        ensure!(!key.is_empty(), "label {text:?} has no key");
        Ok(change)
    }
}

/// Changes the labels of a volume, all of them or none.
pub fn label(context: &Context, name: &str, changes: &[LabelChange]) -> Result<()> {
    let volume = context.volumes()?.lock_existing(name)?;
    let mut metadata = volume.metadata()?;
    for change in changes {
        match change {
            LabelChange::Set(key, value) => {
                tenant::check_label(key, value).map_err(anyhow::Error::msg)?;
                metadata.labels.insert(key.clone(), value.clone());
            }
            LabelChange::Remove(key) => drop(metadata.labels.remove(key)),
        }
    }
    volume.set_metadata(&metadata)
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
        return match foreign(name, &mut |error| log::warn(format_args!("{error:#}")))? {
            Some((plugin, _)) => plugin.remove(name).with_context(|| format!("remove {name}")),
            None if force == Force::Yes => Ok(()),
            None => Err(NoSuchVolume(name.to_owned()).into()),
        };
    };
    let damaged = volume.metadata().is_err();
    if !(damaged && force == Force::Yes) {
        match driver::discard(&volume) {
            // What a plugin kept that is no more is not to be had by keeping the name.
            Err(error) if force == Force::Yes && driver::is_missing(&error) => {}
            discarded => discarded.with_context(|| format!("remove {name}"))?,
        }
    }
    volume.remove(&store).with_context(|| format!("remove {name}"))?;
    store.sweep()
}

/// A volume as lists show it.
#[derive(Debug)]
pub struct Listed {
    pub name: String,
    /// Empty where a plugin has it nowhere for now.
    pub mountpoint: PathBuf,
    pub metadata: Metadata,
    /// Containers and commands that use it.
    pub users: Vec<String>,
    /// `local` or, of a plugin, `global`.
    pub scope: String,
    /// What a plugin has to say of it.
    pub status: serde_json::Map<String, serde_json::Value>,
}

impl Listed {
    /// As the store has it.
    fn of(volume: &Volume) -> Result<Listed> {
        let (metadata, users) = (volume.metadata()?, volume.users()?);
        let mountpoint = if metadata.is_local() { volume.data_path() } else { PathBuf::new() };
        let scope = "local".to_owned();
        Ok(Listed { name: volume.name().to_owned(), mountpoint, metadata, users, scope, status: Default::default() })
    }

    /// One that only a plugin knows.
    fn foreign(driver: &str, shown: Shown) -> Listed {
        let new = Metadata::new(Some(driver), BTreeMap::new(), BTreeMap::new(), false);
        let metadata = Metadata { created: String::new(), ..new };
        let listed = Listed {
            name: shown.name.clone(),
            mountpoint: PathBuf::new(),
            metadata,
            users: Vec::new(),
            scope: "local".into(),
            status: Default::default(),
        };
        listed.with(shown)
    }

    /// With what its plugin says.
    fn with(mut self, shown: Shown) -> Listed {
        self.mountpoint = shown.mountpoint.into();
        self.status = shown.status;
        if !shown.created_at.is_empty() {
            self.metadata.created = shown.created_at;
        }
        self
    }
}

/// A volume that is not in the store, and the plugin that has it.
fn foreign(name: &str, warn: &mut dyn FnMut(anyhow::Error)) -> Result<Option<(driver::Plugin, Listed)>> {
    for (driver, plugin) in driver::plugins(warn)? {
        // To each its own words for what it does not have.
        if let Ok(Some(shown)) = plugin.get(name) {
            let listed = Listed { scope: plugin.scope(), ..Listed::foreign(&driver, shown) };
            return Ok(Some((plugin, listed)));
        }
    }
    Ok(None)
}

/// One volume, of the store or of a plugin, which is asked.
pub fn inspect(context: &Context, name: &str) -> Result<Listed> {
    let Some(volume) = context.volumes()?.read(name)? else {
        let found = foreign(name, &mut |error| log::warn(format_args!("{error:#}")))?;
        return found.map(|(_, listed)| listed).ok_or_else(|| NoSuchVolume(name.to_owned()).into());
    };
    let listed = Listed::of(&volume)?;
    if listed.metadata.is_local() {
        return Ok(listed);
    }
    let asked = || -> Result<Listed> {
        let plugin = driver::Plugin::find(&listed.metadata.driver)?;
        let shown = plugin.get(name)?.with_context(|| format!("plugin {} has it no more", listed.metadata.driver))?;
        Ok(Listed { scope: plugin.scope(), ..listed.with(shown) })
    };
    asked().with_context(|| format!("volume {name}"))
}

/// The volumes of the store. One that is damaged is a warning, one that has just gone is nothing.
pub fn list(context: &Context, warn: &mut dyn FnMut(String)) -> Result<Vec<Listed>> {
    let (store, mut listed) = (context.volumes()?, Vec::new());
    for name in store.names()? {
        match store.get(&name).and_then(|volume| Listed::of(&volume)) {
            Ok(volume) => listed.push(volume),
            Err(_) if store.read(&name).is_ok_and(|volume| volume.is_none()) => {}
            Err(error) => warn(format!("{error:#}")),
        }
    }
    Ok(listed)
}

/// The same with all that plugins have. One that does not answer is a warning.
pub fn list_all(context: &Context, warn: &mut dyn FnMut(String)) -> Result<Vec<Listed>> {
    let mut listed = list(context, warn)?;
    let plugins = driver::plugins(&mut |error| warn(format!("{error:#}")))?;
    if plugins.is_empty() {
        return Ok(listed);
    }
    for (driver, plugin) in plugins {
        let shown = match plugin.list() {
            Ok(shown) => shown,
            Err(error) => {
                warn(format!("{error:#}"));
                continue;
            }
        };
        let scope = plugin.scope();
        for shown in shown {
            let known = listed.iter().position(|known| known.name == shown.name);
            match known {
                Some(index) if listed[index].metadata.driver == driver => {
                    let known = listed.swap_remove(index);
                    listed.push(Listed { scope: scope.clone(), ..known.with(shown) });
                }
                // Another one has the name here.
                Some(_) => {}
                None => listed.push(Listed { scope: scope.clone(), ..Listed::foreign(&driver, shown) }),
            }
        }
    }
    listed.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(listed)
}

/// Removes a volume if it is still unused, and otherwise leaves it. Returns the bytes that it held.
pub fn prune_one(context: &Context, name: &str) -> Result<Option<u64>> {
    let store = context.volumes()?;
    let Some(volume) = store.lock(name)? else { return Ok(None) };
    if !volume.users()?.is_empty() {
        return Ok(None);
    }
    volume.data()?;
    let size = volume.size().unwrap_or_else(|error| {
        // A container can make a tree that is too deep to be measured. It must not keep the volume from being removed.
        log::warn(format_args!("{error:#}; it is removed all the same, and counts for 0 bytes"));
        0
    });
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
    let data = source.settled_data()?;
    // The lock goes, so that containers may start with the source; what keeps it from being removed is this.
    let _pin = source.pin("clone")?;
    drop(source);
    let mut labels = old.labels;
    // Who reaches the copy is for the node's owner to say.
    labels.retain(|label, _| label != ANONYMOUS_LABEL && !label.starts_with(LABEL_PREFIX));
    let metadata = Metadata { copied: old.copied, ..Metadata::new(Some(&old.driver), labels, old.options, false) };
    let progress = Progress::new(format!("cloning volume {from}"));
    let mut copied = Copied::default();
    let made = store.make(to, &metadata, Durable::Yes, |volume| {
        driver::make(volume, &metadata)?;
        let (data, copy) = (data.as_fd(), volume.data()?);
        let watch = &mut |copied: &Copied| progress.show(copied.files, copied.bytes);
        copied = copy_tree_watched(data, copy.as_fd(), Top::Copy, Owners::default(), watch)
            .with_context(|| format!("copy volume {from}"))?;
        volume.sync()
    })?;
    ensure!(made.is_some(), "volume {to} exists already");
    progress.end(copied.files, copied.bytes);
    for attribute in &copied.left_out {
        log::warn(format_args!("volume {to}: {attribute}: the attribute was left out"));
    }
    Ok(())
}

/// Writes a volume's data as a tar archive.
pub fn export(context: &Context, name: &str, out: &mut dyn Write) -> Result<()> {
    let mut told = Told::new(format!("exporting volume {name}"));
    archive::export(&context.volumes()?, name, out, &mut told)?;
    told.end();
    Ok(())
}

/// Makes a volume of a tar archive, or fills one that is empty and unused, whole or not at all.
pub fn import(context: &Context, name: &str, input: &mut dyn Read) -> Result<()> {
    let mut told = Told::new(format!("importing into volume {name}"));
    archive::import(&context.volumes()?, name, input, &mut told)?;
    told.end();
    Ok(())
}

/// Warnings and progress for the person who gave the command.
struct Told {
    progress: Progress,
    files: u64,
    bytes: u64,
}

impl Told {
    fn new(doing: String) -> Told {
        Told { progress: Progress::new(doing), files: 0, bytes: 0 }
    }

    fn end(self) {
        self.progress.end(self.files, self.bytes);
    }
}

impl archive::Watch for Told {
    fn warn(&mut self, text: String) {
        self.progress.interrupt();
        log::warn(format_args!("{text}"));
    }

    fn progress(&mut self, files: u64, bytes: u64) {
        (self.files, self.bytes) = (files, bytes);
        self.progress.show(files, bytes);
    }
}

/// Gives a volume another name, and labels. One that is in use keeps its own: its containers know it by that.
pub fn rename(context: &Context, from: &str, to: &str, labels: &BTreeMap<String, String>) -> Result<()> {
    check_labels(labels)?;
    let store = context.volumes()?;
    let volume = store.lock_existing(from)?;
    let users = volume.users()?;
    ensure!(users.is_empty(), "rename {from}: volume is in use - [{}]", users.join(", "));
    let mut metadata = volume.metadata()?;
    ensure!(metadata.is_local(), "rename {from}: plugin {} knows it by this name", metadata.driver);
    if metadata.anonymous {
        // With a name it is not for prune any more. Before the rename: what is killed in between keeps too much.
        metadata.anonymous = false;
        metadata.labels.remove(ANONYMOUS_LABEL);
        metadata.labels.remove(CONTAINER_LABEL);
        volume.set_metadata(&metadata)?;
    }
    store.rename(&volume, to)?;
    if labels.is_empty() {
        return Ok(());
    }
    // After the rename: if this command is killed in between, the new name has no label, so that nobody reaches it, and
    // the next pod's error says how to set it. The other way round a pod would get a new volume instead of this one.
    metadata.labels.extend(labels.clone());
    volume.set_metadata(&metadata).with_context(|| format!("volume {to}: set the labels"))
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
        if settled && !driver::may_be_left(&volume)? && !is_left_behind(&volume) {
            continue;
        }
        let Some(volume) = store.lock(&name)? else { continue };
        let holders = volume.holders();
        for holder in holders.iter().flatten().filter(|holder| is_gone(holder)) {
            warn_of(let_go(&volume, holder));
        }
        warn_of(holders.map(drop));
        if driver::may_be_left(&volume)? {
            warn_of(driver::settle(&volume));
        }
        if is_left_behind(&volume) {
            warn_of(volume.remove(&store));
        }
    }
    store.sweep()
}

/// Whether the volume was to go with its container and is still there: a `delete` was killed, or a reboot has ended the
/// container. A volume that cannot be read is not removed.
fn is_left_behind(volume: &Volume) -> bool {
    volume.metadata().is_ok_and(|metadata| metadata.goes_with_container())
        && volume.users().is_ok_and(|users| users.is_empty())
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
