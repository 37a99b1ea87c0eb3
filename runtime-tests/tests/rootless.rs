//! The runtime in the hands of an ordinary user.

use runtime_tests::host_mounts::in_own_mounts;
use runtime_tests::unprivileged::{self, USER};
use runtime_tests::{Case, json, needs, needs_machine};
use std::path::Path;

fn case() -> Case {
    unprivileged::case(USER)
}

#[test]
fn hello() {
    let mut case = case();
    case.args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
    case.assert_nothing_left();
}

#[test]
fn root_inside_is_the_user_outside() {
    let mut case = case();
    let facts = case.facts(&["put:/data/made=x", "stat:/bin/busybox"]);
    assert_eq!(facts["uid"], json!([0, 0, 0, 0]));
    assert_eq!(facts["setgroups"], "deny\n");
    facts.expect(&[("put:/data/made=x", "ok")]);
    assert_eq!(facts.answer("stat:/bin/busybox")["uid"], 0);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(case.rootfs().join("data/made")).expect("stat").uid(), USER);
}

#[test]
fn a_whole_life() {
    let mut case = case();
    case.pause();
    let started = case.create_and_start();
    started.wait_for_line("ready");
    assert_eq!(case.status(), "running");
    case.kill("TERM").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn delete_by_force() {
    let mut case = case();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn devices_are_there() {
    let mut case = case();
    let facts =
        case.facts(&["write:/dev/null", "stat:/dev/zero", "open:/dev/urandom", "open:/dev/ptmx", "create:/dev/shm/x"]);
    facts.expect(&[
        ("write:/dev/null", "ok"),
        ("open:/dev/urandom", "ok"),
        ("open:/dev/ptmx", "ok"),
        ("create:/dev/shm/x", "ok"),
    ]);
    let zero = facts.answer("stat:/dev/zero");
    assert_eq!((&zero["type"], &zero["major"], &zero["minor"]), (&json!("char"), &json!(1), &json!(5)));
}

#[test]
fn binds_and_masks() {
    let mut case = case();
    let source = case.make_dir("source");
    case.make_file("source/file", "text");
    case.bind(&source, "/data", &["ro"]).mount("/tmp", "tmpfs", "tmpfs", &["size=1m"]);
    let facts =
        case.facts(&["read:/data/file", "create:/data/x", "create:/tmp/x", "read:/proc/keys", "list:/sys/firmware"]);
    facts.expect(&[
        ("read:/data/file", "text"),
        ("create:/data/x", "EROFS"),
        ("create:/tmp/x", "ok"),
        ("read:/proc/keys", ""),
    ]);
    assert_eq!(facts.answer("list:/sys/firmware"), &json!([]));
}

#[test]
fn a_read_only_root() {
    let mut case = case();
    case.set("/root/readonly", json!(true));
    case.facts(&["create:/x"]).expect(&[("create:/x", "EROFS")]);
}

/// CVE-2023-25809: the host's cgroups are writable through /sys.
#[test]
fn the_hosts_cgroups_are_read_only() {
    let mut case = case();
    // Writable for the user, as systemd delegates it; only the mount keeps the container from it.
    case.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let questions = ["", "unified/", "pids/", "memory/"].map(|c| format!("write:/sys/fs/cgroup/{c}cgroup.procs"));
    let facts = case.facts(&questions.each_ref().map(String::as_str));
    for question in &questions {
        let answer = facts.answer(question);
        assert!(answer == "EROFS" || answer == "ENOENT" || answer == "EACCES", "{question}: {answer}");
    }
}

#[test]
fn a_network_of_its_own() {
    let mut case = case();
    case.namespace("network");
    let facts = case.facts(&[]);
    assert_eq!(facts["interfaces"], json!(["lo"]));
    assert_eq!(facts["loopback_up"], true);
}

#[test]
fn groups_that_cannot_be_set_are_an_error() {
    let mut case = case();
    case.set("/process/user/additionalGids", json!([5]));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn a_user_namespace_is_needed() {
    let mut case = case();
    case.without_namespace("user").unset("/linux/uidMappings").unset("/linux/gidMappings");
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn mappings_of_other_ids_are_refused() {
    let mut case = case();
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn a_terminal() {
    use runtime_tests::console::{FdSocket, Terminal};
    let mut case = case();
    case.set("/process/terminal", json!(true)).script("echo over the terminal; sleep 1000");
    let socket = FdSocket::listen(case.path("console.sock"));
    std::os::unix::fs::chown(&socket.path, Some(USER), Some(USER)).expect("chown");
    let running = case.start_command(case.bundle_command("create", &["--console-socket", &socket.path]));
    let (_, mut fds) = socket.receive();
    running.finish().ok();
    case.start().ok();
    Terminal::new(fds.remove(0)).read_until("over the terminal\r\n");
}

#[test]
fn hooks_run_as_the_user() {
    let mut case = case();
    let log = case.path("log");
    let script = format!("id -u >{log}");
    case.set(
        "/hooks/createRuntime",
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]),
    );
    case.run().ok();
    assert_eq!(case.read("log"), format!("{USER}\n"));
}

fn has_newuidmap() -> bool {
    ["/usr/bin/newuidmap", "/etc/subuid", "/etc/subgid"].iter().all(|p| Path::new(p).exists())
}

/// A case of a user that the host knows, with ids of its own in /etc/subuid and /etc/subgid (bound over the host's).
fn many_ids() -> Case {
    const NOBODY: u32 = 65534;
    let mut case = unprivileged::case(NOBODY);
    for file in ["subuid", "subgid"] {
        let own = case.make_file(file, "nobody:300000:65536\n");
        case.host_bind(&own, &format!("/etc/{file}"));
    }
    let map = json!([
        { "containerID": 0, "hostID": NOBODY, "size": 1 },
        { "containerID": 1, "hostID": 300_000, "size": 65535 },
    ]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case
}

#[test]
fn many_ids_by_newuidmap() {
    needs_machine!(has_newuidmap(), "newuidmap is missing (apt-get install uidmap)");
    in_own_mounts(|| {
        let mut case = many_ids();
        case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let facts = case.facts(&[]);
        assert_eq!(facts["uid"], json!([1000, 1000, 1000, 1000]));
        assert!(facts["uid_map"].as_str().is_some_and(|m| m.contains("300000")));
    });
}

#[test]
fn groups_with_many_ids() {
    needs!(RootlessGroups);
    needs_machine!(has_newuidmap(), "newuidmap is missing (apt-get install uidmap)");
    in_own_mounts(|| {
        let mut case = many_ids();
        case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] }));
        assert_eq!(case.facts(&[])["groups"], json!([7]));
    });
}

#[test]
fn root_of_a_user_namespace_can_nest() {
    // As in a container of a container: root with all capabilities, but not in the initial namespace.
    let mut case = case();
    case.user = None;
    let run = case.bundle_command("run", &[]);
    let mut command = unprivileged::command("unshare".as_ref(), USER);
    command.args(["--map-root-user", "--mount", "--"]).arg(run.get_program()).args(run.get_args());
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    case.set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .args(&["/bin/echo", "nested"])
        .write_config();
    let out = case.finish(command);
    case.user = Some(USER);
    assert_eq!(out.ok().stdout, "nested\n");
}

/// The volumes of a user are below the user's own directories.
#[test]
fn volumes_of_a_user() {
    needs!(Rvol);
    let mut case = case();
    let home = case.make_dir("home");
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).expect("chown");
    std::fs::write(case.rootfs().join("data/file"), "from the image\n").expect("write");
    std::os::unix::fs::chown(case.rootfs().join("data/file"), Some(USER), Some(USER)).expect("chown");
    case.script("cat /data/file; echo more >>/data/file; touch /anonymous/x");
    case.write_config();
    let id = case.id.clone();
    let bundle = case.path("bundle");
    let invoke = |words: &[&str]| {
        let mut command = case.command();
        command.env_remove("RVOL_VOLUME_ROOT").env("XDG_DATA_HOME", &home).args(words);
        case.finish(command).ok().stdout
    };
    let run = ["run", "--bundle", &bundle, "-v", "data:/data", "-v", "/anonymous", &id];
    assert_eq!(invoke(&run), "from the image\n");
    assert_eq!(invoke(&run), "from the image\nmore\n");
    assert_eq!(invoke(&["volume", "ls", "-q"]), "data\n");
    let data = Path::new(&home).join("rvol-runc/volumes/data/_data");
    assert_eq!(invoke(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]), format!("{}\n", data.display()));
    assert_eq!(std::fs::read_to_string(data.join("file")).expect("read"), "from the image\nmore\nmore\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(data.join("file")).expect("stat").uid(), USER);
    // Archives too: what the user cannot give away stays the user's.
    let archive = Path::new(&home).join("a.tar").to_string_lossy().into_owned();
    invoke(&["volume", "export", "data", "-o", &archive]);
    invoke(&["volume", "import", "copy", &archive]);
    invoke(&["volume", "clone", "data", "clone"]);
    assert_eq!(invoke(&["volume", "ls", "-q"]), "clone\ncopy\ndata\n");
    invoke(&["volume", "prune", "-af"]);
    assert_eq!(invoke(&["volume", "ls", "-q"]), "");
}
