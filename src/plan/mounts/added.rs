//! Mounts that the config does not have: from flags, annotations and other containers, put in among its own.
//!
//! A mount of the config with the same destination gives way. Among the others an added mount comes before those that
//! lie below it, so that it does not cover them.

use super::entry::Entry;
use super::target;
use crate::plan::Problem;
use crate::plan::options::{BindOption, Propagation};
use crate::plan::volume::Origin;
use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What to do about the source of a bind that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSource {
    /// The mount fails.
    #[default]
    Fails,
    /// It fails, in the words of `docker run --mount`.
    Refused,
    /// A directory is made (`docker run -v`).
    Made,
}

/// Which of two mounts with the same destination stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precedence {
    /// This one, instead of one of the config or an earlier one.
    #[default]
    Overrides,
    /// This one only where there is no other (the VOLUMEs of an image).
    Yields,
}

/// A mount in addition to those of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedMount {
    /// Where it comes from, for messages: `-v data:/data`.
    pub place: String,
    pub destination: PathBuf,
    /// `volume`, `bind`, `tmpfs`.
    pub kind: String,
    pub source: Option<PathBuf>,
    /// As in `mounts[].options`.
    pub options: Vec<String>,
    pub missing: MissingSource,
    pub precedence: Precedence,
    /// Of a volume.
    pub origin: Origin,
}

impl AddedMount {
    pub fn to_oci(&self) -> oci::Mount {
        let mut mount = oci::Mount::default();
        mount
            // Docker takes away every `..` of a flag as text.
            .set_destination(target::clean(&self.destination))
            .set_typ(Some(self.kind.clone()))
            .set_source(self.source.clone())
            .set_options(Some(self.options.clone()));
        mount
    }
}

/// Puts the added mounts among those of the config.
pub(super) fn merge<'a>(
    entries: &mut Vec<Entry<'a>>,
    added: &'a [AddedMount],
    mounts: &'a [oci::Mount],
    problems: &mut Vec<Problem>,
) {
    for (added, mount) in added.iter().zip(mounts) {
        let mut entry = Entry::read(added.place.clone(), mount, Some(added));
        // Docker's default for what it binds itself.
        if let Some(bind) = entry.options.bind {
            let private = Propagation::private(bind == BindOption::Tree);
            entry.options.propagation = entry.options.propagation.or(Some(private));
        }
        if let Err(message) = check(&entry.target) {
            problems.push(Problem::new(&added.place, message));
            continue;
        }
        // What an engine puts below /dev belongs to its /dev.
        if entry.target == Path::new("/dev") && added.precedence == Precedence::Overrides {
            entries.retain(|other| !target::is_beneath(&other.target, &entry.target));
        }
        let same = entries.iter().position(|other| other.target == entry.target && !other.options.remount);
        match same {
            Some(_) if added.precedence == Precedence::Yields => {}
            Some(first) => {
                let target = entry.target.clone();
                entries[first] = entry;
                let mut index = 0;
                entries.retain(|other| {
                    index += 1;
                    index - 1 == first || other.target != target
                });
            }
            None => {
                let below = entries.iter().position(|other| target::is_beneath(&other.target, &entry.target));
                entries.insert(below.unwrap_or(entries.len()), entry);
            }
        }
    }
}

fn check(target: &Path) -> Result<(), &'static str> {
    if target.parent().is_none() {
        return Err("invalid specification: destination can't be '/'");
    }
    Ok(())
}
