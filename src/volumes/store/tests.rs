use super::*;
use crate::volumes::{Holder, Metadata};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("lib/volumes"));
    (dir, store)
}

fn plain() -> Metadata {
    Metadata::new(None, Default::default(), Default::default(), false)
}

fn make(store: &Store, name: &str) -> Volume {
    store.make(name, &plain(), Durable::Yes, |_| Ok(())).unwrap().unwrap()
}

fn holder(id: &str, state: &str) -> Holder {
    Holder { id: id.into(), state: state.into(), created: "2026-11-21T12:00:00Z".into() }
}

#[test]
fn a_volume_is_made_once_and_found_again() {
    let (_dir, store) = store();
    assert!(store.names().unwrap().is_empty());
    assert!(store.read("data").unwrap().is_none());
    assert_eq!(store.get("data").unwrap_err().to_string(), "get data: no such volume");
    let volume = make(&store, "data");
    assert!(store.make("data", &plain(), Durable::Yes, |_| Ok(())).unwrap().is_none());
    let metadata = store.get("data").unwrap().metadata().unwrap();
    assert_eq!((metadata.driver.as_str(), metadata.anonymous), ("local", false));
    drop(volume);
    assert_eq!(store.names().unwrap(), ["data"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(store.root()), 0o701);
    assert_eq!(mode(&store.root().join("data")), 0o700);
    assert_eq!(mode(&store.data_path("data")), 0o755);
    assert_eq!(fs::read_dir(store.root()).unwrap().count(), 1);
}

#[test]
fn names_cannot_leave_the_store() {
    let (_dir, store) = store();
    make(&store, "data");
    for bad in ["..", ".", "", "a", "a/b", "../volumes", ".new-1"] {
        assert!(store.read(bad).unwrap().is_none(), "{bad}");
        assert!(store.make(bad, &plain(), Durable::No, |_| Ok(())).is_err(), "{bad}");
    }
    symlink("/etc", store.root().join("link")).unwrap();
    assert!(store.read("link").unwrap_err().to_string().contains("is not the directory of a volume"));
    assert_eq!(store.names().unwrap(), ["data"]);
}

#[test]
fn who_uses_a_volume_keeps_it() {
    let (_dir, store) = store();
    let volume = make(&store, "data");
    volume.hold(&holder("c1", "/run/a")).unwrap();
    volume.hold(&holder("c1", "/run/a")).unwrap();
    volume.hold(&holder("c1", "/run/b")).unwrap();
    volume.hold(&holder("c2", "/run/a")).unwrap();
    assert_eq!(volume.holders().unwrap().len(), 3);
    assert_eq!(volume.users().unwrap(), ["c1", "c2"]);
    let refused = volume.remove(&store).unwrap_err().to_string();
    assert_eq!(refused, "volume is in use - [c1, c2]");
    for (id, state) in [("c1", "/run/a"), ("c2", "/run/a"), ("c3", "/run/a")] {
        store.lock_existing("data").unwrap().release(&holder(id, state)).unwrap();
    }
    assert_eq!(store.get("data").unwrap().users().unwrap(), ["c1"], "the other one of that name");
    store.lock_existing("data").unwrap().release(&holder("c1", "/run/b")).unwrap();
    store.lock_existing("data").unwrap().remove(&store).unwrap();
    assert!(store.names().unwrap().is_empty());
    assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
}

#[test]
fn a_pin_lives_as_long_as_its_process() {
    let (_dir, store) = store();
    let volume = make(&store, "data");
    let pin = volume.pin("export").unwrap();
    assert!(volume.remove(&store).unwrap_err().to_string().starts_with("volume is in use - [@export-"));
    drop(pin);
    // As after a SIGKILL: the file is there, its lock is not.
    fs::write(store.root().join("data/refs/@export-0"), "").unwrap();
    store.lock_existing("data").unwrap().remove(&store).unwrap();
}

#[test]
fn damage_is_named_and_loses_nothing() {
    let (_dir, store) = store();
    drop(make(&store, "data"));
    fs::write(store.data_path("data").join("file"), "x").unwrap();
    for text in ["", "{", "[]", "{\"version\":1}"] {
        fs::write(store.root().join("data/volume.json"), text).unwrap();
        let error = format!("{:#}", store.get("data").unwrap().metadata().unwrap_err());
        assert!(error.contains("volume.json is damaged; the data is untouched"), "{error}");
    }
    fs::remove_file(store.root().join("data/volume.json")).unwrap();
    assert!(store.get("data").unwrap().metadata().is_err());
    fs::write(store.root().join("data/volume.json"), r#"{"version":2,"driver":"local","created":""}"#).unwrap();
    assert!(store.get("data").unwrap().metadata().unwrap_err().to_string().contains("newer version"));
    assert!(store.data_path("data").join("file").exists());
    fs::remove_dir_all(store.data_path("data")).unwrap();
    assert!(store.get("data").unwrap().data().unwrap_err().to_string().contains("its data is missing"));
}

#[test]
fn a_failed_or_killed_make_leaves_no_volume() {
    let (_dir, store) = store();
    let failed = store.make("data", &plain(), Durable::Yes, |_| anyhow::bail!("no space"));
    assert!(format!("{:#}", failed.unwrap_err()).contains("no space"));
    assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
    // Killed ones, and one that is at work.
    for dead in [".new-1/_data", ".gone-1/_data/deep/er"] {
        fs::create_dir_all(store.root().join(dead)).unwrap();
    }
    fs::create_dir(store.root().join(".new-2")).unwrap();
    let at_work = lock(fs::File::open(store.root().join(".new-2")).unwrap().into(), FlockArg::LockExclusive).unwrap();
    store.sweep().unwrap();
    let left: Vec<_> = fs::read_dir(store.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".new-2"]);
    drop(at_work);
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
}

#[test]
fn renamed_volumes_keep_everything() {
    let (_dir, store) = store();
    let volume = make(&store, "data");
    make(&store, "other");
    fs::write(store.data_path("data").join("file"), "x").unwrap();
    assert_eq!(store.rename(&volume, "other").unwrap_err().to_string(), "volume other exists already");
    assert!(store.rename(&volume, "../x").is_err());
    store.rename(&volume, "new").unwrap();
    assert_eq!(store.names().unwrap(), ["new", "other"]);
    assert!(store.data_path("new").join("file").exists());
}

#[test]
fn numbers_are_sorted_by_value() {
    let mut names = ["data10", "data2", "Data1", "data", "a10b2", "a10b10", "a9"];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(names, ["Data1", "a9", "a10b2", "a10b10", "data", "data2", "data10"]);
}
