//! What a service manager passes on: sockets (`LISTEN_FDS`, sd_listen_fds(3)) and the wish to be told (`NOTIFY_SOCKET`,
//! sd_notify(3)).

use runtime_tests::{Case, Facts, json, needs, runtime, waiting};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// The runtime as a service manager starts it, with two files as fds 3 and 4.
fn activated(case: &Case, words: &[&str]) -> Command {
    let file = case.make_file("passed", "content");
    let line = format!(
        "exec 3<{file} 4<{file} 5<{file}; \
         LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=one:two exec {} --root {} \"$@\"",
        runtime().path.display(),
        case.state_root().display()
    );
    let mut command = runtime_tests::command::quiet("sh".as_ref());
    command.args(["-c", &line, "sh"]).args(words);
    command
}

fn bundle(case: &Case) -> String {
    case.write_config();
    case.bundle().to_str().expect("UTF-8").to_owned()
}

#[test]
fn sockets_are_passed_on() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let (bundle, id) = (bundle(&case), case.id.clone());
    let facts = Facts::of(&case.finish(activated(&case, &["run", "--bundle", &bundle, &id])).ok());
    assert_eq!(facts.fds(), [0, 1, 2, 3, 4]);
    assert_eq!((facts.env("LISTEN_FDS"), facts.env("LISTEN_PID")), (Some("2"), Some("1")));
    let command = activated(&case, &["run", "--preserve-fds", "1", "--bundle", &bundle, &id]);
    let facts = Facts::of(&case.finish(command).ok());
    assert_eq!((facts.fds(), facts.env("LISTEN_FDS")), (vec![0, 1, 2, 3, 4, 5], Some("2")));
    needs!(Rvol);
    assert_eq!(facts.env("LISTEN_FDNAMES"), Some("one:two"));
}

#[test]
fn sockets_of_a_created_container_and_of_another_process() {
    needs!(Rvol);
    let mut case = Case::new();
    // Without a pid namespace of its own the number is not 1.
    case.without_namespace("pid").started();
    let id = case.id.clone();
    let facts = Facts::of(&case.finish(activated(&case, &["exec", &id, "/bin/probe", "facts"])).ok());
    assert_eq!(facts.fds(), [0, 1, 2, 3, 4]);
    assert_eq!(facts.env("LISTEN_PID").map(str::to_owned), Some(facts["pid"].to_string()));
    case.kill("KILL").ok();
    case.delete_force().ok();
    case.args(&["/bin/sh", "-c", "cat <&4 >/data/read; env >>/data/read"]);
    let bundle = bundle(&case);
    case.finish(activated(&case, &["create", "--bundle", &bundle, &id])).ok();
    case.start().ok();
    case.wait_for_status("stopped");
    let read = fs::read_to_string(case.rootfs().join("data/read")).expect("read");
    assert!(read.starts_with("content") && read.contains("LISTEN_FDS=2\n"), "{read}");
}

#[test]
fn sockets_for_somebody_else() {
    let mut case = Case::new();
    case.args(&["/bin/probe", "facts"]);
    let mut command = case.bundle_command("run", &[]);
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let facts = Facts::of(&case.finish(command).ok());
    assert_eq!((facts.fds(), facts.env("LISTEN_FDS")), (vec![0, 1, 2], None));
}

#[test]
fn sockets_that_are_missing() {
    needs!(Rvol);
    let case = Case::new();
    let bundle = bundle(&case);
    let line = format!(
        "LISTEN_FDS=3 LISTEN_PID=$$ exec {} --root {} run --bundle {bundle} {}",
        runtime().path.display(),
        case.state_root().display(),
        case.id
    );
    let mut command = runtime_tests::command::quiet("sh".as_ref());
    command.args(["-c", &line]);
    case.finish(command).fails().says("LISTEN_FDS 3: fd 3 is not open");
}

// --- NOTIFY_SOCKET; runc 1.1 hangs when a container ends without a word, and sends no barrier

/// A service manager, and a container that says that it is ready when the file `go` is there.
fn managed() -> (Case, UnixDatagram, String) {
    let mut case = Case::new();
    let path = case.path("manager.sock");
    let manager = UnixDatagram::bind(&path).expect("bind");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
    case.args(&["/bin/probe", "notify", "/data/go"]);
    (case, manager, path)
}

fn go(case: &Case) {
    fs::write(case.rootfs().join("data/go"), "").expect("write");
}

/// The next messages up to the barrier, which is answered.
fn hear(manager: &UnixDatagram) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0u8; 1024];
        let mut space = nix::cmsg_space!(i32);
        let mut slices = [std::io::IoSliceMut::new(&mut buffer)];
        let flags = nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC;
        let message = nix::sys::socket::recvmsg::<()>(manager.as_raw_fd(), &mut slices, Some(&mut space), flags);
        let message = message.expect("a message");
        let fds = message.cmsgs().expect("control").find_map(|c| match c {
            nix::sys::socket::ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let count = message.bytes;
        heard.extend(String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned));
        if let Some(fds) = fds {
            fds.into_iter().map(runtime_tests::raw::own).for_each(drop);
            return heard;
        }
        if heard.iter().any(|l| l.starts_with("MAINPID")) && heard.len() > 4 {
            return heard;
        }
    }
}

#[test]
fn start_waits_until_the_container_is_ready() {
    needs!(Rvol);
    let (case, manager, path) = managed();
    let mut command = case.bundle_command("create", &[]);
    command.env("NOTIFY_SOCKET", &path);
    case.finish(command).ok();
    let mut command = case.command();
    command.args(["start", &case.id]).env("NOTIFY_SOCKET", &path);
    let running = case.start_command(command);
    case.wait_for_status("running");
    // Others can work on the container meanwhile.
    case.exec(&["/bin/true"]).ok();
    go(&case);
    let heard = hear(&manager);
    assert!(heard.contains(&"READY=1".to_owned()), "{heard:?}");
    assert!(heard.contains(&format!("MAINPID={}", case.pid())), "{heard:?}");
    assert!(heard.contains(&"BARRIER=1".to_owned()), "{heard:?}");
    running.finish().ok();
    assert_eq!(case.status(), "running");
}

#[test]
fn a_detached_run_waits_too() {
    needs!(Rvol);
    let (case, manager, path) = managed();
    let mut command = case.bundle_command("run", &["--detach"]);
    command.env("NOTIFY_SOCKET", &path);
    let running = case.start_command(command);
    waiting::until(Duration::from_secs(10), || case.rootfs().join("run/notify").exists().then_some(())).expect("made");
    go(&case);
    let heard = hear(&manager);
    assert!(heard.contains(&"READY=1".to_owned()), "{heard:?}");
    running.finish().ok();
    assert!(heard.contains(&format!("MAINPID={}", case.pid())), "{heard:?}");
}

#[test]
fn in_the_foreground_the_runtime_is_the_main_process() {
    needs!(Rvol);
    let (case, manager, path) = managed();
    let mut command = case.bundle_command("run", &[]);
    command.env("NOTIFY_SOCKET", &path);
    let running = case.start_command(command);
    go(&case);
    let mut buffer = [0u8; 256];
    let count = manager.recv(&mut buffer).expect("a message");
    assert_eq!(String::from_utf8_lossy(&buffer[..count]), format!("READY=1\nMAINPID={}\n", running.pid()));
    case.kill("TERM").ok();
    assert_eq!(running.finish().code(), 0);
    case.assert_nothing_left();
}

#[test]
fn a_container_that_ends_without_being_ready() {
    needs!(Rvol);
    let (mut case, _manager, path) = managed();
    case.args(&["/bin/true"]);
    let mut command = case.bundle_command("run", &["--detach"]);
    command.env("NOTIFY_SOCKET", &path);
    case.finish(command).ok();
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn the_container_cannot_put_another_socket_in_its_place() {
    needs!(Rvol);
    let (mut case, _manager, path) = managed();
    let questions = ["create:/run/notify/x", "unlink:/run/notify/notify.sock", "stat:/run/notify/notify.sock"];
    let args: Vec<&str> = ["/bin/probe", "facts"].into_iter().chain(questions).collect();
    case.args(&args);
    let mut command = case.bundle_command("run", &[]);
    command.env("NOTIFY_SOCKET", &path);
    let facts = Facts::of(&case.finish(command).ok());
    facts.expect(&[("create:/run/notify/x", "EROFS"), ("unlink:/run/notify/notify.sock", "EROFS")]);
    assert_eq!(facts.answer("stat:/run/notify/notify.sock")["type"], "socket");
    assert_eq!(facts.env("NOTIFY_SOCKET"), Some("/run/notify/notify.sock"));
    assert_eq!(facts.mount("/run/notify").0["options"].as_array().map(|o| o.contains(&json!("noexec"))), Some(true));
}
