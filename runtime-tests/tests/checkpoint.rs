//! `checkpoint` and `restore`, with a criu that can dump on this machine.

use nix::sys::signal::Signal;
use runtime_tests::checkpoints::{
    COUNT, LONG, checkpoint, count, counting, counts_beyond, invoke, restore, restore_command, running, start,
    start_counting,
};
use runtime_tests::console::{FdSocket, Terminal};
use runtime_tests::{Case, json, leaks, machine, needs, needs_criu, needs_machine, waiting};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

#[test]
fn a_container_goes_on_where_it_was() {
    let path = needs_criu!();
    let mut case = counting();
    let readonly = case.make_dir("readonly");
    case.make_file("readonly/file", "of the host\n");
    case.bind(&readonly, "/readonly", &["ro"]);
    case.mount("/scratch", "tmpfs", "tmpfs", &["size=1m", "mode=1755"]);
    case.set("/linux/resources", json!({ "pids": { "limit": 77 } }));
    case.script(&format!("echo in memory > /scratch/file; {COUNT}"));
    start(&case, &[]);
    counts_beyond(&case, 5);
    let mounts_of = |pid: i32| -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("the mounts");
        // Mount points and flags; ids are others.
        table.lines().map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let before = mounts_of(case.pid());

    checkpoint(&case, path, &[]).ok();
    assert_eq!(fs::metadata(case.path("image")).expect("the image").permissions().mode() & 0o077, 0);
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    assert!(leaks::processes(&case.token).is_empty(), "{:?}", leaks::processes(&case.token));
    let stood = count(&case);
    fs::remove_file(case.path("shared/count")).expect("the host goes on");

    restore(&case, path, &["--pid-file", &case.path("pid")]).ok();
    counts_beyond(&case, stood);
    assert!(count(&case) < stood + 1000, "it began anew or jumped");
    assert_eq!(case.status(), "running");
    assert_eq!(case.read("pid"), case.pid().to_string());
    let mut after = mounts_of(case.pid());
    after.sort();
    let mut sorted = before;
    sorted.sort();
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        assert_eq!(after, sorted);
    }
    let seen = case.exec(&[
        "/bin/sh",
        "-c",
        "cat /scratch/file /readonly/file; touch /readonly/x; cat /proc/keys; ls /sys/firmware",
    ]);
    assert_eq!(seen.stdout, "in memory\nof the host\n");
    assert!(seen.stderr.contains("Read-only file system"), "{seen}");
    // The same cgroup with its limit, and the runtime finds all processes in it.
    assert!(case.pids().contains(&case.pid()));
    let limits: Vec<String> = leaks::cgroups(&case.token)
        .iter()
        .filter_map(|group| fs::read_to_string(group.join("pids.max")).ok())
        .collect();
    assert!(limits.is_empty() || limits == ["77\n"], "{limits:?}");
    assert!(case.invoke(&["list"]).ok().stdout.contains(&case.id));
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn a_container_left_running_goes_on_and_keeps_its_id() {
    let path = needs_criu!();
    let case = running();
    checkpoint(&case, path, &["--leave-running", "--work-path", &case.path("work")]).ok();
    assert!(case.dir.join("work/dump.log").exists(), "the log is where it was asked for");
    assert_eq!(case.status(), "running");
    counts_beyond(&case, count(&case));
    restore(&case, path, &[]).fails().says("exist");
    counts_beyond(&case, count(&case));
    // A second image over the first, of a container that is paused.
    case.invoke(&["pause", &case.id]).ok();
    checkpoint(&case, path, &["--leave-running"]).ok();
    assert_eq!(case.status(), "paused");
    case.invoke(&["resume", &case.id]).ok();
    counts_beyond(&case, count(&case));
    case.delete_force().ok();
}

#[test]
fn memory_can_be_dumped_before() {
    let path = needs_criu!();
    let case = running();
    let early = case.path("early");
    let dumped = invoke(&case, path, &["checkpoint", "--pre-dump", "--image-path", &early, &case.id]);
    if dumped.stderr.contains("cannot track memory") || dumped.stderr.contains("missing features") {
        runtime_tests::features::skip("the kernel cannot track memory");
        return;
    }
    dumped.ok();
    assert_eq!(case.status(), "running");
    counts_beyond(&case, count(&case));
    checkpoint(&case, path, &["--parent-path", &early]).fails().says("must be relative");
    checkpoint(&case, path, &["--parent-path", "../nothing"]).fails().says("invalid --parent-path");
    checkpoint(&case, path, &["--parent-path", "../early"]).ok();
    let stood = count(&case);
    restore(&case, path, &[]).ok();
    counts_beyond(&case, stood);
    case.delete_force().ok();
}

#[test]
fn a_terminal() {
    let path = needs_criu!();
    let mut case = Case::new();
    case.set("/process/terminal", json!(true)).script("while read line; do echo \"got $line\"; done");
    let open = |socket: FdSocket, command: Command| {
        let running = case.start_command(command);
        let (_, mut fds) = socket.receive();
        running.finish_within(LONG).ok();
        assert_eq!(fds.len(), 1, "one fd comes over the console socket");
        Terminal::new(fds.remove(0))
    };
    let socket = FdSocket::listen(case.path("first.sock"));
    let create = case.bundle_command("create", &["--console-socket", &socket.path]);
    let mut terminal = open(socket, create);
    case.start().ok();
    terminal.type_in("one\n");
    terminal.read_until("got one\r\n");
    checkpoint(&case, path, &[]).ok();
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        restore(&case, path, &[]).fails().says("--console-socket");
    }
    let socket = FdSocket::listen(case.path("second.sock"));
    let restore = restore_command(&case, path, &["--detach", "--console-socket", &socket.path]);
    let mut terminal = open(socket, restore);
    terminal.type_in("two\n");
    terminal.read_until("got two\r\n");
    case.delete_force().ok();
}

#[test]
fn in_the_foreground_with_the_callers_streams() {
    // runc dumps pipes and nothing else.
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    case.script("trap 'echo told; exit 7' USR1; echo first; i=0; while :; do i=$((i+1)); echo $i > /shared/count; sleep 0.05; done");
    // Its output goes to a file that the container cannot reach.
    let running = case.run_in_background(&["--keep"]);
    running.wait_for_line("first");
    counts_beyond(&case, 0);
    checkpoint(&case, path, &[]).ok();
    running.finish_within(LONG);
    let restored = case.start_command(restore_command(&case, path, &[]));
    counts_beyond(&case, count(&case));
    restored.signal(Signal::SIGUSR1);
    let outcome = restored.finish_within(LONG);
    assert_eq!(outcome.code(), 7, "{outcome}");
    assert!(outcome.stdout.contains("told"), "{outcome}");
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    case.assert_nothing_left();
}

#[test]
fn volumes_are_found_again() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    case.script(&format!("exec 9>>/named/log; echo before >&9; echo mine > /own/file; {COUNT}"));
    let flags = ["-v", "named:/named", "-v", "/own"];
    start_counting(&case, &flags);
    let names = case.volume_names();
    checkpoint(&case, path, &[]).ok();
    assert_eq!(case.volume_names(), names, "a checkpoint takes no volume away");
    assert_eq!(case.users("named"), [""; 0]);
    // What the image does not hold, and what is not the container's any more.
    fs::write(case.data("named").join("later"), "by the host\n").expect("write as the host");
    let stood = count(&case);
    restore(&case, path, &flags).ok();
    counts_beyond(&case, stood);
    assert_eq!(case.volume_names(), names, "the anonymous one is the same");
    assert_eq!(case.users("named"), [case.id.as_str()]);
    let seen = case.exec(&["/bin/sh", "-c", "cat /named/log /named/later /own/file; echo after > /named/after"]).ok();
    assert_eq!(seen.stdout, "before\nby the host\nmine\n");
    assert_eq!(case.read_data("named", "after"), "after\n");
    case.delete_force().ok();
    assert_eq!(case.users("named"), [""; 0]);
}

#[test]
fn a_failed_dump_lets_the_container_go_on() {
    let path = needs_criu!();
    let case = running();
    // Who is traced already cannot be by criu.
    let pid = case.pid().to_string();
    let trace = case.path("trace");
    let mut strace = Command::new("strace").args(["-qq", "-o", &trace, "-p", &pid]).spawn().expect("start strace");
    let traced = || fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|t| !t.contains("TracerPid:\t0"));
    let traced = waiting::until(LONG, || traced().then_some(()));
    let failed = checkpoint(&case, path, &[]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(strace.id() as i32), Signal::SIGINT).expect("end strace");
    strace.wait().expect("wait for strace");
    assert!(traced.is_some(), "strace has not begun");
    let failed = failed.fails().says("criu failed");
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        failed.says("Error (").says(&case.path("image/dump.log"));
    }
    assert_eq!(case.status(), "running");
    counts_beyond(&case, count(&case));
    checkpoint(&case, path, &[]).ok();
    // An image that lacks a file: nothing is left of the attempt, and a whole one is restored afterwards.
    let (core, aside) = (case.path("image/pstree.img"), case.path("pstree.img"));
    fs::rename(&core, &aside).expect("take a part of the image away");
    let refused = restore(&case, path, &[]).fails();
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        refused.says("criu failed").says("restore.log");
        case.invoke(&["state", &case.id]).fails().says("does not exist");
        assert!(leaks::cgroups(&case.token).is_empty());
        assert!(leaks::mounts(&case.token).is_empty());
        assert!(leaks::processes(&case.token).is_empty(), "{:?}", leaks::processes(&case.token));
    }
    fs::rename(&aside, &core).expect("give it back");
    let stood = count(&case);
    restore(&case, path, &[]).ok();
    counts_beyond(&case, stood);
    case.delete_force().ok();
}

#[test]
fn what_is_read_only_in_the_config_is_not_writable_by_the_image() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    // The state is behind a link, as below /var/run.
    fs::rename(case.state_root(), case.path("elsewhere")).expect("move the state");
    symlink(case.path("elsewhere"), case.state_root()).expect("link the state");
    let other = case.make_dir("other");
    case.bind(&other, "/other", &["rw"]);
    start_counting(&case, &[]);
    checkpoint(&case, path, &[]).ok();
    let index = case.config["mounts"].as_array().expect("mounts").len() - 1;
    case.set(&format!("/mounts/{index}/options"), json!(["bind", "ro"]));
    let pid_file = case.path("pid");
    restore(&case, path, &["--pid-file", &pid_file]).fails().says(&format!("mounts[{index}] /other: is read-only"));
    assert!(!fs::exists(&pid_file).expect("look"));
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    case.assert_nothing_left();
}

#[test]
fn a_network_of_another_and_hooks() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    let mut holder = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a process with a network of its own");
    let network = format!("/proc/{}/ns/net", holder.id());
    let own = fs::read_link("/proc/self/ns/net").expect("our network");
    waiting::until(LONG, || (fs::read_link(&network).ok()? != own).then_some(())).expect("another network");
    case.join_namespace("network", &network);
    let hook = case.make_script("hook", &format!("cat >> {}; echo >> {0}", case.path("hooks")));
    case.set("/hooks", json!({ "createRuntime": [{ "path": hook }], "poststop": [{ "path": hook }] }));
    start_counting(&case, &[]);
    checkpoint(&case, path, &[]).ok();
    let stood = count(&case);
    let restored = restore(&case, path, &[]);
    let joined = restored.succeeded().then(|| fs::read_link(format!("/proc/{}/ns/net", case.pid())));
    let expected = fs::read_link(&network);
    let _ = holder.kill();
    let _ = holder.wait();
    restored.ok();
    assert_eq!(joined.expect("restored").expect("its network"), expected.expect("the holder's network"));
    counts_beyond(&case, stood);
    case.delete_force().ok();
    let states = case.read("hooks");
    let seen: Vec<&str> = states
        .lines()
        .filter_map(|line| ["created", "stopped"].into_iter().find(|status| line.contains(&format!("\"{status}\""))))
        .collect();
    assert_eq!(seen, ["created", "stopped", "created", "stopped"], "{states}");
}

#[test]
fn in_a_unit_of_systemd_and_more_than_once() {
    needs_machine!(machine::has_systemd(), "systemd is not PID 1");
    let path = needs_criu!();
    let mut case = counting();
    case.global_flags = vec!["--systemd-cgroup"];
    case.set("/linux/cgroupsPath", json!(format!("system.slice:rvt:{}", case.token)));
    case.set("/linux/resources", json!({ "pids": { "limit": 99 } }));
    let unit = format!("rvt-{}.scope", case.token);
    let property = |name: &str| {
        let output = Command::new("systemctl").args(["show", "--value", "--property", name, &unit]).output();
        String::from_utf8_lossy(&output.expect("run systemctl").stdout).trim_end().to_owned()
    };
    start_counting(&case, &[]);
    for _ in 0..2 {
        checkpoint(&case, path, &[]).ok();
        assert_eq!(property("ActiveState"), "inactive", "the unit went with the container");
        let stood = count(&case);
        restore(&case, path, &[]).ok();
        counts_beyond(&case, stood);
        assert_eq!([property("ActiveState"), property("TasksMax")], ["active", "99"]);
        let group = fs::read_to_string(format!("/proc/{}/cgroup", case.pid())).expect("its cgroup");
        assert!(group.contains(&unit), "{group}");
    }
    case.delete_force().ok();
    assert_eq!(property("ActiveState"), "inactive");
}

#[test]
fn without_criu_one_line_says_what_to_do() {
    needs!(Rvol);
    let mut case = Case::new();
    let nowhere = case.make_dir("nowhere");
    let image = case.path("image");
    case.started();
    let outcome = invoke(&case, nowhere.as_ref(), &["checkpoint", "--image-path", &image, &case.id]).fails();
    assert!(outcome.stderr.contains("criu: not found in PATH: install criu"), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(!fs::exists(&image).expect("look"), "nothing is made");
    assert_eq!(case.status(), "running");
    let other = case.other_id("restored");
    let bundle = case.bundle();
    let words = ["restore", "--bundle", bundle.to_str().expect("UTF-8"), "--image-path", &image, &other];
    invoke(&case, nowhere.as_ref(), &words).fails().says("criu: not found in PATH");
    case.make_script("nowhere/criu", "exit 3");
    invoke(&case, nowhere.as_ref(), &["checkpoint", &case.id]).fails().says("ask criu for its version");
}

#[test]
fn only_what_runs_can_be_dumped() {
    let mut case = Case::new();
    case.invoke(&["checkpoint", &case.id]).fails().says("does not exist");
    case.pause().create().ok();
    case.invoke(&["checkpoint", &case.id]).fails().says("created state");
    case.start().ok();
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.invoke(&["checkpoint", &case.id]).fails().says("stopped state");
}

#[test]
fn what_could_not_be_restored_is_not_dumped() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = Case::new();
    case.user_namespace(200_000, 65536);
    case.started();
    checkpoint(&case, path, &[]).fails().says("a container in a user namespace cannot be checkpointed");
    assert_eq!(case.status(), "running");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    needs!(Rvol);
    let case = Case::new();
    for (flags, text) in [
        (&["--manage-cgroups-mode", "banana"][..], "is not one of soft, full, strict, ignore"),
        (&["--empty-ns", "pid"], "is not supported"),
        (&["--page-server", "host"], "ADDRESS:PORT"),
        (&["--status-fd", "x"], "is not the number of a descriptor"),
        (&["--status-fd", "9"], "needs --lazy-pages"),
        (&["--banana"], "banana"),
    ] {
        case.invoke(&[&["checkpoint"], flags, &[&case.id]].concat()).fails().says(text);
    }
    case.invoke(&["restore", "--console-socket", "x", &case.id]).fails().says("needs --detach");
}
