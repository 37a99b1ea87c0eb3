//! A read-only tmpfs in which something still has to be made.
//!
//! A mount is read-only before anybody can see it wherever that is possible. A tmpfs that must take mount points,
//! devices or the working directory first becomes read-only when all of that is there.

use super::entry::{Entry, Kind};
use super::target::{clean, is_beneath};
use super::{CreateTarget, Mount, MountOp};
use crate::plan::devices;
use crate::plan::options::Attr;
use oci_spec::runtime::Spec;
use std::path::Path;

/// Whether the tmpfs of `entry` becomes read-only only after everything else; `later` are the entries after it.
pub(super) fn waits(spec: &Spec, entry: &Entry, later: &[Entry]) -> bool {
    // What is mounted over it hides it, and its path then leads elsewhere.
    !is_covered(&entry.target, later) && (entry.options.copy_up.is_some() || takes_more(spec, &entry.target, later))
}

/// Whether a later entry hides all of `dir`.
fn is_covered(dir: &Path, later: &[Entry]) -> bool {
    later.iter().any(|other| !other.options.remount && dir.starts_with(&other.target))
}

/// Whether a later entry is mounted below `dir`.
pub(super) fn takes_mounts(dir: &Path, later: &[Entry]) -> bool {
    !is_covered(dir, later) && later.iter().any(|other| is_beneath(&other.target, dir))
}

fn takes_more(spec: &Spec, dir: &Path, later: &[Entry]) -> bool {
    let process = spec.process().as_ref();
    let console = process.and_then(|process| process.terminal()).unwrap_or(false);
    let has_dev = Path::new("/dev").starts_with(dir);
    let cwd = process.map(|process| clean(process.cwd()));
    takes_mounts(dir, later)
        || has_dev && (console || !devices::dev_is_hosts(spec))
        || cwd.is_some_and(|cwd| is_beneath(&cwd, dir))
        || devices::of_config(spec).iter().any(|device| is_beneath(&clean(device.path()), dir))
}

/// Every tmpfs that has waited, made read-only.
pub(super) fn remounts(spec: &Spec) -> Vec<Mount> {
    let is_tmpfs = |mount: &oci_spec::runtime::Mount| mount.typ().as_deref() == Some("tmpfs");
    if !spec.mounts().iter().flatten().any(is_tmpfs) {
        return Vec::new();
    }
    let entries = Entry::all(spec);
    let waiting = entries.iter().enumerate().filter(|(index, entry)| {
        entry.kind() == Ok(Kind::Fs("tmpfs"))
            && entry.options.attr.is_readonly()
            && waits(spec, entry, &entries[index + 1..])
    });
    waiting.map(|(_, entry)| remount(entry)).collect()
}

/// Makes what is mounted at the entry's target read-only.
pub(super) fn remount(entry: &Entry) -> Mount {
    let op = MountOp::Remount { attr: Attr::readonly(), propagation: None, options: Vec::new() };
    entry.must(entry.target(CreateTarget::Nothing), op)
}
