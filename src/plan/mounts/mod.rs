//! Mounts: from `mounts[]` to operations on a target inside the root filesystem.
//!
//! Owns the types that the executor works by, and the rules of what may be mounted where. It knows paths as text
//! only: what they resolve to is seen, and judged again, by whoever holds the root's fd.

mod added;
mod cgroup;
mod entry;
mod idmap;
pub(super) mod target;
#[cfg(test)]
mod tests;

use super::namespaces::{IdRange, Namespaces};
use super::options::{Attr, Propagation};
pub use added::{AddedMount, MissingSource, Precedence};
pub(crate) use target::clean;

use super::volume::VolumeUse;
use super::{Problem, Request, devices, resources};
use crate::host::Host;
use crate::plan::Device;
use entry::{Entry, Scene};
use oci_spec::runtime::Spec;
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One mount operation of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct Mount {
    /// Where it comes from, for messages: `mounts[3]`, `linux.devices[0]`, `default device`, `linux.maskedPaths[1]`.
    pub place: String,
    pub target: Target,
    pub op: MountOp,
    pub requirement: Requirement,
}

/// A path inside the root filesystem; only ever resolved through the fd of the root.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// As the container sees it: absolute, without `.` and double slashes; a `..` stands only behind a name, and is left to
    /// the kernel. `/` is the root itself.
    pub path: PathBuf,
    pub create: CreateTarget,
    pub symlinks: Symlinks,
}

impl Target {
    /// It is `/`.
    pub fn is_root(&self) -> bool {
        self.path.as_os_str() == "/"
    }

    /// It is `dir`, a clean path, or strictly below.
    pub fn is_in(&self, dir: &Path) -> bool {
        self.path.as_os_str() == dir.as_os_str() || target::is_beneath(&self.path, dir)
    }
}

/// What to make when the target is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateTarget {
    /// A directory (mode 0755), with missing parents.
    Directory,
    /// An empty file (mode 0644), with missing parents.
    File,
    /// As the source is (a bind): a directory for a directory, else a file. Known only when the source is open.
    LikeSource,
    /// Nothing: a missing target means that there is nothing to do (masked paths), or is an error (remounts).
    Nothing,
}

/// Whether a failure of the operation fails the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    Must,
    /// A failure is logged as a warning; the text says why the container may live without it.
    BestEffort(&'static str),
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MountOp {
    /// A host directory or file, cloned as a detached tree.
    Bind(Bind),
    /// A new instance of a filesystem.
    Fs(Fs),
    /// New attributes and propagation for what is mounted at the target already (option `remount`).
    Remount { attr: Attr, propagation: Option<Propagation>, options: Vec<FsOption> },
    /// A device node; the target's path is the device's.
    Device(Device),
    /// A symbolic link with this text at the target (`/dev/fd` …); an existing file is left as it is.
    Symlink { text: PathBuf },
    /// Hidden: an empty read-only directory over a directory, `/dev/null` over a file.
    Mask,
    /// Bound onto itself, read-only.
    ReadOnly,
}

#[derive(Debug, Clone, Serialize)]
pub struct Bind {
    /// Absolute host path.
    pub source: PathBuf,
    pub recursive: bool,
    pub attr: Attr,
    pub propagation: Propagation,
    pub idmap: Option<MountIdMap>,
    /// Of a volume: which, and how. The source is where its data is; a name that is not known yet is `<new>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeUse>,
    /// Of a bind that a flag asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub missing: MissingSource,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A mapping for `MOUNT_ATTR_IDMAP`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountIdMap {
    pub uid: Vec<IdRange>,
    pub gid: Vec<IdRange>,
    pub recursive: bool,
    /// The mapping is that of the container's user namespace, whose fd can be used as it is.
    pub of_container: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Fs {
    /// `tmpfs`, `proc`, `cgroup2` …
    pub fstype: String,
    /// The `source` parameter; the filesystem's name where the config has none.
    pub source: Option<String>,
    /// Superblock flags and filesystem-specific options, in the config's order.
    pub options: Vec<FsOption>,
    pub attr: Attr,
    pub propagation: Propagation,
    pub idmap: Option<MountIdMap>,
    /// `tmpcopyup`: what the root filesystem holds at the target is copied into the new tmpfs before it gets its
    /// attributes.
    pub copy_up: bool,
    /// The SELinux context of the mount (`linux.mountLabel`), where the filesystem takes one.
    pub label: Option<String>,
}

/// One parameter of a filesystem context (fsconfig(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FsOption {
    Flag(String),
    Value(String, String),
}

/// What a symbolic link in a target's path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Symlinks {
    /// Followed inside the root filesystem.
    Follow,
    /// Refused anywhere in the path: the target is to be an ordinary file or directory (proc, sysfs: CVE-2019-19921;
    /// devices in `/dev`: CVE-2026-41579).
    Refuse,
}

/// The operations for `mounts[]`, then for the default devices and links and `linux.devices`, in the order in which
/// they are carried out.
pub fn plan(
    spec: &Spec,
    request: &Request,
    namespaces: &Namespaces,
    cgroup: &resources::Cgroup,
    host: &Host,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Mount> {
    let Request { bundle, volume_root, .. } = request;
    let scene = Scene { spec, bundle, volume_root, namespaces, cgroup, host };
    let added: Vec<_> = request.mounts.iter().map(AddedMount::to_oci).collect();
    let mut entries = Entry::all(spec);
    added::merge(&mut entries, &request.mounts, &added, problems);
    let mut mounts = Vec::new();
    for entry in &entries {
        mounts.append(&mut scene.plan(entry, problems, warnings));
    }
    let taken: Vec<_> = entries.iter().map(|entry| entry.target.as_os_str()).collect();
    mounts.append(&mut devices::plan(spec, namespaces, host, &taken, problems, warnings));
    check_masks(spec, problems);
    mounts
}

/// The operations for `linux.readonlyPaths`, then for `linux.maskedPaths`, so that a mask is on top of what is
/// read-only. They come after the createContainer hooks. [`plan`] is what finds fault with the paths.
pub fn masks(spec: &Spec) -> Vec<Mount> {
    let mut masks = Vec::new();
    for (field, paths) in mask_fields(spec) {
        let mut seen = HashSet::new();
        for (index, path) in paths.iter().enumerate() {
            let path = target::resolvable(Path::new(path));
            if !seen.insert(path.clone()) {
                continue;
            }
            masks.push(Mount {
                place: format!("linux.{field}[{index}]"),
                target: Target { path, create: CreateTarget::Nothing, symlinks: Symlinks::Follow },
                op: if field == READONLY { MountOp::ReadOnly } else { MountOp::Mask },
                requirement: Requirement::Must,
            });
        }
    }
    masks
}

const READONLY: &str = "readonlyPaths";

fn mask_fields(spec: &Spec) -> [(&'static str, &[String]); 2] {
    let linux = spec.linux().as_ref();
    [
        (READONLY, linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default()),
        ("maskedPaths", linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default()),
    ]
}

/// The spec: these paths are absolute.
fn check_masks(spec: &Spec, problems: &mut Vec<Problem>) {
    for (field, paths) in mask_fields(spec) {
        for (index, path) in paths.iter().enumerate() {
            let message = if !path.starts_with('/') {
                "is not an absolute path"
            } else if target::has_nul(path.as_ref()) {
                "holds a NUL byte"
            } else if field != READONLY && target::resolvable(path.as_ref()).as_os_str() == "/" {
                "is the root directory, which cannot be masked"
            } else {
                continue;
            };
            problems.push(Problem { place: format!("linux.{field}[{index}]"), message: message.into() });
        }
    }
}
