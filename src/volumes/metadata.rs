//! `volume.json`: what a volume is, besides its data.

use crate::plan::tenant::CONTAINER_LABEL;
use crate::plan::volume::LOCAL;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the file; older ones stay readable.
pub const VERSION: u32 = 1;

/// The label by which Docker's tools know an anonymous volume.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub version: u32,
    pub driver: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The driver's.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// RFC 3339, UTC.
    pub created: String,
    /// Made without a name.
    #[serde(default)]
    pub anonymous: bool,
    /// The image's files were copied in once (`copy=once` does it no second time).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
    /// Copy-up keeps its notes beside the data, and never inside, where version 0.1 kept them. Version 0.1 drops this
    /// field when it writes the file, so its notes are looked for again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notes_beside: bool,
}

impl Metadata {
    /// Of a new volume.
    pub fn new(
        driver: Option<&str>,
        mut labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Metadata {
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.into(), String::new());
        }
        Metadata {
            version: VERSION,
            driver: driver.unwrap_or(LOCAL).to_owned(),
            labels,
            options,
            created: crate::clock::now(),
            anonymous,
            copied: false,
            notes_beside: true,
        }
    }

    pub fn is_local(&self) -> bool {
        self.driver == LOCAL
    }

    /// Whether the volume has neither a driver nor driver options.
    pub fn is_plain(&self) -> bool {
        self.is_local() && self.options.is_empty()
    }

    /// Whether a quota counts what is in the data's directory.
    pub fn is_limited(&self) -> bool {
        self.is_local() && self.options.contains_key("size")
    }

    /// Whether the volume goes with the last container that uses it: made without a name, for an annotation.
    pub fn goes_with_container(&self) -> bool {
        self.anonymous && self.labels.contains_key(CONTAINER_LABEL)
    }

    /// Whether the data is a directory of the store: nothing mounted over it, and no plugin's.
    pub fn has_own_data(&self) -> bool {
        self.is_local() && !["type", "device"].iter().any(|key| self.options.contains_key(*key))
    }
}
