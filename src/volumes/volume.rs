//! One volume's directory: its metadata, who uses it, and its data.

use super::copy_up;
use super::metadata::{Metadata, VERSION};
use super::store::{Durable, Store, lock, unlink};
use super::tree;
use crate::sys::{Call, Errno, path, random};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::fsync;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The volume's files.
pub(super) const DATA: &str = "_data";
pub(super) const METADATA: &str = "volume.json";
pub(super) const REFS: &str = "refs";

/// How many references a volume has at most.
const USERS: usize = 65_536;
/// The largest of the volume's files, in bytes.
const RECORD: u64 = 1 << 20;

/// What marks the name of a reference that is a command's own: no container's id can hold it.
const PIN: char = '@';

/// A volume, open; changes are made by whoever has it locked.
#[derive(Debug)]
pub struct Volume {
    name: String,
    store: PathBuf,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Plain(OwnedFd),
    Locked { root: OwnedFd, dir: Flock<OwnedFd> },
}

/// A container that uses a volume: its id, in which directory of states, and when it was created, so that another one
/// of the same name is told from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    #[serde(skip)]
    pub id: String,
    pub state: PathBuf,
    pub created: String,
}

/// What a plugin has mounted for a container: the id by which it knows that, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginMount {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// What is on file of a holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reference {
    #[serde(flatten)]
    holder: Holder,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount: Option<PluginMount>,
}

/// A command that reads a volume for a while: it cannot be removed meanwhile. Ends with the process, however that ends.
#[derive(Debug)]
pub struct Pin {
    refs: OwnedFd,
    name: String,
    _lock: Flock<OwnedFd>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        // What stays is taken for dead by the next one who looks: its lock goes with us.
        let _ = unlink(self.refs.as_fd(), &self.name);
    }
}

impl Volume {
    pub(super) fn plain(store: &Store, name: &str, dir: OwnedFd) -> Volume {
        Volume { name: name.to_owned(), store: store.root().to_owned(), handle: Handle::Plain(dir) }
    }

    pub(super) fn locked(store: &Store, name: &str, root: OwnedFd, dir: Flock<OwnedFd>) -> Volume {
        Volume { name: name.to_owned(), store: store.root().to_owned(), handle: Handle::Locked { root, dir } }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The volume's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Plain(dir) => dir.as_fd(),
            Handle::Locked { dir, .. } => dir.as_fd(),
        }
    }

    /// The store's directory; only of a locked volume.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        match &self.handle {
            // Never asked for: what needs it changes the volume.
            Handle::Plain(dir) => dir.as_fd(),
            Handle::Locked { root, .. } => root.as_fd(),
        }
    }

    /// The path of the data, for people.
    pub fn data_path(&self) -> PathBuf {
        self.store.join(&self.name).join(DATA)
    }

    /// The directory with the data.
    pub fn data(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(self.dir(), DATA, flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => bail!(
                "volume {}: its data is missing: {} is not a directory (put it back, or remove the volume with `volume rm --force`)",
                self.name,
                self.data_path().display()
            ),
            data => data.call(|| format!("open {}", self.data_path().display())),
        }
    }

    pub fn metadata(&self) -> Result<Metadata> {
        let damaged = || {
            let file = self.store.join(&self.name).join(METADATA);
            format!(
                "volume {}: {} is damaged; the data is untouched (mend the file, or remove the volume with `volume rm --force`)",
                self.name,
                file.display()
            )
        };
        let metadata: Metadata = self.read(METADATA).with_context(damaged)?.with_context(damaged)?;
        if metadata.version > VERSION {
            bail!("volume {} was made by a newer version of this program", self.name);
        }
        Ok(metadata)
    }

    /// Writes new metadata in the place of the old.
    pub fn set_metadata(&self, metadata: &Metadata) -> Result<()> {
        self.write(METADATA, metadata, Durable::Yes)
    }

    /// Registers a container as a user of the volume. Once is enough.
    pub fn hold(&self, holder: &Holder) -> Result<()> {
        let mut references = self.references_of(&holder.id)?;
        let old = references.iter().position(|other| other.holder.state == holder.state);
        // What a plugin has mounted for one of this name before is given back with this one.
        let mount = old.and_then(|old| references.swap_remove(old).mount);
        references.push(Reference { holder: holder.clone(), mount });
        self.write(&ref_name(&holder.id), &references, Durable::No)
    }

    /// Takes the container off the list. That it is not on it is as good.
    pub fn release(&self, holder: &Holder) -> Result<()> {
        let mut references = self.references_of(&holder.id)?;
        references.retain(|other| other.holder.state != holder.state);
        if references.is_empty() {
            return unlink(self.dir(), &ref_name(&holder.id));
        }
        self.write(&ref_name(&holder.id), &references, Durable::No)
    }

    /// What a plugin has mounted for a container that uses the volume.
    pub fn plugin_mount(&self, holder: &Holder) -> Result<Option<PluginMount>> {
        let references = self.references_of(&holder.id)?;
        Ok(references.into_iter().find(|other| other.holder.state == holder.state).and_then(|other| other.mount))
    }

    /// Notes it, for a container that is registered.
    pub fn set_plugin_mount(&self, holder: &Holder, mount: Option<PluginMount>) -> Result<()> {
        let mut references = self.references_of(&holder.id)?;
        let own = references.iter_mut().find(|other| other.holder.state == holder.state);
        own.with_context(|| format!("container {} does not use volume {}", holder.id, self.name))?.mount = mount;
        self.write(&ref_name(&holder.id), &references, Durable::No)
    }

    /// All containers that use the volume.
    pub fn holders(&self) -> Result<Vec<Holder>> {
        let mut all = Vec::new();
        for id in self.ref_names()? {
            if !id.starts_with(PIN) {
                all.append(&mut self.holders_of(&id)?);
            }
        }
        Ok(all)
    }

    /// Everybody who uses the volume, as `volume rm` names them: container ids, and commands that read it now.
    pub fn users(&self) -> Result<Vec<String>> {
        let mut users = self.ref_names()?;
        let refs = self.refs()?;
        users.retain(|name| !name.starts_with(PIN) || is_locked(refs.as_fd(), name));
        users.sort_unstable();
        Ok(users)
    }

    /// Whether anybody else than this container uses the volume.
    pub fn has_others(&self, holder: &Holder) -> Result<bool> {
        let same = |other: &Holder| other.id == holder.id && other.state == holder.state;
        if self.holders()?.iter().any(|other| !same(other)) {
            return Ok(true);
        }
        Ok(self.users()?.iter().any(|user| user.starts_with(PIN)))
    }

    /// Keeps the volume from being removed for as long as the result lives. Of a locked volume.
    pub fn pin(&self, what: &str) -> Result<Pin> {
        let refs = self.refs()?;
        let name = format!("{PIN}{what}-{}", random::hex::<8>().call(|| "getrandom".into())?);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file =
            openat(&refs, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| "make a reference".into())?;
        let lock = lock(file, FlockArg::LockExclusiveNonblock).call(|| "flock".into())?;
        Ok(Pin { refs, name, _lock: lock.context("lock a reference")? })
    }

    /// The directory with the data of a locked volume, when a copy-up that was interrupted has been finished.
    pub fn settled_data(&self) -> Result<OwnedFd> {
        let data = self.data()?;
        self.settle(data.as_fd(), &self.metadata()?)?;
        Ok(data)
    }

    /// Finishes a copy-up that was interrupted.
    pub(super) fn settle(&self, data: BorrowedFd, metadata: &Metadata) -> Result<()> {
        let recover = || {
            if !metadata.notes_beside {
                copy_up::remove_old_stages(data)?;
                // From now on the names in the data that version 0.1 used are the containers' own.
                self.set_metadata(&Metadata { notes_beside: true, ..metadata.clone() })?;
            }
            copy_up::recover(self, data)
        };
        recover().with_context(|| format!("volume {}", self.name))
    }

    /// Waits until the data is on disk.
    pub fn sync(&self) -> Result<()> {
        tree::sync(self.data()?.as_fd())
    }

    /// The bytes of its files, each once.
    pub fn size(&self) -> Result<u64> {
        tree::size(self.data()?.as_fd()).with_context(|| format!("measure volume {}", self.name))
    }

    /// Removes the volume, which is locked, and all that is in it.
    ///
    /// # Errors
    /// `volume is in use` with whoever uses it; nothing is removed then.
    pub fn remove(self, store: &Store) -> Result<()> {
        let users = self.users()?;
        ensure!(users.is_empty(), "volume is in use - [{}]", users.join(", "));
        match path::open_beneath(self.dir(), Path::new(DATA), OFlag::O_PATH) {
            Err(Errno::EXDEV) => bail!("something is mounted at {}", self.data_path().display()),
            Ok(_) | Err(Errno::ENOENT | Errno::ELOOP) => {}
            Err(errno) => return Err(errno).call(|| format!("open {}", self.data_path().display())),
        }
        store.remove(&self)
    }

    /// Writes a file aside and renames it.
    pub(super) fn write(&self, name: &str, value: &impl Serialize, durable: Durable) -> Result<()> {
        let what = |verb: &str| format!("{verb} {name} of volume {}", self.name);
        // In the volume's own directory, beside everything: only we, with the lock, write it.
        const ASIDE: &str = ".write";
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.dir(), ASIDE, flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| what("create"))?;
        let json = serde_json::to_vec(value).with_context(|| what("serialise"))?;
        ensure!(json.len() as u64 <= RECORD, "{}: it would be larger than {RECORD} bytes", what("write"));
        let mut file = std::fs::File::from(file);
        file.write_all(&json).call(|| what("write"))?;
        if durable == Durable::Yes {
            fsync(&file).call(|| what("fsync"))?;
        }
        renameat(self.dir(), ASIDE, self.dir(), name).call(|| what("rename"))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(self.dir(), name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            file => file.call(|| format!("open {name}"))?,
        };
        let mut json = Vec::new();
        std::fs::File::from(file).take(RECORD + 1).read_to_end(&mut json).call(|| format!("read {name}"))?;
        ensure!(json.len() as u64 <= RECORD, "{name} is larger than {RECORD} bytes");
        serde_json::from_slice(&json).with_context(|| format!("parse {name}")).map(Some)
    }

    fn holders_of(&self, id: &str) -> Result<Vec<Holder>> {
        let own = |reference: Reference| Holder { id: id.to_owned(), ..reference.holder };
        Ok(self.references_of(id)?.into_iter().map(own).collect())
    }

    fn references_of(&self, id: &str) -> Result<Vec<Reference>> {
        // A file that cannot be read does not say that nobody uses the volume.
        let damaged = || {
            let file = self.store.join(&self.name).join(ref_name(id));
            format!("{} is damaged: remove it when no container {id} uses the volume", file.display())
        };
        Ok(self.read(&ref_name(id)).with_context(damaged)?.unwrap_or_default())
    }

    fn refs(&self) -> Result<OwnedFd> {
        tree::open_dir(self.dir(), c"refs").call(|| format!("open {REFS} of volume {}", self.name))
    }

    fn ref_names(&self) -> Result<Vec<String>> {
        let names = tree::some_entries(self.refs()?.as_fd(), USERS + 1)
            .call(|| format!("read {REFS} of volume {}", self.name))?;
        ensure!(
            names.len() <= USERS,
            "volume {} has more than {USERS} references in {}: remove those of containers that are gone with `gc`",
            self.name,
            self.store.join(&self.name).join(REFS).display()
        );
        Ok(names.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect())
    }
}

fn ref_name(id: &str) -> String {
    format!("{REFS}/{id}")
}

/// Whether the command that made this reference lives.
fn is_locked(refs: BorrowedFd, name: &str) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(file) = openat(refs, name, flags, Mode::empty()) else { return false };
    !matches!(lock(file, FlockArg::LockExclusiveNonblock), Ok(Some(_dead)))
}
