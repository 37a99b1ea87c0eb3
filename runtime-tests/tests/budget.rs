//! What a container may cost: one copy of the runtime, at most two execve, no waiting by the clock, and numbers of syscalls, of page faults,
//! of memory and of the binary's bytes that go down. They are in `data/budget.json`; lower them when the runtime gets better. A
//! call more has to be worth more than it costs.

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use runtime_tests::strace::{Call, calls, traced};
use runtime_tests::{Case, Value, json, needs};
use std::process::{Command, Stdio};

/// The trace of a whole command that must succeed, children included.
#[track_caller]
fn trace(case: &Case, command: &Command) -> Vec<Call> {
    let _ = std::fs::remove_file(case.path("trace"));
    case.finish(traced(command, &[], &case.path("trace"))).ok();
    // The tracer, which runs aside, may still be writing.
    let done = runtime_tests::waiting::until(runtime_tests::command::LIMIT, || {
        let text = case.read("trace");
        let first = text.split(' ').next().unwrap_or_default().to_owned();
        text.lines().any(|l| l.starts_with(&format!("{first} ")) && l.contains("exit_group(")).then_some(())
    });
    assert!(done.is_some() || !case.read("trace").is_empty(), "strace wrote nothing");
    calls(&case.read("trace"))
}

fn budget() -> Value {
    serde_json::from_str(include_str!("data/budget.json")).expect("the budget is JSON")
}

fn count(calls: &[Call], names: &[&str]) -> usize {
    calls.iter().filter(|c| names.contains(&c.name.as_str())).count()
}

/// What the runtime executes once strace has started it: itself, from where nobody can write it, and the program.
fn execs(calls: &[Call]) -> usize {
    count(calls, &["execve", "execveat"]) - 1
}

fn hello() -> Case {
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case
}

/// As [`Case::bundle_command`], with a flag before the subcommand: the number of cgroup hierarchies is the machine's.
fn without_cgroup(case: &Case, words: &[&str]) -> Command {
    case.write_config();
    let mut command = case.command();
    command.args(["--cgroup-manager", "disabled"]).args(words);
    command
}

#[test]
fn one_copy_of_the_runtime_and_two_execve() {
    needs!(Rvol);
    let case = hello();
    let calls = trace(&case, &case.bundle_command("run", &[]));
    assert_eq!(count(&calls, &["clone3"]), 1);
    assert_eq!(count(&calls, &["fork", "vfork"]), 0);
    // Who makes the network namespace meanwhile has no memory of its own.
    let beside: Vec<&Call> = calls.iter().filter(|call| call.name == "clone").collect();
    assert!(beside.len() <= 1 && beside.iter().all(|call| call.rest.contains("CLONE_VM|CLONE_FILES")), "{beside:?}");
    assert_eq!(execs(&calls), 2);
}

#[test]
fn one_clone_in_a_user_namespace_too() {
    needs!(Rvol);
    let mut case = hello();
    case.user_namespace(200_000, 65536).namespace("cgroup").namespace("time");
    let calls = trace(&case, &case.bundle_command("run", &[]));
    assert_eq!(count(&calls, &["clone", "clone3", "fork", "vfork"]), 1);
    assert_eq!(execs(&calls), 2);
}

#[test]
fn no_waiting_by_the_clock() {
    needs!(Rvol);
    let case = hello();
    let calls = trace(&case, &case.bundle_command("run", &[]));
    assert_eq!(
        count(&calls, &["nanosleep", "clock_nanosleep", "timerfd_settime", "setitimer", "alarm", "sched_yield"]),
        0
    );
    let waits = count(&calls, &["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"]);
    assert!(waits <= 4, "{waits} waits look like a loop");
    let pauses = calls.iter().filter(|c| c.name.contains("wait") && c.rest.contains("WNOHANG")).count();
    assert!(pauses <= 4, "{pauses} looks at children");
}

#[test]
fn no_mountinfo_and_no_directories_of_processes() {
    needs!(Rvol);
    let case = hello();
    let calls = trace(&case, &case.bundle_command("run", &[]));
    for file in ["/proc/self/mountinfo", "/proc/mounts", "/etc/passwd", "/etc/nsswitch.conf", "/etc/localtime", "ld.so"]
    {
        let opened =
            calls.iter().filter(|c| c.name.starts_with("open") && c.rest.contains(&format!("\"{file}"))).count();
        assert_eq!(opened, 0, "{file} is on the path of create");
    }
}

#[test]
fn syscalls_stay_within_the_budget() {
    needs!(Rvol);
    let budget = budget();
    let mut case = hello();
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8").to_owned();
    let id = case.id.clone();
    // Once untraced: what is made once for a root is not the container's.
    case.finish(without_cgroup(&case, &["run", "--bundle", &bundle, &id])).ok();
    let mut used = serde_json::Map::new();
    let mut measure = |case: &Case, name: &str, words: &[&str]| {
        used.insert(name.to_owned(), json!(trace(case, &without_cgroup(case, words)).len()));
    };
    measure(&case, "run", &["run", "--bundle", &bundle, &id]);
    case.pause();
    measure(&case, "create", &["create", "--bundle", &bundle, &id]);
    measure(&case, "state", &["state", &id]);
    measure(&case, "start", &["start", &id]);
    measure(&case, "kill", &["kill", &id, "KILL"]);
    case.wait_for_status("stopped");
    measure(&case, "delete", &["delete", &id]);
    for (name, count) in &used {
        assert!(
            count.as_u64() <= budget["syscalls"][name].as_u64(),
            "{name} is over its budget: used {used:?}, allowed {budget}"
        );
    }
}

/// The shell runs a command with little in its environment: with RUST_BACKTRACE more of the C library is set up.
fn shell(script: &str, command: &Command) -> Command {
    let mut shell = runtime_tests::command::quiet("/bin/sh".as_ref());
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    shell
}

/// What the kernel had to map for a command and the processes that it waited for: the least of a few runs.
fn page_faults(case: &Case, words: &[&str]) -> u64 {
    // Field 11 of proc_pid_stat(5): the faults of children that were waited for. The shell's name has no space in it.
    const SCRIPT: &str = r#""$@" >/dev/null && read -r line </proc/$$/stat && echo "$line""#;
    let command = without_cgroup(case, words);
    let run = |_| {
        let stat = case.finish(shell(SCRIPT, &command)).ok().stdout;
        stat.split(' ').nth(10).and_then(|faults| faults.parse::<u64>().ok()).expect("a number of faults")
    };
    (0..5).map(run).min().expect("runs")
}

/// Measures `run`, `state` and `exec` of one container against their part of the budget.
fn check_commands(part: &str, measure: impl Fn(&Case, &[&str]) -> u64) {
    let mut case = hello();
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8").to_owned();
    let id = case.id.clone();
    let run = measure(&case, &["run", "--bundle", &bundle, &id]);
    case.pause();
    let _started = case.create_and_start();
    let state = measure(&case, &["state", &id]);
    let exec = measure(&case, &["exec", &id, "/bin/true"]);
    let used = json!({ "run": run, "state": state, "exec": exec });
    let budget = &budget()[part];
    for name in ["run", "state", "exec"] {
        assert!(used[name].as_u64() <= budget[name].as_u64(), "{name}: used {used}, allowed {budget}");
    }
}

/// Of the release build: a page that is touched costs 1 to 4 µs. Three out of ten more than was measured are allowed, as the
/// kernel maps pages of files by their neighbours in its cache.
#[test]
fn page_faults_stay_within_the_budget() {
    needs!(Rvol);
    check_commands("page faults", page_faults);
}

/// The most memory that a command itself had at a time, in KiB. Its own `ru_maxrss` would begin with the size of whoever
/// executed it.
fn peak(case: &Case, words: &[&str]) -> u64 {
    let mut shell = shell(r#"kill -STOP $$; exec "$@""#, &without_cgroup(case, words));
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell");
    let pid = Pid::from_raw(child.id().cast_signed());
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("a stopped shell");
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).expect("to be its tracer");
    kill(pid, Signal::SIGCONT).expect("a shell that goes on");
    let mut peak = None;
    loop {
        let signal = match waitpid(pid, None).expect("a tracee") {
            WaitStatus::Exited(_, code) => {
                let _ = child.try_wait();
                assert_eq!(code, 0, "{words:?}");
                return peak.expect("a peak");
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                peak = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                None
            }
            WaitStatus::Stopped(_, signal) if !matches!(signal, Signal::SIGTRAP | Signal::SIGCONT) => Some(signal),
            _ => None,
        };
        ptrace::cont(pid, signal).expect("a tracee that goes on");
    }
}

/// Of the release build, in KiB. Which neighbouring pages the kernel maps along with a page depends on its cache.
#[test]
fn peaks_of_memory_stay_within_the_budget() {
    needs!(Rvol);
    check_commands("peak", peak);
}

/// Of the release build.
#[test]
fn the_binary_stays_small() {
    needs!(Rvol);
    let size = std::fs::metadata(&runtime_tests::runtime().path).expect("the binary").len();
    let budget = &budget()["binary"];
    assert!(Some(size) <= budget.as_u64(), "{size} bytes, allowed {budget}");
}
