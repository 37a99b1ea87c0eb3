//! What a container gets of the processes that the runtime puts into its pid namespace: nothing of the host.
//!
//! A container with CAP_SYS_PTRACE and without a user namespace takes all it can of every process that appears beside
//! it (`probe grab`), while the host executes processes in it, or creates containers that share its pid namespace.
//! CI takes about a minute; `RUNTIME_TESTS_FULL=1` ten times as long, `RUNTIME_TESTS_SHORT=1`, which the guests of
//! `make test-vm` set, a tenth.

use runtime_tests::case::Started;
use runtime_tests::console::FdSocket;
use runtime_tests::{Case, Value, json, needs};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn times(rounds: usize) -> usize {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    match (is_set("RUNTIME_TESTS_FULL"), is_set("RUNTIME_TESTS_SHORT")) {
        (true, _) => rounds * 10,
        (false, true) => rounds.div_ceil(10),
        (false, false) => rounds,
    }
}

fn docker() -> Value {
    serde_json::from_str(include_str!("data/docker-seccomp.json")).expect("the profile is JSON")
}

/// A started container that grabs, with the capabilities that Docker gives and CAP_SYS_PTRACE.
fn grabber(configure: impl FnOnce(&mut Case)) -> (Case, Started) {
    let mut case = Case::new();
    let name = format!("canary-{}", case.token);
    case.make_file(&name, "");
    let dir = case.dir.to_str().expect("UTF-8").to_owned();
    let root = case.path(&name);
    case.args(&["/bin/probe", "grab", &root, &name, &dir]).caps(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
        "CAP_SYS_PTRACE",
    ]);
    case.set("/process/noNewPrivileges", json!(false));
    configure(&mut case);
    let started = case.create_and_start();
    started.wait_for_line("ready");
    (case, started)
}

/// Ends the grabbing; everything that was got, by kind.
#[track_caller]
fn grabbed(case: &Case, started: &Started, what: &str) -> Value {
    let tmp = case.rootfs().join("tmp");
    fs::write(tmp.join("stop"), "").expect("write");
    started.wait_for_line("done");
    let mut all = json!({});
    for worker in 0..3 {
        let text = fs::read_to_string(tmp.join(format!("result.{worker}"))).expect("a result");
        let result: Value = serde_json::from_str(&text).expect("JSON");
        for (kind, count) in result["counts"].as_object().expect("counts") {
            all[kind] = count.clone();
            all[format!("{kind}: the first")] = result["examples"][kind].clone();
        }
        all[format!("strangers seen by worker {worker}")] = result["seen"].clone();
    }
    println!("{what}: {all}");
    all
}

/// Nothing of the host, and no capability but the one that loads a filter without no_new_privs.
#[track_caller]
fn assert_nothing_of_the_host(all: &Value) {
    assert!(all["memory"].is_null(), "memory: {all}");
    assert_no_file_of_the_host(all);
}

/// The same but for what is in memory: an init has a copy of the runtime's (docs/security.md, "Birth").
#[track_caller]
fn assert_no_file_of_the_host(all: &Value) {
    for kind in ["cwd", "root", "fd", "environ", "cmdline", "exe", "map_files", "taken", "other rights"] {
        assert!(all[kind].is_null(), "{kind}: {all}");
    }
}

/// Where the kernel cannot make a procfs for a pid namespace from outside, init is born first.
fn births_are_last() -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = text.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 17) {
        println!("skipped: Linux {text} cannot make a procfs for another pid namespace (6.17)");
    }
    version >= (6, 17)
}

/// Executes a process in each way that there is, so many times.
fn execute_in_all_ways(case: &Case, rounds: usize) {
    let file = case.process_file(json!({ "args": ["/bin/true"] }));
    for round in 0..rounds {
        case.exec(&["/bin/true"]).ok();
        case.exec_with(&["--detach"], &["/bin/true"]).ok();
        case.exec_with(&["--process", &file], &[]).ok();
        case.exec_with(&["--user", "1000:1000"], &["/bin/true"]).ok();
        preserved(case);
        if round % 4 == 0 {
            with_terminal(case, round);
        }
        if round % 10 == 0 {
            case.exec(&["/bin/nope"]).fails();
        }
    }
}

/// With an fd of the caller's beside the standard streams.
fn preserved(case: &Case) {
    let (end, _other) = nix::unistd::pipe().expect("pipe");
    let number = end.as_raw_fd();
    let exec = case.exec_command(&["--preserve-fds", "1"], &["/bin/true"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("exec \"$@\" 3<&{number}"), "sh"]).arg(exec.get_program()).args(exec.get_args());
    shell.current_dir(&case.dir).env("RVOL_VOLUME_ROOT", case.volume_root()).arg0("sh");
    case.finish(shell).ok();
}

fn with_terminal(case: &Case, round: usize) {
    let socket = FdSocket::listen(case.path(&format!("console{round}")));
    let flags = ["--detach", "--tty", "--console-socket", &socket.path];
    let running = case.start_command(case.exec_command(&flags, &["/bin/true"]));
    // Closed too early, the terminal hangs up.
    let _master = socket.receive();
    running.finish().ok();
}

#[test]
fn an_executed_process_has_nothing_of_the_host_without_a_filter() {
    needs!(Rvol);
    let (case, started) = grabber(|_| {});
    execute_in_all_ways(&case, times(60));
    let all = grabbed(&case, &started, "exec without a filter");
    assert_nothing_of_the_host(&all);
    // Without a filter there is nothing that a process has to be privileged for.
    assert!(all["rights"].is_null(), "{all}");
}

#[test]
fn an_executed_process_has_nothing_of_the_host_with_dockers_filter() {
    needs!(Rvol);
    let (case, started) = grabber(|case| {
        case.set("/linux/seccomp", docker());
    });
    execute_in_all_ways(&case, times(60));
    assert_nothing_of_the_host(&grabbed(&case, &started, "exec with Docker's filter"));
}

#[test]
fn a_process_executed_in_a_cgroup_below_has_nothing_of_the_host() {
    needs!(Rvol);
    let (case, started) = grabber(|_| {});
    for _ in 0..times(60) {
        case.exec_with(&["--cgroup", "/"], &["/bin/true"]).ok();
    }
    assert_nothing_of_the_host(&grabbed(&case, &started, "exec --cgroup"));
}

/// `create` and `run` of a container that shares the pid namespace of the grabber, so many times.
fn bear_in_all_ways(neighbour: &Case, rounds: usize) {
    let mut case = Case::new();
    case.join_namespace("pid", &format!("/proc/{}/ns/pid", neighbour.pid())).args(&["/bin/true"]);
    for _ in 0..rounds {
        case.run().ok();
        case.create().ok();
        case.start().ok();
        case.wait_for_status("stopped");
        case.delete().ok();
    }
}

#[test]
fn a_container_that_shares_a_pid_namespace_has_nothing_of_the_host() {
    needs!(Rvol);
    if !births_are_last() {
        return;
    }
    let (case, started) = grabber(|_| {});
    bear_in_all_ways(&case, times(75));
    assert_no_file_of_the_host(&grabbed(&case, &started, "create and run without a filter"));
}

#[test]
fn a_container_with_dockers_filter_that_shares_a_pid_namespace_has_nothing_of_the_host() {
    needs!(Rvol);
    if !births_are_last() {
        return;
    }
    let (case, started) = grabber(|case| {
        case.set("/linux/seccomp", docker());
    });
    bear_in_all_ways(&case, times(75));
    assert_no_file_of_the_host(&grabbed(&case, &started, "create and run with Docker's filter"));
}
