//! Checks of what is not the matter of one part, and the small properties at the top of the config.
//!
//! Every problem is reported, not only the first.

use super::options::{Propagation, PropagationKind};
use super::{Namespaces, Problem, Process, Rootfs, place};
use crate::host::Host;
use oci_spec::runtime::{Linux, Spec};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The first kernel that has all of what the mount engine uses (mount_setattr(2) with idmaps, and quotas of its own).
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// The longest container id, in bytes: it is a file name and part of many others.
const LONGEST_ID: usize = 1024;

/// `__NEW_UTS_LEN` of the kernel.
const LONGEST_UTS_NAME: usize = 64;

/// The kernel is new enough.
pub fn kernel(host: &Host) -> Result<(), Problem> {
    if host.kernel >= OLDEST_KERNEL {
        return Ok(());
    }
    let ((major, minor), (least_major, least_minor)) = (host.kernel, OLDEST_KERNEL);
    let message = format!("Linux {major}.{minor} is too old: {least_major}.{least_minor} or newer is needed");
    Err(Problem::new("kernel", message))
}

/// Letters, digits, `_`, `+`, `-` and `.`, as runc has it; it becomes the name of directories.
pub fn container_id(id: &str, problems: &mut Vec<Problem>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    let message = match id {
        "" => "is empty".to_string(),
        "." | ".." => format!("{id:?} is the name of a directory"),
        _ if id.len() > LONGEST_ID => format!("has {} bytes, more than {LONGEST_ID}", id.len()),
        _ => match id.chars().find(|c| !allowed(*c)) {
            Some(c) => format!("{id:?} contains {c:?}: only letters, digits and _ + - . may be in it"),
            None => return,
        },
    };
    problems.push(Problem::new("container id", message));
}

/// SemVer 2.0.0, of major version 1.
pub fn oci_version(spec: &Spec, problems: &mut Vec<Problem>) {
    let version = spec.version();
    let message = match semver_major(version) {
        _ if version.is_empty() => "is required".to_string(),
        Some("1") => return,
        Some(_) => format!("{version:?} is not supported: it must be 1.x.y"),
        None => format!("{version:?} is not a version as SemVer 2.0.0 has it (1.3.0, 1.2.0-rc.1)"),
    };
    problems.push(Problem::new("ociVersion", message));
}

/// The major version, when `version` is a SemVer 2.0.0 version.
fn semver_major(version: &str) -> Option<&str> {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre_release) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty() && (n == "0" || !n.starts_with('0'));
    let identifier = |i: &str| !i.is_empty() && i.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre_release_identifier = |i: &str| identifier(i) && (number(i) || !i.bytes().all(|b| b.is_ascii_digit()));
    let mut numbers = core.split('.');
    let major = numbers.next()?;
    let valid = core.split('.').all(number)
        && numbers.count() == 2
        && pre_release.is_none_or(|pre| pre.split('.').all(pre_release_identifier))
        && build.is_none_or(|build| build.split('.').all(identifier));
    valid.then_some(major)
}

/// `annotations`, in order.
pub fn annotations(spec: &Spec, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let annotations: BTreeMap<String, String> =
        spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    if annotations.contains_key("") {
        problems.push(Problem::new(place::member("annotations", ""), "has no key: it must not be empty"));
    }
    annotations
}

/// `root`, `linux.rootfsPropagation` and `linux.mountLabel`.
pub fn rootfs(spec: &Spec, bundle: &Path, problems: &mut Vec<Problem>) -> Rootfs {
    let linux = spec.linux().as_ref();
    let (path, readonly) = match spec.root() {
        None => {
            problems.push(Problem::new("root", "is required"));
            (PathBuf::new(), false)
        }
        Some(root) => {
            if root.path().as_os_str().is_empty() {
                problems.push(Problem::new("root.path", "is required and must not be empty"));
            }
            (absolute(bundle, root.path()), root.readonly().unwrap_or(false))
        }
    };
    Rootfs {
        path,
        readonly,
        propagation: linux.and_then(|l| propagation(l, problems)),
        mount_label: linux.and_then(|l| l.mount_label().clone()).filter(|label| !label.is_empty()),
    }
}

/// `path` from `base` when it is relative, without `.` and double slashes. `..` stays: it may follow a symbolic link.
fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().filter(|c| *c != Component::CurDir).collect()
}

fn propagation(linux: &Linux, problems: &mut Vec<Problem>) -> Option<Propagation> {
    let text = linux.rootfs_propagation().as_deref().filter(|text| !text.is_empty())?;
    // The spec has the four plain ones; engines write those with r as well.
    let (name, recursive) = match text.strip_prefix('r') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let kind = match name {
        "shared" => PropagationKind::Shared,
        "slave" => PropagationKind::Slave,
        "private" => PropagationKind::Private,
        "unbindable" => PropagationKind::Unbindable,
        _ => {
            let message =
                format!("{text:?} is none of shared, slave, private, unbindable (or these with an r in front)");
            problems.push(Problem::new("linux.rootfsPropagation", message));
            return None;
        }
    };
    Some(Propagation { kind, recursive })
}

/// `hostname` or `domainname`.
pub fn uts_name(
    property: &str,
    name: &Option<String>,
    namespaces: &Namespaces,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let name = name.clone().filter(|name| !name.is_empty())?;
    if !namespaces.uts.is_own() {
        problems.push(Problem::new(property, "needs a uts namespace, and linux.namespaces has none"));
    }
    if name.len() > LONGEST_UTS_NAME {
        let message = format!("has {} bytes, and the kernel takes {LONGEST_UTS_NAME}", name.len());
        problems.push(Problem::new(property, message));
    }
    Some(name)
}

/// The ids of the process have a meaning in its user namespace, as far as the config states the mappings.
pub fn mapped_ids(process: Option<&Process>, namespaces: &Namespaces, problems: &mut Vec<Problem>) {
    let (Some(process), Some(map)) = (process, &namespaces.id_map) else { return };
    let user = &process.user;
    let mut check = |place: String, id: u32, ranges: &[super::IdRange], mappings: &str| {
        // An id of -1 is reported as such, mappings that are missing as well.
        if id != u32::MAX && !ranges.is_empty() && super::namespaces::to_host(ranges, id).is_none() {
            problems.push(Problem::new(place, format!("{id} is not mapped by {mappings}")));
        }
    };
    check("process.user.uid".into(), user.uid, &map.uid, "linux.uidMappings");
    check("process.user.gid".into(), user.gid, &map.gid, "linux.gidMappings");
    for (i, gid) in user.additional_gids.iter().enumerate() {
        check(format!("process.user.additionalGids[{i}]"), *gid, &map.gid, "linux.gidMappings");
    }
}
