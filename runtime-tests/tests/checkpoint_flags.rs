//! Flags of `checkpoint` and `restore` that need something beside the container: a page server, lazy pages, connections,
//! locks, namespaces of others.

use nix::sys::signal::Signal;
use runtime_tests::checkpoints::{
    COUNT, LONG, checkpoint, command, count, counting, counts_beyond, restore, restore_command, running, start,
    start_counting,
};
use runtime_tests::command::Running;
use runtime_tests::{Case, criu, needs, needs_criu, needs_machine, waiting};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A process of the host's that is ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(mut command: Command) -> Daemon {
        let null = Stdio::null;
        Daemon(command.stdin(null()).stdout(null()).stderr(null()).spawn().expect("start a process"))
    }

    /// Until it ends by itself; whether it ended well.
    #[track_caller]
    fn ends_well(&mut self) -> bool {
        let end = waiting::until(LONG, || self.0.try_wait().expect("wait for the process"));
        end.expect("it has not ended").success()
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("wait for the process").is_some()
    }
}

/// A port of the loopback interface that nobody uses.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port().to_string()
}

/// A `criu` with these words, when it has told that it is ready.
fn criu_daemon(case: &Case, path: &OsStr, words: &[&str]) -> Daemon {
    let ready = case.path(&format!("ready-{}", words[0]));
    let mut shell = Command::new("sh");
    shell.args(["-c", "ready=$1; shift; exec criu \"$@\" --status-fd 3 3>\"$ready\"", "sh", &ready]);
    shell.args(words).env("PATH", path).envs(criu::environment()).process_group(0);
    let mut daemon = Daemon::start(shell);
    let is_ready = || fs::metadata(&ready).is_ok_and(|file| file.len() == 1);
    let told = waiting::until(LONG, || (is_ready() || daemon.has_ended()).then_some(()));
    assert!(told.is_some() && is_ready(), "criu {} is not ready", words[0]);
    daemon
}

fn files(directory: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list the image");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn memory_goes_to_a_page_server() {
    let path = needs_criu!();
    let case = running();
    let (pages, port) = (case.make_dir("pages"), free_port());
    let words = ["page-server", "--address", "127.0.0.1", "--port", &port, "-D", &pages, "-o", "daemon.log"];
    let mut server = criu_daemon(&case, path, &words);
    checkpoint(&case, path, &["--page-server", &format!("127.0.0.1:{port}")]).ok();
    assert!(server.ends_well(), "{}", case.read("pages/daemon.log"));
    let image = case.path("image");
    assert!(files(&image, "pages-").is_empty(), "memory is here as well: {:?}", files(&image, "pages-"));
    let stood = count(&case);
    // As from the other machine.
    for name in files(&pages, "page") {
        fs::copy(format!("{pages}/{name}"), format!("{image}/{name}")).expect("copy memory to the image");
    }
    restore(&case, path, &[]).ok();
    counts_beyond(&case, stood);
    case.delete_force().ok();
}

#[test]
fn without_its_page_server_a_dump_fails_and_the_container_goes_on() {
    let path = needs_criu!();
    let case = running();
    let address = format!("127.0.0.1:{}", free_port());
    checkpoint(&case, path, &["--page-server", &address]).fails().says("criu failed");
    assert_eq!(case.status(), "running");
    counts_beyond(&case, count(&case));
    case.delete_force().ok();
}

/// A `checkpoint --lazy-pages` that has told over its `--status-fd` that the memory can be fetched.
#[track_caller]
fn dump_lazily(case: &Case, path: &OsStr, port: &str) -> Running {
    let (image, ready, address) = (case.path("image"), case.path("ready"), format!("127.0.0.1:{port}"));
    let words = ["checkpoint", "--lazy-pages", "--page-server", &address, "--status-fd", "3", "--image-path", &image];
    let inner = command(case, path, &[&words[..], &[&case.id]].concat());
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 3>\"$READY\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("READY", &ready);
    let dump = case.start_command(shell);
    let told = waiting::until(LONG, || (fs::read(&ready).ok()? == [0]).then_some(()));
    assert!(told.is_some(), "not told: {}", case.read("image/dump.log"));
    dump
}

#[test]
fn the_caller_is_told_when_memory_can_be_fetched() {
    let path = needs_criu!();
    let case = running();
    let port = free_port();
    let dump = dump_lazily(&case, path, &port);
    let number: u16 = port.parse().expect("a port");
    let table = fs::read_to_string("/proc/net/tcp").expect("the sockets");
    let everywhere = table.contains(&format!(" 00000000:{number:04X} 00000000:0000 0A"));
    // Who fetches nothing has what it wanted.
    drop(TcpStream::connect(format!("127.0.0.1:{port}")).expect("reach the memory"));
    let outcome = dump.finish_within(LONG).ok();
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        assert!(everywhere && outcome.stderr.contains("criu listens on every address"), "{outcome}\n{table}");
    }
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    case.assert_nothing_left();
}

#[test]
fn memory_that_is_not_fetched_lets_the_container_go_on() {
    let path = needs_criu!();
    let case = running();
    let port = free_port();
    let dump = dump_lazily(&case, path, &port);
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("reach the memory");
    stream.write_all(&[0xff; 64]).expect("ask for what there is not");
    dump.finish_within(LONG).fails().says("criu failed");
    assert_eq!(case.status(), "running");
    counts_beyond(&case, count(&case));
    case.delete_force().ok();
}

#[test]
fn memory_comes_lazily_from_an_image() {
    let path = needs_criu!();
    let case = running();
    checkpoint(&case, path, &[]).ok();
    let (image, stood) = (case.path("image"), count(&case));
    let mut daemon = criu_daemon(&case, path, &["lazy-pages", "-D", &image, "-v4", "-o", "daemon.log"]);
    restore(&case, path, &["--lazy-pages"]).ok();
    counts_beyond(&case, stood);
    assert!(daemon.ends_well(), "{}", case.read("image/daemon.log"));
    counts_beyond(&case, count(&case));
    case.delete_force().ok();
}

#[test]
fn a_restore_whose_lazy_memory_is_lost_on_the_way_fails() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    // Two processes: criu kills the first, which ends when the other does, and that one is traced by criu.
    case.script("sleep 1000 & echo 1 > /shared/count; wait");
    start_counting(&case, &[]);
    checkpoint(&case, path, &[]).ok();
    // As `criu lazy-pages`, which ends when it has been handed the memory of both.
    let lazy_pages = UnixListener::bind(case.path("image/lazy-pages.socket")).expect("listen for criu");
    let restoring = case.start_command(restore_command(&case, path, &["--detach", "--lazy-pages"]));
    let (mut connection, _) = lazy_pages.accept().expect("a connection of criu");
    let mut first_pid = [0; 4];
    connection.read_exact(&mut first_pid).expect("the pid of a process");
    // Criu goes on to where it tells the runtime, and is not answered before the connection is closed.
    restoring.signal(Signal::SIGSTOP);
    // A byte with the descriptor of its memory; the other process.
    connection.read_exact(&mut [0; 1 + 4 + 1]).expect("the memory of both");
    drop((connection, lazy_pages));
    restoring.signal(Signal::SIGCONT);
    restoring.finish_within(LONG).fails().says("Failed sending restore finished indication: Broken pipe");
    case.assert_nothing_left();
}

#[test]
fn an_established_connection_goes_on() {
    let path = needs_criu!();
    let mut case = counting();
    // Each number goes over the connection and back before it is shown.
    case.script(
        "busybox=/bin/busybox; $busybox mkfifo /tmp/to /tmp/from
        $busybox nc -l -p 4321 -e /bin/cat &
        until $busybox grep -q :10E1 /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done
        $busybox nc 127.0.0.1 4321 < /tmp/to > /tmp/from &
        exec 8> /tmp/to 9< /tmp/from
        i=0; while :; do i=$((i+1)); echo $i >&8; read back <&9 || exit 1
        echo $back > /shared/new; mv /shared/new /shared/count; sleep 0.05; done",
    );
    start(&case, &[]);
    counts_beyond(&case, 3);
    let failed = checkpoint(&case, path, &[]).fails();
    if runtime_tests::runtime().kind == runtime_tests::Kind::Rvol {
        failed.says("tcp-established");
    }
    counts_beyond(&case, count(&case));
    let dumped = checkpoint(&case, path, &["--tcp-established"]);
    // Before criu 4.2, from Linux 6.16 on: options that internet sockets do not have any more.
    if dumped.stderr.contains("Can't get 1:16 opt: Operation not supported") {
        counts_beyond(&case, count(&case));
        runtime_tests::features::skip("this criu is too old to dump TCP sockets of this kernel");
        return;
    }
    dumped.ok();
    let stood = count(&case);
    restore(&case, path, &["--tcp-established"]).ok();
    counts_beyond(&case, stood + 3);
    case.delete_force().ok();
}

#[test]
fn locks_are_held_again() {
    let path = needs_criu!();
    let mut case = counting();
    // Of the open file, by a child that shares it.
    case.script(&format!("exec 9> /shared/lock; /bin/probe facts syscall:73,9,6 > /shared/locked; {COUNT}"));
    start_counting(&case, &[]);
    let is_locked = || {
        let tried = Command::new("flock").args(["-n", &case.path("shared/lock"), "true"]).status();
        !tried.expect("run flock").success()
    };
    assert!(is_locked(), "{}", case.read("shared/locked"));
    checkpoint(&case, path, &[]).fails();
    counts_beyond(&case, count(&case));
    checkpoint(&case, path, &["--file-locks"]).ok();
    assert!(!is_locked(), "nobody is there");
    let stood = count(&case);
    restore(&case, path, &["--file-locks"]).ok();
    counts_beyond(&case, stood);
    assert!(is_locked(), "the lock is lost");
    case.delete_force().ok();
}

/// A process with a namespace of its own (`words` are for unshare), which a container can join.
fn holder(words: &[&str], file: &str) -> (Daemon, String) {
    let mut unshare = Command::new("unshare");
    unshare.args(words);
    let holder = Daemon::start(unshare);
    let name = if file == "pid" { "pid_for_children" } else { file };
    let namespace = format!("/proc/{}/ns/{name}", holder.0.id());
    let own = fs::read_link(format!("/proc/self/ns/{file}")).expect("our namespace");
    waiting::until(LONG, || (fs::read_link(&namespace).ok()? != own).then_some(())).expect("another namespace");
    (holder, namespace)
}

/// The container is in the holder's namespace after a restore, too.
#[track_caller]
fn goes_on_in(kind: &str, words: &[&str], file: &str) {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    let (_holder, namespace) = holder(words, file);
    case.join_namespace(kind, &namespace);
    if kind == "uts" {
        case.unset("/hostname");
    }
    start_counting(&case, &[]);
    let pids = case.pids();
    checkpoint(&case, path, &[]).ok();
    let stood = count(&case);
    // A number in the namespace is free when its process has been waited for.
    let is_gone = |pid: &i32| !fs::exists(format!("/proc/{pid}")).expect("look");
    let free = waiting::until(LONG, || pids.iter().all(is_gone).then_some(()));
    assert!(free.is_some(), "nobody waits for {pids:?}");
    restore(&case, path, &[]).ok();
    let of = |path: &str| fs::read_link(path).expect("a namespace");
    assert_eq!(of(&format!("/proc/{}/ns/{file}", case.pid())), of(&namespace));
    counts_beyond(&case, stood);
    case.delete_force().ok();
}

#[test]
fn in_the_ipc_namespace_of_another() {
    goes_on_in("ipc", &["--ipc", "sleep", "1000"], "ipc");
}

#[test]
fn in_the_uts_namespace_of_another() {
    goes_on_in("uts", &["--uts", "sleep", "1000"], "uts");
}

/// Criu would be born in it with all that is the host's.
#[test]
fn the_pid_namespace_of_another_is_refused() {
    needs!(Rvol);
    let path = needs_criu!();
    let mut case = counting();
    let (_holder, namespace) = holder(&["--pid", "--fork", "--kill-child", "sh", "-c", "sleep 1000; exit 1"], "pid");
    start_counting(&case, &[]);
    checkpoint(&case, path, &[]).ok();
    case.join_namespace("pid", &namespace);
    restore(&case, path, &[]).fails().says("cannot restore into a pid namespace that exists");
}

/// A service manager, and a container that says that it is ready when `/data/go` is there.
fn managed() -> (Case, UnixDatagram, String) {
    let mut case = Case::new();
    let socket = case.path("manager.sock");
    let manager = UnixDatagram::bind(&socket).expect("bind the manager's socket");
    manager.set_read_timeout(Some(LONG)).expect("set a timeout");
    case.args(&["/bin/probe", "notify", "/data/go"]);
    (case, manager, socket)
}

/// Runs it as the service manager does, which hears of it while `start` goes on.
fn start_managed(case: &Case, socket: &str) -> Running {
    let mut create = case.bundle_command("create", &[]);
    let made = create.env("NOTIFY_SOCKET", socket).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(made.expect("call the runtime").success(), "create failed");
    let mut start = case.command();
    start.args(["start", &case.id]).env("NOTIFY_SOCKET", socket);
    let starting = case.start_command(start);
    case.wait_for_status("running");
    starting
}

/// A detached `restore` by the service manager.
fn restore_managed(case: &Case, path: &OsStr, socket: &str) -> Running {
    let mut command = restore_command(case, path, &["--detach"]);
    command.env("NOTIFY_SOCKET", socket);
    case.start_command(command)
}

/// Takes that the container is ready, and confirms it.
#[track_caller]
fn hear_ready(case: &Case, manager: &UnixDatagram) {
    let mut buffer = [0; 256];
    let length = manager.recv(&mut buffer).expect("a message");
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("READY=1\nMAINPID={}\n", case.pid()));
    // The descriptor that comes with it is closed where nobody takes it.
    let length = manager.recv(&mut buffer).expect("the barrier");
    assert_eq!(&buffer[..length], b"BARRIER=1");
}

#[test]
fn a_service_manager_is_told_by_the_restored_container() {
    needs!(Rvol);
    let path = needs_criu!();
    let (case, manager, socket) = managed();
    let starting = start_managed(&case, &socket);
    checkpoint(&case, path, &[]).ok();
    starting.finish_within(LONG).ok();
    let restoring = restore_managed(&case, path, &socket);
    fs::write(case.rootfs().join("data/go"), "").expect("let it be ready");
    hear_ready(&case, &manager);
    restoring.finish_within(LONG).ok();
    assert_eq!(case.status(), "running");
    case.delete_force().ok();
}

#[test]
fn a_service_manager_is_told_of_a_container_that_has_been_ready() {
    needs!(Rvol);
    let path = needs_criu!();
    let (case, manager, socket) = managed();
    fs::write(case.rootfs().join("data/go"), "").expect("let it be ready");
    let starting = start_managed(&case, &socket);
    hear_ready(&case, &manager);
    starting.finish_within(LONG).ok();
    for _ in 0..2 {
        checkpoint(&case, path, &[]).ok();
        let restoring = restore_managed(&case, path, &socket);
        hear_ready(&case, &manager);
        restoring.finish_within(LONG).ok();
        assert_eq!(case.status(), "running");
    }
    // And where nobody wants to know it.
    checkpoint(&case, path, &[]).ok();
    restore(&case, path, &[]).ok();
    case.delete_force().ok();
}

#[test]
fn a_service_manager_is_told_of_a_container_that_knows_nothing_of_it() {
    needs!(Rvol);
    let path = needs_criu!();
    let (_managed, manager, socket) = managed();
    let case = running();
    checkpoint(&case, path, &[]).ok();
    let stood = count(&case);
    let restoring = restore_managed(&case, path, &socket);
    hear_ready(&case, &manager);
    restoring.finish_within(LONG).ok();
    counts_beyond(&case, stood);
    case.delete_force().ok();
}

/// What criu makes of a pipe for lazy pages, in bytes.
const PIPE: u64 = 256 << 20;

/// Whether processes of ours can make pipes as large.
fn pipes_are_large() -> bool {
    let most = fs::read_to_string("/proc/sys/fs/pipe-max-size").expect("read the limit of pipes");
    let status = fs::read_to_string("/proc/self/status").expect("our capabilities");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("our capabilities");
    let effective = u64::from_str_radix(effective, 16).expect("a number");
    most.trim().parse::<u64>().expect("a number") >= PIPE || effective >> CAP_SYS_RESOURCE & 1 == 1
}

const CAP_SYS_RESOURCE: u32 = 24;

#[test]
fn memory_follows_lazily_from_where_it_was() {
    needs!(Rvol);
    let path = needs_criu!();
    needs_machine!(pipes_are_large(), "criu needs CAP_SYS_RESOURCE for a pipe of 256 MiB");
    let mut case = counting();
    // The first container stands until its memory is fetched, and so does its cgroup.
    case.unset("/linux/cgroupsPath");
    start_counting(&case, &[]);
    let port = free_port();
    let dump = dump_lazily(&case, path, &port);
    let (image, stood) = (case.path("image"), count(&case));
    let words = ["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", &port];
    let mut daemon = criu_daemon(&case, path, &[&words[..], &["-D", &image, "-v4", "-o", "daemon.log"]].concat());
    let first = std::mem::replace(&mut case.id, format!("second-{}", case.token));
    case.also_delete(&first);
    restore(&case, path, &["--lazy-pages"]).ok();
    counts_beyond(&case, stood);
    dump.finish_within(LONG).ok();
    assert!(daemon.ends_well(), "{}", case.read("image/daemon.log"));
    counts_beyond(&case, count(&case));
    case.invoke(&["state", &first]).fails().says("does not exist");
    case.delete_force().ok();
}
