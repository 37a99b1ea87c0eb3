//! Attacks of a container on a process that is executed in it.

use runtime_tests::attack::binary_survives;
use runtime_tests::case::Started;
use runtime_tests::{Case, Facts, json, needs, runtime};
use std::fs;
use std::os::unix::fs::symlink;

/// A started container that attacks whatever else is in its pid namespace.
fn attacker(attack: &[&str], configure: impl FnOnce(&mut Case)) -> (Case, Started) {
    let mut case = Case::new();
    case.args(attack).caps(&["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_CHOWN", "CAP_SETUID"]);
    configure(&mut case);
    let started = case.create_and_start();
    started.wait_for_line("ready");
    (case, started)
}

/// CVE-2019-5736: the binary of the runtime is opened through /proc/PID/exe, or executed as an interpreter.
#[test]
fn the_binary_cannot_be_overwritten() {
    let (mut case, started) = attacker(&["/bin/probe", "overwrite", "6"], |_| {});
    binary_survives(&mut case, &started, |case, program| {
        case.exec(&[program]);
    });
}

/// CVE-2016-9962: what the process has open before it is the program, and its memory.
#[test]
fn the_process_is_closed_until_it_executes() {
    let (case, started) = attacker(&["/bin/probe", "spy", "6"], |_| {});
    for _ in 0..100 {
        // Fast, so that the spy sees mostly the runtime's process.
        case.exec(&["/bin/nope"]).fails();
    }
    started.wait_for_line("done");
    assert_eq!(started.output(), "ready\ndone\n");
}

/// The same for the root of a user namespace, who has all capabilities there.
#[test]
fn the_process_is_closed_to_the_root_of_a_user_namespace() {
    let (case, started) = attacker(&["/bin/probe", "spy", "6"], |case| {
        case.user_namespace(200_000, 65536).caps(&["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    });
    for _ in 0..100 {
        case.exec(&["/bin/nope"]).fails();
    }
    started.wait_for_line("done");
    assert_eq!(started.output(), "ready\ndone\n");
}

/// CVE-2024-21626: the working directory, by a link of the container too, is an fd of the runtime.
#[test]
fn the_working_directory_is_never_an_fd_of_the_runtime() {
    let mut case = Case::new();
    symlink("/proc/self/fd", case.rootfs().join("fds")).expect("symlink");
    case.started();
    let host = fs::metadata("/").expect("stat");
    for n in 3..40 {
        symlink(format!("/proc/self/fd/{n}"), case.rootfs().join(format!("fd{n}"))).expect("symlink");
        for cwd in [format!("/proc/self/fd/{n}"), format!("/fds/{n}"), format!("/fd{n}")] {
            let out = case.exec_with(&["--cwd", &cwd], &["/bin/probe", "facts", "stat:.", "stat:../.."]);
            if out.succeeded() {
                let facts = Facts::of(&out);
                use std::os::unix::fs::MetadataExt;
                for question in ["stat:.", "stat:../.."] {
                    let here = (&facts.answer(question)["device"], &facts.answer(question)["inode"]);
                    assert_ne!(here, (&json!(host.dev()), &json!(host.ino())), "{cwd} is the host's root");
                }
            }
        }
    }
}

#[test]
fn the_program_is_never_an_fd_of_the_runtime() {
    let mut case = Case::new();
    case.started();
    for n in 3..20 {
        case.exec(&[&format!("/proc/self/fd/{n}/bin/true")]).fails();
        case.exec(&[&format!("/proc/self/fd/{n}/../../../../../../../bin/true")]).fails();
    }
}

/// Nothing but the standard streams is open in the program, whatever the caller has open.
#[test]
fn no_descriptor_is_passed_on() {
    let mut case = Case::new();
    case.started();
    let line = format!(
        "exec 3</ 7</etc 9</proc; exec {} --root {} exec {} /bin/probe facts",
        runtime().path.display(),
        case.state_root().display(),
        case.id
    );
    let mut command = runtime_tests::command::quiet("sh".as_ref());
    command.args(["-c", &line]);
    assert_eq!(Facts::of(&case.finish(command).ok()).fds(), [0, 1, 2]);
    let facts = Facts::of(&case.exec_process(json!({ "args": ["/bin/probe", "facts"] }), &[]).ok());
    assert_eq!(facts.fds(), [0, 1, 2]);
}

/// runc before 1.5.2, crun before 1.29: `/c1` is a prefix of `/c10`, and `..` leads to siblings.
#[test]
fn a_cgroup_outside_of_the_containers() {
    let mut case = Case::new();
    case.started();
    for path in ["..", "../", &format!("../{}0", case.token), "a/../..", "/../x", "cpu:../x"] {
        case.exec_with(&["--cgroup", path], &["/bin/true"]).fails();
    }
    // A link in a cgroup filesystem there is none; a name that is missing is an error and is not made.
    case.exec_with(&["--cgroup", "missing"], &["/bin/true"]).fails();
}

/// CVE-2026-88265 and its like: /dev/ptmx of the container is a trap.
#[test]
fn a_pty_multiplexer_that_is_a_trap() {
    needs!(Rvol);
    let mut case = Case::new();
    if let Some(mounts) = case.config["mounts"].as_array_mut() {
        mounts.retain(|m| m["destination"] != "/dev/pts");
    }
    case.mount("/dev/pts", "tmpfs", "tmpfs", &[]);
    case.started();
    case.exec(&["ln", "-s", "/proc/self/environ", "/dev/pts/ptmx"]).ok();
    let socket = runtime_tests::console::FdSocket::listen(case.path("console.sock"));
    let flags = ["--detach", "--tty", "--console-socket", &socket.path];
    case.exec_with(&flags, &["/bin/true"]).fails().says("not a devpts");
}

/// What the container's files say must not steer the runtime: passwd is the container's.
#[test]
fn a_passwd_file_that_is_a_trap() {
    let mut case = Case::new();
    case.started();
    fs::remove_file(case.rootfs().join("etc/passwd")).expect("remove");
    let made = nix::unistd::mkfifo(&case.rootfs().join("etc/passwd"), nix::sys::stat::Mode::S_IRUSR);
    made.expect("mkfifo");
    needs!(Rvol);
    let facts = case.exec_facts(&[], &[]);
    assert_eq!(facts.env("HOME"), Some("/"));
}
