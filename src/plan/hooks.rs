//! Hooks of the six kinds.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its place in config.json: `hooks.poststart[0]`.
    pub place: String,
    /// Absolute.
    pub path: PathBuf,
    /// With argv[0]; the path where the config has none.
    pub args: Vec<String>,
    /// The whole environment of the hook; empty where the config has none.
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<u32>,
}

impl Hooks {
    /// Whether any hook is run by the runtime during `create`.
    pub fn run_in_runtime(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}
