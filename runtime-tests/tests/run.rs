//! `run`: exit codes, signals, detached and kept containers.

use nix::sys::signal::Signal;
use runtime_tests::{Case, needs};

#[test]
fn output_and_exit_code_are_the_programs() {
    let mut case = Case::new();
    case.script("echo out; echo err >&2; exit 7");
    let out = case.run();
    assert_eq!((out.code(), out.stdout.as_str()), (7, "out\n"), "{out}");
    assert!(out.stderr.contains("err\n"), "{out}");
    case.assert_nothing_left();
}

#[test]
fn exit_codes_pass_through() {
    let mut case = Case::new();
    for code in [0, 1, 42, 125, 127, 255] {
        case.args(&["/bin/probe", "exit", &code.to_string()]);
        assert_eq!(case.run().code(), code);
    }
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    let mut case = Case::new();
    case.pause();
    for (signal, code) in [("KILL", 137), ("ABRT", 134)] {
        // A blocked signal does not end init, so SIGABRT goes to a program that leaves it alone.
        if signal == "ABRT" {
            case.without_namespace("pid").args(&["/bin/sh", "-c", "echo ready; exec sleep 1000"]);
        }
        let running = case.run_in_background(&[]);
        // Not its status: that is "running" a moment before the program is executed.
        running.wait_for_line("ready");
        case.kill(signal).ok();
        assert_eq!(running.finish().code(), code, "{signal}");
    }
}

#[test]
fn signals_are_forwarded() {
    let mut case = Case::new();
    case.pause();
    let running = case.run_in_background(&[]);
    running.wait_for_line("ready");
    for (signal, number) in [(Signal::SIGUSR1, 10), (Signal::SIGHUP, 1), (Signal::SIGWINCH, 28)] {
        running.signal(signal);
        // The size of a terminal is passed on as a size, not as a signal.
        if signal != Signal::SIGWINCH {
            running.wait_for_line(&format!("signal {number}"));
        }
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().code(), 0);
    case.assert_nothing_left();
}

#[test]
fn sigint_is_forwarded() {
    let mut case = Case::new();
    case.pause();
    let running = case.run_in_background(&[]);
    running.wait_for_line("ready");
    running.signal(Signal::SIGINT);
    assert_eq!(running.finish().code(), 3);
}

#[test]
fn stdin_reaches_the_program() {
    let mut case = Case::new();
    case.args(&["/bin/cat"]);
    let input = case.make_file("input", "some text\n");
    let mut command = case.bundle_command("run", &[]);
    command.stdin(std::fs::File::open(input).expect("open the input"));
    assert_eq!(case.finish(command).ok().stdout, "some text\n");
}

#[test]
fn detached_returns_at_once() {
    let mut case = Case::new();
    case.pause();
    let pid_file = case.path("pid");
    case.run_with(&["--detach", "--pid-file", &pid_file]).ok();
    assert_eq!(case.status(), "running");
    assert_eq!(case.read("pid"), case.pid().to_string());
    case.kill("TERM").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn detached_with_the_short_flag() {
    let mut case = Case::new();
    case.pause();
    case.run_with(&["-d"]).ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn kept_containers_stay_until_deleted() {
    needs!(RunKeep);
    let mut case = Case::new();
    case.args(&["/bin/probe", "exit", "4"]);
    assert_eq!(case.run_with(&["--keep"]).code(), 4);
    assert_eq!(case.status(), "stopped");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn orphans_of_init_do_not_outlive_it() {
    let mut case = Case::new();
    case.script("sleep 1000 & sleep 1000 & exit 5");
    assert_eq!(case.run().code(), 5);
    case.assert_nothing_left();
}

#[test]
fn orphans_without_a_pid_namespace_do_not_outlive_run() {
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 >/dev/null 2>&1 & exit 5");
    assert_eq!(case.run().code(), 5);
    case.assert_nothing_left();
}

#[test]
fn a_detached_run_that_cannot_execute_leaves_nothing() {
    let mut case = Case::new();
    case.args(&["/no/such/program"]);
    case.run_with(&["--detach"]).fails().says("no such file or directory");
    case.assert_nothing_left();
}

#[test]
fn killing_run_leaves_what_delete_removes() {
    let mut case = Case::new();
    case.pause();
    let running = case.run_in_background(&[]);
    running.wait_for_line("ready");
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().code(), 137);
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn without_a_subreaper() {
    needs!(NoSubreaper);
    let mut case = Case::new();
    case.script("exit 6");
    assert_eq!(case.run_with(&["--no-subreaper"]).code(), 6);
    case.assert_nothing_left();
}
