//! What stands behind a volume: a directory of the store.

use super::metadata::Metadata;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// Refuses what this build cannot do, before anything is made.
pub fn check(metadata: &Metadata) -> Result<()> {
    if !metadata.is_local() {
        bail!("error looking up volume plugin {}: plugin not found", metadata.driver);
    }
    ensure!(metadata.options.is_empty(), "invalid option: {}", shown(&metadata.options));
    Ok(())
}

/// Options for people: `o=size=1m type=tmpfs`.
pub fn shown(options: &BTreeMap<String, String>) -> String {
    options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
