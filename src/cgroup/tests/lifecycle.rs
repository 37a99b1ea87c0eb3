//! Made, entered, signalled, removed.

use super::*;

#[test]
fn directories_are_made_and_removed() {
    for host in hosts() {
        let name = name();
        let intent = intend(&at(&format!("{name}/deep/leaf")), &host).unwrap();
        let journal = intent.record().clone();
        assert!(directories(&journal).iter().all(|d| !d.exists()), "intend makes nothing");
        let created = Made(intent.create().unwrap());
        assert_eq!(created.record(), &journal);
        assert!(directories(&journal).iter().all(|d| d.is_dir()));
        assert!(journal.processes().unwrap().is_empty());

        let json = serde_json::to_string(&journal).unwrap();
        let stored: Record = serde_json::from_str(&json).unwrap();
        stored.remove().unwrap();
        for directory in directories(&journal) {
            assert!(
                !directory.ancestors().nth(1).unwrap().exists(),
                "{} and its parents are gone",
                directory.display()
            );
        }
        stored.remove().unwrap();
    }
}

#[test]
fn parents_of_others_stay() {
    for host in hosts() {
        let name = name();
        let pod = made(&at(&name), &host);
        let first = made(&at(&format!("{name}/a")), &host);
        first.record().remove().unwrap();
        assert!(directories(pod.record()).iter().all(|d| d.is_dir()));
        pod.record().remove().unwrap();
    }
}

#[test]
fn a_shared_parent_goes_with_the_last_user_only() {
    for host in hosts() {
        let name = name();
        let a = made(&at(&format!("{name}/pod/a")), &host);
        let b = made(&at(&format!("{name}/pod/b")), &host);
        a.record().remove().unwrap();
        assert!(directories(b.record()).iter().all(|d| d.is_dir()));
        b.record().remove().unwrap();
        for directory in directories(b.record()) {
            assert!(!directory.ancestors().nth(2).unwrap().exists(), "{}", directory.display());
        }
    }
}

#[test]
fn a_parent_that_goes_while_a_cgroup_is_made_is_made_again() {
    for host in hosts() {
        let name = name();
        let first = made(&at(&format!("{name}/pod/a")), &host);
        let second = intend(&at(&format!("{name}/pod/b")), &host).unwrap();
        first.record().remove().unwrap();
        let second = Made(second.create().unwrap());
        assert!(directories(second.record()).iter().all(|d| d.is_dir()));
        second.record().remove().unwrap();
        for directory in directories(second.record()) {
            assert!(!directory.ancestors().nth(2).unwrap().exists(), "{}", directory.display());
        }
    }
}

#[test]
fn a_cgroup_in_use_is_refused() {
    for host in hosts() {
        let name = name();
        let created = made(&at(&name), &host);
        let mut child = sleeper(created.record());
        let error = intend(&at(&name), &host).unwrap_err().to_string();
        assert!(error.ends_with("is in use by 1 processes"), "{error}");
        created.record().remove().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn remove_kills_what_is_left_in_the_tree() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        let mut children = vec![sleeper(record), sleeper(record)];
        for directory in directories(record) {
            let below = directory.join("a/b/c");
            std::fs::create_dir_all(&below).unwrap();
            std::fs::create_dir(directory.join("a/x")).unwrap();
        }
        assert_eq!(record.processes().unwrap().len(), 2);
        // One of them sits deeper.
        for directory in directories(record).iter().filter(|d| !d.join("cpuset.cpus").exists()) {
            std::fs::write(directory.join("a/b/c/cgroup.procs"), children[1].id().to_string()).unwrap();
        }
        assert_eq!(record.processes().unwrap().len(), 2);
        record.remove().unwrap();
        assert!(directories(record).iter().all(|d| !d.exists()));
        for child in &mut children {
            assert!(!child.wait().unwrap().success());
        }
    }
}

#[test]
fn remove_works_on_a_frozen_cgroup() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        let mut child = sleeper(record);
        assert!(!record.is_frozen().unwrap());
        for directory in directories(record) {
            for (file, value) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
                if directory.join(file).exists() {
                    std::fs::write(directory.join(file), value).unwrap();
                }
            }
        }
        assert!(record.is_frozen().unwrap());
        record.remove().unwrap();
        assert!(!record.is_frozen().unwrap());
        child.wait().unwrap();
    }
}

#[test]
fn a_very_deep_tree_is_removed() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        let Some((_, top)) = record.directories().find(|(name, _)| ["", "unified"].contains(name)) else { continue };
        let mut here = nix::fcntl::open(&top, nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty()).unwrap();
        let component = "d".repeat(200);
        for _ in 0..30 {
            nix::sys::stat::mkdirat(&here, component.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
            here = nix::fcntl::openat(
                &here,
                component.as_str(),
                nix::fcntl::OFlag::O_RDONLY,
                nix::sys::stat::Mode::empty(),
            )
            .unwrap();
        }
        record.remove().unwrap();
        assert!(!top.exists());
    }
}

#[test]
fn signals_reach_every_process() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        let mut children = [sleeper(record), sleeper(record)];
        record.signal_all(libc::SIGUSR1, Hold::No).unwrap();
        use std::os::unix::process::ExitStatusExt;
        for child in &mut children {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
        }
        let mut child = sleeper(record);
        record.signal_all(libc::SIGKILL, Hold::No).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        record.remove().unwrap();
    }
}

#[test]
fn v1_is_entered_by_the_process_itself() {
    for host in hosts() {
        let CgroupMode::Legacy { hierarchies, .. } = &host.cgroup else { continue };
        let name = name();
        let created = made(&at(&name), &host);
        // A v1 `tasks` file moves one thread: this one, whose children are born there.
        let status = std::thread::spawn(move || {
            created.enter_self().unwrap();
            let output = Command::new("cat").arg("/proc/self/cgroup").output().unwrap();
            (created, String::from_utf8(output.stdout).unwrap())
        });
        let (created, text) = status.join().unwrap();
        let inside = text.lines().filter(|l| l.ends_with(&format!(":/{name}"))).count();
        assert_eq!(inside, hierarchies.iter().filter(|h| h.as_str() != "unified").count(), "{text}");
        created.record().remove().unwrap();
    }
}

#[test]
fn a_failing_create_leaves_nothing() {
    for host in hosts() {
        let name = name();
        let CgroupMode::Legacy { .. } = &host.cgroup else { continue };
        // A file of this name appears with the parent, in one hierarchy, after others are complete.
        let intent = intend(&at(&format!("{name}/freezer.state")), &host).unwrap();
        let error = intent.create().unwrap_err().to_string();
        assert!(error.ends_with("freezer.state: file exists (EEXIST)"), "{error}");
        let CgroupMode::Legacy { hierarchies, .. } = &host.cgroup else { continue };
        assert!(hierarchies.iter().all(|h| !host.cgroup_root.join(h).join(&name).exists()));
    }
}

#[test]
fn no_cgroups_matter_only_when_asked_for() {
    let host = Host { uid: 1000, gid: 1000, cgroup: CgroupMode::None, ..Host::example() };
    let default = Cgroup { place: Place::Default, ..at("demo") };
    let created = made(&default, &host);
    assert!(created.record().is_none() && created.into_fd().is_none());
    assert_eq!(created.notes(), ["no cgroup: no cgroup filesystem is mounted"]);
    created.record().remove().unwrap();
    assert!(create(&at("demo"), &host).is_err());
    assert!(create(&Cgroup { manager: Manager::Disabled, ..at("demo") }, &host).unwrap().record().is_none());
}
