//! `process`: user, directory, environment, arguments, limits, capabilities.

use runtime_tests::{Case, Facts, json, needs};

#[test]
fn arguments_are_passed_as_they_are() {
    let mut case = Case::new();
    let args = ["two words", "", "quote\"d", "tab\t", "ünï", "$HOME", "-v"];
    let facts = case.facts(&args);
    assert_eq!(facts["args"].as_array().expect("args")[2..], args.map(|a| json!(a)));
}

#[test]
fn the_environment_is_the_configs() {
    let mut case = Case::new();
    case.set("/process/env", json!(["PATH=/bin", "HOME=/somewhere", "EMPTY=", "EQUALS=a=b", "SPACES= x "]));
    let facts = case.facts(&[]);
    let env: Vec<_> = facts["env"].as_array().expect("env").iter().filter_map(|e| e.as_str()).collect();
    assert_eq!(env, ["PATH=/bin", "HOME=/somewhere", "EMPTY=", "EQUALS=a=b", "SPACES= x "]);
}

#[test]
fn nothing_of_the_callers_environment_gets_in() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let mut command = case.bundle_command("run", &[]);
    command.env("LEAKED", "1").env("_LIBCONTAINER_X", "1").env("RUST_BACKTRACE", "1");
    let facts = Facts::of(&case.finish(command).ok());
    for entry in facts["env"].as_array().expect("env") {
        let name = entry.as_str().and_then(|e| e.split('=').next()).unwrap_or_default();
        assert!(["PATH", "TERM", "HOME"].contains(&name), "{entry}");
    }
}

#[test]
fn home_comes_from_the_containers_passwd() {
    let mut case = Case::new();
    assert_eq!(case.facts(&[]).env("HOME"), Some("/root"));
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(case.facts(&[]).env("HOME"), Some("/home/user"));
    case.set("/process/user", json!({ "uid": 4242, "gid": 4242 }));
    assert_eq!(case.facts(&[]).env("HOME"), Some("/"), "of a user that passwd does not know");
    std::fs::remove_file(case.rootfs().join("etc/passwd")).expect("remove passwd");
    assert_eq!(case.facts(&[]).env("HOME"), Some("/"), "without a passwd");
}

#[test]
fn programs_are_looked_up_in_the_containers_path() {
    let mut case = Case::new();
    let rootfs = case.rootfs();
    std::fs::create_dir_all(rootfs.join("opt/own")).expect("mkdir");
    std::fs::copy(rootfs.join("bin/probe"), rootfs.join("opt/own/my-program")).expect("copy");
    // A directory and a file that cannot be executed come first and are passed over.
    std::fs::create_dir_all(rootfs.join("opt/first/my-program")).expect("mkdir");
    std::fs::create_dir_all(rootfs.join("opt/second")).expect("mkdir");
    std::fs::write(rootfs.join("opt/second/my-program"), "no program").expect("write");
    case.set("/process/env", json!(["PATH=/nowhere:/opt/first:/opt/second:/opt/own"]));
    case.args(&["my-program", "echo", "found"]);
    assert_eq!(case.run().ok().stdout, "found\n");
}

#[test]
fn relative_programs_are_relative_to_cwd() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("/bin")).args(&["./probe", "echo", "found"]);
    assert_eq!(case.run().ok().stdout, "found\n");
}

#[test]
fn cwd_is_set() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("/data"));
    assert_eq!(case.facts(&[])["cwd"], "/data");
}

#[test]
fn a_missing_cwd_is_made() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("/made/for/it"));
    assert_eq!(case.facts(&[])["cwd"], "/made/for/it");
    case.set("/process/cwd", json!("/also/made")).set("/root/readonly", json!(true));
    assert_eq!(case.facts(&[])["cwd"], "/also/made", "made before the root becomes read-only");
}

#[test]
fn a_cwd_that_is_a_file_is_refused() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("/etc/passwd"));
    case.run().fails().says("/etc/passwd");
    case.assert_nothing_left();
}

#[test]
fn a_cwd_that_only_the_user_may_enter() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let mut case = Case::new();
    let private = case.rootfs().join("data/private");
    std::fs::create_dir(&private).expect("mkdir");
    chown(&private, Some(1000), Some(1000)).expect("chown");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).set("/process/cwd", json!("/data/private"));
    assert_eq!(case.facts(&[])["cwd"], "/data/private");
}

#[test]
fn user_and_groups() {
    let mut case = Case::new();
    case.set("/process/user", json!({ "uid": 1000, "gid": 2000, "additionalGids": [5, 6, 70000] }));
    let facts = case.facts(&[]);
    assert_eq!(facts["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(facts["gid"], json!([2000, 2000, 2000, 2000]));
    assert_eq!(facts["groups"], json!([5, 6, 70000]));
}

#[test]
fn no_groups_are_inherited() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let run = case.bundle_command("run", &[]);
    let mut command = runtime_tests::command::quiet(std::path::Path::new("setpriv"));
    command.args(["--groups", "27,28", "--"]).arg(run.get_program()).args(run.get_args());
    assert_eq!(Facts::of(&case.finish(command).ok())["groups"], json!([]));
}

#[test]
fn umask_is_set() {
    needs!(Umask);
    let mut case = Case::new();
    for umask in [0o077, 0, 0o22] {
        case.set("/process/user/umask", json!(umask));
        let facts = case.facts(&[]);
        assert_eq!(facts["umask"], format!("{umask:04o}"));
    }
}

#[test]
fn umask_does_not_change_what_is_mounted() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts", "stat:/dev/null", "stat:/dev/shm", "stat:/dev"]);
    let run = case.bundle_command("run", &[]);
    let mut command = runtime_tests::command::quiet(std::path::Path::new("/bin/sh"));
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let facts = Facts::of(&case.finish(command).ok());
    assert_eq!(facts.answer("stat:/dev/null")["mode"], "0666");
    assert_eq!(facts.answer("stat:/dev/shm")["mode"], "1777");
    assert_eq!(facts.answer("stat:/dev")["mode"], "0755");
}

#[test]
fn ids_beyond_32_bits_are_refused() {
    let mut case = Case::new();
    for id in [json!(4294967296u64), json!(-1)] {
        case.set("/process/user", json!({ "uid": id, "gid": 0 }));
        case.run().fails();
        case.set("/process/user", json!({ "uid": 0, "gid": id }));
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn the_id_that_means_no_change_is_refused() {
    needs!(RefusesIdMinusOne);
    let mut case = Case::new();
    case.set("/process/user", json!({ "uid": 4294967295u32, "gid": 0 }));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn rlimits_are_set() {
    let mut case = Case::new();
    let limits = [
        ("RLIMIT_AS", 1u64 << 40, 1u64 << 41),
        ("RLIMIT_CORE", 0, 1024),
        ("RLIMIT_CPU", 600, 700),
        ("RLIMIT_DATA", 1 << 39, 1u64 << 40),
        ("RLIMIT_FSIZE", 1 << 30, 1 << 31),
        ("RLIMIT_LOCKS", 100, 101),
        ("RLIMIT_MEMLOCK", 4096, 8192),
        ("RLIMIT_MSGQUEUE", 1000, 2000),
        ("RLIMIT_NICE", 0, 0),
        ("RLIMIT_NOFILE", 333, 444),
        ("RLIMIT_NPROC", 5000, 6000),
        ("RLIMIT_RSS", 1 << 30, 1 << 30),
        ("RLIMIT_RTPRIO", 0, 0),
        ("RLIMIT_RTTIME", 1_000_000, 2_000_000),
        ("RLIMIT_SIGPENDING", 100, 200),
        ("RLIMIT_STACK", 4 << 20, 8 << 20),
    ];
    let list: Vec<_> = limits.iter().map(|(t, s, h)| json!({ "type": t, "soft": s, "hard": h })).collect();
    case.set("/process/rlimits", json!(list));
    let facts = case.facts(&[]);
    for (name, soft, hard) in limits {
        assert_eq!(facts["rlimits"][name], json!([soft, hard]), "{name}");
    }
}

/// Fewer than the runtime itself needs between setting the limit and executing the program.
#[test]
fn a_few_open_files() {
    needs!(Rvol);
    for (soft, hard) in [(0, 0), (3, 3), (5, 5), (3, 100), (63, 64)] {
        let mut case = Case::new();
        case.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard }]));
        case.script("ulimit -S -n; ulimit -H -n");
        assert_eq!(case.run().ok().stdout, format!("{soft}\n{hard}\n"));
        let started = case.create_and_start();
        case.wait_for_status("stopped");
        assert_eq!(started.output(), format!("{soft}\n{hard}\n"));
    }
}

#[test]
fn rlimits_that_are_not_named_stay() {
    let mut case = Case::new();
    case.set("/process/rlimits", json!([])).args(&["/bin/probe", "facts"]);
    let run = case.bundle_command("run", &[]);
    let mut command = runtime_tests::command::quiet(std::path::Path::new("/bin/sh"));
    command.args(["-c", "ulimit -S -s 4096; ulimit -S -c 0; exec \"$@\"", "sh"]).arg(run.get_program());
    command.args(run.get_args());
    let facts = Facts::of(&case.finish(command).ok());
    assert_eq!(facts["rlimits"]["RLIMIT_STACK"][0], 4096 * 1024);
    assert_eq!(facts["rlimits"]["RLIMIT_CORE"][0], 0);
}

#[test]
fn bad_rlimits_are_refused() {
    let mut case = Case::new();
    let limit = |name: &str| json!({ "type": name, "soft": 100, "hard": 100 });
    case.set("/process/rlimits", json!([limit("RLIMIT_NONSENSE")]));
    case.run().fails().says("RLIMIT_NONSENSE");
    case.assert_nothing_left();
}

#[test]
fn a_limit_named_twice_is_refused() {
    needs!(RefusesDuplicateRlimits);
    let mut case = Case::new();
    let limit = |name: &str| json!({ "type": name, "soft": 100, "hard": 100 });
    case.set("/process/rlimits", json!([limit("RLIMIT_NOFILE"), limit("RLIMIT_CORE"), limit("RLIMIT_NOFILE")]));
    case.run().fails();
    case.assert_nothing_left();
}

const NONE: [u64; 0] = [];
const KILL: u64 = 5;
const NET_BIND_SERVICE: u64 = 10;
const NET_RAW: u64 = 13;
const SYS_CHROOT: u64 = 18;
const AUDIT_WRITE: u64 = 29;

#[test]
fn capabilities_in_all_five_sets() {
    let mut case = Case::new();
    case.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT"],
            "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        }),
    );
    // Not as root, for whom execve fills the sets from the bounding set.
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let facts = case.facts(&[]);
    assert_eq!(facts.caps("bounding"), [KILL, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE]);
    assert_eq!(facts.caps("inheritable"), [KILL, NET_BIND_SERVICE]);
    assert_eq!(facts.caps("ambient"), [NET_BIND_SERVICE]);
    // After execve of a file without capabilities, these are the ambient ones (capabilities(7)).
    assert_eq!(facts.caps("permitted"), [NET_BIND_SERVICE]);
    assert_eq!(facts.caps("effective"), [NET_BIND_SERVICE]);
}

#[test]
fn capabilities_of_root() {
    let mut case = Case::new();
    let facts = case.facts(&[]);
    for set in ["bounding", "permitted", "effective"] {
        assert_eq!(facts.caps(set), [KILL, NET_BIND_SERVICE, AUDIT_WRITE], "{set}");
    }
    assert_eq!(facts.caps("inheritable"), NONE, "never more than the config says");
    assert_eq!(facts.caps("ambient"), NONE);
}

#[test]
fn no_capabilities_at_all() {
    let mut case = Case::new();
    case.set("/process/capabilities", json!({}));
    let facts = case.facts(&[]);
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(facts.caps(set), NONE, "{set}");
    }
}

#[test]
fn unknown_capabilities_are_a_warning() {
    let mut case = Case::new();
    for set in ["bounding", "effective", "permitted"] {
        case.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL", "CAP_MADE_UP"]));
    }
    case.args(&["/bin/probe", "facts"]);
    let out = case.run().ok().says("CAP_MADE_UP");
    assert_eq!(Facts::of(&out).caps("bounding"), [KILL]);
}

#[test]
fn capabilities_that_cannot_be_granted_are_a_warning() {
    needs!(UngrantableCapabilities);
    let mut case = Case::new();
    case.caps(&["CAP_KILL", "CAP_SYS_TIME"]).args(&["/bin/probe", "facts"]);
    let run = case.bundle_command("run", &[]);
    let mut command = runtime_tests::command::quiet(std::path::Path::new("setpriv"));
    command.args(["--bounding-set", "-sys_time", "--"]).arg(run.get_program()).args(run.get_args());
    let out = case.finish(command).ok().says("CAP_SYS_TIME");
    assert_eq!(Facts::of(&out).caps("effective"), [KILL]);
}

#[test]
fn ambient_needs_permitted_and_inheritable() {
    // What capset(2) would refuse must not turn into more than was asked for.
    let mut case = Case::new();
    case.set("/process/capabilities/ambient", json!(["CAP_KILL"]));
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(&["/bin/probe", "facts"]);
    let out = case.run();
    if out.succeeded() {
        assert_eq!(Facts::of(&out).caps("ambient"), NONE);
    }
}

#[test]
fn no_new_privileges_in_both_values() {
    let mut case = Case::new();
    for value in [true, false] {
        case.set("/process/noNewPrivileges", json!(value));
        assert_eq!(case.facts(&[])["no_new_privs"], u64::from(value));
    }
    case.unset("/process/noNewPrivileges");
    assert_eq!(case.facts(&[])["no_new_privs"], 0);
}

/// HOME is looked up with the rights of init: the file may be closed to the container's user.
#[test]
fn home_comes_from_a_passwd_that_the_user_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    needs!(Rvol);
    for (path, mode) in [("etc/passwd", 0o600), ("etc", 0o700)] {
        let mut case = Case::new();
        let path = case.rootfs().join(path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        assert_eq!(case.facts(&[]).env("HOME"), Some("/home/user"), "{}", path.display());
        case.started();
        assert_eq!(case.exec_facts(&[], &[]).env("HOME"), Some("/home/user"), "{}", path.display());
    }
}

#[test]
fn home_comes_from_an_entry_behind_much_else() {
    needs!(Rvol);
    let mut case = Case::new();
    let mut passwd = "x:x:7:7::/x:/bin/sh\n".repeat(1 << 20);
    passwd.push_str(&"y".repeat(200_000));
    passwd.push_str("\nlast:x:4711:4711::/home/last:/bin/sh\n");
    std::fs::write(case.rootfs().join("etc/passwd"), passwd).expect("write");
    case.set("/process/user", json!({ "uid": 4711, "gid": 4711 }));
    assert_eq!(case.facts(&[]).env("HOME"), Some("/home/last"));
}

/// A sparse file costs an image nothing: what is read of it has a bound, and that is said.
#[test]
fn a_passwd_without_an_end_is_a_warning() {
    needs!(Rvol);
    let mut case = Case::new();
    let file = std::fs::OpenOptions::new().write(true).open(case.rootfs().join("etc/passwd")).expect("open");
    file.set_len(1 << 40).expect("truncate");
    case.set("/process/user", json!({ "uid": 4711, "gid": 4711 })).args(&["/bin/probe", "facts"]);
    let outcome = case.run().ok().says("/etc/passwd has no entry for 4711 in its first 256 MiB");
    assert_eq!(runtime_tests::Facts::of(&outcome).env("HOME"), Some("/"));
}
