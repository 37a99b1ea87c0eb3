//! Attacks on the runtime's own processes from a container that shares a pid namespace with a new one.

use runtime_tests::attack::binary_survives;
use runtime_tests::case::Started;
use runtime_tests::{Case, Facts, json, needs};
use std::fs;
use std::os::unix::fs::symlink;

/// A started container that attacks its neighbours, and a case that joins its pid namespace.
fn neighbours(attack: &[&str]) -> (Case, Started, Case) {
    let mut attacker = Case::new();
    attacker.args(attack).caps(&["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_CHOWN", "CAP_SETUID"]);
    let started = attacker.create_and_start();
    started.wait_for_line("ready");
    let mut case = Case::new();
    case.join_namespace("pid", &format!("/proc/{}/ns/pid", attacker.pid()));
    (attacker, started, case)
}

/// CVE-2019-5736: the binary of the runtime is opened through /proc/PID/exe and written to when it is idle.
#[test]
fn the_binary_cannot_be_overwritten() {
    let (_attacker, started, mut case) = neighbours(&["/bin/probe", "overwrite", "6"]);
    binary_survives(&mut case, &started, |case, program| {
        case.args(&[program]).run();
    });
}

/// CVE-2016-9962: the fds of the runtime's process that has joined the pid namespace already.
#[test]
fn the_runtimes_fds_cannot_be_reached() {
    let (_attacker, started, mut case) = neighbours(&["/bin/probe", "spy", "4"]);
    case.args(&["/bin/true"]);
    for _ in 0..20 {
        case.run().ok();
    }
    started.wait_for_line("done");
    let output = started.output();
    for line in output.lines().filter(|l| l.starts_with("fd ")) {
        assert!(!line.contains(&case.token) && !line.contains("/sys/fs/cgroup"), "{output}");
    }
}

/// A created container waits for its start as the runtime's process: it must be closed to its neighbours.
#[test]
fn a_created_container_is_closed_to_its_neighbours() {
    let (_attacker, started, mut case) = neighbours(&["/bin/probe", "spy", "2"]);
    case.pause().create().ok();
    started.wait_for_line("done");
    assert_eq!(started.output(), "ready\ndone\n");
}

/// The same in a user namespace, in which the attacker has every capability.
#[test]
fn a_created_container_is_closed_to_the_root_of_its_user_namespace() {
    needs!(Rvol);
    let mut attacker = Case::new();
    attacker.user_namespace(200_000, 65536).args(&["/bin/probe", "spy", "2"]);
    attacker.caps(&[
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SETUID",
        "CAP_SETGID",
    ]);
    let started = attacker.create_and_start();
    started.wait_for_line("ready");
    let mut case = Case::new();
    let pid = attacker.pid();
    case.user_namespace(200_000, 65536).pause();
    case.join_namespace("user", &format!("/proc/{pid}/ns/user")).join_namespace("pid", &format!("/proc/{pid}/ns/pid"));
    case.unset("/linux/uidMappings").unset("/linux/gidMappings");
    case.create().ok();
    started.wait_for_line("done");
    assert_eq!(started.output(), "ready\ndone\n");
}

/// CVE-2024-21626: the working directory is an fd of the runtime, and with it the host's tree.
#[test]
fn the_working_directory_is_never_an_fd_of_the_runtime() {
    let mut case = Case::new();
    symlink("/proc/self/fd", case.rootfs().join("fds")).expect("symlink");
    for n in 3..40 {
        for prefix in ["/proc/self/fd", "/proc/1/fd", "/fds"] {
            if prefix != "/proc/self/fd" && n % 5 != 0 {
                continue;
            }
            case.set("/process/cwd", json!(format!("{prefix}/{n}"))).args(&["/bin/probe", "facts", "stat:."]);
            let out = case.run();
            if out.succeeded() {
                let facts = Facts::of(&out);
                let cwd = facts["cwd"].as_str().unwrap_or_default();
                assert!(cwd.starts_with('/') && !cwd.starts_with("/proc/"), "{prefix}/{n}: {out}");
                let host = fs::metadata("/").expect("stat");
                let here = (&facts.answer("stat:.")["device"], &facts.answer("stat:.")["inode"]);
                use std::os::unix::fs::MetadataExt;
                assert_ne!(here, (&json!(host.dev()), &json!(host.ino())), "{prefix}/{n} is the host's root");
            }
        }
    }
}

/// The same for the program's name.
#[test]
fn the_program_is_never_an_fd_of_the_runtime() {
    let mut case = Case::new();
    for n in (3..40).step_by(3) {
        case.args(&[&format!("/proc/self/fd/{n}/bin/true")]);
        case.run().fails();
        case.args(&[&format!("/proc/self/fd/{n}/../../../../../../../bin/true")]);
        assert!(!case.run().succeeded(), "{n}");
    }
    case.assert_nothing_left();
}

/// CVE-2022-24769 and its like: no capability is inheritable unless the config says so.
#[test]
fn the_default_config_has_no_inheritable_capabilities() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    let mut command = case.command();
    command.current_dir(case.bundle()).arg("spec");
    case.finish(command).ok();
    let spec: serde_json::Value = serde_json::from_str(&case.read("bundle/config.json")).expect("JSON");
    for set in ["inheritable", "ambient"] {
        let list = &spec["process"]["capabilities"][set];
        assert!(list.is_null() || list == &json!([]), "{set}: {list}");
    }
}

/// What the environment of the container says must not steer the runtime.
#[test]
fn the_containers_environment_does_not_steer_the_runtime() {
    let mut case = Case::new();
    case.set(
        "/process/env",
        json!([
            "PATH=/bin",
            "LD_PRELOAD=/evil.so",
            "RUST_BACKTRACE=full",
            "_LIBCONTAINER_INITPIPE=3",
            "GOMAXPROCS=1",
            "MALLOC_ARENA_MAX=1",
            "GLIBC_TUNABLES=glibc.malloc.check=3"
        ]),
    );
    case.args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
}
