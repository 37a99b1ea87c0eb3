//! Any words after `-v`, `--mount`, `--tmpfs`, `--volumes-from` and `--image-volume`: each is a mount with a clean absolute
//! destination, or refused with a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rvol_runc::plan::mounts::AddedMount;
use rvol_runc::volumes::grammar;
use std::path::{Component, Path};

fuzz_target!(|text: &str| {
    let (cwd, place) = (Path::new("/work"), || "flag".to_owned());
    let read = [
        grammar::volume(text, cwd, place()),
        grammar::mount(text, cwd, place()),
        grammar::tmpfs(text, place()),
        grammar::image_volume(text, place()),
    ];
    for result in read {
        match result {
            Ok(mount) => check(&mount),
            Err(error) => assert!(!format!("{error:#}").is_empty()),
        }
    }
    if let Err(error) = grammar::VolumesFrom::parse(text) {
        assert!(!format!("{error:#}").is_empty());
    }
});

fn check(mount: &AddedMount) {
    let destination = Path::new(&mount.destination);
    assert!(destination.is_absolute(), "{destination:?}");
    assert!(!destination.components().any(|part| part == Component::ParentDir), "{destination:?}");
}
