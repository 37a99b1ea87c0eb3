//! What `make fuzz` runs: one function for each kind of input that comes from others.
//!
//! Each takes any bytes, feeds them to the code that reads such input, and asserts what has to hold whatever they are.
//! The seeds in `fuzz/corpus` run as a unit test, so that a target cannot rot: this module is compiled for tests and for
//! libFuzzer only (`fuzz/`, which has a three-line program for each name in [`TARGETS`]).

mod archive;
mod config;
mod criu;
mod messages;
mod plugin;
mod records;

use std::fs;
use std::path::{Path, PathBuf};

/// A target: any bytes in, a panic if something does not hold.
pub type Target = fn(&[u8]);

/// All targets by their names, which are those of the programs in `fuzz/` and of the directories in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive::archive),
    ("config", config::config),
    ("criu", criu::criu),
    ("init_messages", messages::init_messages),
    ("netlink", messages::netlink),
    ("passwd", messages::passwd),
    ("plugin", plugin::plugin),
    ("process", config::process),
    ("records", records::records),
    ("resources", config::resources),
    ("seccomp", config::seccomp),
    ("volume_flags", config::volume_flags),
];

/// Runs a target once.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name).map(|(_, target)| target);
    target.unwrap_or_else(|| panic!("there is no target {name}"))(input);
}

/// Errors are for people: each says something. Returns the value.
fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| assert!(!format!("{error:#}").is_empty())).ok()
}

/// A directory for one run of a target, removed when that ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // In memory where that is possible: some targets wait for fsync.
        let shared = Path::new("/dev/shm");
        let in_memory = std::env::var_os("TMPDIR").is_none() && shared.is_dir();
        let base = if in_memory { shared.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("rvol-fuzz-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("mkdir {}: {error}", path.display()));
        Scratch(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not ignored: what stays would fill the disk after some million runs.
        fs::remove_dir_all(&self.0).unwrap_or_else(|error| panic!("remove {}: {error}", self.0.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each seed, its halves, and the seed with one byte changed at a few places.
    fn variants(seed: &[u8]) -> Vec<Vec<u8>> {
        let (first, second) = seed.split_at(seed.len() / 2);
        let changed = (0..8).filter(|_| !seed.is_empty()).map(|n| {
            let mut bytes = seed.to_vec();
            bytes[n * seed.len() / 8] ^= 1 << n;
            bytes
        });
        [seed, first, second].map(<[u8]>::to_vec).into_iter().chain(changed).collect()
    }

    #[test]
    fn every_target_survives_its_seeds() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, target) in TARGETS {
            let mut directories = vec![top.join("fuzz/corpus").join(name)];
            if *name == "config" {
                directories.push(top.join("tests/configs"));
            }
            let mut seeds = 0;
            for directory in directories {
                let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
                for file in files.map(|file| file.unwrap().path()) {
                    variants(&fs::read(&file).unwrap()).iter().for_each(|input| target(input));
                    seeds += 1;
                }
            }
            assert!(seeds > 0, "{name} has no seeds");
        }
    }

    #[test]
    fn every_target_has_a_program() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let programs: Vec<&str> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
        let expected: Vec<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs\"")).collect();
        assert_eq!(programs, expected);
        for (name, _) in TARGETS {
            let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("fuzzing::run(\"{name}\"")), "{program}");
        }
    }
}
