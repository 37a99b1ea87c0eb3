//! Which fds the container's process has.

use runtime_tests::console::FdSocket;
use runtime_tests::{Case, Facts, command, needs};
use std::path::Path;

/// Runs the case's probe from a shell that redirects first, so that the runtime inherits fds.
#[track_caller]
fn facts_with(case: &mut Case, redirections: &str, flags: &[&str]) -> Facts {
    case.args(&["/bin/probe", "facts"]);
    let run = case.bundle_command("run", flags);
    let mut command = command::quiet(Path::new("/bin/bash"));
    command
        .arg("-c")
        .arg(format!("exec \"$@\" {redirections}"))
        .arg("bash")
        .arg(run.get_program())
        .args(run.get_args());
    Facts::of(&case.finish(command).ok())
}

#[test]
fn only_stdio() {
    let mut case = Case::new();
    assert_eq!(case.facts(&[]).fds(), [0, 1, 2]);
}

#[test]
fn nothing_of_the_caller_leaks() {
    let mut case = Case::new();
    let facts = facts_with(&mut case, "3</etc/passwd 7</ 9</proc 200</etc", &[]);
    assert_eq!(facts.fds(), [0, 1, 2]);
}

#[test]
fn nothing_leaks_through_create_and_start() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let create = case.bundle_command("create", &[]);
    let mut command = command::quiet(Path::new("/bin/bash"));
    command.args(["-c", "exec \"$@\" 5</ 6</etc/passwd", "bash"]).arg(create.get_program()).args(create.get_args());
    case.finish(command).ok();
    let start = case.command();
    let mut command = command::quiet(Path::new("/bin/bash"));
    command.args(["-c", "exec \"$@\" 5</ 6</etc/passwd", "bash"]).arg(start.get_program()).args(start.get_args());
    command.args(["start", &case.id]);
    case.finish(command).ok();
    case.wait_for_status("stopped");
    let out = case.read("command0.out");
    let facts: serde_json::Value = serde_json::from_str(&out).expect("facts");
    assert_eq!(Facts(facts).fds(), [0, 1, 2]);
}

#[test]
fn preserved_fds() {
    let mut case = Case::new();
    let file = case.make_file("file", "");
    let redirections = format!("3<{file} 4</etc/passwd 5</");
    let facts = facts_with(&mut case, &redirections, &["--preserve-fds", "2"]);
    assert_eq!(facts.fds(), [0, 1, 2, 3, 4]);
    assert_eq!(facts["fds"]["3"], file.as_str());
}

#[test]
fn preserved_fds_of_a_created_container() {
    let mut case = Case::new();
    case.script("cat <&3");
    let file = case.make_file("file", "preserved");
    let create = case.bundle_command("create", &["--preserve-fds", "1"]);
    let mut command = command::quiet(Path::new("/bin/bash"));
    command
        .arg("-c")
        .arg(format!("exec \"$@\" 3<{file}"))
        .arg("bash")
        .arg(create.get_program())
        .args(create.get_args());
    case.finish(command).ok();
    case.start().ok();
    case.wait_for_status("stopped");
    assert_eq!(case.read("command0.out"), "preserved");
}

#[test]
fn fds_that_are_not_open_cannot_be_preserved() {
    let case = Case::new();
    case.run_with(&["--preserve-fds", "5"]).fails();
    case.run_with(&["--preserve-fds", "banana"]).fails();
    case.assert_nothing_left();
}

#[test]
fn closed_stdio() {
    // An fd of the runtime must not take the place of a missing 0, 1 or 2 and end up in the container.
    let mut case = Case::new();
    case.args(&["/bin/sh", "-c", "ls -l /proc/self/fd >/data/fds; true"]);
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let run = case.bundle_command("run", &[]);
        let mut command = command::quiet(Path::new("/bin/bash"));
        command.arg("-c").arg(format!("exec \"$@\" {closed}")).arg("bash").arg(run.get_program()).args(run.get_args());
        let out = case.finish(command);
        if out.succeeded() {
            let fds = std::fs::read_to_string(case.rootfs().join("data/fds")).expect("read");
            for name in ["state", "rootfs", "config.json", "cgroup", "socket:", "memfd"] {
                assert!(!fds.contains(name), "{closed}: {fds}");
            }
        }
        case.assert_nothing_left();
    }
}

#[test]
fn the_pidfd_socket() {
    needs!(PidfdSocket);
    let mut case = Case::new();
    case.pause();
    let socket = FdSocket::listen(case.path("pidfd.sock"));
    let running = case.start_command(case.bundle_command("create", &["--pidfd-socket", &socket.path]));
    let (_, fds) = socket.receive();
    running.finish().ok();
    assert_eq!(fds.len(), 1);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&fds[0]);
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("read fdinfo");
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid:\t")).expect("it is a pidfd");
    assert_eq!(pid, case.pid().to_string());
}

#[test]
fn a_missing_pidfd_socket_is_an_error() {
    needs!(PidfdSocket);
    let mut case = Case::new();
    let path = case.path("nobody-listens");
    case.pause().create_with(&["--pidfd-socket", &path]).fails();
    case.assert_nothing_left();
}

/// The null device of the container in place of the host's: what is on none of its mounts has no name there.
#[test]
fn the_null_device_is_the_containers() {
    let mut case = Case::new();
    let on_a_mount = |facts: &Facts| {
        let info = facts.answer("read:/proc/self/fdinfo/0").as_str().expect("text").to_owned();
        let id = info.lines().find_map(|l| l.strip_prefix("mnt_id:")).expect("a mount").trim().to_owned();
        let mounts = facts["mounts"].as_array().expect("mounts").clone();
        mounts.iter().any(|m| m["id"] == id.as_str())
    };
    let facts = case.facts(&["read:/proc/self/fdinfo/0", "link:/proc/self/fd/0"]);
    assert!(on_a_mount(&facts), "{facts:?}");
    facts.expect(&[("link:/proc/self/fd/0", "/dev/null")]);
    case.started();
    assert!(on_a_mount(&case.exec_facts(&[], &["read:/proc/self/fdinfo/0"])));
}

/// CVE-2026-88265: what is in its place is neither opened for writing nor given away.
#[test]
fn a_trap_in_place_of_the_null_device() {
    let mut case = Case::new();
    let file = case.make_file("victim", "content");
    case.bind(&file, "/victim", &[]).args(&["/bin/true"]);
    case.started();
    case.exec(&["rm", "/dev/null"]).ok();
    case.exec(&["ln", "-s", "/victim", "/dev/null"]).ok();
    let facts = case.exec_facts(&["--user", "1000:1000"], &["link:/proc/self/fd/0"]);
    facts.expect(&[("link:/proc/self/fd/0", "/dev/null")]);
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(&file).expect("stat");
    assert_eq!((data.uid(), std::fs::read_to_string(&file).expect("read")), (0, "content".to_owned()));
}
