//! Podman with systemd as its cgroup manager, as root and as a user with a session, and containerd with `SystemdCgroup`.
//! (Engines with cgroupfs: runtime-tests/engines.) Skipped where systemd is not PID 1 or the engine is missing; `make test-vm`
//! has a machine with all of it.

use runtime_tests::{Case, Outcome, command, machine, needs, needs_machine, unprivileged, waiting};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const USER: u32 = 1000;

/// An engine whose storage and state are the case's own.
struct Podman {
    case: Case,
    user: Option<u32>,
}

impl Podman {
    fn new(user: Option<u32>) -> Podman {
        let case = user.map_or_else(Case::new, unprivileged::case);
        Podman { case, user }
    }

    /// `podman WORDS…`, not yet run.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.user {
            Some(user) => unprivileged::command("podman".as_ref(), user),
            None => command::quiet("podman".as_ref()),
        };
        if let Some(session) = self.user.and_then(machine::session_of) {
            command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={session}/bus"));
            // Who is root in a user namespace is known as somebody else by his name.
            command.env("XDG_RUNTIME_DIR", session).env("HOME", &self.case.dir).env("USER", "user");
        }
        let binary = self.case.binary.as_ref().unwrap_or(&runtime_tests::runtime().path);
        command.arg("--runtime").arg(binary).args(["--cgroup-manager", "systemd", "--storage-driver", "vfs"]);
        for (flag, directory) in [("--root", "storage"), ("--runroot", "engine"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.case.dir.join(directory));
        }
        command.args(["--events-backend", "none"]).args(words).current_dir(&self.case.dir);
        command
    }

    #[track_caller]
    fn call(&self, words: &[&str]) -> Outcome {
        self.case.finish(self.command(words))
    }

    /// `podman run FLAGS… ROOTFS PROGRAM…`, without a network.
    #[track_caller]
    fn run(&self, flags: &[&str], program: &[&str]) -> Outcome {
        let rootfs = self.case.rootfs();
        let front = [
            "run",
            "--network",
            "none",
            "--env",
            "PATH=/bin",
            "--name",
            &self.case.id,
            "--security-opt",
            "seccomp=unconfined",
        ];
        let words = [&front[..], flags, &["--rootfs", rootfs.to_str().expect("UTF-8")], program].concat();
        self.call(&words)
    }

    /// A field of `podman inspect`.
    #[track_caller]
    fn inspect(&self, field: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{.{field}}}}}"), &self.case.id])
            .ok()
            .stdout
            .trim_end()
            .to_owned()
    }

    /// The cgroup of the container's process on the host.
    #[track_caller]
    fn cgroup(&self) -> PathBuf {
        let pid = self.inspect("State.Pid");
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the cgroup of the container");
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup v2");
        Path::new("/sys/fs/cgroup").join(path)
    }

    /// The name of the container's unit.
    #[track_caller]
    fn unit(&self) -> String {
        format!("libpod-{}.scope", self.inspect("Id"))
    }

    /// What the systemd that has the container says of a unit.
    fn property(&self, unit: &str, name: &str) -> String {
        let mut command = match self.user {
            Some(user) => unprivileged::command("systemctl".as_ref(), user),
            None => Command::new("systemctl"),
        };
        if let Some(session) = self.user.and_then(machine::session_of) {
            command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={session}/bus"));
            command.env("XDG_RUNTIME_DIR", session).arg("--user");
        }
        let output = command.args(["show", "--value", "--property", name, unit]).output().expect("run systemctl");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Removes the container, after which neither cgroup nor unit may be left.
    #[track_caller]
    fn remove(&self, unit: &str, cgroup: &Path) {
        self.call(&["rm", "--force", "--time", "0", &self.case.id]).ok();
        assert!(!cgroup.exists(), "{} is left", cgroup.display());
        assert_eq!(self.property(unit, "LoadState"), "not-found", "{unit}");
    }
}

#[track_caller]
fn expect_files(cgroup: &Path, files: &[(&str, &str)]) {
    for (file, value) in files {
        let text = fs::read_to_string(cgroup.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(text.trim_end(), *value, "{file}");
    }
}

fn has_podman() -> bool {
    machine::has_systemd() && Command::new("podman").arg("--version").output().is_ok_and(|o| o.status.success())
}

/// The words that make a waiting container with limits.
const LIMITED: [&str; 7] = ["--detach", "--memory", "64m", "--pids-limit", "33", "--cpus", "0.5"];
const WAIT: [&str; 2] = ["/bin/probe", "pause"];

/// Limits, exec, pause, update, statistics and the end of a container.
fn lives(podman: &Podman, place: &str) {
    podman.run(&LIMITED, &WAIT).ok();
    let (unit, cgroup) = (podman.unit(), podman.cgroup());
    assert!(cgroup.ends_with(format!("{place}/{unit}")), "{}", cgroup.display());
    for (name, value) in [("ActiveState", "active"), ("MemoryMax", "67108864"), ("TasksMax", "33"), ("Delegate", "yes")]
    {
        assert_eq!(podman.property(&unit, name), value, "{name}");
    }
    expect_files(&cgroup, &[("memory.max", "67108864"), ("pids.max", "33"), ("cpu.max", "50000 100000")]);

    let id = podman.case.id.as_str();
    let seen = podman.call(&["exec", id, "/bin/cat", "/sys/fs/cgroup/pids.max", "/proc/self/cgroup"]).ok();
    assert_eq!(seen.stdout, "33\n0::/\n");
    assert!(podman.call(&["top", id, "args"]).ok().stdout.contains("probe pause"));

    podman.call(&["pause", id]).ok();
    assert_eq!(podman.inspect("State.Status"), "paused");
    expect_files(&cgroup, &[("cgroup.freeze", "1")]);
    podman.call(&["unpause", id]).ok();
    assert_eq!(podman.inspect("State.Status"), "running");

    podman.call(&["update", "--memory", "48m", "--pids-limit", "22", id]).ok();
    expect_files(&cgroup, &[("memory.max", "50331648"), ("pids.max", "22")]);
    assert_eq!(podman.property(&unit, "MemoryMax"), "50331648");

    let numbers = podman.call(&["stats", "--no-stream", "--format", "{{.PIDs}}", id]).ok();
    assert_eq!(numbers.stdout.trim_end(), "1", "{numbers}");

    podman.call(&["kill", "--signal", "TERM", id]).ok();
    assert_eq!(podman.call(&["wait", id]).ok().stdout.trim_end(), "0");
    podman.call(&["start", id]).ok();
    assert!(podman.cgroup().ends_with(format!("{place}/{unit}")));
    podman.remove(&unit, &cgroup);
}

#[test]
fn podman_of_root() {
    needs!(Rvol);
    needs_machine!(has_podman(), "no podman with systemd");
    lives(&Podman::new(None), "machine.slice");
}

#[test]
fn podman_of_a_user() {
    needs!(Rvol);
    needs_machine!(has_podman() && machine::session_of(USER).is_some(), "no podman with a user's session");
    lives(&Podman::new(Some(USER)), &format!("user@{USER}.service/user.slice"));
}

/// What podman tells of a container that ended for want of memory.
fn dies_of_want(podman: &Podman) {
    let hog = ["/bin/sh", "-c", "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived"];
    let outcome = podman.run(&["--memory", "24m", "--memory-swap", "24m"], &hog);
    assert!(!outcome.stdout.contains("survived"), "{outcome}");
    assert_ne!(outcome.code(), 0, "{outcome}");
    let unit = podman.unit();
    podman.remove(&unit, Path::new("/nonexistent"));
}

#[test]
fn want_of_memory_leaves_no_unit_of_podmans() {
    needs!(Rvol);
    needs_machine!(has_podman(), "no podman with systemd");
    dies_of_want(&Podman::new(None));
    needs_machine!(machine::session_of(USER).is_some(), "no user's session");
    dies_of_want(&Podman::new(Some(USER)));
}

#[test]
fn podman_names_the_slice() {
    needs!(Rvol);
    needs_machine!(has_podman(), "no podman with systemd");
    let podman = Podman::new(None);
    let slice = format!("{}.slice", podman.case.token);
    podman.run(&["--detach", "--cgroup-parent", &slice], &WAIT).ok();
    let (unit, cgroup) = (podman.unit(), podman.cgroup());
    assert!(cgroup.ends_with(format!("{slice}/{unit}")), "{}", cgroup.display());
    podman.remove(&unit, &cgroup);
    Command::new("systemctl").args(["stop", &slice]).status().expect("run systemctl");
}

#[test]
fn podmans_errors_leave_no_unit() {
    needs!(Rvol);
    needs_machine!(has_podman(), "no podman with systemd");
    for user in [None, Some(USER)] {
        needs_machine!(user.is_none() || machine::session_of(USER).is_some(), "no user's session");
        let podman = Podman::new(user);
        let outcome = podman.run(&["--memory", "64m"], &["/nosuch"]);
        assert_eq!(outcome.code(), 127, "{outcome}");
        let unit = podman.unit();
        podman.remove(&unit, Path::new("/nonexistent"));
    }
}

/// A service of systemd's whose container is podman's, in a cgroup of the service.
#[test]
fn podman_in_a_service_splits_its_cgroup() {
    needs!(Rvol);
    needs_machine!(has_podman(), "no podman with systemd");
    let podman = Podman::new(None);
    let service = format!("{}.service", podman.case.token);
    let rootfs = podman.case.rootfs();
    let words = [
        "run",
        "--cgroups",
        "split",
        "--sdnotify",
        "ignore",
        "--network",
        "none",
        "--name",
        &podman.case.id,
        "--rootfs",
    ];
    let inner = podman.command(&[&words[..], &[rootfs.to_str().expect("UTF-8")], &WAIT].concat());
    let mut start = command::quiet("systemd-run".as_ref());
    start.args(["--quiet", "--unit", &service, "--property", "Delegate=yes", "--working-directory=/", "--"]);
    // The runtime finds its volumes and podman its runtime by absolute paths: nothing of the environment is needed.
    start.arg(inner.get_program()).args(inner.get_args());
    podman.case.finish(start).ok();
    let running =
        || podman.call(&["inspect", "--format", "{{.State.Status}}", &podman.case.id]).stdout.trim_end() == "running";
    assert!(waiting::until(command::LIMIT, || running().then_some(())).is_some(), "{}", podman.call(&["ps", "--all"]));
    let cgroup = podman.cgroup();
    assert!(cgroup.to_string_lossy().contains(&format!("/{service}/libpod-payload-")), "{}", cgroup.display());
    Command::new("systemctl").args(["stop", &service]).status().expect("run systemctl");
    podman.call(&["rm", "--force", "--time", "0", &podman.case.id]).ok();
    assert!(!cgroup.exists(), "{} is left", cgroup.display());
}

/// A containerd whose directories are the case's own; it ends with this value.
struct Containerd<'a> {
    case: &'a Case,
    daemon: std::process::Child,
    socket: PathBuf,
}

impl Containerd<'_> {
    fn start(case: &Case) -> Containerd<'_> {
        let (root, state, socket) = (case.make_dir("root"), case.make_dir("run"), case.dir.join("containerd.sock"));
        let disabled = r#"disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]"#;
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n{disabled}\n[grpc]\naddress = {socket:?}\n[ttrpc]\naddress = \"{}.ttrpc\"\n",
            socket.display()
        );
        let log = fs::File::create(case.dir.join("containerd.log")).expect("make a log");
        let mut daemon = command::quiet("containerd".as_ref());
        daemon.arg("--config").arg(case.make_file("containerd.toml", &config));
        daemon.stdout(log.try_clone().expect("dup")).stderr(log);
        let containerd = Containerd { case, daemon: daemon.spawn().expect("start containerd"), socket };
        let answers = waiting::until(command::LIMIT, || containerd.ctr(&["version"]).succeeded().then_some(()));
        assert!(answers.is_some(), "{}", case.read("containerd.log"));
        containerd
    }

    #[track_caller]
    fn ctr(&self, words: &[&str]) -> Outcome {
        let mut ctr = command::quiet("ctr".as_ref());
        ctr.arg("--address").arg(&self.socket).args(words).current_dir(&self.case.dir);
        self.case.finish(ctr)
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerd_with_systemds_cgroups() {
    needs!(Rvol);
    let there = Command::new("containerd").arg("--version").output().is_ok_and(|o| o.status.success());
    needs_machine!(machine::has_systemd() && there, "no containerd with systemd");
    let case = Case::new();
    let containerd = Containerd::start(&case);
    let (binary, rootfs) = (&runtime_tests::runtime().path, case.rootfs());
    let path = format!("system.slice:ctr:{}", case.token);
    let words =
        ["run", "--detach", "--runc-systemd-cgroup", "--cgroup", &path, "--memory-limit", "67108864", "--rootfs"];
    let binary = ["--runc-binary", binary.to_str().expect("UTF-8")];
    let run = [&words[..], &binary, &[rootfs.to_str().expect("UTF-8"), &case.id], &WAIT].concat();
    containerd.ctr(&run).ok();
    let unit = format!("ctr-{}.scope", case.token);
    let show = |name: &str| {
        let output = Command::new("systemctl").args(["show", "--value", "--property", name, &unit]).output();
        String::from_utf8_lossy(&output.expect("run systemctl").stdout).trim_end().to_owned()
    };
    assert_eq!([show("ActiveState"), show("MemoryMax")], ["active", "67108864"]);
    let cgroup = Path::new("/sys/fs/cgroup/system.slice").join(&unit);
    expect_files(&cgroup, &[("memory.max", "67108864")]);
    let seen = containerd.ctr(&["task", "exec", "--exec-id", "one", &case.id, "/bin/cat", "/proc/self/cgroup"]).ok();
    assert!(seen.stdout.starts_with("0::/"), "{seen}");
    assert!(containerd.ctr(&["task", "metrics", &case.id]).ok().stdout.contains("memory"));
    containerd.ctr(&["task", "pause", &case.id]).ok();
    expect_files(&cgroup, &[("cgroup.freeze", "1")]);
    containerd.ctr(&["task", "resume", &case.id]).ok();
    containerd.ctr(&["task", "kill", "--signal", "KILL", &case.id]).ok();
    let deleted = || containerd.ctr(&["task", "delete", &case.id]).succeeded().then_some(());
    assert!(waiting::until(command::LIMIT, deleted).is_some());
    containerd.ctr(&["container", "delete", &case.id]).ok();
    assert!(!cgroup.exists(), "{} is left", cgroup.display());
    assert_eq!(show("LoadState"), "not-found", "{unit}");
}
