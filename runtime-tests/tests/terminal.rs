//! `process.terminal`, `consoleSize`, the console socket, and the foreground terminal of `run`.

use nix::pty::openpty;
use runtime_tests::console::{FdSocket, Terminal};
use runtime_tests::{Case, json, needs};
use std::process::Stdio;

/// A created container with a terminal, and the terminal.
#[track_caller]
fn created(case: &mut Case) -> Terminal {
    case.set("/process/terminal", json!(true));
    let socket = FdSocket::listen(case.path("console.sock"));
    let running = case.start_command(case.bundle_command("create", &["--console-socket", &socket.path]));
    let (_, mut fds) = socket.receive();
    running.finish().ok();
    assert_eq!(fds.len(), 1, "one fd comes over the console socket");
    Terminal::new(fds.remove(0))
}

#[test]
fn a_terminal_over_the_console_socket() {
    let mut case = Case::new();
    case.script("read line; echo \"got $line\"; test -t 0 && test -t 1 && test -t 2 && echo all three");
    let mut terminal = created(&mut case);
    case.start().ok();
    terminal.type_in("some words\n");
    terminal.read_until("got some words\r\n");
    terminal.read_until("all three\r\n");
    case.wait_for_status("stopped");
}

#[test]
fn console_size() {
    let mut case = Case::new();
    case.set("/process/consoleSize", json!({ "height": 33, "width": 111 })).script("stty size; sleep 1000");
    let mut terminal = created(&mut case);
    assert_eq!(terminal.size(), (33, 111));
    case.start().ok();
    terminal.read_until("33 111\r\n");
}

#[test]
fn console_size_without_a_terminal_is_ignored() {
    let mut case = Case::new();
    case.set("/process/consoleSize", json!({ "height": 33, "width": 111 }));
    case.run().ok();
}

#[test]
fn it_is_the_controlling_terminal() {
    let mut case = Case::new();
    case.script("echo over the tty >/dev/tty; sleep 1000");
    let mut terminal = created(&mut case);
    case.start().ok();
    terminal.read_until("over the tty\r\n");
    // An interrupt from the keyboard reaches the foreground process group.
    terminal.type_in("\x03");
}

#[test]
fn the_console_is_the_terminal() {
    let mut case = Case::new();
    case.script(
        "echo over the console >/dev/console; stat -c 'console %t' /dev/console; readlink /proc/self/fd/0; sleep 1000",
    );
    let mut terminal = created(&mut case);
    case.start().ok();
    terminal.read_until("over the console\r\n");
    terminal.read_until("console 88\r\n");
    terminal.read_until("/dev/pts/0\r\n");
}

#[test]
fn the_console_is_the_users() {
    let mut case = Case::new();
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    case.script("stat -c 'owner %u' /dev/pts/0; echo mine >/dev/pts/0; sleep 1000");
    let mut terminal = created(&mut case);
    case.start().ok();
    terminal.read_until("owner 1000\r\n");
    terminal.read_until("mine\r\n");
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let mut case = Case::new();
    case.user_namespace(200_000, 65536).script("echo here >/dev/console; stat -c 'owner %u' /dev/pts/0; sleep 1000");
    let mut terminal = created(&mut case);
    case.start().ok();
    terminal.read_until("here\r\n");
    terminal.read_until("owner 0\r\n");
}

#[test]
fn a_long_socket_path() {
    // sun_path holds 108 bytes; engines use longer ones, relative to their directory or not.
    needs!(Rvol);
    let mut case = Case::new();
    let long = case.make_dir(&["long"; 30].join("/"));
    std::os::unix::fs::symlink(&long, case.path("l")).expect("symlink");
    let socket = FdSocket::listen(case.path("l/s"));
    case.set("/process/terminal", json!(true)).script("echo hello; sleep 1000");
    let running = case.start_command(case.bundle_command("create", &["--console-socket", &format!("{long}/s")]));
    let (_, mut fds) = socket.receive();
    running.finish().ok();
    case.start().ok();
    Terminal::new(fds.remove(0)).read_until("hello\r\n");
}

#[test]
fn a_terminal_needs_somebody_to_take_it() {
    let mut case = Case::new();
    case.set("/process/terminal", json!(true)).pause();
    case.create().fails().says("console");
    case.run_with(&["--detach"]).fails().says("console");
    case.assert_nothing_left();
}

#[test]
fn a_console_socket_needs_a_terminal() {
    let case = Case::new();
    let socket = FdSocket::listen(case.path("console.sock"));
    case.create_with(&["--console-socket", &socket.path]).fails();
    case.assert_nothing_left();
}

#[test]
fn a_missing_console_socket_is_an_error() {
    let mut case = Case::new();
    case.set("/process/terminal", json!(true));
    let path = case.path("nobody-listens");
    case.create_with(&["--console-socket", &path]).fails();
    case.assert_nothing_left();
}

/// `run` in the foreground of a terminal of the test's.
fn foreground(case: &mut Case, rows: u16, columns: u16) -> (Terminal, runtime_tests::command::Running) {
    case.set("/process/terminal", json!(true));
    let pty = openpty(None, None).expect("a terminal");
    let terminal = Terminal::new(pty.master);
    terminal.set_size(rows, columns);
    let run = case.bundle_command("run", &[]);
    // setsid -c makes it the controlling terminal, as a shell's user has it.
    let mut command = runtime_tests::command::quiet("setsid".as_ref());
    command.args(["-c", "-w", "sh", "-c", "exec \"$@\" >&0 2>&0", "sh"]).arg(run.get_program()).args(run.get_args());
    command.stdin(Stdio::from(pty.slave));
    (terminal, case.start_command(command))
}

#[test]
fn run_in_the_foreground() {
    let mut case = Case::new();
    case.script("read line; echo \"got $line\"; exit 9");
    let (mut terminal, running) = foreground(&mut case, 44, 122);
    terminal.type_in("words\n");
    terminal.read_until("got words\r\n");
    assert_eq!(running.finish().code(), 9);
    case.assert_nothing_left();
}

/// The caller's terminal makes CR LF of a line feed; a pipe gets what the program wrote.
#[test]
fn lines_end_with_a_line_feed_alone_in_a_pipe() {
    let mut case = Case::new();
    case.set("/process/terminal", json!(true)).script("echo one; echo two");
    assert_eq!(case.run().ok().stdout, "one\ntwo\n");
    case.set("/process/terminal", json!(false)).started();
    assert_eq!(case.exec_with(&["--tty"], &["echo", "three"]).ok().stdout, "three\n");
}

#[test]
fn the_size_is_there_from_the_start() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("stty size");
    let (mut terminal, running) = foreground(&mut case, 44, 122);
    terminal.read_until("44 122\r\n");
    running.finish().ok();
}

#[test]
fn the_size_follows_the_outer_terminal() {
    let mut case = Case::new();
    case.script("trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done");
    let (mut terminal, running) = foreground(&mut case, 20, 40);
    terminal.read_until("ready\r\n");
    terminal.set_size(21, 41);
    terminal.read_until("21 41\r\n");
    case.kill("KILL").ok();
    assert_eq!(running.finish().code(), 137);
}

#[test]
fn keys_reach_the_container_raw() {
    let mut case = Case::new();
    case.script("trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done");
    let (mut terminal, running) = foreground(&mut case, 20, 40);
    terminal.read_until("ready\r\n");
    terminal.type_in("\x03");
    terminal.read_until("interrupted\r\n");
    assert_eq!(running.finish().code(), 3);
}

#[test]
fn much_output_comes_through_whole() {
    let mut case = Case::new();
    case.script("seq 1 20000; echo the end");
    let (mut terminal, running) = foreground(&mut case, 20, 40);
    let output = terminal.read_until("the end\r\n");
    assert_eq!(output.lines().filter(|l| l.parse::<u32>().is_ok()).count(), 20000);
    assert_eq!(running.finish().code(), 0);
}
