//! The bundle's config.json: read once, as typed data, with every misfit named by its place.
//!
//! Owns the file's reading and its shape. What the values mean, and whether they fit together, is the plan's matter.

mod process;
mod repair;
mod resources;
mod strict;

use crate::plan::{Problem, Problems};
use crate::sys::{Call, Errno};
use anyhow::{Context, anyhow, bail};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::Deserialize;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use process::ProcessFile;
pub use repair::Misfits;
pub use resources::{read_resources, resources};

/// The largest config.json that is read, in bytes: far above what an engine writes, far below what would hurt.
const MAX_SIZE: usize = 16 << 20;

/// A bundle as read from disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Absolute path of the bundle's directory, symbolic links resolved.
    pub dir: PathBuf,
    pub spec: Spec,
    /// Values that were left out because the spec asks for a warning and not an error (unknown capabilities).
    pub warnings: Vec<String>,
    /// Values that do not have the shape that the spec gives them; `spec` is without them. With any of these
    /// [`crate::plan::Plan::new`] fails, and reports them together with everything else that is wrong.
    pub misfits: Misfits,
}

/// Why a bundle cannot be used at all.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read or is not JSON.
    File(anyhow::Error),
    /// Nothing in the file can be taken for a config.
    Shape(Vec<Problem>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File(error) => write!(f, "{error:#}"),
            LoadError::Shape(problems) => Problems(problems.clone()).fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl Bundle {
    /// Reads `dir/config.json`.
    pub fn load(dir: &Path) -> Result<Bundle, LoadError> {
        let (dir, text) = read(dir).map_err(LoadError::File)?;
        Bundle::from_json(dir, &text)
    }

    /// Takes `text` for the config.json of the bundle in `dir`, which is absolute and without symbolic links.
    pub fn from_json(dir: PathBuf, text: &[u8]) -> Result<Bundle, LoadError> {
        let parse =
            |what: String| LoadError::File(anyhow!("parse bundle config {}: {what}", config_in(&dir).display()));
        let text = std::str::from_utf8(text)
            .map_err(|e| parse(format!("byte {} is not UTF-8", e.valid_up_to())))?
            .trim_start_matches('\u{feff}');
        let mut bundle = match typed(text) {
            Ok(spec) => Bundle { dir, spec, warnings: Vec::new(), misfits: Misfits::default() },
            // Slower, but it tells all that is wrong, and where.
            Err(_) => {
                let value = serde_json::from_str(text).map_err(|e| parse(e.to_string()))?;
                let (spec, misfits, warnings) = repair::read(value).map_err(LoadError::Shape)?;
                Bundle { dir, spec, warnings, misfits }
            }
        };
        // JSON writes NUL in this way only. No path, name or argument that goes to the kernel can hold one.
        if text.contains("\\u0000") {
            repair::refuse_nul(&bundle.spec, &mut bundle.misfits);
        }
        Ok(bundle)
    }

    /// Whether the config asks for a user namespace, new or joined.
    pub fn has_user_namespace(&self) -> bool {
        let namespaces = self.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User)
    }
}

/// The text as a config, when it fits the types wholly.
fn typed(text: &str) -> serde_json::Result<Spec> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let spec = Spec::deserialize(strict::Strict(&mut deserializer))?;
    deserializer.end()?;
    Ok(spec)
}

fn config_in(dir: &Path) -> PathBuf {
    dir.join("config.json")
}

/// The bundle's directory with links resolved, and the text of its config.json.
fn read(dir: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let config = config_in(dir);
    let what = || format!("open bundle config {}", config.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // Mostly there is no link in it, and then it is what is to be found out.
    let without_links = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let (dir_fd, has_links) = match openat2(AT_FDCWD, dir, without_links) {
        Ok(dir_fd) => (dir_fd, false),
        Err(_) => (open(dir, flags, Mode::empty()).call(what)?, true),
    };
    // O_NONBLOCK: a FIFO in its place must not hold us up.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(&dir_fd, "config.json", flags, Mode::empty()).call(what)?;
    let stat = fstat(&file).call(|| format!("stat bundle config {}", config.display()))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        bail!("{}: not a regular file", what());
    }
    let size = stat.st_size as usize;
    if size > MAX_SIZE {
        bail!("{}: {size} bytes, more than the limit of {MAX_SIZE}", what());
    }
    let text = read_whole(&file, size).call(|| format!("read bundle config {}", config.display()))?;
    if !has_links && crate::plan::mounts::clean(dir).as_os_str() == dir.as_os_str() {
        return Ok((dir.to_owned(), text));
    }
    let dir = std::fs::read_link(format!("/proc/self/fd/{}", dir_fd.as_raw_fd()))
        .or_else(|_| std::fs::canonicalize(dir))
        .call(|| format!("resolve bundle directory {}", dir.display()))?;
    if !dir.is_absolute() {
        return Err(Errno::ENOENT).call(what).context("bundle directory is not reachable from the root directory");
    }
    Ok((dir, text))
}

/// The `size` bytes of a regular file, with one read in the common case.
fn read_whole(file: &OwnedFd, size: usize) -> nix::Result<Vec<u8>> {
    let mut text = vec![0; size];
    let mut length = 0;
    while length < size {
        match nix::unistd::read(file, &mut text[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests;
