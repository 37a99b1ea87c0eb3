//! Foreground `run`: signals, hooks and the caller's streams.

use runtime_tests::{Case, Value, command, json, needs, waiting};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

fn hook(path: &str) -> Value {
    json!([{ "path": path, "args": ["hook"] }])
}

#[test]
fn a_realtime_signal_has_an_exit_code() {
    let mut case = Case::new();
    case.without_namespace("pid").script("kill -37 $$; sleep 1000");
    assert_eq!(case.run().code(), 128 + 37);
    case.assert_nothing_left();
}

#[test]
fn poststop_hooks_run_once_when_a_start_container_hook_fails() {
    let mut case = Case::new();
    let log = case.path("log");
    let poststop = case.make_script("poststop", &format!("echo stopped >> {log}"));
    case.set("/hooks/startContainer", json!([{ "path": "/bin/busybox", "args": ["false"] }]));
    case.set("/hooks/poststop", hook(&poststop));
    case.run().fails();
    assert_eq!(case.read("log"), "stopped\n");
    case.assert_nothing_left();
}

#[test]
fn hooks_begin_with_unblocked_signals() {
    let mut case = Case::new();
    let log = case.path("log");
    let script = case.make_script("hook", &format!("grep SigBlk /proc/self/status >> {log}"));
    for name in ["createRuntime", "poststart", "poststop"] {
        case.set(&format!("/hooks/{name}"), hook(&script));
    }
    case.run().ok();
    assert_eq!(case.read("log"), "SigBlk:\t0000000000000000\n".repeat(3));
}

#[test]
fn no_signal_is_ignored_because_the_caller_ignores_it() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/grep", "SigIgn", "/proc/self/status"]);
    let run = case.bundle_command("run", &[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP INT QUIT USR1; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    command.current_dir(&case.dir);
    let outcome = case.finish(command).ok();
    let ignored = u64::from_str_radix(outcome.stdout.trim_start_matches("SigIgn:").trim(), 16).expect("a mask");
    // The standard signals; the C library of the tests keeps 32 and 33.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{outcome}");
}

#[test]
fn a_caller_that_ignores_sigchld_gets_the_exit_code() {
    let mut case = Case::new();
    let hook_script = case.make_script("hook", "exit 0");
    case.set("/hooks/createRuntime", hook(&hook_script)).script("exit 7");
    let run = case.bundle_command("run", &[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' CHLD; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    command.current_dir(&case.dir);
    assert_eq!(case.finish(command).code(), 7);
}

#[test]
fn the_end_of_stdin_and_stdout_is_no_reason_to_spin() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/process/terminal", json!(true)).script("echo ready > /data/ready; read -r line; exec sleep 1000");
    let data = case.make_dir("shared");
    case.bind(&data, "/data", &["rw"]);
    let mut command = case.bundle_command("run", &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("start the runtime");
    let started = waiting::until(command::LIMIT, || (!case.read("shared/ready").is_empty()).then_some(()));
    assert!(started.is_some());
    drop((child.stdin.take(), child.stdout.take()));
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("see the runtime");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11..13].iter().map(|f| f.parse::<u64>().expect("clock ticks")).sum()
    };
    let before = ticks();
    // Nothing to wait for: that nothing happens is what is measured.
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks() - before < 10, "the runtime is busy");
    case.delete_force().ok();
    child.wait().expect("reap the runtime");
}

#[test]
fn output_that_cannot_be_written_does_not_end_the_container() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/process/terminal", json!(true)).script("echo lost; exit 3");
    let run = case.bundle_command("run", &[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" >/dev/full"]).arg(run.get_program()).args(run.get_args());
    command.current_dir(&case.dir);
    assert_eq!(case.finish(command).code(), 3);
    case.assert_nothing_left();
}

#[test]
fn state_does_not_wait_for_a_stopped_init() {
    let mut case = Case::new();
    case.pause().create().ok();
    case.kill("STOP").ok();
    for _ in 0..20 {
        assert_eq!(case.status(), "created");
    }
    case.kill("CONT").ok();
    case.start().ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn the_filter_cache_is_no_container() {
    let mut case = Case::new();
    let rule = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]);
    case.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }));
    case.run().ok();
    let list = case.invoke(&["list"]).ok();
    assert_eq!((list.stdout.lines().count(), list.stderr.as_str()), (1, ""), "{list}");
}

#[test]
fn joining_a_pid_namespace_warns_of_nothing() {
    let mut host = Case::new();
    host.pause().create().ok();
    let mut case = Case::new();
    case.join_namespace("pid", &format!("/proc/{}/ns/pid", host.pid()));
    assert_eq!(case.run().ok().stderr, "");
}
