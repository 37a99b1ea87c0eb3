//! The bundle's config.json: read once, as typed data, with every misfit named by its place.

use crate::plan::Problem;
use oci_spec::runtime::Spec;
use std::path::{Path, PathBuf};

/// A bundle as read from disk.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of the bundle's directory, symbolic links resolved.
    pub dir: PathBuf,
    pub spec: Spec,
    /// Values that were left out because the spec asks for a warning and not an error (unknown capabilities).
    pub warnings: Vec<String>,
}

/// Why a bundle cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read or is not JSON.
    File(anyhow::Error),
    /// Each value that does not have the shape the spec gives it.
    Shape(Vec<Problem>),
}

impl Bundle {
    /// Reads `dir/config.json`.
    pub fn load(_dir: &Path) -> Result<Bundle, LoadError> {
        todo!()
    }
}
