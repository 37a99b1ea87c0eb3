//! `exec` as engines call it: what is executed, how it ends, pid files, detaching, terminals, errors.

use nix::pty::openpty;
use nix::sys::signal::Signal;
use runtime_tests::console::{FdSocket, Terminal};
use runtime_tests::{Case, Facts, json, leaks, needs, waiting};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

fn started() -> Case {
    let mut case = Case::new();
    case.started();
    case
}

#[test]
fn the_exit_code_is_that_of_the_process() {
    let case = started();
    assert_eq!(case.exec(&["/bin/true"]).ok().code(), 0);
    assert_eq!(case.exec(&["sh", "-c", "exit 7"]).code(), 7);
    assert_eq!(case.exec(&["sh", "-c", "kill -9 $$"]).code(), 137);
    assert_eq!(case.exec(&["sh", "-c", "kill -TERM $$"]).code(), 143);
}

#[test]
fn flags_after_the_container_are_the_programs() {
    let case = started();
    let out = case.exec(&["/bin/probe", "echo", "--env", "A=1", "-t", "--", "--no-such-flag"]).ok();
    assert_eq!(out.stdout, "--env A=1 -t -- --no-such-flag\n");
}

#[test]
fn it_is_in_the_containers_namespaces_and_cgroup() {
    let mut case = Case::new();
    case.namespace("cgroup");
    case.started();
    let facts = case.exec_facts(&[], &["read:/proc/1/cgroup"]);
    for kind in ["mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        let file = format!("/proc/{}/ns/{kind}", case.pid());
        assert_eq!(facts.namespace(kind), fs::read_link(file).expect("read").to_string_lossy(), "{kind}");
    }
    assert_eq!(facts["hostname"], "box");
    assert_eq!(facts.answer("read:/proc/1/cgroup"), &facts["cgroup"]);
    assert_eq!(facts["ppid"], 0, "its parent is outside");
    assert_eq!(facts["sid"], facts["pid"], "a session of its own");
}

#[test]
fn standard_streams_are_the_callers() {
    let case = started();
    let mut command = case.exec_command(&[], &["/bin/cat"]);
    command.stdin(fs::File::open(case.make_file("in", "a line\n")).expect("open"));
    assert_eq!(case.finish(command).ok().stdout, "a line\n");
}

#[test]
fn detached_with_a_pid_file() {
    let case = started();
    let pid_file = case.path("pid");
    let process = json!({ "args": ["/bin/sh", "-c", "touch /data/ran; exec sleep 1000"] });
    case.exec_process(process, &["--detach", "--pid-file", &pid_file]).ok();
    let pid: i32 = case.read("pid").parse().expect("a number alone");
    assert!(leaks::alive(pid));
    let ran = case.rootfs().join("data/ran");
    assert!(waiting::until(Duration::from_secs(10), || ran.exists().then_some(())).is_some());
    let state = case.state();
    assert_ne!(state["pid"], pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    assert_eq!(case.status(), "running");
}

#[test]
fn detached_and_executed_when_it_returns() {
    let case = started();
    let pid_file = case.path("pid");
    for _ in 0..10 {
        case.exec_process(json!({ "args": ["/bin/sleep", "1000"] }), &["-d", "--pid-file", &pid_file]).ok();
        let pid = case.read("pid");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives"), "sleep\n");
    }
}

#[test]
fn a_pidfd_over_the_pidfd_socket() {
    needs!(PidfdSocket);
    let case = started();
    let socket = FdSocket::listen(case.path("pidfd.sock"));
    let pid_file = case.path("pid");
    let flags = ["--detach", "--pid-file", &pid_file, "--pidfd-socket", &socket.path];
    let running = case.start_command(case.exec_command(&flags, &["/bin/sleep", "1000"]));
    let (_, fds) = socket.receive();
    running.finish().ok();
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]));
    let info = fs::read_to_string(info).expect("read");
    assert!(info.lines().any(|l| l == format!("Pid:\t{}", case.read("pid"))), "{info}");
}

#[test]
fn a_pid_file_that_cannot_be_written_ends_the_process() {
    let case = started();
    let pid_file = case.path("no/such/directory");
    case.exec_with(&["--detach", "--pid-file", &pid_file], &["/bin/sleep", "4711"]).fails();
    let left = leaks::processes(&case.token);
    assert!(!left.iter().any(|(_, line)| line.contains("4711")), "{left:?}");
}

// --- terminals

#[test]
fn a_terminal_over_the_console_socket() {
    let case = started();
    let socket = FdSocket::listen(case.path("console.sock"));
    let script = "stty size; read line; echo \"got $line\"; readlink /proc/self/fd/0; echo t >/dev/tty; sleep 1000";
    let process = json!({
        "args": ["/bin/sh", "-c", script], "terminal": true, "consoleSize": { "height": 33, "width": 111 },
        "user": { "uid": 1000, "gid": 1000 },
    });
    let file = case.process_file(process);
    // As Podman has it: --tty beside the file.
    let flags = ["--detach", "--tty", "--console-socket", &socket.path, "--process", &file];
    let running = case.start_command(case.exec_command(&flags, &[]));
    let (_, mut fds) = socket.receive();
    running.finish().ok();
    let mut terminal = Terminal::new(fds.remove(0));
    terminal.read_until("33 111\r\n");
    terminal.type_in("words\n");
    terminal.read_until("got words\r\n");
    terminal.read_until("/dev/pts/0\r\n");
    terminal.read_until("t\r\n");
    terminal.type_in("\x03");
}

#[test]
fn the_callers_terminal() {
    let case = started();
    let pty = openpty(Some(&nix::pty::Winsize { ws_row: 20, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 }), None);
    let pty = pty.expect("openpty");
    let mut command = case.exec_command(&["--tty"], &["sh", "-c", "stty size; read line; echo \"got $line\"; exit 5"]);
    let slave = || Stdio::from(pty.slave.try_clone().expect("dup"));
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let mut child = command.spawn().expect("start");
    drop(command);
    let mut terminal = Terminal::new(pty.master);
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        // Peers set the size while the program runs already.
        terminal.read_until("20 77\r\n");
    }
    terminal.type_in("words\n");
    terminal.read_until("got words\r\n");
    assert_eq!(child.wait().expect("wait").code(), Some(5));
}

#[test]
fn terminals_that_nobody_holds() {
    let case = started();
    case.exec_with(&["--tty", "--detach"], &["/bin/true"]).fails().says("console socket");
    let socket = FdSocket::listen(case.path("console.sock"));
    for flags in [&["--detach", "--console-socket", &socket.path][..], &["--tty", "--console-socket", &socket.path]] {
        case.exec_with(flags, &["/bin/true"]).fails().says("console socket");
    }
}

#[test]
fn signals_are_passed_on() {
    let case = started();
    let running = case.start_command(case.exec_command(&[], &["/bin/probe", "pause"]));
    running.wait_for_line("ready");
    running.signal(Signal::SIGUSR1);
    running.wait_for_line("signal 10");
    running.signal(Signal::SIGINT);
    assert_eq!(running.finish().code(), 3);
    assert_eq!(case.status(), "running");
}

// --- errors

#[test]
fn errors_have_the_words_that_engines_read() {
    let mut case = Case::new();
    fs::write(case.rootfs().join("etc/data"), "x").expect("write");
    case.started();
    let cases: [(&[&str], &str); 5] = [
        (&["nope"], "executable file not found in $PATH"),
        (&["/bin/nope"], "no such file or directory"),
        (&["/etc/data"], "permission denied"),
        (&["/etc/data/x"], "not a directory"),
        (&[""], "executable file not found in $PATH"),
    ];
    for (program, words) in cases {
        for detach in [&[][..], &["--detach"]] {
            let out = case.exec_with(detach, program).fails().says(words).says("exec failed");
            assert_eq!(out.code(), 255, "{out}");
        }
    }
    let out = case.exec_with(&["--cwd", "/nope"], &["/bin/true"]).fails().says("no such file or directory");
    assert_eq!(out.code(), 255);
}

#[test]
fn without_a_program() {
    let case = started();
    assert_eq!(case.exec(&[]).fails().says("args cannot be empty").code(), 255);
}

#[test]
fn a_stopped_container() {
    let mut case = Case::new();
    case.args(&["/bin/true"]).create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    assert_eq!(case.exec(&["/bin/true"]).fails().says("cannot exec in a stopped container").code(), 255);
    let out = case.invoke(&["exec", "no-such-container", "/bin/true"]).fails().says("container does not exist");
    assert_eq!(out.code(), 255);
}

#[test]
fn a_created_container() {
    let mut case = Case::new();
    case.pause().create().ok();
    assert_eq!(case.exec(&["/bin/probe", "echo", "here"]).ok().stdout, "here\n");
    case.start().ok();
    assert_eq!(case.exec(&["/bin/probe", "echo", "here"]).ok().stdout, "here\n");
}

#[test]
fn faults_of_a_process_file_are_named_by_their_places() {
    needs!(Rvol);
    let case = started();
    let process = json!({ "args": [], "cwd": "x", "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 2, "hard": 1 }] });
    let out = case.exec_process(process, &[]).fails();
    assert_eq!(out.code(), 255);
    let out = out.says("process.args: ").says("process.cwd: ").says("process.rlimits[0].soft: ");
    out.says("the file has 3 faults");
    let file = case.make_file("bad.json", "{");
    case.exec_with(&["--process", &file], &[]).fails().says("bad.json").says("parse");
    case.exec_with(&["--process", &case.path("missing")], &[]).fails().says("no such file or directory");
}

#[test]
fn a_file_and_flags_that_contradict_it() {
    needs!(Rvol);
    let case = started();
    let file = case.process_file(json!({}));
    for flag in [["--env", "A=1"], ["--user", "1"], ["--cwd", "/"], ["--cap", "CAP_KILL"]] {
        case.exec_with(&[&["--process", &file], &flag[..]].concat(), &[]).fails().says("contradicts --process");
    }
    case.exec_with(&["--process", &file], &["/bin/true"]).fails().says("unexpected argument");
}

#[test]
fn changes_of_the_config_after_create_have_no_effect() {
    needs!(Rvol);
    let case = started();
    fs::remove_file(case.bundle().join("config.json")).expect("remove");
    let facts = Facts::of(&case.exec(&["/bin/probe", "facts"]).ok());
    assert_eq!(facts.env("TERM"), Some("xterm"));
}
