//! What a container wants of a volume, and how volumes may be called.
//!
//! Owns the words: names, copy-up modes, the options of a mount that speak of the volume and not of the mount. Where
//! volumes are kept and what is in them is the store's affair.

use super::mounts::FsOption;
use super::tenant::LABEL_PREFIX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The driver whose volumes are directories of this host.
pub const LOCAL: &str = "local";

/// A volume as one mount asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VolumeUse {
    /// `None`: an anonymous volume, made for this container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `nocreate`: the volume has to exist.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    pub copy: CopyUp,
    /// A relative path inside the volume, without `..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subpath: Option<PathBuf>,
    /// `None`: `local`, or whatever the existing volume has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Origin::is_config_or_flag")]
    pub origin: Origin,
}

/// Who asked for a volume, as far as that decides which volume it may be and how long it lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// An annotation asked for it: a volume without a name goes with its container.
    pub annotation: bool,
    /// A pod of this Kubernetes namespace asked for it: the volume's labels have to let the namespace in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name that the pod asked for; the volume's has the namespace in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Another container has it, for which it was made without a name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited_anonymous: bool,
}

impl Origin {
    fn is_config_or_flag(&self) -> bool {
        *self == Origin::default()
    }
}

/// What the image has at the mount point, and what of it goes into an empty volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyUp {
    /// Everything, whenever the volume is empty (as Docker does).
    #[default]
    Always,
    /// Everything, at the volume's first use only (as podman does).
    Once,
    /// Owner, mode, times and extended attributes of the directory itself, whenever the volume is empty.
    Meta,
    None,
}

impl CopyUp {
    /// The mode with this name, as `copy=` takes it.
    pub fn named(name: &str) -> Option<CopyUp> {
        [("always", CopyUp::Always), ("once", CopyUp::Once), ("meta", CopyUp::Meta), ("none", CopyUp::None)]
            .into_iter()
            .find_map(|(known, mode)| (known == name).then_some(mode))
    }
}

impl std::fmt::Display for CopyUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CopyUp::Always => "always",
            CopyUp::Once => "once",
            CopyUp::Meta => "meta",
            CopyUp::None => "none",
        })
    }
}

/// Options of a `volume` mount that are about the volume. What they are not goes to the mount.
const FLAGS: [&str; 2] = ["nocopy", "nocreate"];
const KEYS: [&str; 5] = ["copy", "subpath", "driver", "driver-opt", "label"];

/// The names of all options that only volumes have, for `features`.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    FLAGS.into_iter().chain(KEYS)
}

/// Whether an element of `mounts[].options` is one of these, whose value may hold commas.
pub fn is_option(text: &str) -> bool {
    FLAGS.contains(&text) || text.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key))
}

impl VolumeUse {
    /// Takes in one option; `Err` says what is wrong with it.
    pub fn add(&mut self, option: &FsOption) -> Result<(), String> {
        match option {
            FsOption::Flag(flag) if flag == "nocopy" => self.copy = CopyUp::None,
            FsOption::Flag(flag) if flag == "nocreate" => self.existing = true,
            FsOption::Value(key, value) => match key.as_str() {
                "copy" => {
                    let unknown = || format!("`{value}` is none of always, once, meta, none");
                    self.copy = CopyUp::named(value).ok_or_else(unknown)?;
                }
                "subpath" => self.subpath = Some(subpath(value)?),
                "driver" => self.driver = Some(driver(value)?),
                "driver-opt" => insert(&mut self.driver_options, value),
                "label" => {
                    if value.starts_with(LABEL_PREFIX) {
                        return Err(format!(
                            "`label={value}`: labels that begin with `{LABEL_PREFIX}` decide who may use a volume; only \
                             `volume create` and `volume label` set them"
                        ));
                    }
                    insert(&mut self.labels, value)
                }
                _ => return Err(format!("`{key}` is not an option of a volume")),
            },
            FsOption::Flag(flag) => return Err(format!("`{flag}` is not an option of a volume")),
        }
        Ok(())
    }
}

fn insert(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    map.insert(key.to_owned(), value.to_owned());
}

fn driver(name: &str) -> Result<String, String> {
    // It becomes a file name below /run/docker/plugins.
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-/:@".contains(c);
    let sound = !name.is_empty() && name.chars().all(good) && !name.split('/').any(|part| part == "..");
    if sound { Ok(name.to_owned()) } else { Err(format!("`{name}` is not the name of a volume driver")) }
}

/// A path inside the volume. Docker's words, which its users search for.
fn subpath(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let local = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !local {
        return Err("subpath must be a relative path within the volume".into());
    }
    Ok(path.components().filter(|c| matches!(c, Component::Normal(_))).collect())
}

/// Refuses what cannot be the name of a volume, in Docker's words.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.len() == 1 {
        return Err("volume name is too short, names should be at least two alphanumeric characters".into());
    }
    if !name.bytes().all(good) || !name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return Err(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path"
        ));
    }
    if name.len() > 255 {
        return Err(format!("volume name is too long: {} bytes, at most 255", name.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["ab", "a1", "0a", "data", "a_b.c-d", "A.", &"x".repeat(255)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "_a", "a b", "a/b", "../x", "a:b", "é1", "a\0", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("a").unwrap_err().starts_with("volume name is too short"));
        assert!(check_name("a/b").unwrap_err().contains("use absolute path"));
    }

    #[test]
    fn options_are_read() {
        let mut volume = VolumeUse::default();
        let value = |key: &str, value: &str| FsOption::Value(key.into(), value.into());
        for option in [
            FsOption::Flag("nocreate".into()),
            value("copy", "once"),
            value("subpath", "a/./b"),
            value("driver", "vieux/sshfs:latest"),
            value("driver-opt", "o=addr=1.2.3.4,rw"),
            value("label", "a=b"),
            value("label", "c"),
        ] {
            volume.add(&option).unwrap();
        }
        assert!(volume.existing);
        assert_eq!(volume.copy, CopyUp::Once);
        assert_eq!(volume.subpath.as_deref(), Some(Path::new("a/b")));
        assert_eq!(volume.driver_options["o"], "addr=1.2.3.4,rw");
        assert_eq!(volume.labels, BTreeMap::from([("a".into(), "b".into()), ("c".into(), String::new())]));
        for bad in ["/etc", "../x", "a/../../b", ""] {
            assert!(volume.add(&value("subpath", bad)).is_err(), "{bad}");
        }
        assert!(volume.add(&value("copy", "maybe")).unwrap_err().contains("always, once, meta, none"));
        assert!(volume.add(&value("driver", "../../x")).is_err());
        assert!(volume.add(&value("size", "3")).is_err());
        for label in ["rvol.namespace=web", "rvol.shared-with=*", "rvol.x"] {
            assert!(volume.add(&value("label", label)).unwrap_err().contains("only `volume create`"), "{label}");
        }
    }
}
