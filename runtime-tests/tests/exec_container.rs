//! `exec` in all kinds of containers, and what happens when something ends meanwhile.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime_tests::strace::{calls, counts, sample, traced};
use runtime_tests::unprivileged::{self, USER};
use runtime_tests::{Case, Facts, command, json, leaks, needs, waiting};
use std::fs;
use std::time::Duration;

#[test]
fn in_a_user_namespace() {
    let mut case = Case::new();
    case.user_namespace(200_000, 65536).namespace("cgroup").started();
    let facts = case.exec_facts(&[], &["put:/data/made=x", "sethostname:other"]);
    let own = fs::read_link(format!("/proc/{}/ns/user", case.pid())).expect("read");
    assert_eq!(facts.namespace("user"), own.to_string_lossy());
    assert_eq!(facts["uid"], json!([0, 0, 0, 0]));
    facts.expect(&[("put:/data/made=x", "ok")]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(case.rootfs().join("data/made")).expect("stat").uid(), 200_000);
    let facts = case.exec_facts(&["--user", "1000:1000"], &[]);
    assert_eq!(facts["uid"][0], 1000);
    case.exec_with(&["--user", "70000"], &["/bin/true"]).fails().says("unmapped");
}

#[test]
fn in_a_user_namespace_with_a_network_of_the_hosts() {
    let mut case = Case::new();
    case.user_namespace(200_000, 65536).without_namespace("network");
    // sysfs can be mounted only by the owner of the network namespace.
    case.set("/mounts/5", runtime_tests::config::mount("/sys", "none", "/sys", &["rbind", "ro"]));
    case.started();
    case.exec(&["/bin/true"]).ok();
}

#[test]
fn in_a_time_namespace() {
    needs!(TimeNamespace);
    let mut case = Case::new();
    case.namespace("time").set("/linux/timeOffsets", json!({ "boottime": { "secs": 1_000_000 } }));
    case.started();
    let facts = case.exec_facts(&[], &[]);
    assert!(facts["clocks"]["boottime"].as_i64() > Some(1_000_000), "{:?}", facts["clocks"]);
}

#[test]
fn in_the_hosts_pid_namespace() {
    let mut case = Case::new();
    case.without_namespace("pid").started();
    let facts = case.exec_facts(&[], &[]);
    let host = fs::read_link("/proc/self/ns/pid").expect("read");
    assert_eq!(facts.namespace("pid"), host.to_string_lossy());
    assert_eq!(case.exec(&["sh", "-c", "exit 9"]).code(), 9);
}

/// A container without a mount namespace of its own has its root directory by chroot.
#[test]
fn in_the_hosts_mount_namespace() {
    needs!(Rvol);
    runtime_tests::host_mounts::in_own_mounts(|| {
        let mut case = Case::new();
        case.without_namespace("mount").unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
        case.started();
        let facts = case.exec_facts(&[], &["read:/etc/passwd", "stat:/bin/probe", "list:/.."]);
        assert!(facts.answer("read:/etc/passwd").as_str().is_some_and(|t| t.contains("/home/user")));
        assert!(facts.answer("list:/..").as_array().is_some_and(|l| l.contains(&json!("data"))), "{facts:?}");
        assert_eq!(facts["cwd"], "/");
    });
}

#[test]
fn by_an_ordinary_user() {
    let mut case = unprivileged::case(USER);
    case.started();
    let facts = case.exec_facts(&["--env", "A=1"], &[]);
    let pid = case.pid();
    for kind in ["mnt", "pid", "ipc", "uts", "user"] {
        let own = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("read");
        assert_eq!(facts.namespace(kind), own.to_string_lossy(), "{kind}");
    }
    assert_eq!((&facts["uid"], facts.env("A")), (&json!([0, 0, 0, 0]), Some("1")));
    assert_eq!(facts.fds(), [0, 1, 2]);
    assert_eq!(case.exec(&["sh", "-c", "exit 9"]).code(), 9);
    case.exec(&["nope"]).fails().says("executable file not found in $PATH");
    let pid_file = case.path("pid");
    needs!(Rvol);
    let process = json!({ "args": ["/bin/sleep", "1000"], "oomScoreAdj": 100 });
    case.exec_process(process, &["--detach", "--pid-file", &pid_file]).ok();
    let pid = case.read("pid");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives"), "sleep\n");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives"), "100\n");
}

#[test]
fn in_a_paused_container() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let frozen = freeze(&case);
    case.exec(&["/bin/true"]).fails().says("cannot exec in a paused container (use --ignore-paused to override)");
    let running = case.start_command(case.exec_command(&["--ignore-paused"], &["/bin/probe", "echo", "thawed"]));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running.stdout(), "");
    drop(frozen);
    assert_eq!(running.finish().ok().stdout, "thawed\n");
}

/// Freezes the container by its cgroup; thaws it when dropped.
fn freeze(case: &Case) -> impl Drop {
    struct Frozen(String, &'static str);
    impl Drop for Frozen {
        fn drop(&mut self) {
            fs::write(&self.0, self.1).expect("thaw");
        }
    }
    let token = &case.token;
    let (file, frozen, thawed) = match fs::metadata("/sys/fs/cgroup/freezer") {
        Ok(_) => (format!("/sys/fs/cgroup/freezer/{token}/freezer.state"), "FROZEN", "THAWED"),
        Err(_) => (format!("/sys/fs/cgroup/{token}/cgroup.freeze"), "1", "0"),
    };
    fs::write(&file, frozen).expect("freeze");
    Frozen(file, thawed)
}

#[test]
fn in_a_cgroup_below() {
    let mut case = Case::new();
    case.started();
    let v1 = fs::metadata("/sys/fs/cgroup/memory").is_ok();
    let made: Vec<_> = leaks::cgroups(&case.token).iter().map(|c| c.join("sub")).collect();
    made.iter().for_each(|c| fs::create_dir(c).expect("make a cgroup"));
    for cpuset in made.iter().filter(|c| c.join("cpuset.cpus").exists()) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = fs::read_to_string(cpuset.parent().expect("a parent").join(file)).expect("read");
            fs::write(cpuset.join(file), value).expect("write");
        }
    }
    let facts = case.exec_facts(&["--cgroup", "/sub"], &[]);
    let cgroups = facts["cgroup"].as_str().expect("text");
    let sub = format!("{}/sub", case.token);
    let inside = cgroups.lines().filter(|l| l.contains(&case.token));
    assert!(inside.clone().count() > 0 && inside.clone().all(|l| l.ends_with(&sub)), "{cgroups}");
    if v1 {
        let facts = case.exec_facts(&["--cgroup", "memory:sub"], &[]);
        let cgroups = facts["cgroup"].as_str().expect("text").to_owned();
        let is_sub = |controller: &str| cgroups.lines().any(|l| l.contains(controller) && l.ends_with(&sub));
        assert!(is_sub("memory") && !is_sub("freezer"), "{cgroups}");
        case.exec_with(&["--cgroup", "nosuch:sub"], &["/bin/true"]).fails();
    }
}

#[test]
fn twenty_at_a_time() {
    let mut case = Case::new();
    case.started();
    let running: Vec<_> = (0..20)
        .map(|n| case.start_command(case.exec_command(&[], &["sh", "-c", &format!("echo {n}; exit {n}")])))
        .collect();
    for (n, running) in running.into_iter().enumerate() {
        let out = running.finish();
        assert_eq!((out.code(), out.stdout.as_str()), (n as i32, format!("{n}\n").as_str()), "{out}");
    }
    assert_eq!(case.status(), "running");
}

/// Whatever the moment is: it works, it fails with a reason, or its process dies with the container.
#[test]
fn while_the_container_ends() {
    let mut case = Case::new();
    for step in 0..20 {
        case.pause().create_and_start().wait_for_line("ready");
        let pid = case.pid();
        let running = case.start_command(case.exec_command(&[], &["/bin/sleep", "1000"]));
        std::thread::sleep(Duration::from_micros(400 * step));
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
        let out = running.finish();
        assert!(matches!(out.code(), 137 | 255), "{out}");
        case.delete_force().ok();
        case.assert_nothing_left();
    }
}

// --- the runtime's own death

/// SIGKILL at each of its system calls: there is no process left but one that is the program, which runs on.
#[test]
fn killed_at_each_syscall() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let output = case.path("trace");
    let command = || case.exec_command(&[], &["/bin/true"]);
    case.finish(traced(&command(), &[], &output)).ok();
    let mut counts = counts(&calls(&case.read("trace")));
    counts.remove("execve");
    let mut bad = Vec::new();
    let points = sample(&counts, 60);
    for (name, when) in &points {
        let injection = format!("inject={name}:signal=KILL:when={when}");
        case.start_command(traced(&command(), &["-e", &injection], &output)).finish();
        let mut left = Vec::new();
        waiting::until(command::LIMIT, || {
            left = leaks::processes(&case.token);
            left.retain(|(_, line)| !line.contains("probe pause") && !line.contains("strace"));
            left.is_empty().then_some(())
        });
        bad.extend((!left.is_empty()).then(|| format!("{name} number {when}: {left:?}")));
    }
    assert!(bad.is_empty(), "of {} points {} are bad:\n{}", points.len(), bad.len(), bad.join("\n"));
    case.exec(&["/bin/true"]).ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn killed_at_any_time() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    for step in 0..30 {
        let running = case.start_command(case.exec_command(&[], &["/bin/nope"]));
        std::thread::sleep(Duration::from_micros(200 * step));
        running.signal(Signal::SIGKILL);
        running.finish();
    }
    let gone = || {
        let left = leaks::processes(&case.token);
        left.iter().all(|(_, line)| line.contains("probe pause")).then_some(())
    };
    assert!(waiting::until(command::LIMIT, gone).is_some(), "{:?}", leaks::processes(&case.token));
}

/// Each system call of the runtime fails once: `exec` fails with a reason or works, and the container goes on.
#[test]
fn each_syscall_fails_once() {
    needs!(Rvol);
    let mut case = Case::new();
    case.started();
    let output = case.path("trace");
    let command = || case.exec_command(&[], &["/bin/probe", "echo", "worked"]);
    case.finish(traced(&command(), &[], &output)).ok();
    let mut counts = counts(&calls(&case.read("trace")));
    // Also close, which is not made at all where strace makes it fail: the fd stays open, and its reader waits.
    for name in ["execve", "execveat", "exit_group", "brk", "mmap", "munmap", "mprotect", "rt_sigreturn", "close"] {
        counts.remove(name);
    }
    for (name, when) in sample(&counts, 60) {
        let injection = format!("inject={name}:error=EIO:when={when}");
        let traced = traced(&command(), &["-e", &injection], &output);
        let out = case.start_command(traced).finish();
        let worked = out.succeeded() && out.stdout == "worked\n";
        // The program of the container may have met it too, or the message of the error.
        let failed = !out.succeeded() && (!out.stderr.is_empty() || out.code() < 128 || name == "write");
        assert!(worked || failed, "{name} number {when}: {out}");
        assert_eq!(case.status(), "running", "{name} number {when}");
    }
    let facts = Facts::of(&case.exec(&["/bin/probe", "facts"]).ok());
    assert_eq!(facts.fds(), [0, 1, 2]);
}

/// Whichever call is refused first: the kernel has several errors for a namespace or cgroup that is going.
#[test]
fn a_container_that_ends_meanwhile_is_named_as_the_reason() {
    needs!(Rvol);
    for round in 0..10 {
        let mut case = Case::new();
        case.pause().started();
        let mut running: Vec<_> = (0..2).map(|_| case.start_command(case.exec_command(&[], &["/bin/true"]))).collect();
        if round % 2 == 1 {
            std::thread::sleep(std::time::Duration::from_millis(round));
        }
        // Without a command of the runtime, which would take its time.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(case.pid()), nix::sys::signal::Signal::SIGKILL)
            .expect("kill");
        running.extend((0..2).map(|_| case.start_command(case.exec_command(&[], &["/bin/true"]))));
        for exec in running {
            let outcome = exec.finish();
            // 137: it had been executed.
            let told = ["cannot exec in a stopped container", "container does not exist"];
            let fine = [0, 137].contains(&outcome.code()) || told.iter().any(|text| outcome.stderr.contains(text));
            assert!(fine, "{outcome:?}");
        }
    }
}
