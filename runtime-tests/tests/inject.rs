//! An error at each syscall of `create` in turn: a clear message, exit non-zero and nothing left, or no harm at all.
//!
//! A sample of the points by default; every one with `RUNTIME_TESTS_FULL=1`.

use runtime_tests::strace::{calls, counts, sample, traced};
use runtime_tests::{Case, command, json, needs, waiting};
use std::collections::BTreeMap;

/// Before main, memory itself, or without an error in their manual: nothing can be said when these fail.
const BEYOND_REACH: [&str; 34] = [
    "arch_prctl",
    "brk",
    // A syscall only where the kernel has no vDSO; Rust trusts it.
    "clock_gettime",
    "execve",
    "exit",
    "exit_group",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "prlimit64",
    "readlink",
    "readlinkat",
    "restart_syscall",
    "rseq",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "futex",
    "tgkill",
    "umask",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getppid",
    "getpgrp",
    "alarm",
    "sync",
];

/// A container with something of everything that create does.
fn case() -> Case {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.pause().bind(&source, "/data", &["ro", "rprivate"]).namespace("cgroup");
    case.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" })).set("/process/oomScoreAdj", json!(100));
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] }));
    case.set("/hooks/createRuntime", json!([{ "path": "/bin/true" }]));
    case.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    case
}

/// The points at which an error can be injected.
fn points(case: &Case) -> BTreeMap<String, u32> {
    let output = case.path("trace");
    case.finish(traced(&case.bundle_command("create", &[]), &[], &output)).ok();
    case.delete_force().ok();
    let mut counts = counts(&calls(&case.read("trace")));
    counts.retain(|name, _| !BEYOND_REACH.contains(&name.as_str()));
    assert!(counts.len() > 20, "a trace of create: {counts:?}");
    counts
}

/// What is wrong with how create took an error at this point, if anything.
fn verdict(case: &Case, name: &str, when: u32) -> Option<String> {
    let injection = format!("inject={name}:error=EIO:when={when}");
    let output = case.path("trace");
    // Rust's start-up looks at the standard fds and sets SIGPIPE, and aborts where that fails.
    if when == 1 && (name == "poll" || name == "rt_sigaction") {
        return None;
    }
    let command = traced(&case.bundle_command("create", &[]), &["-e", &injection], &output);
    let outcome = case.start_command(command).finish();
    let message = outcome.stderr.trim();
    let trace = case.read("trace");
    let injected: Vec<&str> = trace.lines().filter(|l| l.contains("(INJECTED)")).collect();
    // strace counts for each process: the same number may come in the runtime, in init and in a hook.
    let several = injected.len() > 1;
    let injected = injected.join("\n");
    if outcome.succeeded() {
        let usable = is_container(case);
        case.delete_force();
        let left = case.leaks();
        return match () {
            () if !usable => Some("succeeded, but there is no container".into()),
            () if !left.is_empty() => Some(format!("succeeded, but after delete there is\n{}", left.join("\n"))),
            () => None,
        };
    }
    let mut left = case.leaks();
    // Only now: what follows must work whatever happened.
    case.delete_force();
    if several {
        // The second one may have been in the undoing of the first.
        left = case.leaks();
    }
    match () {
        () if outcome.status.code().is_none() && message.is_empty() => Some(format!("died: {injected}")),
        () if outcome.status.code().is_none() => Some(format!("died: {message}")),
        // The write of the message itself.
        () if message.is_empty() && !injected.contains("write(2,") => Some(format!("no message: {injected}")),
        () if message.contains("panicked") => Some(message.to_owned()),
        () if !left.is_empty() => Some(format!("left\n{}\nafter {message}: {injected}", left.join("\n"))),
        () => None,
    }
}

/// Whether there is a created container, or one whose init died after the end of create.
fn is_container(case: &Case) -> bool {
    let settled = waiting::until(command::LIMIT, || {
        let state = case.invoke(&["state", &case.id]);
        let status = if state.succeeded() { state.json()["status"].clone() } else { json!(null) };
        (status == "created" || status == "stopped").then_some(())
    });
    settled.is_some()
}

#[test]
fn an_error_at_each_syscall_of_create() {
    needs!(Rvol);
    let case = case();
    let points = sample(&points(&case), 240);
    let bad: Vec<String> = points
        .iter()
        .filter_map(|(name, when)| verdict(&case, name, *when).map(|v| format!("{name} number {when}: {v}")))
        .collect();
    assert!(bad.is_empty(), "of {} points {} are bad:\n{}", points.len(), bad.len(), bad.join("\n"));
}

#[test]
fn an_error_at_each_syscall_of_create_in_a_user_namespace() {
    needs!(Rvol);
    let mut case = Case::new();
    case.user_namespace(200_000, 65536).pause();
    let points = sample(&points(&case), 120);
    let bad: Vec<String> = points
        .iter()
        .filter_map(|(name, when)| verdict(&case, name, *when).map(|v| format!("{name} number {when}: {v}")))
        .collect();
    assert!(bad.is_empty(), "of {} points {} are bad:\n{}", points.len(), bad.len(), bad.join("\n"));
}
