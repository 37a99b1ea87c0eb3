//! The container's cgroup from its making to its end, in whatever state it is found.

use runtime_tests::cgroups::{Hierarchy, Version, controller, hierarchies, unified};
use runtime_tests::features::skip;
use runtime_tests::leaks::cgroups;
use runtime_tests::{Case, Outcome, json, needs, needs_machine, waiting};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes a cgroup below another one that takes processes.
fn make_sub(hierarchy: &Hierarchy, parent: &Path, name: &str) -> PathBuf {
    let sub = parent.join(name);
    fs::create_dir(&sub).unwrap_or_else(|e| panic!("make {}: {e}", sub.display()));
    if hierarchy.controllers.iter().any(|c| c == "cpuset") && hierarchy.version == Version::V1 {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = fs::read_to_string(parent.join(file)).unwrap();
            fs::write(sub.join(file), value).unwrap();
        }
    }
    sub
}

#[test]
fn the_cgroup_is_made_with_its_parents_and_goes_with_them() {
    needs!(Rvol);
    let mut case = Case::new();
    let path = format!("/{}/a/b", case.token);
    case.set("/linux/cgroupsPath", json!(path)).pause().create().ok();
    for hierarchy in hierarchies() {
        assert_eq!(hierarchy.of(case.pid()), hierarchy.root.join(&path[1..]));
    }
    case.delete_force().ok();
    assert_eq!(cgroups(&case.token), [] as [PathBuf; 0]);
}

#[test]
fn a_parent_that_was_there_stays() {
    needs!(Rvol);
    let Some(hierarchy) = hierarchies().first() else { return skip("no cgroups") };
    let mut case = Case::new();
    let parent = hierarchy.root.join(&case.token);
    fs::create_dir(&parent).unwrap();
    case.set("/linux/cgroupsPath", json!(format!("/{}/c", case.token))).create().ok();
    case.delete_force().ok();
    let left = cgroups(&case.token);
    fs::remove_dir(&parent).unwrap();
    assert_eq!(left, [parent]);
}

/// Two containers of one pod; the names to delete them by, who made the pod's cgroup first.
fn pod(case: &mut Case) -> [String; 2] {
    let other = format!("d-{}", case.token);
    case.also_delete(&other);
    case.set("/linux/cgroupsPath", json!(format!("/{}/pod/one", case.token))).pause().create().ok();
    case.set("/linux/cgroupsPath", json!(format!("/{}/pod/two", case.token))).write_config();
    case.invoke(&["create", "--bundle", case.bundle().to_str().unwrap(), &other]).ok();
    [case.id.clone(), other]
}

#[test]
fn who_leaves_last_takes_the_parents_away() {
    needs!(Rvol);
    for last in [0, 1] {
        let mut case = Case::new();
        let containers = pod(&mut case);
        let pods: Vec<PathBuf> = hierarchies().iter().map(|h| h.root.join(&case.token).join("pod")).collect();
        case.invoke(&["delete", "--force", &containers[1 - last]]).ok();
        let [gone, there] = if last == 0 { ["two", "one"] } else { ["one", "two"] };
        assert!(pods.iter().all(|p| p.join(there).exists() && !p.join(gone).exists()));
        case.invoke(&["delete", "--force", &containers[last]]).ok();
        case.assert_nothing_left();
    }
}

#[test]
fn a_pods_containers_come_and_go_at_one_moment() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/cgroupsPath", json!(format!("/{}/pod/x", case.token))).write_config();
    let config = fs::read_to_string(case.bundle().join("config.json")).unwrap();
    let ids = ["p0", "p1"].map(|name| format!("{name}-{}", case.token));
    for id in &ids {
        case.also_delete(id);
        let bundle = case.bundle().join(id);
        fs::create_dir(&bundle).unwrap();
        let rootfs = format!("{:?}", case.bundle().join("rootfs"));
        let config = config.replace("\"rootfs\"", &rootfs).replace("/pod/x", &format!("/pod/{id}"));
        fs::write(bundle.join("config.json"), config).unwrap();
    }
    let start = |words: &[&str]| {
        let mut command = case.command();
        command.args(words);
        case.start_command(command)
    };
    let create = |id: &str| start(&["create", "--bundle", case.bundle().join(id).to_str().unwrap(), id]);
    create(&ids[0]).finish().ok();
    for round in 0..40 {
        // The one leaves, and takes the pod's cgroup away if it is quick; the other comes.
        let (leaves, comes) = (&ids[round % 2], &ids[1 - round % 2]);
        let both = [start(&["delete", "--force", leaves]), create(comes)];
        for command in both {
            command.finish().ok();
        }
    }
    case.invoke(&["delete", "--force", &ids[0]]).ok();
    case.assert_nothing_left();
}

#[test]
fn a_cgroup_in_use_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    let other = format!("d-{}", case.token);
    case.also_delete(&other);
    let bundle = case.bundle();
    let outcome = case.invoke(&["create", "--bundle", bundle.to_str().unwrap(), &other]).fails();
    assert!(outcome.stderr.contains("is in use by"), "{outcome}");
    // The first one has not lost anything.
    case.start().ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn a_frozen_cgroup_is_refused_and_a_frozen_container_deleted() {
    needs!(Rvol);
    let freezer = controller("freezer").filter(|h| h.version == Version::V1);
    let Some(hierarchy) = freezer.or_else(unified) else { return skip("no freezer") };
    let (file, frozen) = match hierarchy.version {
        Version::V1 => ("freezer.state", "FROZEN"),
        Version::V2 => ("cgroup.freeze", "1"),
    };
    let mut case = Case::new();
    let directory = hierarchy.root.join(&case.token);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(file), frozen).unwrap();
    if hierarchy.version == Version::V1 {
        case.create().fails().says("is frozen");
    }
    fs::remove_dir(&directory).unwrap();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    fs::write(directory.join(file), frozen).unwrap();
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn what_the_container_made_below_goes_too() {
    needs!(Rvol);
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let first = case.pid();
    let others: Vec<i32> = case.pids().into_iter().filter(|pid| *pid != first).collect();
    for hierarchy in hierarchies() {
        let top = hierarchy.of(first);
        let mut deepest = top.clone();
        for level in 0..5 {
            deepest = make_sub(hierarchy, &deepest, &format!("level{level}"));
            make_sub(hierarchy, &top, &format!("beside{level}"));
        }
        // Some in the deepest one, some beside.
        fs::write(deepest.join("cgroup.procs"), others[0].to_string()).unwrap();
        fs::write(top.join("beside0/cgroup.procs"), others[1].to_string()).unwrap();
    }
    assert_eq!(case.pids().len(), 3);
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn cgroups_made_by_the_container_itself_go_too() {
    needs!(Rvol);
    let Some(hierarchy) = controller("pids").or_else(unified) else { return skip("no hierarchy to write to") };
    let name = hierarchy.root.strip_prefix("/sys/fs/cgroup").unwrap().display().to_string();
    let mut case = Case::new();
    case.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev"]);
    case.script(&format!(
        "cd /sys/fs/cgroup/{name} && mkdir -p mine/deeper; sleep 1000 &
         echo $! > mine/deeper/cgroup.procs && echo made; exec probe pause"
    ));
    let started = case.create_and_start();
    started.wait_for_line("ready");
    assert!(started.output().contains("made"), "{}", started.output());
    assert!(hierarchy.root.join(&case.token).join("mine/deeper").exists());
    assert_eq!(case.pids().len(), 2);
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn a_frozen_cgroup_below_is_no_obstacle() {
    needs!(Rvol);
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let first = case.pid();
    let other = *case.pids().iter().find(|pid| **pid != first).unwrap();
    let mut frozen = 0;
    for hierarchy in [controller("freezer").filter(|h| h.version == Version::V1), unified()].into_iter().flatten() {
        let sub = make_sub(hierarchy, &hierarchy.of(first), "frozen");
        fs::write(sub.join("cgroup.procs"), other.to_string()).unwrap();
        let (file, value) = match hierarchy.version {
            Version::V1 => ("freezer.state", "FROZEN"),
            Version::V2 => ("cgroup.freeze", "1"),
        };
        fs::write(sub.join(file), value).unwrap();
        frozen += 1;
    }
    needs_machine!(frozen > 0, "no freezer");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn a_vanished_cgroup_is_no_obstacle() {
    needs!(Rvol);
    let case = Case::new();
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    for directory in cgroups(&case.token) {
        fs::remove_dir(&directory).unwrap();
    }
    case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn processes_that_came_from_outside_go_too() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    // As `docker exec` by a runtime of another make, or an administrator.
    let mut outsider = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    for hierarchy in hierarchies() {
        fs::write(hierarchy.of(case.pid()).join("cgroup.procs"), outsider.id().to_string()).unwrap();
    }
    assert!(case.pids().contains(&(outsider.id() as i32)));
    let id = case.id.clone();
    let mut delete = case.command();
    delete.args(["delete", "--force", &id]);
    let running = case.start_command(delete);
    let ended = waiting::until(Duration::from_secs(20), || outsider.try_wait().unwrap());
    assert!(ended.is_some(), "the outsider lives on");
    running.finish().ok();
    case.assert_nothing_left();
}

#[test]
fn a_failing_create_leaves_no_cgroup() {
    needs!(Rvol);
    let broken: [(&str, runtime_tests::Value); 3] = [
        ("/linux/resources/cpu/cpus", json!("0-4000")),
        ("/process/args/0", json!("/no/such/program")),
        ("/root/path", json!("no-such-directory")),
    ];
    for (pointer, value) in broken {
        let mut case = Case::new();
        case.set("/linux/cgroupsPath", json!(format!("/{}/deep/er", case.token)));
        case.set(pointer, value).create().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn a_killed_create_is_cleaned_by_delete() {
    needs!(SurvivesKill);
    let mut case = Case::new();
    let hold = case.path("hold");
    nix::unistd::mkfifo(Path::new(&hold), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // A hook that never ends holds create where its cgroup is made and its process is in it.
    let script = case.make_script("hook", &format!("echo reached > {}; read line < {hold}", case.path("reached")));
    case.set("/hooks/createRuntime", json!([{ "path": script }]));
    case.set("/linux/cgroupsPath", json!(format!("/{}/deep/er", case.token))).pause();
    let running = case.start_command(case.bundle_command("create", &[]));
    assert!(waiting::until(Duration::from_secs(20), || (!case.read("reached").is_empty()).then_some(())).is_some());
    assert!(!cgroups(&case.token).is_empty());
    running.signal(nix::sys::signal::SIGKILL);
    running.finish();
    case.delete_force().ok();
    // The hook is the test's own.
    let _ = fs::OpenOptions::new().write(true).custom_flags_nonblock().open(&hold);
    runtime_tests::leaks::clean(&case.token);
    case.assert_nothing_left();
}

trait NonBlock {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}

impl NonBlock for fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(libc::O_NONBLOCK)
    }
}

/// `create` where nobody makes a cgroup; the container is in the caller's.
fn create_without_a_cgroup(case: &Case) -> Outcome {
    case.write_config();
    let mut command = case.command();
    command.args(["--cgroup-manager=disabled", "create", "--bundle"]).arg(case.bundle()).arg(&case.id);
    let outcome = case.finish(command).ok();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{}/cgroup", case.pid())).unwrap(), own);
    outcome
}

#[test]
fn no_cgroup_where_none_is_wanted() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().unset("/linux/cgroupsPath");
    let outcome = create_without_a_cgroup(&case);
    assert_eq!(outcome.stderr, "", "no limit is asked for");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn who_disables_cgroups_has_disabled_limits() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().set("/linux/resources/pids/limit", json!(7));
    case.set("/linux/resources/cpu", json!({ "cpus": "0", "shares": 512 }));
    let stderr = create_without_a_cgroup(&case).stderr;
    let warning = "linux.resources: the limits are not applied (--cgroup-manager=disabled): cpu, pids";
    assert!(stderr.trim_end().ends_with(warning) && stderr.lines().count() == 1, "{stderr}");
}

/// As a host does that wants one hierarchy left alone.
#[test]
fn hierarchies_with_a_tmpfs_over_them_are_left_out() {
    for name in ["unified", "pids"] {
        let over = format!("/sys/fs/cgroup/{name}");
        if !std::path::Path::new(&over).is_dir() {
            skip(&format!("there is no {over}"));
            continue;
        }
        runtime_tests::host_mounts::in_own_mounts(|| {
            let mut case = Case::new();
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("test"), over.as_str(), Some("tmpfs"), flags, None::<&str>).expect("mount a tmpfs");
            case.args(&["/bin/true"]).run().ok();
            assert_eq!(std::fs::read_dir(&over).expect("list").count(), 0, "{over}");
        });
    }
}
