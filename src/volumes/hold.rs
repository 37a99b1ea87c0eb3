//! A container's hold on its volumes: taken at `create`, given back at `delete`.
//!
//! Volumes are taken one after the other, never two locks at a time, so that containers cannot wait for each other.

use super::copy_up;
use super::driver::{self, Source};
use super::metadata::Metadata;
use super::store::{Durable, NoSuchVolume, Store};
use super::tenancy;
use super::volume::{Holder, Volume};
use crate::plan::mounts::MountIdMap;
use crate::plan::tenant::CONTAINER_LABEL;
use crate::plan::volume::{CopyUp, VolumeUse};
use crate::rootfs::copy::{Copied, Owners};
use crate::rootfs::target;
use crate::sys::{Call, Errno, random};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A volume that a container is to have.
#[derive(Debug)]
pub struct Wish<'a> {
    pub volume: &'a VolumeUse,
    /// Of an anonymous volume too: see [`anonymous_name`].
    pub name: &'a str,
    /// The container may not write into it.
    pub readonly: bool,
    /// Where the container has it: what the image has there may be copied.
    pub target: &'a Path,
    /// The mapping that the mount is to have: what comes from the image is stored so that its owners look the same.
    pub idmap: Option<&'a MountIdMap>,
}

/// A volume that is ready to be mounted.
#[derive(Debug)]
pub struct Taken {
    /// The data, or the part of it that is asked for: the one way to it, for no path is resolved again.
    pub data: OwnedFd,
    /// The same as a path, for people.
    pub path: std::path::PathBuf,
    /// What came from the image.
    pub copied: Option<Copied>,
}

/// A name for a volume that gets none: 64 hexadecimal digits.
pub fn anonymous_name() -> Result<String> {
    random::hex::<32>().call(|| "getrandom".into())
}

/// Takes a volume for a container: makes it where it is missing, registers the container, and copies up what the image
/// (`image` is the fd of the container's root filesystem) has at the target. Waits for others who are at it.
///
/// After an error the container may be registered; [`release`] undoes that.
pub fn take(
    store: &Store,
    wish: &Wish,
    holder: &Holder,
    image: BorrowedFd,
    watch: &mut dyn FnMut(&Copied),
) -> Result<Taken> {
    let (volume, mut metadata) = find_or_make(store, wish, holder)?;
    volume.hold(holder)?;
    let Source { data, mut path } = driver::attach(&volume, &metadata, holder)?;
    if metadata.has_own_data() {
        volume.settle(data.as_fd(), &metadata)?;
        metadata.notes_beside = true;
    }
    let into = match &wish.volume.subpath {
        Some(subpath) => open_subpath(data.as_fd(), subpath).with_context(|| format!("volume {}", wish.name))?,
        None => data.try_clone().call(|| "dup the volume".into())?,
    };
    let copied = copy_up(&volume, metadata, wish, data.as_fd(), into.as_fd(), image, watch)
        .with_context(|| format!("copy the image's {} into volume {}", wish.target.display(), wish.name))?;
    path.extend(&wish.volume.subpath);
    Ok(Taken { data: into, path, copied })
}

fn find_or_make(store: &Store, wish: &Wish, holder: &Holder) -> Result<(Volume, Metadata)> {
    let VolumeUse { existing, driver, driver_options, .. } = wish.volume;
    loop {
        if let Some(volume) = store.lock(wish.name)? {
            let mut metadata = volume.metadata()?;
            tenancy::admit(wish, &metadata)?;
            check_same(wish.name, &metadata, driver.as_deref(), driver_options)?;
            if tenancy::goes_with_container(wish) && metadata.anonymous && !metadata.goes_with_container() {
                // A checkpoint took the label off, so that the volume outlived the container (`release`).
                metadata.labels.insert(CONTAINER_LABEL.into(), holder.id.clone());
                volume.set_metadata(&metadata)?;
            }
            return Ok((volume, metadata));
        }
        if *existing {
            bail!(NoSuchVolume(wish.name.to_owned()));
        }
        let anonymous = wish.volume.name.is_none();
        let metadata =
            Metadata::new(driver.as_deref(), tenancy::labels(wish, &holder.id), driver_options.clone(), anonymous);
        driver::check(&metadata)?;
        let durable = if anonymous { Durable::No } else { Durable::Yes };
        // With its first user from the start: a prune in between finds it in use.
        if let Some(volume) = store.make(wish.name, &metadata, durable, |volume| {
            driver::make(volume, &metadata)?;
            volume.hold(holder)
        })? {
            return Ok((volume, metadata));
        }
    }
}

/// A volume keeps what it was made with. Asking for something else, and getting it not, would be worse than an error.
pub fn check_same(
    name: &str,
    metadata: &Metadata,
    driver: Option<&str>,
    options: &std::collections::BTreeMap<String, String>,
) -> Result<()> {
    ensure!(
        driver.is_none_or(|driver| driver == metadata.driver),
        "volume {name} exists already with the driver {}",
        metadata.driver
    );
    ensure!(
        options.is_empty() || *options == metadata.options,
        "volume {name} exists already with other driver options: {}",
        driver::shown(&metadata.options)
    );
    Ok(())
}

fn copy_up(
    volume: &Volume,
    mut metadata: Metadata,
    wish: &Wish,
    data: BorrowedFd,
    into: BorrowedFd,
    image: BorrowedFd,
    watch: &mut dyn FnMut(&Copied),
) -> Result<Option<Copied>> {
    let mode = wish.volume.copy;
    // What is backed by a device, or by somebody else's directory, is not ours to fill or to chown.
    let skip = mode == CopyUp::None || !metadata.has_own_data() || (mode == CopyUp::Once && metadata.copied);
    if skip || !is_directory(into)? || !copy_up::is_empty(into)? {
        return Ok(None);
    }
    let Some(image) = image_directory(image, wish.target)? else { return Ok(None) };
    let owners = wish.idmap.map(|map| Owners { uid: &map.uid, gid: &map.gid }).unwrap_or_default();
    // An anonymous volume is its container's, which no power failure leaves.
    let durable = if metadata.anonymous { Durable::No } else { Durable::Yes };
    let (limited, subpath) = (metadata.is_limited(), wish.volume.subpath.as_deref());
    let job = copy_up::Job { data, subpath, into, image: image.as_fd(), mode, owners, limited, durable };
    let copied = copy_up::fill(volume, &job, watch)?;
    if !metadata.copied && !metadata.anonymous {
        metadata.copied = true;
        volume.set_metadata(&metadata)?;
    }
    Ok(Some(copied))
}

/// The directory that the image has at the target; links are followed inside its root and never lead out.
fn image_directory(image: BorrowedFd, path: &Path) -> Result<Option<OwnedFd>> {
    let dir = match target::open(image, path, crate::plan::mounts::Symlinks::Follow) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        dir => dir.call(|| format!("openat2 {}", path.display()))?,
    };
    Ok(is_directory(dir.as_fd())?.then_some(dir))
}

fn is_directory(fd: BorrowedFd) -> Result<bool> {
    let stat = fstat(fd).call(|| "fstat".into())?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// A path inside a volume: beneath its data, through no link (CVE-2017-1002101, CVE-2021-25741).
fn open_subpath(data: BorrowedFd, subpath: &Path) -> Result<OwnedFd> {
    match resolve_subpath(data, subpath) {
        Err(Errno::ELOOP) => bail!("subpath {}: a symbolic link in a subpath is refused", subpath.display()),
        opened => opened.call(|| format!("subpath {}", subpath.display())),
    }
}

/// As [`open_subpath`]. Only O_PATH: nothing that a container may have put there is really opened.
pub(super) fn resolve_subpath(data: BorrowedFd, subpath: &Path) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    let mut tries = 0;
    loop {
        match openat2(data, subpath, how) {
            // A rename went on at the same time.
            Err(Errno::EAGAIN) if tries < 128 => tries += 1,
            opened => return opened,
        }
    }
}

/// Takes the container off a volume's list, and removes the volume as `remove` says if nobody else uses it. A volume that
/// is gone needs neither.
pub fn release(store: &Store, name: &str, holder: &Holder, remove: Remove) -> Result<()> {
    let Some(volume) = store.lock(name)? else { return Ok(()) };
    let_go(&volume, holder)?;
    if !volume.users()?.is_empty() {
        return Ok(());
    }
    match (remove, volume.metadata()) {
        (Remove::Yes, _) => {}
        (Remove::WithContainer, Ok(metadata)) if metadata.goes_with_container() => {}
        (Remove::No, Ok(mut metadata)) if metadata.goes_with_container() => {
            // It has to outlive this container (checkpoint), and so must not look like a leftover to `gc`.
            metadata.labels.remove(CONTAINER_LABEL);
            return volume.set_metadata(&metadata);
        }
        _ => return Ok(()),
    }
    driver::discard(&volume)?;
    volume.remove(store)
}

/// Takes the container off the list of a locked volume, and away what its driver did for it. As in Docker the container
/// goes, even if the driver fails.
pub fn let_go(volume: &Volume, holder: &Holder) -> Result<()> {
    let detached = driver::detach(volume, holder);
    volume.release(holder)?;
    detached
}

/// What becomes of a volume without a name that has lost its last user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remove {
    Yes,
    /// Removed only if it was made to go with its container (see [`Metadata::goes_with_container`]).
    WithContainer,
    No,
}
