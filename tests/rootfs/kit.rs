//! What the tests of the root filesystem stand on: each case runs in a process of its own with a private copy of the
//! host's mounts (the libtest harness has threads, which cannot unshare a user namespace), and in it a container that
//! is as real as mounts make it.

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::unistd::{pipe2, read, write};
use rvol_runc::plan::mounts::{Bind, CreateTarget, Fs, FsOption, Mount, MountOp, Requirement, Symlinks, Target};
use rvol_runc::plan::namespaces::{IdMap, IdMapWriter, IdRange, Namespace};
use rvol_runc::plan::options::{Attr, Propagation, PropagationKind};
use rvol_runc::plan::{Hooks, Namespaces, Plan, Process, RootChange, Rootfs, resources};
use rvol_runc::rootfs::{OpenSources, Prepared, Root};
use rvol_runc::sys::ns::{Cloned, Parent, clone3, unshare};
use rvol_runc::sys::pidfd::End;
use rvol_runc::sys::{pidfd, process};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

pub type Case = (&'static str, fn(&Host));

/// Runs the cases whose name contains one of the program's arguments, all where there are none.
pub fn main(cases: &[Case]) -> i32 {
    if !nix::unistd::geteuid().is_root() {
        println!("rootfs: skipped: mounts need root");
        return 0;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen = cases.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(w)));
    // Not below the checkout, whose parents others may not be allowed to search.
    let dir = tempfile::tempdir().expect("mkdtemp");
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, case) in chosen {
        let good = in_child(libc::CLONE_NEWNS as u64, || case(&Host::new(dir.path()))) == 0;
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        if good { passed += 1 } else { failed.push(*name) }
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{passed} passed, {} failed", failed.len());
    dir.close().expect("remove the directory of the cases");
    i32::from(!failed.is_empty())
}

/// Runs `body` in a child in new namespaces; its exit status, 101 after a panic.
pub fn in_child(namespaces: u64, body: impl FnOnce()) -> i32 {
    match clone3(namespaces, None, Parent::Caller).expect("clone3") {
        Cloned::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            process::exit_now(if done.is_ok() { 0 } else { 101 })
        }
        Cloned::Parent { pidfd, .. } => exit_status(pidfd),
    }
}

fn exit_status(child: OwnedFd) -> i32 {
    match pidfd::wait(child.as_fd()).expect("wait") {
        End::Exited(code) => code,
        other => panic!("{other:?}"),
    }
}

/// The machine as a case sees it: mounts are its own, and on `dir` there is a fresh tmpfs.
pub struct Host {
    pub dir: PathBuf,
}

impl Host {
    fn new(dir: &Path) -> Host {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private /");
        let host = Host { dir: dir.to_path_buf() };
        host.mount_tmpfs("");
        for name in ["rootfs/proc", "rootfs/dev", "rootfs/sys", "rootfs/tmp", "rootfs/etc"] {
            host.mkdir(name);
        }
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.dir.clone() } else { self.dir.join(name) }
    }

    /// Below the container's root filesystem.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.path("rootfs").join(name.trim_start_matches('/'))
    }

    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    pub fn link(&self, text: &str, name: &str) {
        std::os::unix::fs::symlink(text, self.path(name)).expect("symlink");
    }

    pub fn mount_tmpfs(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        mount(Some("t"), &path, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("mount tmpfs");
        path
    }

    /// Changes flags or propagation of a mount, as mount(8) does.
    pub fn remount(&self, name: &str, flags: MsFlags) {
        let none = None::<&str>;
        mount(none, &self.path(name), none, flags, none).expect("remount");
    }

    /// A plan with a root filesystem, these mounts and, unless they say otherwise, `/proc` last.
    pub fn plan(&self, mut mounts: Vec<Mount>) -> Plan {
        if mounts.iter().all(|m| m.target.path != Path::new("/proc")) {
            mounts.push(fs("proc", "/proc"));
        }
        Plan {
            id: "c1".into(),
            oci_version: "1.3.0".into(),
            bundle: self.dir.clone(),
            annotations: Default::default(),
            namespaces: Namespaces { mount: Namespace::New, pid: Namespace::New, ..Default::default() },
            cgroup: resources::Cgroup {
                manager: resources::Manager::Disabled,
                path: "/".into(),
                ..resources::Cgroup::default()
            },
            rootfs: Rootfs { path: self.path("rootfs"), readonly: false, propagation: None, mount_label: None },
            mounts,
            net_devices: Vec::new(),
            hooks: Hooks::default(),
            masks: Vec::new(),
            sysctl: Vec::new(),
            hostname: None,
            domainname: None,
            intel_rdt: None,
            new_keyring: false,
            root_change: RootChange::PivotRoot,
            process: None,
            seccomp: None,
            warnings: Vec::new(),
        }
    }

    /// Runs `inside` in a container of these mounts.
    pub fn run(&self, mounts: Vec<Mount>, inside: impl FnOnce()) {
        run(&self.plan(mounts), inside);
    }

    /// The error of a container that cannot be made.
    pub fn error(&self, mounts: Vec<Mount>) -> String {
        error(&self.plan(mounts))
    }
}

pub fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo")
}

/// Runs `inside` in the container, after everything is mounted and the root is changed; returns the warnings.
pub fn run(plan: &Plan, inside: impl FnOnce()) -> Vec<String> {
    run_with(plan, |_| {}, inside)
}

/// `before` runs in init when all is mounted and nothing masked yet: where it makes process.cwd and the console.
pub fn run_with(plan: &Plan, before: impl FnOnce(&Root), inside: impl FnOnce()) -> Vec<String> {
    match container(plan, before, inside) {
        Ok(warnings) => warnings,
        Err(error) => panic!("{error}"),
    }
}

pub fn error(plan: &Plan) -> String {
    attempt(plan, || {}).expect_err("the container was made")
}

/// The warnings, or the error.
pub fn attempt(plan: &Plan, inside: impl FnOnce()) -> Result<Vec<String>, String> {
    container(plan, |_| {}, inside)
}

/// Plays the runtime: opens the sources, clones init, maps ids, lets it go on.
fn container(plan: &Plan, before: impl FnOnce(&Root), inside: impl FnOnce()) -> Result<Vec<String>, String> {
    let prepared = Prepared::for_init(plan, OpenSources::new(), &[], &mut |text| panic!("{text}"))
        .map_err(|e| format!("{e:#}"))?;
    let (go_read, go) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
    let (report, report_write) = pipe2(OFlag::O_CLOEXEC).expect("pipe2");
    let user = plan.namespaces.user == Namespace::New;
    let mut spaces = libc::CLONE_NEWPID as u64;
    if user {
        spaces |= libc::CLONE_NEWUSER as u64;
    }
    let (pid, child) = match clone3(spaces, None, Parent::Caller).expect("clone3") {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop((go, report));
            read(&go_read, &mut [0]).expect("read");
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                init(plan, prepared, user, before, inside, &report_write)
            }));
            process::exit_now(if done.is_ok() { 0 } else { 101 })
        }
    };
    drop((go_read, report_write));
    if let Some(map) = &plan.namespaces.id_map {
        write_maps(pid, map);
    }
    if prepared.needs_user_namespace() {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/user")).expect("ns/user");
        prepared.map_ids(plan, namespace.as_fd()).map_err(|e| format!("{e:#}"))?;
    }
    write(&go, b"g").expect("write");
    drop(prepared);
    let mut text = String::new();
    std::fs::File::from(report).read_to_string(&mut text).expect("read");
    assert_eq!(exit_status(child), 0, "the container's checks failed");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match lines.iter().position(|l| l.starts_with("error: ")) {
        Some(error) => Err(lines.remove(error)["error: ".len()..].to_owned()),
        None => Ok(lines),
    }
}

fn write_maps(pid: libc::pid_t, map: &IdMap) {
    for (file, ranges) in [("uid_map", &map.uid), ("gid_map", &map.gid)] {
        if file == "gid_map" && !nix::unistd::geteuid().is_root() {
            std::fs::write(format!("/proc/{pid}/setgroups"), "deny").expect("setgroups");
        }
        let lines: String = ranges.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect();
        std::fs::write(format!("/proc/{pid}/{file}"), lines).expect("write map");
    }
}

/// Plays init.
fn init(
    plan: &Plan,
    prepared: Prepared,
    user: bool,
    before: impl FnOnce(&Root),
    inside: impl FnOnce(),
    report: &OwnedFd,
) {
    if user {
        let zero = nix::unistd::Uid::from_raw(0);
        nix::unistd::setresuid(zero, zero, zero).expect("setresuid");
        let zero = nix::unistd::Gid::from_raw(0);
        nix::unistd::setresgid(zero, zero, zero).expect("setresgid");
    }
    let mut spaces = libc::CLONE_NEWNS | libc::CLONE_NEWIPC;
    if plan.namespaces.network == Namespace::New {
        spaces |= libc::CLONE_NEWNET;
    }
    unshare(spaces as u64).expect("unshare");
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(text);
    let made = Root::enter(plan, prepared).and_then(|mut root| {
        root.mount_all(plan, &mut warn)?;
        before(&root);
        root.mask_all(plan, &mut warn)?;
        root.pivot(plan)
    });
    for warning in warnings {
        write(report, format!("{warning}\n").as_bytes()).expect("write");
    }
    match made {
        Ok(()) => inside(),
        Err(error) => drop(write(report, format!("error: {error:#}\n").as_bytes()).expect("write")),
    }
}

/// A plan for a user namespace whose root is uid and gid 100000 outside.
pub fn in_user_namespace(mut plan: Plan) -> Plan {
    let range = vec![IdRange { container: 0, host: 100_000, size: 65536 }];
    // Engines give the files of such a container to its root.
    for entry in std::fs::read_dir(&plan.rootfs.path).expect("rootfs") {
        std::os::unix::fs::lchown(entry.expect("rootfs").path(), Some(100_000), Some(100_000)).expect("chown");
    }
    std::os::unix::fs::chown(&plan.rootfs.path, Some(100_000), Some(100_000)).expect("chown");
    plan.namespaces.user = Namespace::New;
    plan.namespaces.network = Namespace::New;
    plan.namespaces.id_map = Some(IdMap { uid: range.clone(), gid: range, writer: IdMapWriter::Runtime });
    plan
}

/// A process of which only these two matter here.
pub fn process(cwd: &str, terminal: bool) -> Process {
    Process {
        terminal,
        cwd: cwd.into(),
        console_size: None,
        user: Default::default(),
        args: Vec::new(),
        env: Vec::new(),
        capabilities: None,
        rlimits: Vec::new(),
        no_new_privileges: false,
        apparmor_profile: None,
        selinux_label: None,
        oom_score_adj: None,
        scheduler: None,
        io_priority: None,
        cpu_affinity: None,
        personality: None,
        memory_policy: None,
    }
}

pub const RPRIVATE: Propagation = Propagation { kind: PropagationKind::Private, recursive: true };

pub fn recursive(kind: PropagationKind) -> Propagation {
    Propagation { kind, recursive: true }
}

pub fn op(path: &str, create: CreateTarget, op: MountOp) -> Mount {
    Mount {
        place: "mounts[0]".into(),
        target: Target { path: path.into(), create, symlinks: Symlinks::Follow },
        op,
        requirement: Requirement::Must,
    }
}

/// An `rbind,rprivate`, changed by `change`.
pub fn bind_as(source: &Path, path: &str, change: impl FnOnce(&mut Bind)) -> Mount {
    let mut bind = Bind {
        source: source.into(),
        recursive: true,
        attr: Attr::default(),
        propagation: RPRIVATE,
        idmap: None,
        volume: None,
        missing: Default::default(),
    };
    change(&mut bind);
    op(path, CreateTarget::LikeSource, MountOp::Bind(bind))
}

pub fn bind(source: &Path, path: &str) -> Mount {
    bind_as(source, path, |_| {})
}

pub fn fs_as(fstype: &str, path: &str, change: impl FnOnce(&mut Fs)) -> Mount {
    let mut fs = Fs {
        fstype: fstype.into(),
        source: Some(fstype.into()),
        options: Vec::new(),
        attr: Attr::default(),
        propagation: Propagation { kind: PropagationKind::Private, recursive: false },
        idmap: None,
        copy_up: false,
        label: None,
    };
    change(&mut fs);
    let symlinks = if matches!(fstype, "proc" | "sysfs") { Symlinks::Refuse } else { Symlinks::Follow };
    let mut mount = op(path, CreateTarget::Directory, MountOp::Fs(fs));
    mount.target.symlinks = symlinks;
    mount
}

pub fn fs(fstype: &str, path: &str) -> Mount {
    fs_as(fstype, path, |_| {})
}

pub fn value(key: &str, value: &str) -> FsOption {
    FsOption::Value(key.into(), value.into())
}

/// The line of mountinfo for a mount point, the last where there are several.
pub fn mount_line(path: &str) -> String {
    let info = mountinfo();
    let found = info.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    found.unwrap_or_else(|| panic!("nothing mounted at {path} in\n{info}")).to_owned()
}

/// Whether a file can be made in the directory; a refusal has to be for read-only.
pub fn writable(dir: &str) -> bool {
    let path = Path::new(dir).join("probe");
    match std::fs::write(&path, "") {
        Ok(()) => std::fs::remove_file(&path).is_ok(),
        Err(e) => {
            assert_eq!(e.raw_os_error(), Some(libc::EROFS), "{dir}: {e}");
            false
        }
    }
}

pub fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
