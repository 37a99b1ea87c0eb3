//! `volume import` of an archive that anybody wrote.

use super::{Scratch, told};
use crate::volumes::Store;
use crate::volumes::archive::{self, Watch};
use std::fs;
use std::path::Path;

struct Silent;

impl Watch for Silent {
    fn warn(&mut self, text: String) {
        assert!(!text.is_empty());
    }

    fn progress(&mut self, _files: u64, _bytes: u64) {}
}

/// The archive becomes a volume or nothing at all. Nothing beside the volume changes; and what it became can be exported
/// and imported again.
pub fn archive(bytes: &[u8]) {
    let scratch = Scratch::new();
    let decoy = scratch.path().join("decoy");
    fs::write(&decoy, "untouched").expect("write the decoy");
    let store = Store::new(scratch.path().join("store"));
    let imported = told(archive::import(&store, NAME, &mut with_checksums(bytes).as_slice(), &mut Silent)).is_some();
    assert_eq!(fs::read_to_string(&decoy).expect("read the decoy"), "untouched");
    assert_eq!(names(scratch.path()).iter().filter(|name| *name != "store").count(), 1);
    if imported {
        let first = exported(&store, NAME);
        archive::import(&store, COPY, &mut first.as_slice(), &mut Silent).expect("what was exported can be imported");
        assert_eq!(exported(&store, COPY), first);
    } else if scratch.path().join("store").exists() {
        let left = names(&scratch.path().join("store"));
        assert!(left.iter().all(|name| name != NAME && !name.starts_with(".new-")), "{left:?}");
    }
}

const NAME: &str = "archived";
const COPY: &str = "again";

/// With right checksums in all headers, at which nearly every changed byte would otherwise end the reading.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fn exported(store: &Store, name: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    archive::export(store, name, &mut archive, &mut Silent).expect("a volume can be exported");
    archive
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("read a directory");
    entries.map(|entry| entry.expect("read a directory").file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_seeds_are_imported_and_bad_ones_are_not() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/archive");
        for (seed, good) in [("ustar.tar", true), ("pax.tar", true), ("sparse-1.0.tar", true), ("outside.tar", false)] {
            let scratch = Scratch::new();
            let store = Store::new(scratch.path().to_owned());
            let bytes = fs::read(seeds.join(seed)).unwrap();
            let imported = archive::import(&store, NAME, &mut with_checksums(&bytes).as_slice(), &mut Silent);
            assert_eq!(imported.is_ok(), good, "{seed}: {imported:?}");
        }
    }
}
