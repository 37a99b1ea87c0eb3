//! The words by which `docker run` asks for mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from`, VOLUMEs of an image.
//!
//! Text in, mounts out; nothing is looked at. The errors are Docker's, which people search for.

mod annotation;
mod long;
mod short;

pub use annotation::{annotated, options as annotated_options};
pub(super) use long::bytes;
pub use long::mount;
pub use short::volume;

use crate::plan::mounts::{AddedMount, Precedence};
use anyhow::{Result, bail, ensure};
use std::path::{Path, PathBuf};

/// `--tmpfs DST[:OPTIONS]`.
pub fn tmpfs(text: &str, place: String) -> Result<AddedMount> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    check_destination(destination).map_err(|message| anyhow::anyhow!("invalid tmpfs {text:?}: {message}"))?;
    Ok(new_tmpfs(destination, options.split(',').filter(|option| !option.is_empty()).map(str::to_owned), place))
}

/// A tmpfs as Docker makes it: what it may not be used for has to be asked for.
fn new_tmpfs(destination: &str, options: impl Iterator<Item = String>, place: String) -> AddedMount {
    let defaults = ["noexec", "nosuid", "nodev"].map(str::to_owned);
    AddedMount {
        place,
        destination: destination.into(),
        kind: "tmpfs".into(),
        source: Some("tmpfs".into()),
        options: defaults.into_iter().chain(options).collect(),
        ..AddedMount::default()
    }
}

/// The VOLUME of an image: an anonymous volume, where nothing else is mounted.
pub fn image_volume(path: &str, place: String) -> Result<AddedMount> {
    check_destination(path).map_err(|message| anyhow::anyhow!("invalid volume {path:?}: {message}"))?;
    Ok(AddedMount {
        place,
        destination: path.into(),
        kind: "volume".into(),
        precedence: Precedence::Yields,
        ..AddedMount::default()
    })
}

/// `--volumes-from CONTAINER[:ro|rw|z|Z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    pub id: String,
    pub readonly: bool,
}

impl VolumesFrom {
    pub fn parse(text: &str) -> Result<VolumesFrom> {
        let (id, mode) = text.split_once(':').unwrap_or((text, "rw"));
        ensure!(!id.is_empty(), "volumes-from cannot be an empty string");
        let mut readonly = false;
        for word in mode.split(',') {
            match word {
                "ro" => readonly = true,
                "rw" | "z" | "Z" => {}
                _ => bail!("invalid mode: {mode}"),
            }
        }
        Ok(VolumesFrom { id: id.to_owned(), readonly })
    }
}

/// What Docker shows as the `Mode` of a bind or volume that was asked for in `place`: the third field of `-v` as it was
/// written; what Docker sets where there is none.
pub fn shown_mode(place: &str, is_volume: bool, readonly: bool) -> Option<String> {
    let by_default = if is_volume { "z" } else { "" };
    let (flag, text) = place.split_once(' ').unwrap_or((place, ""));
    let mode = match flag {
        "-v" => match text.splitn(3, ':').collect::<Vec<_>>()[..] {
            // An anonymous volume.
            [_] => "",
            [_, _, mode] => mode,
            _ => by_default,
        },
        "--mount" => by_default,
        "--volumes-from" | "--image-volume" => "",
        _ if readonly => "ro",
        _ => by_default,
    };
    Some(mode.to_owned())
}

/// What stands in a destination, as Docker sees it.
fn check_destination(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("invalid mount path: '{text}' mount path must be absolute"));
    }
    if crate::plan::mounts::clean(Path::new(text)) == Path::new("/") {
        return Err("invalid specification: destination can't be '/'".into());
    }
    Ok(())
}

/// The source of a bind: a path that begins with `.` is meant from the directory that the command is called in.
fn host_path(text: &str, cwd: &Path) -> PathBuf {
    if text.starts_with('/') { PathBuf::from(text) } else { cwd.join(text) }
}

/// Two mounts of one command line on the same place. Docker's words.
pub fn check_duplicates(mounts: &[AddedMount]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for mount in mounts.iter().filter(|mount| mount.precedence == Precedence::Overrides) {
        let target = crate::plan::mounts::clean(&mount.destination);
        ensure!(seen.insert(target.clone()), "Duplicate mount point: {}", target.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
