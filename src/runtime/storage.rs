//! A container's mounts beyond its config, and its volumes: from flags and annotations to open directories, what of it is
//! recorded, and how it is given back.

use super::Context;
use super::annotated::Annotated;
use super::progress::Progress;
use super::record::Record;
use crate::bundle::Bundle;
use crate::log;
use crate::plan::mounts::{AddedMount, Bind, Fs, FsOption, MissingSource, Mount};
use crate::plan::tenant::Reach;
use crate::plan::volume::{CopyUp, Origin};
use crate::plan::{MountOp, Plan};
use crate::rootfs::copy::Copied;
use crate::rootfs::{OpenSource, OpenSources};
use crate::store::Access;
use crate::sys::{Call, Errno, SyscallError};
use crate::volumes::grammar::{self, VolumesFrom};
use crate::volumes::tenancy::{self, Found};
use crate::volumes::{self, Holder, Remove, Store, Wish, anonymous_name};
use anyhow::{Context as _, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The flags that ask for mounts, as they were given.
#[derive(Debug, Clone, Default)]
pub struct MountFlags {
    pub volumes: Vec<String>,
    pub mounts: Vec<String>,
    pub tmpfs: Vec<String>,
    pub volumes_from: Vec<String>,
    pub image_volumes: Vec<String>,
}

/// All mounts in addition to the config's. Of two with one destination the later wins: what another container has, what
/// the annotations say, what the flags say; VOLUMEs of the image only where there is nothing.
pub(super) fn added(context: &Context, flags: &MountFlags, bundle: &Bundle) -> Result<Vec<AddedMount>> {
    let mut annotated = Annotated::read(context, bundle)?;
    let mut all = annotated.volumes_from;
    all.append(&mut annotated.volumes);
    for text in &flags.volumes_from {
        all.extend(from(context, text).with_context(|| format!("--volumes-from {text}"))?);
    }
    all.append(&mut flagged(flags)?);
    all.append(&mut annotated.image_volumes);
    for path in &flags.image_volumes {
        all.push(grammar::image_volume(path, format!("--image-volume {path}"))?);
    }
    Ok(all)
}

fn flagged(flags: &MountFlags) -> Result<Vec<AddedMount>> {
    if flags.volumes.is_empty() && flags.mounts.is_empty() && flags.tmpfs.is_empty() {
        return Ok(Vec::new());
    }
    let cwd = std::env::current_dir().call(|| "getcwd".into())?;
    let mut mounts = Vec::new();
    for text in &flags.volumes {
        mounts.push(grammar::volume(text, &cwd, format!("-v {text}"))?);
    }
    for text in &flags.mounts {
        let mount = grammar::mount(text, &cwd, format!("--mount {text}"));
        mounts.push(mount.with_context(|| format!("invalid argument {text:?} for \"--mount\" flag"))?);
    }
    for text in &flags.tmpfs {
        mounts.push(grammar::tmpfs(text, format!("--tmpfs {text}"))?);
    }
    grammar::check_duplicates(&mounts)?;
    Ok(mounts)
}

/// The mounts of another container, for `--volumes-from`.
fn from(context: &Context, text: &str) -> Result<Vec<AddedMount>> {
    let VolumesFrom { id, readonly } = VolumesFrom::parse(text)?;
    let mounts = record_of(context, &id)?.storage.map(|storage| storage.mounts).unwrap_or_default();
    let place = format!("--volumes-from {text}");
    Ok(mounts.iter().filter(|mount| mount.is_shared()).map(|mount| mount.to_added(&place, readonly)).collect())
}

/// The record of a container whose mounts are asked for.
pub(super) fn record_of(context: &Context, id: &str) -> Result<Record> {
    let entry = context.store().open(id, Access::Read)?;
    Record::of(&entry)?.with_context(|| format!("container {id} is damaged: its create was killed"))
}

/// What is recorded of a container's mounts: what `delete` gives back, `mounts` shows and `--volumes-from` takes over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Storage {
    pub volume_root: PathBuf,
    pub state_root: PathBuf,
    pub mounts: Vec<MountPoint>,
}

/// A bind or a volume of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountPoint {
    pub destination: PathBuf,
    /// Of a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// Of a bind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    pub readonly: bool,
    pub propagation: String,
    /// As in `mounts[].options`, for another mount like it.
    pub options: Vec<String>,
    /// What Docker shows as `Mode`. `None` in the records of 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// A tmpfs that `--mount` asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tmpfs: bool,
}

impl MountPoint {
    fn of(bind: &Bind, mount: &Mount, name: Option<&str>) -> MountPoint {
        let mut options = vec![if bind.recursive { "rbind" } else { "bind" }.to_owned()];
        options.extend(bind.attr.names());
        options.push(bind.propagation.to_string());
        if let Some(subpath) = bind.volume.as_ref().and_then(|volume| volume.subpath.as_ref()) {
            options.push(format!("subpath={}", subpath.display()));
        }
        MountPoint {
            destination: mount.target.path.clone(),
            volume: name.map(str::to_owned),
            anonymous: bind.volume.as_ref().is_some_and(|v| v.name.is_none() || v.origin.inherited_anonymous),
            source: bind.volume.is_none().then(|| bind.source.clone()),
            readonly: bind.attr.is_readonly(),
            propagation: bind.propagation.to_string(),
            options,
            mode: grammar::shown_mode(&mount.place, bind.volume.is_some(), bind.attr.is_readonly()),
            tmpfs: false,
        }
    }

    /// A tmpfs, for `mounts` only: Docker knows those of `--mount` as mounts, those of `--tmpfs` and of a config not.
    fn of_tmpfs(fs: &Fs, mount: &Mount) -> Option<MountPoint> {
        if fs.fstype != "tmpfs" || !mount.place.starts_with("--mount ") {
            return None;
        }
        Some(MountPoint {
            destination: mount.target.path.clone(),
            volume: None,
            anonymous: false,
            source: None,
            readonly: fs.attr.is_readonly() || fs.options.contains(&FsOption::Flag("ro".into())),
            propagation: String::new(),
            options: Vec::new(),
            mode: Some(String::new()),
            tmpfs: true,
        })
    }

    /// Whether `--volumes-from` takes it: not what an engine binds over files of /etc or into kernel filesystems.
    fn is_shared(&self) -> bool {
        let own = ["/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        self.volume.is_some() || !self.tmpfs && !own.iter().any(|own| self.destination.starts_with(own))
    }

    /// The same mount for another container.
    pub(super) fn to_added(&self, place: &str, readonly: bool) -> AddedMount {
        let mut options = self.options.clone();
        if readonly {
            options.push("rro".into());
        }
        if self.volume.is_some() {
            // It belongs to the other container, which has filled it already.
            options.extend(["nocopy".into(), "nocreate".into()]);
        }
        AddedMount {
            place: place.to_owned(),
            destination: self.destination.clone(),
            kind: if self.volume.is_some() { "volume" } else { "bind" }.into(),
            source: self.volume.as_ref().map(PathBuf::from).or_else(|| self.source.clone()),
            options,
            origin: Origin { inherited_anonymous: self.anonymous, ..Origin::default() },
            ..AddedMount::default()
        }
    }
}

/// The names of anonymous volumes by the destinations of their mounts.
pub(super) type AnonymousNames = BTreeMap<PathBuf, String>;

/// A container's volumes, named but not taken yet.
pub(super) struct Volumes {
    store: Store,
    /// Index in `plan.mounts`, and the volume's name.
    names: Vec<(usize, String)>,
}

impl Volumes {
    /// Gives the anonymous volumes of a plan their names, and all of them their paths. Nothing is made yet.
    pub fn of(context: &Context, plan: &mut Plan) -> Result<Option<Volumes>> {
        Volumes::with_names(context, plan, &AnonymousNames::new())
    }

    /// The same where some anonymous volumes have names already, by their destinations.
    pub fn with_names(context: &Context, plan: &mut Plan, names_before: &AnonymousNames) -> Result<Option<Volumes>> {
        let mut names = Vec::new();
        let mut store = None;
        for (index, mount) in plan.mounts.iter_mut().enumerate() {
            let MountOp::Bind(bind) = &mut mount.op else { continue };
            if bind.volume.is_none() {
                continue;
            }
            let store = match &store {
                Some(store) => store,
                None => store.insert(context.volumes()?),
            };
            resolve_name(store, bind).with_context(|| format!("{} {}", mount.place, mount.target.path.display()))?;
            let Some(volume) = &bind.volume else { continue };
            let before = || names_before.get(&mount.target.path).cloned();
            let name = volume.name.clone().or_else(before).map_or_else(anonymous_name, Ok)?;
            bind.source = store.data_path(&name);
            bind.source.extend(&volume.subpath);
            names.push((index, name));
        }
        Ok(store.map(|store| Volumes { store, names }))
    }

    /// Takes the volumes for the container of the record, which has been written.
    pub fn take(&self, plan: &Plan, record: &Record) -> Result<OpenSources> {
        let mut sources = OpenSources::new();
        let holder = record.holder().context("the volumes are not recorded")?;
        let path = &plan.rootfs.path;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let image = open(path, flags, Mode::empty()).call(|| format!("open root.path {}", path.display()))?;
        for (index, name) in &self.names {
            let mount = &plan.mounts[*index];
            let MountOp::Bind(Bind { volume: Some(volume), idmap, attr, .. }) = &mount.op else { continue };
            let readonly = attr.is_readonly();
            let wish = Wish { volume, name, readonly, target: &mount.target.path, idmap: idmap.as_ref() };
            let progress = Progress::new(format!("{}: copying into volume {name}", plan.id));
            let mut watch = |copied: &Copied| progress.show(copied.files, copied.bytes);
            let taken = volumes::take(&self.store, &wish, &holder, image.as_fd(), &mut watch)
                .with_context(|| format!("{} {}", mount.place, mount.target.path.display()))?;
            if let Some(copied) = &taken.copied {
                progress.end(copied.files, copied.bytes);
                for attribute in &copied.left_out {
                    log::warn(format_args!("{}: volume {name}: {attribute}: the attribute was left out", plan.id));
                }
            }
            sources.insert(*index, OpenSource { fd: taken.data, path: taken.path });
        }
        Ok(sources)
    }
}

/// Finds the volume that a pod means by a name: its namespace's own, or one that the node's owner shares with it.
fn resolve_name(store: &Store, bind: &mut Bind) -> Result<()> {
    let Some(volume) = &mut bind.volume else { return Ok(()) };
    let Origin { namespace: Some(namespace), asked: Some(asked), .. } = &volume.origin else { return Ok(()) };
    let Found::Shared(reach) = tenancy::find(store, namespace, asked)? else { return Ok(()) };
    // Whatever becomes of it until it is taken: a pod makes no volume without its namespace in the name.
    volume.existing = true;
    if reach == Reach::ReadOnly {
        bind.attr.set_readonly_for_all();
        volume.copy = CopyUp::None;
    }
    volume.name = Some(asked.clone());
    Ok(())
}

/// What of a plan's mounts is recorded; `None` where there is nothing that anybody would ask for.
pub(super) fn record(context: &Context, plan: &Plan, volumes: Option<&Volumes>) -> Option<Storage> {
    let name = |index| volumes?.names.iter().find(|(at, _)| *at == index).map(|(_, name)| name.as_str());
    // An entry that is several mounts is of type `cgroup`: its parts are no binds that anybody asked for.
    let is_part = |mount: &Mount| {
        mount.place.starts_with("mounts[") && plan.mounts.iter().filter(|other| other.place == mount.place).count() > 1
    };
    let mounts = plan.mounts.iter().enumerate().filter_map(|(index, mount)| match &mount.op {
        MountOp::Bind(_) if is_part(mount) => None,
        MountOp::Bind(bind) => Some(MountPoint::of(bind, mount, name(index))),
        MountOp::Fs(fs) => MountPoint::of_tmpfs(fs, mount),
        _ => None,
    });
    let mounts: Vec<MountPoint> = mounts.collect();
    let volume_root = volumes.map(|volumes| volumes.store.root().to_owned()).unwrap_or_default();
    (!mounts.is_empty()).then(|| Storage { volume_root, state_root: context.root.clone(), mounts })
}

/// Refuses binds whose source has to be there and is not, in Docker's words, before anything is done.
pub(super) fn check_sources(plan: &Plan) -> Result<()> {
    for bind in binds(plan, MissingSource::Refused) {
        if matches!(std::fs::symlink_metadata(&bind.source), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
        {
            let error = SyscallError { call: format!("stat {}", bind.source.display()), errno: Errno::ENOENT };
            let source = bind.source.display();
            return Err(anyhow::Error::from(error).context(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {source}"
            )));
        }
    }
    Ok(())
}

/// Makes the directories that `-v` binds and that are missing.
pub(super) fn make_sources(plan: &Plan) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for bind in binds(plan, MissingSource::Made) {
        if std::fs::symlink_metadata(&bind.source).is_err() {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create(&bind.source)
                .call(|| format!("mkdir {}", bind.source.display()))?;
        }
    }
    Ok(())
}

fn binds(plan: &Plan, missing: MissingSource) -> impl Iterator<Item = &Bind> {
    plan.mounts.iter().filter_map(move |mount| match &mount.op {
        MountOp::Bind(bind) if bind.missing == missing => Some(bind),
        _ => None,
    })
}

impl Record {
    /// The container as a user of volumes.
    pub fn holder(&self) -> Option<Holder> {
        let storage = self.storage.as_ref()?;
        Some(Holder { id: self.id.clone(), state: storage.state_root.clone(), created: self.created.clone() })
    }

    /// Gives the container's volumes back. With `remove`, anonymous ones that nobody else uses are removed. What fails is
    /// a warning: the container must go all the same, and prune finds what was left.
    pub fn give_back_volumes(&self, remove: Remove) {
        let (Some(storage), Some(holder)) = (&self.storage, self.holder()) else { return };
        let store = Store::new(storage.volume_root.clone());
        let mut done = BTreeSet::new();
        for mount in &storage.mounts {
            let Some(name) = &mount.volume else { continue };
            if !done.insert(name) {
                continue;
            }
            let remove = if mount.anonymous || remove == Remove::No { remove } else { Remove::WithContainer };
            if let Err(error) = volumes::release(&store, name, &holder, remove) {
                log::warn(format_args!("{}: give back volume {name}: {error:#}", self.id));
            }
        }
    }
}
