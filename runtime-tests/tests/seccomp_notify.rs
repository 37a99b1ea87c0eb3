//! `SCMP_ACT_NOTIFY`: the listener's socket, the container process state, and a working agent.

use runtime_tests::console::FdSocket;
use runtime_tests::raw::{answer_notification, receive_notification};
use runtime_tests::{Case, Value, json, needs};
use std::os::fd::AsFd;

fn case() -> Case {
    let mut case = Case::new();
    case.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "listenerPath": case.path("seccomp.sock"),
            "listenerMetadata": "some metadata",
            "syscalls": [{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    case.set("/annotations", json!({ "com.example": "value" }));
    case
}

#[test]
fn an_agent_answers() {
    let mut case = case();
    let question = format!("syscall:{},1", libc::SYS_sched_get_priority_max);
    case.args(&["/bin/probe", "facts", &question]);
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    let running = case.run_in_background(&[]);
    let (bytes, fds) = socket.receive();
    assert_eq!(fds.len(), 1);
    let notification = receive_notification(fds[0].as_fd()).expect("a notification");
    assert_eq!((i64::from(notification.syscall), notification.args[0]), (libc::SYS_sched_get_priority_max, 1));
    answer_notification(fds[0].as_fd(), notification.id, 4711, 0).expect("answer");
    let facts = runtime_tests::Facts::of(&running.finish().ok());
    assert_eq!(facts.answer(&question), &json!(4711));
    check_state(&case, &bytes);
}

#[track_caller]
fn check_state(case: &Case, bytes: &[u8]) {
    let message: Value = serde_json::from_slice(bytes).expect("one JSON object");
    assert_eq!(message["fds"], json!(["seccompFd"]));
    assert_eq!(message["metadata"], "some metadata");
    assert!(message["ociVersion"].is_string());
    assert!(message["pid"].as_i64().is_some_and(|p| p > 1), "the pid as the runtime sees it: {message}");
    let state = &message["state"];
    assert_eq!(state["id"], case.id.as_str());
    assert_eq!(state["status"], "creating");
    assert_eq!(state["pid"], message["pid"]);
    assert_eq!(state["bundle"], case.bundle().to_str().expect("UTF-8"));
    assert_eq!(state["annotations"]["com.example"], "value");
}

#[test]
fn the_agent_decides_the_errno() {
    let mut case = case();
    let question = format!("syscall:{},1", libc::SYS_sched_get_priority_max);
    case.args(&["/bin/probe", "facts", &question]);
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    let running = case.run_in_background(&[]);
    let (_, fds) = socket.receive();
    let notification = receive_notification(fds[0].as_fd()).expect("a notification");
    answer_notification(fds[0].as_fd(), notification.id, 0, libc::EXDEV).expect("answer");
    assert_eq!(runtime_tests::Facts::of(&running.finish().ok()).answer(&question), "EXDEV");
}

#[test]
fn the_state_comes_at_create() {
    let mut case = case();
    case.pause();
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    let running = case.start_command(case.bundle_command("create", &[]));
    let (bytes, fds) = socket.receive();
    running.finish().ok();
    check_state(&case, &bytes);
    assert_eq!(fds.len(), 1);
}

#[test]
fn the_connection_is_closed_after_the_state() {
    let mut case = case();
    case.pause();
    let socket = std::os::unix::net::UnixListener::bind(case.path("seccomp.sock")).expect("listen");
    let running = case.start_command(case.bundle_command("create", &[]));
    let (mut stream, _) = socket.accept().expect("accept");
    let mut bytes = Vec::new();
    // Without taking the fd; read_to_end ends at the end of the stream.
    std::io::Read::read_to_end(&mut stream, &mut bytes).expect("read to the end");
    running.finish().ok();
    check_state(&case, &bytes);
}

#[test]
fn a_missing_agent_is_an_error() {
    let case = case();
    case.create().fails();
    case.assert_nothing_left();
}

#[test]
fn waiting_for_the_agent_can_be_killable() {
    needs!(WaitKillable);
    let mut case = case();
    case.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    let question = format!("syscall:{},1", libc::SYS_sched_get_priority_max);
    case.args(&["/bin/probe", "facts", &question]);
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    let running = case.run_in_background(&[]);
    let (_, fds) = socket.receive();
    let notification = receive_notification(fds[0].as_fd()).expect("a notification");
    answer_notification(fds[0].as_fd(), notification.id, 12, 0).expect("answer");
    assert_eq!(runtime_tests::Facts::of(&running.finish().ok()).answer(&question), &json!(12));
}

#[test]
fn the_path_is_ignored_without_the_action() {
    let mut case = case();
    case.set("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_ERRNO"));
    case.run().ok();
}

#[test]
fn the_container_does_not_keep_the_listener() {
    let mut case = case();
    case.args(&["/bin/probe", "facts"]);
    let socket = FdSocket::listen(case.path("seccomp.sock"));
    let running = case.run_in_background(&[]);
    let (_, _fds) = socket.receive();
    let facts = runtime_tests::Facts::of(&running.finish().ok());
    assert_eq!(facts.fds(), [0, 1, 2]);
}
