//! What a process of `exec` is: the flags, and the fields of a process.json.

use runtime_tests::console::FdSocket;
use runtime_tests::raw::{answer_notification, receive_notification};
use runtime_tests::{Case, Facts, Value, json, needs};
use std::os::fd::AsFd;

const KILL: u64 = 5;
const NET_BIND_SERVICE: u64 = 10;
const NET_RAW: u64 = 13;
const AUDIT_WRITE: u64 = 29;

fn started() -> Case {
    let mut case = Case::new();
    case.started();
    case
}

/// What the probe sees as a process of a process.json.
#[track_caller]
fn facts_of(case: &Case, mut fields: Value, questions: &[&str]) -> Facts {
    let args: Vec<&str> = ["/bin/probe", "facts"].iter().chain(questions).copied().collect();
    fields["args"] = json!(args);
    Facts::of(&case.exec_process(fields, &[]).ok())
}

#[test]
fn without_flags_it_is_like_the_containers_own() {
    let mut case = Case::new();
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }));
    case.set("/process/env/-", json!("OWN=1")).set("/process/cwd", json!("/tmp"));
    case.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]));
    case.started();
    let facts = case.exec_facts(&[], &[]);
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!([1000, 1000, 1000, 1000]), &json!([1000, 1000, 1000, 1000])));
    assert_eq!(facts["groups"], json!([5]));
    assert_eq!((facts.env("OWN"), facts.env("HOME")), (Some("1"), Some("/home/user")));
    assert_eq!((&facts["cwd"], &facts["no_new_privs"]), (&json!("/tmp"), &json!(1)));
    assert_eq!(facts["rlimits"]["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(facts.caps("bounding"), [KILL, NET_BIND_SERVICE, AUDIT_WRITE]);
}

#[test]
fn flags_change_it() {
    let case = started();
    let flags = ["--user", "1000:7", "-g", "8", "-g", "9", "--cwd", "/tmp", "-e", "A=1", "-e", "TERM=dumb"];
    let facts = case.exec_facts(&flags, &[]);
    assert_eq!((&facts["uid"][0], &facts["gid"][0], &facts["groups"]), (&json!(1000), &json!(7), &json!([8, 9])));
    assert_eq!((&facts["cwd"], facts.env("A"), facts.env("TERM")), (&json!("/tmp"), Some("1"), Some("dumb")));
    // The group stays when only a user is named.
    assert_eq!(case.exec_facts(&["--user", "1000"], &[])["gid"][0], 0);
}

/// CVE-2026-30892: what is misread runs as root.
#[test]
fn users_are_numbers_and_nothing_else() {
    let case = started();
    for user in ["root", "1x", "0x1", ":2", "1:", "1:x"] {
        let out = case.exec_with(&["--user", user], &["/bin/true"]).fails();
        assert_eq!(out.code(), 255, "{out}");
    }
    needs!(Rvol);
    for user in ["+1", "-1", "4294967295", "4294967296", "1:-1"] {
        case.exec_with(&["--user", user], &["/bin/true"]).fails().says("bad ");
    }
}

/// CVE-2022-29162, youki CVE-2025-27612: an added capability is never inheritable.
#[test]
fn an_added_capability_is_not_inheritable() {
    let case = started();
    let facts = case.exec_facts(&["--cap", "CAP_NET_RAW"], &[]);
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(facts.caps(set), [KILL, NET_BIND_SERVICE, NET_RAW, AUDIT_WRITE], "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert!(facts.caps(set).is_empty(), "{set}");
    }
    needs!(Rvol);
    case.exec_with(&["--cap", "CAP_NO_SUCH"], &["/bin/true"]).fails().says("CAP_NO_SUCH");
}

#[test]
fn fields_of_a_process_file() {
    let case = started();
    let fields = json!({
        "user": { "uid": 1000, "gid": 1000, "additionalGids": [5, 6] },
        "env": ["PATH=/bin", "ONLY=this"], "cwd": "/tmp", "noNewPrivileges": true,
        "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"] },
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }],
    });
    let facts = facts_of(&case, fields, &[]);
    assert_eq!((&facts["uid"][0], &facts["groups"]), (&json!(1000), &json!([5, 6])));
    assert_eq!((facts.env("ONLY"), facts.env("TERM")), (Some("this"), None));
    assert_eq!(facts["no_new_privs"], 1);
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(facts.caps(set), [KILL], "{set}");
    }
    assert_eq!(facts["rlimits"]["RLIMIT_CORE"], json!([1, 2]));
}

#[test]
fn scheduling() {
    needs!(Scheduler, IoPriority);
    let case = started();
    let fields = json!({
        "scheduler": { "policy": "SCHED_BATCH", "nice": 5 },
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 6 },
    });
    let facts = facts_of(&case, fields, &[]);
    assert_eq!((&facts["scheduler"]["policy"], &facts["scheduler"]["nice"]), (&json!(libc::SCHED_BATCH), &json!(5)));
    assert_eq!(facts["io_priority"], json!({ "class": 2, "level": 6 }));
}

#[test]
fn cpu_affinity() {
    needs!(Rvol);
    let case = started();
    assert_eq!(facts_of(&case, json!({ "execCPUAffinity": { "final": "0" } }), &[])["cpus"], "0");
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        assert_eq!(facts_of(&case, json!({ "execCPUAffinity": { "initial": "0", "final": "1" } }), &[])["cpus"], "1");
    }
    let out = case.exec_process(json!({ "execCPUAffinity": { "initial": "5000" } }), &[]).fails();
    out.says("process.execCPUAffinity.initial");
}

#[test]
fn what_is_the_containers_holds_for_all_its_processes() {
    needs!(Personality);
    let mut case = Case::new();
    case.set("/linux/personality", json!({ "domain": "LINUX32" })).set("/process/user/umask", json!(63));
    case.set("/process/oomScoreAdj", json!(300));
    case.started();
    let facts = facts_of(&case, json!({}), &[]);
    assert_eq!((&facts["personality"], &facts["umask"]), (&json!(8), &json!("0077")));
    assert_eq!(facts["oom_score_adj"], 300);
    needs!(Rvol);
    let fields = json!({ "user": { "uid": 0, "gid": 0, "umask": 7 }, "oomScoreAdj": 400 });
    let facts = facts_of(&case, fields, &[]);
    assert_eq!((&facts["umask"], &facts["oom_score_adj"]), (&json!("0007"), &json!(400)));
}

#[test]
fn the_session_keyring_is_the_containers() {
    let case = started();
    let keyring = &case.exec_facts(&[], &[])["session_keyring"]["description"];
    let keyring = keyring.as_str().expect("a description");
    assert!(keyring.contains(&format!("_ses.{}", case.id)), "{keyring}");
}

#[test]
fn preserved_descriptors() {
    let case = started();
    let file = case.make_file("kept", "kept content");
    let rt = runtime_tests::runtime();
    let line = format!(
        "exec 3<{file} 4<{file} 5<{file}; exec {} --root {} exec --preserve-fds 2 {} /bin/probe facts",
        rt.path.display(),
        case.state_root().display(),
        case.id
    );
    let mut command = runtime_tests::command::quiet("sh".as_ref());
    command.args(["-c", &line]);
    let facts = Facts::of(&case.finish(command).ok());
    assert_eq!(facts.fds(), [0, 1, 2, 3, 4]);
    needs!(Rvol);
    case.exec_with(&["--preserve-fds", "3"], &["/bin/true"]).fails();
}

#[test]
fn labels_of_a_host_without_them() {
    needs!(Rvol);
    if std::path::Path::new("/sys/fs/selinux").exists() {
        return runtime_tests::features::skip("this host has SELinux");
    }
    let case = started();
    case.exec_with(&["--process-label", "system_u:system_r:t:s0"], &["/bin/true"]).fails().says("selinux");
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        case.exec_with(&["--apparmor", "a-profile"], &["/bin/true"]).fails().says("apparmor");
        case.exec_with(&["--apparmor", "unconfined"], &["/bin/true"]).ok();
        case.exec_process(json!({ "apparmorProfile": "a-profile" }), &[]).fails().says("apparmor");
    }
}

// --- seccomp

fn filtered(action: &str) -> Case {
    let mut case = Case::new();
    let number = "sched_get_priority_max";
    case.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": [number], "action": action }],
        }),
    );
    case
}

fn question() -> String {
    format!("syscall:{},1", libc::SYS_sched_get_priority_max)
}

#[test]
fn the_containers_filter_holds() {
    for no_new_privileges in [true, false] {
        let mut case = filtered("SCMP_ACT_ERRNO");
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        case.started();
        let facts = case.exec_facts(&[], &[&question()]);
        assert_eq!((&facts["seccomp"], facts.answer(&question())), (&json!(2), &json!("EPERM")));
        // Also for a process of its own, as an ordinary user and without any capability.
        let fields = json!({ "user": { "uid": 1000, "gid": 1000 }, "capabilities": {}, "noNewPrivileges": false });
        let facts = facts_of(&case, fields, &[&question()]);
        assert_eq!((&facts["seccomp"], facts.answer(&question())), (&json!(2), &json!("EPERM")));
        assert_eq!((&facts["no_new_privs"], facts.caps("permitted")), (&json!(0), vec![]));
    }
}

#[test]
fn a_listener_gets_each_process() {
    let mut case = filtered("SCMP_ACT_NOTIFY");
    case.set("/linux/seccomp/listenerPath", json!(case.path("seccomp.sock")));
    case.set("/linux/seccomp/listenerMetadata", json!("some metadata"));
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    case.pause();
    let running = case.start_command(case.bundle_command("create", &[]));
    let (_, _first) = socket.receive();
    running.finish().ok();
    case.start().ok();
    let running = case.start_command(case.exec_command(&[], &["/bin/probe", "facts", &question()]));
    let (bytes, fds) = socket.receive();
    assert_eq!(fds.len(), 1);
    let notification = receive_notification(fds[0].as_fd()).expect("a notification");
    answer_notification(fds[0].as_fd(), notification.id, 4711, 0).expect("answer");
    assert_eq!(Facts::of(&running.finish().ok()).answer(&question()), &json!(4711));
    let message: Value = serde_json::from_slice(&bytes).expect("one JSON object");
    assert_eq!((&message["metadata"], &message["state"]["id"]), (&json!("some metadata"), &json!(case.id)));
    assert_eq!(message["state"]["status"], "running");
    assert_eq!(message["state"]["pid"], case.pid());
    assert_ne!(message["pid"], message["state"]["pid"]);
}
