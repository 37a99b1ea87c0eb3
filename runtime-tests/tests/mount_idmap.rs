//! `idmap`, `ridmap`, and `uidMappings`/`gidMappings` of a mount.

use nix::mount::MsFlags;
use runtime_tests::host_mounts::in_own_mounts;
use runtime_tests::{Case, Facts, Value, json, needs};
use std::os::unix::fs::{MetadataExt, chown};

fn map(container: u32, host: u32, size: u32) -> Value {
    json!([{ "containerID": container, "hostID": host, "size": size }])
}

/// A bind with `idmap` and mappings of its own.
fn idmapped(destination: &str, source: &str, options: &[&str], ids: &Value) -> Value {
    let mut entry = runtime_tests::config::mount(destination, "bind", source, options);
    entry["uidMappings"] = ids.clone();
    entry["gidMappings"] = ids.clone();
    entry
}

/// A source directory with a file of user 1000 and one of root.
fn source(case: &Case) -> String {
    let source = case.make_dir("source");
    for (name, id) in [("of-1000", 1000), ("of-root", 0)] {
        let file = case.make_file(&format!("source/{name}"), "");
        chown(file, Some(id), Some(id)).expect("chown");
    }
    source
}

#[track_caller]
fn owner(facts: &Facts, path: &str) -> (u64, u64) {
    let stat = facts.answer(&format!("stat:{path}"));
    (stat["uid"].as_u64().unwrap_or(u64::MAX), stat["gid"].as_u64().unwrap_or(u64::MAX))
}

#[test]
fn a_mapping_without_a_user_namespace() {
    needs!(FreeIdmappedMounts);
    let mut case = Case::new();
    let source = source(&case);
    chown(&source, Some(1000), Some(1000)).expect("chown");
    // containerID is the id on disk, hostID the one that the mount shows (mount_setattr(2), "ID-mapped mounts").
    case.set("/mounts/-", idmapped("/data", &source, &["bind", "idmap"], &map(1000, 0, 1)));
    let facts = case.facts(&["stat:/data/of-1000", "stat:/data/of-root", "put:/data/new=x"]);
    assert_eq!(owner(&facts, "/data/of-1000"), (0, 0));
    assert_eq!(owner(&facts, "/data/of-root"), (65534, 65534), "an id without a mapping");
    facts.expect(&[("put:/data/new=x", "ok")]);
    let new = std::fs::metadata(case.dir.join("source/new")).expect("the new file");
    assert_eq!((new.uid(), new.gid()), (1000, 1000), "what root writes is stored as 1000");
}

#[test]
fn the_mapping_of_the_containers_user_namespace() {
    needs!(IdmappedMounts);
    let mut case = Case::new();
    let source = source(&case);
    case.user_namespace(100_000, 65536);
    case.set("/mounts/-", idmapped("/own", &source, &["bind", "idmap"], &map(0, 100_000, 65536)));
    case.bind(&source, "/plain", &[]);
    let facts = case.facts(&["stat:/own/of-1000", "stat:/own/of-root", "stat:/plain/of-root", "put:/own/new=x"]);
    assert_eq!(owner(&facts, "/own/of-1000"), (1000, 1000));
    assert_eq!(owner(&facts, "/own/of-root"), (0, 0));
    assert_eq!(owner(&facts, "/plain/of-root"), (65534, 65534));
    let new = std::fs::metadata(case.dir.join("source/new"));
    if facts.answer("put:/own/new=x") == "ok" {
        assert_eq!(new.expect("the new file").uid(), 0);
    }
}

#[test]
fn idmap_alone_takes_the_containers_mapping() {
    needs!(IdmappedMounts);
    let mut case = Case::new();
    let source = source(&case);
    case.user_namespace(100_000, 65536).mount("/own", "bind", &source, &["bind", "idmap"]);
    let facts = case.facts(&["stat:/own/of-root"]);
    assert_eq!(owner(&facts, "/own/of-root"), (0, 0));
}

#[test]
fn idmap_without_any_mapping_is_refused() {
    needs!(IdmappedMounts);
    let mut case = Case::new();
    let source = source(&case);
    case.mount("/data", "bind", &source, &["bind", "idmap"]);
    case.run().fails();
    case.mount("/data", "bind", &source, &["rbind", "ridmap"]);
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn one_kind_of_mapping_alone_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    let source = source(&case);
    let mut entry = runtime_tests::config::mount("/data", "bind", &source, &["bind", "idmap"]);
    entry["uidMappings"] = map(0, 1000, 1);
    case.set("/mounts/-", entry);
    case.run().fails().says("gidMappings");
    case.assert_nothing_left();
}

#[test]
fn idmap_is_for_the_mount_itself_and_ridmap_for_all_below() {
    needs!(FreeIdmappedMounts, Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_dir("tree");
        case.make_file("tree/file", "");
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        case.make_file("tree/sub/file", "");
        for (destination, option) in [("/idmap", "idmap"), ("/ridmap", "ridmap")] {
            case.set("/mounts/-", idmapped(destination, &tree, &["rbind", option], &map(0, 5000, 10)));
        }
        let questions = ["stat:/idmap/file", "stat:/idmap/sub/file", "stat:/ridmap/file", "stat:/ridmap/sub/file"];
        let facts = case.facts(&questions);
        let owners = questions.map(|q| owner(&facts, &q["stat:".len()..]).0);
        assert_eq!(owners, [5000, 0, 5000, 5000]);
    });
}

#[test]
fn a_new_filesystem_can_be_idmapped() {
    needs!(Rvol);
    let mut case = Case::new();
    let ids = map(0, 5000, 100);
    let mut entry = idmapped("/data", "tmpfs", &["idmap", "mode=755"], &ids);
    entry["type"] = json!("tmpfs");
    case.set("/mounts/-", entry);
    let facts = case.facts(&["stat:/data"]);
    assert_eq!(owner(&facts, "/data"), (5000, 5000));
}

#[test]
fn the_source_keeps_its_owners() {
    needs!(IdmappedMounts);
    let mut case = Case::new();
    let source = source(&case);
    case.user_namespace(100_000, 65536);
    case.set("/mounts/-", idmapped("/own", &source, &["bind", "idmap"], &map(0, 100_000, 65536)));
    case.facts(&["stat:/own"]);
    assert_eq!(std::fs::metadata(case.dir.join("source/of-1000")).expect("stat").uid(), 1000);
    assert_eq!(std::fs::metadata(&source).expect("stat").uid(), 0);
}
