//! Volumes under SIGKILL at every step, under many processes at once, and with damage done to the store.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime_tests::{Case, Outcome, needs, needs_machine, runtime};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The calls by which the store is changed.
const CHANGES: [&str; 13] = [
    "mkdirat",
    "renameat",
    "renameat2",
    "unlinkat",
    "linkat",
    "write",
    "pwrite64",
    "copy_file_range",
    "fchmod",
    "fsync",
    "syncfs",
    "utimensat",
    "fchown",
];

/// The command under strace, which kills it as it makes this call for the nth time.
fn killed_at(case: &Case, call: &str, n: u32, words: &[&str]) -> Outcome {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    command.arg(&runtime().path).arg("--root").arg(case.state_root()).args(words);
    command.env("RVOL_VOLUME_ROOT", case.volume_root()).current_dir(&case.dir).stdin(std::process::Stdio::null());
    case.finish(command)
}

fn was_killed(outcome: &Outcome) -> bool {
    outcome.code() == 137
}

fn has_strace() -> bool {
    Command::new("strace").arg("-V").output().is_ok()
}

/// Kills the command at each of its steps. `before` sets the scene, `check` looks at what is left. Returns how often it
/// was killed.
fn at_each_step(case: &Case, words: &[&str], before: impl Fn(), check: impl Fn(&str)) -> u32 {
    let mut kills = 0;
    for call in CHANGES {
        for n in 1.. {
            before();
            let outcome = killed_at(case, call, n, words);
            check(&format!("{call} {n}"));
            if !was_killed(&outcome) {
                assert!(outcome.succeeded(), "{outcome}");
                break;
            }
            kills += 1;
        }
    }
    kills
}

#[test]
fn create_and_rm_are_whole_or_not_at_all() {
    needs!(Rvol);
    needs_machine!(has_strace(), "no strace");
    let case = Case::without_rootfs();
    let kills = at_each_step(
        &case,
        &["volume", "create", "--label", "a=b", "data"],
        || drop(case.volume(&["rm", "-f", "data"]).ok()),
        |step| {
            let names = case.volume_names();
            if !names.is_empty() {
                let shown = case.volume(&["inspect", "data"]).ok().json();
                assert_eq!(shown[0]["Labels"]["a"], "b", "{step}");
                assert!(case.data("data").is_dir(), "{step}");
            }
        },
    );
    assert!(kills > 5, "{kills}");
    let fill = || {
        case.volume(&["rm", "-f", "data"]).ok();
        case.volume(&["create", "data"]).ok();
        fs::create_dir_all(case.data("data").join("a/b")).expect("mkdir");
        fs::write(case.data("data").join("a/b/file"), "x").expect("write");
        fs::write(case.data("data").join("top"), "x").expect("write");
    };
    at_each_step(&case, &["volume", "rm", "data"], fill, |step| {
        if !case.volume_names().is_empty() {
            let whole = case.data("data").join("a/b/file").exists() && case.data("data").join("top").exists();
            assert!(whole, "{step}: half removed");
            case.volume(&["inspect", "data"]).ok();
        }
    });
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(case.debris(), [""; 0]);
    assert_eq!(fs::read_dir(case.volume_root()).expect("the store").count(), 0);
}

/// A few files, and whether a volume has all of them, or none.
const FILES: [&str; 4] = ["top", "a/file", "a/b/file", "a/b/linked"];

fn fill(data: &Path) {
    fs::create_dir_all(data.join("a/b")).expect("mkdir");
    for name in &FILES[..3] {
        fs::write(data.join(name), name).expect("write");
    }
    fs::hard_link(data.join("top"), data.join(FILES[3])).expect("link");
}

#[track_caller]
fn has_all(data: &Path, step: &str) -> bool {
    let there = FILES.iter().filter(|name| fs::read(data.join(name)).is_ok_and(|text| !text.is_empty())).count();
    assert!(there == 0 || there == FILES.len(), "{step}: {there} files in {}", data.display());
    assert!(there > 0 || fs::read_dir(data).map_or(0, Iterator::count) == 0, "{step}: a half in {}", data.display());
    there > 0
}

fn scene(case: &Case, volumes: &[&str]) {
    case.volume(&["prune", "-af"]).ok();
    for name in volumes {
        case.volume(&["create", name]).ok();
        fill(&case.data(name));
    }
}

#[test]
fn prune_clone_and_rename_are_whole_or_not_at_all() {
    needs!(Rvol);
    needs_machine!(has_strace(), "no strace");
    let case = Case::without_rootfs();
    let mut kills = at_each_step(
        &case,
        &["volume", "prune", "-af"],
        || scene(&case, &["data", "more"]),
        |step| {
            for name in case.volume_names() {
                assert!(has_all(&case.data(&name), step), "{step}: {name} is empty");
                case.volume(&["inspect", &name]).ok();
            }
        },
    );
    kills += at_each_step(
        &case,
        &["volume", "clone", "data", "copy"],
        || scene(&case, &["data"]),
        |step| {
            assert!(has_all(&case.data("data"), step), "{step}: the source");
            if case.volume_names().contains(&"copy".to_owned()) {
                assert!(has_all(&case.data("copy"), step), "{step}: the copy is empty");
                case.volume(&["inspect", "copy"]).ok();
            }
            // What the killed command held of the source is no hindrance.
            case.volume(&["rm", "data"]).ok();
        },
    );
    kills += at_each_step(
        &case,
        &["volume", "rename", "data", "other"],
        || scene(&case, &["data"]),
        |step| {
            let names = case.volume_names();
            assert_eq!(names.len(), 1, "{step}: {names:?}");
            assert!(has_all(&case.data(&names[0]), step), "{step}");
            case.volume(&["inspect", &names[0]]).ok();
        },
    );
    assert!(kills > 30, "only {kills} kills");
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(fs::read_dir(case.volume_root()).expect("the store").count(), 0);
}

#[test]
fn import_is_whole_or_not_at_all() {
    needs!(Rvol);
    needs_machine!(has_strace(), "no strace");
    let case = Case::without_rootfs();
    scene(&case, &["data"]);
    let archive = case.path("data.tar");
    case.volume(&["export", "data", "-o", &archive]).ok();
    let mut kills = 0;
    for exists in [false, true] {
        let (found, all) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        kills += at_each_step(
            &case,
            &["volume", "import", "data", &archive],
            || {
                case.volume(&["prune", "-af"]).ok();
                if exists {
                    case.volume(&["create", "--label", "old=yes", "data"]).ok();
                }
            },
            |step| {
                all.set(all.get() + 1);
                let names = case.volume_names();
                assert!(!exists || names == ["data"], "{step}: the volume is lost");
                if names.is_empty() {
                    return;
                }
                let whole = has_all(&case.data("data"), step);
                assert!(exists || whole, "{step}: a volume without its files");
                found.set(found.get() + u32::from(whole));
                let label = case.volume(&["inspect", "-f", "{{json .Labels}}", "data"]).ok().stdout;
                assert_eq!(label.contains("yes"), exists, "{step}");
                if !whole {
                    case.volume(&["import", "data", &archive]).ok();
                }
            },
        );
        assert!(found.get() > 0 && found.get() < all.get(), "both states were seen: {} {}", found.get(), all.get());
    }
    assert!(kills > 40, "only {kills} kills");
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(fs::read_dir(case.volume_root()).expect("the store").count(), 0);
}

#[test]
fn a_container_that_is_killed_while_it_takes_its_volume() {
    needs!(Rvol);
    needs_machine!(has_strace(), "no strace");
    let mut case = Case::new();
    let image = case.rootfs().join("data");
    for name in ["a", "b", "c/d"] {
        fs::create_dir_all(image.join(name)).expect("mkdir");
        fs::write(image.join(name).join("file"), name).expect("write");
    }
    case.script("cat /data/a/file /data/b/file /data/c/d/file; ls -A /data | wc -l");
    case.write_config();
    let bundle = case.path("bundle");
    let id = case.id.clone();
    let words = ["create", "--bundle", &bundle, "-v", "data:/data", &id];
    let odd = std::cell::Cell::new(false);
    let kills = at_each_step(
        &case,
        &words,
        || (),
        |step| {
            odd.set(!odd.get());
            if odd.get() {
                case.delete_force().ok();
            }
            // Whoever comes now, before or after the delete, sees the whole copy or makes it.
            let other = case.other_id("b");
            let seen = case.finish(case.other("run", &other, &["-v", "data:/data"])).ok();
            assert_eq!(seen.stdout, "abc/d3\n", "{step}");
            case.delete_force().ok();
            assert_eq!(case.users("data"), [""; 0], "{step}: a reference was lost track of");
            let names: Vec<_> = fs::read_dir(case.volume_root().join("data")).expect("list").flatten().collect();
            assert!(!names.iter().any(|name| name.file_name().to_string_lossy().starts_with("_stag")), "{step}");
            case.volume(&["rm", "data"]).ok();
        },
    );
    assert!(kills > 25, "only {kills} kills");
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(case.debris(), [""; 0]);
}

#[test]
fn fifty_processes_on_the_same_volumes() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    let names = ["v0", "v1", "v2"];
    // Long-lived users: whatever the others do, theirs must stay.
    let keepers: Vec<String> = names.iter().map(|name| case.other_id(name)).collect();
    for (id, name) in keepers.iter().zip(names) {
        case.finish(case.other("create", id, &["-v", &format!("{name}:/data")])).ok();
        fs::write(case.data(name).join("keep"), name).expect("write");
    }
    let runs: Vec<_> = (0..50)
        .map(|i| {
            let name = names[i % 3];
            let command = match i % 5 {
                0 => {
                    let mut command = case.command();
                    // What is in use, and what comes and goes.
                    command.args(["volume", "rm", if i % 10 == 0 { name } else { "fresh" }]);
                    command
                }
                1 => {
                    let mut command = case.command();
                    command.args(["volume", "prune", "-af"]);
                    command
                }
                2 => {
                    let mut command = case.command();
                    command.args(["volume", "create", "fresh"]);
                    command
                }
                _ => case.other(
                    "run",
                    &case.other_id(&format!("r{i}")),
                    &["-v", &format!("{name}:/data"), "-v", "fresh:/x"],
                ),
            };
            (i, case.start_command(command))
        })
        .collect();
    for (i, running) in runs {
        let outcome = running.finish();
        match i % 5 {
            0 if i % 10 == 0 => drop(outcome.fails().says("volume is in use")),
            0 if !outcome.succeeded() => {
                let reasons = ["volume is in use", "no such volume"];
                assert!(reasons.iter().any(|reason| outcome.stderr.contains(reason)), "{outcome}");
            }
            _ => drop(outcome.ok()),
        }
    }
    for (id, name) in keepers.iter().zip(names) {
        assert_eq!(case.users(name), [id.as_str()]);
        assert_eq!(case.read_data(name, "keep"), name);
    }
    for id in &keepers {
        case.invoke(&["delete", "--force", id]).ok();
    }
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(case.volume_names(), [""; 0]);
    assert_eq!(case.debris(), [""; 0]);
}

#[test]
fn two_containers_race_on_a_new_volume() {
    needs!(Rvol);
    let mut case = Case::new();
    let image = case.rootfs().join("data");
    for i in 0..2000 {
        fs::write(image.join(format!("f{i}")), "x").expect("write");
    }
    case.script("ls /data | wc -l");
    for round in 0..5 {
        let flags = ["-v", &format!("data{round}:/data")];
        let ids = ["a", "b", "c", "d"].map(|suffix| case.other_id(suffix));
        let running = ids.map(|id| case.start_command(case.other("run", &id, &flags)));
        for one in running {
            assert_eq!(one.finish().ok().stdout.trim(), "2000");
        }
    }
}

#[test]
fn a_damaged_store_is_named_and_loses_nothing() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    for name in ["good", "bad", "gone"] {
        case.volume(&["create", name]).ok();
        fs::write(case.data(name).join("file"), "x").expect("write");
    }
    fs::write(case.volume_root().join("bad/volume.json"), "{").expect("damage");
    fs::remove_dir_all(case.data("gone")).expect("damage");
    let out = case.volume(&["ls", "-q"]).ok();
    assert_eq!(out.stdout, "gone\ngood\n");
    assert!(out.stderr.contains("volume.json is damaged"), "{out}");
    case.run_with(&["-v", "bad:/data"]).fails().says("volume.json is damaged; the data is untouched");
    case.run_with(&["-v", "gone:/data"]).fails().says("volume gone: its data is missing");
    case.volume(&["rm", "bad"]).fails().says("is damaged");
    case.volume(&["create", "bad"]).fails().says("volume.json is damaged");
    let archive = case.make_file("a.tar", "");
    for (name, why) in [("bad", "volume.json is damaged"), ("gone", "its data is missing")] {
        case.volume(&["export", name, "-o", &archive]).fails().says(why);
        case.volume(&["import", name, &archive]).fails().says(why);
        case.volume(&["clone", name, "copy"]).fails().says(why);
    }
    for command in ["inspect", "rename"] {
        let words = [command, "bad", "renamed"];
        case.volume(&words[..if command == "inspect" { 2 } else { 3 }]).fails().says("volume.json is damaged");
    }
    assert_eq!((case.users("bad"), case.debris()), (vec![], vec![]));
    case.volume(&["prune", "-af"]).fails().says("volume gone: its data is missing");
    assert_eq!(case.volume_names(), ["gone"], "the others are pruned all the same");
    assert!(case.data("bad").join("file").exists());
    case.volume(&["rm", "-f", "bad", "gone"]).ok();
    assert!(!case.volume_names().contains(&"bad".to_owned()));
}

#[test]
fn a_damaged_reference_is_a_user() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    for damage in ["", "{", "null"] {
        case.volume(&["create", "other"]).ok();
        case.create_with(&["-v", "data:/data"]).ok();
        let file = case.volume_root().join("data/refs").join(&case.id);
        fs::write(&file, damage).expect("damage");
        case.volume(&["rm", "data"]).fails().says("volume is in use - [");
        case.volume(&["rm", "-f", "data"]).fails().says("volume is in use - [");
        let out = case.delete_force().ok();
        assert!(out.stderr.contains("is damaged: remove it when no container"), "{out}");
        // It is nobody's any more, and yet it is not for us to say so.
        let out = case.volume(&["prune", "-af"]).ok();
        assert!(out.stderr.contains("is damaged: remove it when no container"), "{out}");
        assert_eq!(case.volume_names(), ["data"], "what is sound is pruned all the same");
        case.create_with(&["-v", "data:/data"]).fails().says("is damaged: remove it when no container");
        fs::remove_file(&file).expect("mend");
    }
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(case.volume_names(), [""; 0]);
}

/// A container's process outlives the command; nothing that the command held may go on through it.
#[test]
fn a_running_container_holds_no_lock() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    case.run_with(&["-d", "-v", "data:/data"]).ok();
    kill(Pid::from_raw(case.pid()), None::<Signal>).expect("it runs");
    case.volume(&["rm", "data"]).fails().says("volume is in use");
    case.volume(&["prune", "-af"]).ok();
    assert!(Path::new(&case.data("data")).exists());
}

/// Where rename(2) cannot reach the data, because another filesystem is mounted there, the copy is made a second time.
/// Whoever comes after a kill at any step finishes it: into the whole volume, and into a part of it.
#[test]
fn a_copy_up_into_another_filesystem_is_finished_after_a_kill() {
    needs!(Rvol);
    needs_machine!(has_strace(), "no strace");
    let mut case = Case::new();
    let image = case.rootfs().join("data");
    for name in ["a", "b/c"] {
        fs::create_dir_all(image.join(name)).expect("mkdir");
        fs::write(image.join(name).join("file"), name).expect("write");
    }
    fs::hard_link(image.join("a/file"), image.join("b/linked")).expect("link");
    case.script("cat /data/a/file /data/b/c/file /data/b/linked; ls -A /data | wc -l");
    case.write_config();
    let (bundle, id) = (case.path("bundle"), case.id.clone());
    for subpath in [false, true] {
        let mount = format!("type=volume,src=data,dst=/data{}", if subpath { ",volume-subpath=sub" } else { "" });
        let words = ["create", "--bundle", &bundle, "--mount", &mount, &id];
        let data = case.data("data");
        let kills = at_each_step(
            &case,
            &words,
            || {
                case.volume(&["create", "data"]).ok();
                let none = None::<&str>;
                nix::mount::mount(Some("test"), &data, Some("tmpfs"), nix::mount::MsFlags::empty(), none)
                    .expect("tmpfs");
                case.expect_host_mount(&data);
                if subpath {
                    fs::create_dir(data.join("sub")).expect("mkdir");
                }
            },
            |step| {
                let other = case.other_id("b");
                let seen = case.finish(case.other("run", &other, &["--mount", &mount])).ok();
                assert_eq!(seen.stdout, "ab/ca2\n", "{step}");
                let names: Vec<_> = fs::read_dir(&data).expect("list").flatten().map(|e| e.file_name()).collect();
                assert_eq!(names.len(), if subpath { 1 } else { 2 }, "{step}: {names:?}");
                case.delete_force().ok();
                let names: Vec<_> = fs::read_dir(case.volume_root().join("data")).expect("list").flatten().collect();
                assert!(!names.iter().any(|name| name.file_name().to_string_lossy().starts_with("_stag")), "{step}");
                nix::mount::umount(&data).expect("umount");
                case.volume(&["rm", "data"]).ok();
            },
        );
        assert!(kills > 25, "only {kills} kills");
    }
    assert_eq!(case.debris(), [""; 0]);
}
