//! No command waits without a limit: each party that can hang is made to hang, and `delete --force` ends within 15 s with
//! nothing left, or with an error that says what is left and who holds it.

use nix::sys::signal::Signal;
use runtime_tests::command::Running;
use runtime_tests::leaks::alive;
use runtime_tests::{Case, json, needs, needs_machine, waiting};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `delete --force` promises.
const DELETE: Duration = Duration::from_secs(15);

/// A hook of this kind that says when it runs, and then does not return.
fn with_hanging_hook(kind: &str) -> Case {
    let mut case = Case::new();
    case.make_dir("shared");
    let script = if kind == "startContainer" {
        // In the container: its command line has the token.
        format!("echo {} >/dev/null; exec sleep 300", case.token)
    } else {
        format!("echo >{}; exec sleep 300", case.path("shared/hook-runs"))
    };
    case.pause().set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    case
}

fn wait_for_file(path: &str) {
    let seen = waiting::until(Duration::from_secs(20), || Path::new(path).exists().then_some(()));
    assert!(seen.is_some(), "{path} does not appear");
}

/// A command that hangs in the container's hook, which holds the container's lock.
fn hang_in_hook(kind: &str) -> (Case, Running) {
    let case = with_hanging_hook(kind);
    let starts = matches!(kind, "startContainer" | "poststart");
    let hanging = if starts {
        case.create().ok();
        let mut command = case.command();
        command.args(["start", &case.id]);
        case.start_command(command)
    } else {
        case.start_command(case.bundle_command("create", &[]))
    };
    if kind == "startContainer" {
        wait_until_lock_is_held(&case);
    } else {
        wait_for_file(&case.path("shared/hook-runs"));
    }
    (case, hanging)
}

/// Until `start` has the lock: `flock -n` does not get it.
fn wait_until_lock_is_held(case: &Case) {
    let directory = case.state_root().join(&case.id);
    let held = waiting::until(Duration::from_secs(20), || {
        let tried = std::process::Command::new("flock").arg("-n").arg(&directory).arg("true").status();
        tried.is_ok_and(|status| !status.success()).then_some(())
    });
    assert!(held.is_some(), "nobody locks {}", directory.display());
}

#[track_caller]
fn delete_force_in_time(case: &Case) -> runtime_tests::Outcome {
    let begin = Instant::now();
    let outcome = case.delete_force();
    assert!(begin.elapsed() < DELETE, "took {:?}: {outcome}", begin.elapsed());
    outcome
}

#[test]
fn delete_force_takes_over_from_a_command_whose_hook_hangs() {
    needs!(Rvol);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let (case, hanging) = hang_in_hook(kind);
        delete_force_in_time(&case).ok().says("which has the container's lock");
        assert!(!hanging.finish().succeeded(), "{kind}");
        case.assert_nothing_left();
    }
}

#[test]
fn delete_force_takes_over_from_a_detached_run() {
    needs!(Rvol);
    let case = with_hanging_hook("poststart");
    let hanging = case.run_in_background(&["--detach"]);
    wait_for_file(&case.path("shared/hook-runs"));
    delete_force_in_time(&case).ok();
    assert!(!hanging.finish().succeeded());
    case.assert_nothing_left();
}

#[test]
fn a_poststop_hook_keeps_nobody_from_the_id() {
    needs!(Rvol);
    let mut case = with_hanging_hook("poststop");
    case.create().ok();
    let mut command = case.command();
    command.args(["delete", "--force", &case.id]);
    let hanging = case.start_command(command);
    wait_for_file(&case.path("shared/hook-runs"));
    case.unset("/hooks");
    case.create().ok();
    delete_force_in_time(&case).ok();
    hanging.signal(Signal::SIGKILL);
    hanging.wait_within(Duration::from_secs(5));
    case.assert_nothing_left();
}

#[test]
fn other_commands_name_who_holds_the_lock() {
    needs!(Rvol);
    let (case, hanging) = hang_in_hook("poststart");
    let id = case.id.as_str();
    let lines: [&[&str]; 4] = [&["pause", id], &["resume", id], &["update", "--pids-limit", "9", id], &["delete", id]];
    let begin = Instant::now();
    let running = lines.map(|line| {
        let mut command = case.command();
        command.args(line);
        case.start_command(command)
    });
    let holder = format!("process {} (", hanging.pid());
    for command in running {
        command.finish().fails().says("is busy").says(&holder).says(&format!("start {id}")).says("delete --force");
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    case.kill("KILL").ok();
    delete_force_in_time(&case).ok();
    hanging.finish();
    case.assert_nothing_left();
}

#[test]
fn delete_force_ends_a_start_whose_init_is_stopped() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    signal(case.pid(), Signal::SIGSTOP);
    let mut command = case.command();
    command.args(["start", &case.id]);
    let hanging = case.start_command(command);
    wait_until_lock_is_held(&case);
    delete_force_in_time(&case).ok();
    assert!(!hanging.finish().succeeded());
    case.assert_nothing_left();
}

#[test]
fn delete_force_takes_over_from_a_stopped_creator() {
    needs!(Rvol);
    let (case, hanging) = hang_in_hook("createRuntime");
    hanging.signal(Signal::SIGSTOP);
    delete_force_in_time(&case).ok().says("which is stopped");
    assert!(!hanging.finish().succeeded());
    case.assert_nothing_left();
}

#[test]
fn two_forced_deletes_at_once_both_succeed() {
    needs!(Rvol);
    let (case, hanging) = hang_in_hook("createContainer");
    let deletes = [(), ()].map(|()| {
        let mut command = case.command();
        command.args(["delete", "--force", &case.id]);
        case.start_command(command)
    });
    for delete in deletes {
        delete.finish_within(DELETE).ok();
    }
    assert!(!hanging.finish().succeeded());
    case.assert_nothing_left();
}

#[test]
fn a_lock_of_another_program_is_named_and_left_alone() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    let mut other = std::process::Command::new("flock");
    other.arg(case.state_root().join(&case.id)).args(["sleep", "300"]);
    let mut other = other.spawn().expect("flock");
    wait_until_lock_is_held(&case);
    delete_force_in_time(&case).fails().says(&format!("process {} (flock ", other.id())).says("is not this program");
    assert!(alive(other.id() as i32), "it must not be ended");
    assert_eq!(case.status(), "created");
    // `sleep` holds the lock as well.
    for pid in children(other.id()).into_iter().chain([other.id() as i32]) {
        signal(pid, Signal::SIGKILL);
    }
    other.wait().expect("reap flock");
    delete_force_in_time(&case).ok();
}

fn children(pid: u32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("send a signal");
}

#[test]
fn an_agent_that_accepts_nobody_is_an_error_after_a_while() {
    needs!(Rvol);
    let mut case = Case::new();
    let agent = case.path("agent.sock");
    let listener = UnixListener::bind(&agent).expect("bind");
    let _waiting = fill_queue(&listener, &agent);
    case.pause().set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent,
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    let begin = Instant::now();
    case.create().fails().says("seccomp listener").says("accepts nothing within 10 s");
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    case.assert_nothing_left();
}

#[test]
fn a_console_socket_that_accepts_nobody_is_an_error_after_a_while() {
    needs!(Rvol);
    for flag in ["--console-socket", "--pidfd-socket"] {
        let mut case = Case::new();
        let path = case.path("caller.sock");
        let listener = UnixListener::bind(&path).expect("bind");
        let _waiting = fill_queue(&listener, &path);
        case.pause().set("/process/terminal", json!(flag == "--console-socket"));
        case.create_with(&[flag, &path]).fails().says(flag).says("accepts nothing within 10 s");
        case.assert_nothing_left();
    }
}

/// Connects until the queue of the listener, which accepts nobody, is full.
fn fill_queue(listener: &UnixListener, path: &str) -> Vec<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, listen, socket};
    use std::os::fd::AsRawFd;
    listen(listener, nix::sys::socket::Backlog::new(1).expect("a small number")).expect("listen");
    let mut waiting = Vec::new();
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("socket");
        match connect(fd.as_raw_fd(), &UnixAddr::new(path).expect("a short path")) {
            Ok(()) => waiting.push(fd),
            Err(nix::errno::Errno::EAGAIN) => return waiting,
            Err(errno) => panic!("connect: {errno}"),
        }
    }
}

#[test]
fn a_caller_that_does_not_reap_is_named() {
    needs!(Rvol);
    // A test program of one thread does not reap either, but this one has others that do.
    let mut case = Case::new();
    case.started();
    let binary = runtime_tests::runtime().path.clone();
    // The shell's `exec` leaves a process that is a subreaper and never waits.
    let script = format!(
        "{} --root {} exec --detach {} /bin/sleep 1; exec sleep 300",
        binary.display(),
        case.state_root().display(),
        case.id
    );
    let mut caller = subreaper(&script);
    let zombie = waiting::until(Duration::from_secs(20), || {
        children(caller.id()).into_iter().find(|pid| !alive(*pid) && in_container(*pid))
    });
    let zombie = zombie.expect("the executed process ends and stays a zombie");
    let pid = case.pid();
    let outcome = delete_force_in_time(&case).fails();
    outcome.says(&format!("process {zombie}")).says(&format!("process {}", caller.id())).says("does not reap");
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "its first process waits");
    caller.kill().expect("kill the caller");
    caller.wait().expect("reap the caller");
    delete_force_in_time(&case).ok();
    case.assert_nothing_left();
}

fn in_container(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|l| l.strip_prefix("NSpid:").is_some_and(|numbers| numbers.split_whitespace().count() > 1))
}

fn subreaper(script: &str) -> std::process::Child {
    let code =
        format!("import ctypes,os\nctypes.CDLL(None).prctl(36,1,0,0,0)\nos.execv('/bin/sh',['sh','-c',{script:?}])");
    std::process::Command::new("python3").args(["-c", &code]).spawn().expect("python3")
}

/// The ways in which a record can be damaged: of which file, and its new content.
fn damages() -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let mut all = Vec::new();
    for file in ["container.json", "init.json"] {
        for (what, content) in [("cut", Some("{\"version\":1,\"id\"")), ("empty", Some("")), ("missing", None)] {
            all.push((file, what, content));
        }
    }
    all
}

#[test]
fn delete_force_works_with_damaged_records() {
    needs!(Rvol);
    for (file, what, content) in damages() {
        let mut case = Case::new();
        // The cgroup can be told by its name only.
        let path = format!("/{}/{}", case.token, case.id);
        case.set("/linux/cgroupsPath", json!(path));
        case.started();
        let pid = case.pid();
        let path = case.state_root().join(&case.id).join(file);
        match content {
            Some(text) => std::fs::write(&path, text).expect("damage the record"),
            None => std::fs::remove_file(&path).expect("remove the record"),
        }
        delete_force_in_time(&case).ok();
        assert!(!alive(pid), "{file} {what}: its process is left");
        // Of the parent nothing was known.
        for left in runtime_tests::leaks::cgroups(&case.token) {
            assert!(!left.ends_with(&case.id), "{file} {what}: {} is left", left.display());
            std::fs::remove_dir(&left).expect("remove the parent");
        }
        case.assert_nothing_left();
    }
}

#[test]
fn delete_force_works_with_the_record_of_a_newer_version() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let path = case.state_root().join(&case.id).join("container.json");
    let text = std::fs::read_to_string(&path).expect("the record");
    std::fs::write(&path, text.replace("\"version\":1", "\"version\":99,\"unknown\":[1]")).expect("write it");
    case.invoke(&["state", &case.id]).fails().says("newer version");
    case.kill("KILL").ok();
    delete_force_in_time(&case).ok().says("newer version");
    case.assert_nothing_left();
}

#[test]
fn kill_needs_no_more_than_the_process() {
    needs!(Rvol);
    for content in ["", "{\"version\":1"] {
        let mut case = Case::new();
        case.started();
        let pid = case.pid();
        let path = case.state_root().join(&case.id).join("container.json");
        let record = std::fs::read(&path).expect("the record");
        std::fs::write(&path, content).expect("damage the record");
        case.kill("KILL").ok();
        assert!(waiting::until(Duration::from_secs(10), || (!alive(pid)).then_some(())).is_some());
        std::fs::write(&path, record).expect("repair the record");
    }
}

#[test]
fn gc_names_a_damaged_container() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let path = case.state_root().join(&case.id).join("container.json");
    let record = std::fs::read(&path).expect("the record");
    std::fs::write(&path, "{").expect("damage the record");
    case.invoke(&["gc"]).ok().says(&case.id).says("damaged").says("delete --force");
    std::fs::write(&path, record).expect("repair the record");
}

#[test]
fn a_cgroup_that_somebody_else_has_frozen_is_named() {
    needs!(Rvol);
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    needs_machine!(freezer.join("cgroup.procs").exists(), "no cgroup v1 freezer");
    let mut case = Case::new();
    let parent = freezer.join(&case.token);
    case.set("/linux/cgroupsPath", json!(format!("/{}/{}", case.token, case.id)));
    case.started();
    std::fs::write(parent.join("freezer.state"), "FROZEN").expect("freeze");
    delete_force_in_time(&case).fails().says("frozen by the cgroup").says(&parent.display().to_string());
    std::fs::write(parent.join("freezer.state"), "THAWED").expect("thaw");
    delete_force_in_time(&case).ok();
    case.assert_nothing_left();
}

#[test]
fn a_terminal_whose_reader_goes_away_ends_the_process() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let root = case.state_root();
    let line = |words: &str| {
        format!("{} --root {} {words} | head -n 1", runtime_tests::runtime().path.display(), root.display())
    };
    let exec = line(&format!("exec --tty {} /bin/sh -c 'while :; do echo y; done'", case.id));
    run_shell(&case, &exec, 129);
    case.delete_force().ok();

    // Process 1 of a pid namespace does not die of a signal that it has no handler for: its writes fail.
    case.script("while echo y 2>/dev/null; do :; done; exit 29").set("/process/terminal", json!(true));
    case.write_config();
    run_shell(&case, &line(&format!("run --bundle {} {}", case.bundle().display(), case.id)), 29);
    case.assert_nothing_left();
}

fn run_shell(case: &Case, script: &str, code: i32) {
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("{script}; test ${{PIPESTATUS[0]}} = {code}")]).stdin(std::process::Stdio::null());
    case.start_command(command).finish_within(Duration::from_secs(20)).ok();
}

#[test]
fn a_full_disk_does_not_stop_delete_force() {
    needs!(Rvol);
    let mut case = Case::new();
    let root = PathBuf::from(case.make_dir("small"));
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&root).status();
    needs_machine!(mounted.is_ok_and(|s| s.success()), "no tmpfs can be mounted");
    case.expect_host_mount(&root);
    case.pause();
    case.write_config();
    let invoke = |words: &[&str]| {
        let mut command = case.command();
        command.arg("--root").arg(&root).args(words);
        case.finish(command)
    };
    invoke(&["create", "--bundle", case.bundle().to_str().expect("UTF-8"), &case.id]).ok();
    let filled = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}/fill", root.display()))
        .stderr(std::process::Stdio::null())
        .status()
        .expect("dd");
    assert!(!filled.success(), "the disk is full");
    let begin = Instant::now();
    let outcome = invoke(&["delete", "--force", &case.id]);
    assert!(begin.elapsed() < DELETE);
    let unmounted = std::process::Command::new("umount").arg(&root).status().expect("umount");
    assert!(unmounted.success());
    outcome.ok();
    case.assert_nothing_left();
}
