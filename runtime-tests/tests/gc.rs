//! `gc`: takes away what is nobody's any more, and nothing else.

use runtime_tests::strace::traced;
use runtime_tests::{Case, needs, needs_machine};
use std::fs;
use std::process::Command;

#[test]
fn halves_go_and_containers_stay() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    let mut case = Case::new();
    assert_eq!(case.invoke(&["gc"]).ok().stdout, "", "nothing at all");
    case.pause();
    let [created, stopped, lost] = ["created", "stopped", "lost"].map(|suffix| case.other_id(suffix));
    for id in [&created, &stopped, &lost] {
        case.finish(case.other("create", id, &["-v", "data:/data"])).ok();
    }
    case.invoke(&["kill", &stopped, "KILL"]).ok();
    // What a reboot does to the state.
    let (state, aside) = (case.state_root().join(&lost), case.dir.join("aside"));
    fs::rename(&state, &aside).expect("lose the state");
    // A create that is killed when it has its volumes and its cgroup.
    case.write_config();
    let command = case.bundle_command("create", &["-v", "/anonymous", "-v", "named:/named"]);
    let out = case.finish(traced(&command, &["-e", "inject=clone3:signal=KILL"], "/dev/null"));
    assert_eq!(out.code(), 137, "{out}");
    assert_eq!(case.users("named"), [case.id.as_str()]);
    assert_eq!(case.volume_names().len(), 3);
    // A volume that was half made.
    fs::create_dir_all(case.volume_root().join(".new-0123456789abcdef/_data")).expect("mkdir");
    assert_eq!(case.invoke(&["gc"]).ok().stdout, format!("{}\n", case.id));
    assert!(!case.state_root().join(&case.id).exists());
    assert_eq!(case.volume_names(), ["data", "named"], "the anonymous one had never been used");
    assert_eq!(case.users("data"), [created.as_str(), stopped.as_str()]);
    assert_eq!((case.users("named"), case.debris()), (vec![], vec![]));
    assert_eq!(case.invoke(&["gc"]).ok().stdout, "");
    for (id, status) in [(&created, "created"), (&stopped, "stopped")] {
        assert_eq!(case.invoke(&["state", id]).ok().json()["status"], status);
    }
    fs::rename(&aside, &state).expect("put it back");
}

/// What somebody is making now is no half, however slow.
#[test]
fn a_create_under_way_is_left_alone() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    let mut case = Case::new();
    case.pause().write_config();
    let command = case.bundle_command("create", &["-v", "data:/data"]);
    let slow = ["-e", "trace=clone3", "-e", "inject=clone3:delay_enter=2000000"];
    let running = case.start_command(traced(&command, &slow, "/dev/null"));
    let there = || (!case.users("data").is_empty()).then_some(());
    runtime_tests::waiting::until(std::time::Duration::from_secs(20), there).expect("it takes its volume");
    assert_eq!(case.invoke(&["gc"]).ok().stdout, "");
    running.finish().ok();
    assert_eq!(case.status(), "created");
    assert_eq!(case.users("data"), [case.id.as_str()]);
}

/// A parent cgroup that a killed `create` made and had not marked yet is removed by whoever leaves it last.
#[test]
fn the_parent_cgroup_of_a_killed_create_goes_with_the_last_container_in_it() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    let mut case = Case::new();
    let parent = format!("/{}-parent", case.token);
    case.pause().set("/linux/cgroupsPath", format!("{parent}/a").into());
    case.write_config();
    let command = case.bundle_command("create", &[]);
    let out = case.finish(traced(&command, &["-e", "inject=fsetxattr:signal=KILL:when=1"], "/dev/null"));
    assert_eq!(out.code(), 137, "{out}");
    assert!(!cgroups_named(&parent).is_empty(), "it has made the parent");
    let other = case.other_id("b");
    let command = case.other("create", &other, &[]);
    let config = case.dir.join(format!("bundle-{other}/config.json"));
    let text =
        fs::read_to_string(&config).expect("read").replace(&format!("/{}-{other}", case.token), &format!("{parent}/b"));
    fs::write(&config, text).expect("write");
    case.finish(command).ok();
    assert_eq!(case.invoke(&["gc"]).ok().stdout, format!("{}\n", case.id));
    assert!(!cgroups_named(&parent).is_empty(), "the other container is in it");
    case.invoke(&["delete", "--force", &other]).ok();
    assert_eq!(cgroups_named(&parent), [""; 0]);
}

/// The directories of a cgroup in all hierarchies.
fn cgroups_named(path: &str) -> Vec<String> {
    let mounts = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = mounts.chain(["/sys/fs/cgroup".into()]).map(|mount| format!("{}{path}", mount.display()));
    places.filter(|place| fs::metadata(place).is_ok()).collect()
}
