//! Hostile root filesystems and volumes: nothing outside of the root is touched or reached.
//! Each test names the holes of other runtimes that it comes from.

use runtime_tests::console::FdSocket;
use runtime_tests::{Case, Facts, json, needs};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Everything below a directory with its kind and owner, to compare.
fn snapshot(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).expect("list").flatten() {
        let data = entry.path().symlink_metadata().expect("stat");
        lines.push(format!("{} {:o} {} {}", entry.path().display(), data.mode(), data.uid(), data.len()));
        if data.is_dir() {
            lines.extend(snapshot(&entry.path()));
        }
    }
    lines.sort();
    lines
}

/// A directory of the host that must stay as it is.
struct Decoy {
    path: String,
    before: Vec<String>,
}

impl Decoy {
    fn new(case: &Case) -> Decoy {
        let path = case.make_dir("decoy");
        for name in ["ptmx", "null", "console", "fd", "passwd", "file"] {
            case.make_file(&format!("decoy/{name}"), "the host's");
        }
        case.make_dir("decoy/pts");
        case.make_dir("decoy/attr");
        let before = snapshot(Path::new(&path));
        Decoy { path, before }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(snapshot(Path::new(&self.path)), self.before);
    }
}

fn replace_by_link(case: &Case, inside: &str, target: &str) {
    let path = case.rootfs().join(inside);
    if path.is_dir() {
        fs::remove_dir_all(&path).expect("remove");
    }
    let _ = fs::remove_file(&path);
    symlink(target, path).expect("symlink");
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: a link in the place of /proc or /sys.
#[test]
fn proc_and_sys_that_are_links() {
    for inside in ["proc", "sys"] {
        for target in ["/evil/level1", "evil", "../../../../../../tmp"] {
            let mut case = Case::new();
            fs::create_dir_all(case.rootfs().join("evil/level1")).expect("mkdir");
            replace_by_link(&case, inside, target);
            let volume = case.make_dir("volume");
            case.bind(&volume, "/evil", &[]);
            case.run().fails();
            case.assert_nothing_left();
        }
    }
}

/// CVE-2019-16884: a volume over /proc, so that what the runtime writes there lands in files of the attacker.
#[test]
fn something_else_at_proc() {
    let mut case = Case::new();
    let fake = case.make_dir("fake");
    for file in ["self/attr/exec", "self/attr/current", "self/oom_score_adj"] {
        let path = case.dir.join("fake").join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, "").expect("write");
    }
    case.bind(&fake, "/proc", &[]);
    case.run().fails().says("/proc");
    case.set("/mounts", json!([runtime_tests::config::mount("/proc", "tmpfs", "tmpfs", &[])]));
    case.run().fails().says("/proc");
    case.assert_nothing_left();
}

/// CVE-2025-52881: something over the files in /proc that the runtime itself writes to.
#[test]
fn mounts_inside_proc() {
    let mut case = Case::new();
    let file = case.make_file("file", "");
    for destination in ["/proc/self/attr/exec", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/attr"]
    {
        let before = case.config.clone();
        case.bind(&file, destination, &[]);
        case.run().fails();
        case.assert_nothing_left();
        case.config = before;
    }
}

/// What lxcfs puts there is harmless and in use.
#[test]
fn the_files_of_lxcfs_may_be_mounted_in_proc() {
    let mut case = Case::new();
    let file = case.make_file("file", "from lxcfs");
    case.bind(&file, "/proc/uptime", &[]).bind(&file, "/proc/meminfo", &[]);
    case.facts(&["read:/proc/uptime"]).expect(&[("read:/proc/uptime", "from lxcfs")]);
}

/// The host's own /proc may be bound to /proc (as rootless engines do where a new one is not allowed).
#[test]
fn a_bound_proc_of_the_host() {
    let mut case = Case::new();
    case.without_namespace("pid").set("/mounts/0", runtime_tests::config::mount("/proc", "bind", "/proc", &["rbind"]));
    assert!(case.facts(&[]).0["pid"].as_u64().is_some_and(|p| p > 1));
}

/// crun CVE-2019-18837: a link in the place of a mount's target.
#[test]
fn mount_targets_that_are_links() {
    let mut case = Case::new();
    let decoy = Decoy::new(&case);
    replace_by_link(&case, "etc", &decoy.path);
    replace_by_link(&case, "data", "../../../../../../../../../../tmp");
    let source = case.make_file("source", "mounted");
    case.bind(&source, "/etc/made", &[]).bind(&source, "/etc/passwd", &[]).mount("/etc/dir", "tmpfs", "tmpfs", &[]);
    case.mount(&format!("/data/{}", case.token.clone()), "tmpfs", "tmpfs", &[]);
    case.args(&["/bin/true"]).run();
    decoy.assert_untouched();
    let made = std::env::temp_dir().join(&case.token).join(&case.token);
    assert!(!made.exists());
}

/// runc CVE-2026-41579, crun CVE-2026-47766: /dev of the image is a link, and the devices are made in the host.
#[test]
fn dev_that_is_a_link() {
    needs!(DevIsNoLink);
    for relative in [false, true] {
        let mut case = Case::new();
        let decoy = Decoy::new(&case);
        let target = if relative { format!("../../../../../../../../..{}", decoy.path) } else { decoy.path.clone() };
        replace_by_link(&case, "dev", &target);
        case.set("/mounts", json!([runtime_tests::config::mount("/proc", "proc", "proc", &[])]));
        case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
        case.run();
        decoy.assert_untouched();
        // With something mounted there too.
        case.mount("/dev", "tmpfs", "tmpfs", &[]).mount("/dev/pts", "devpts", "devpts", &["newinstance"]);
        case.run();
        decoy.assert_untouched();
    }
}

/// crun CVE-2026-88264, runc CVE-2025-52565: the console's place is a link, or /dev/pts is the attacker's.
#[test]
fn the_console_is_no_link() {
    needs!(ConsoleIsNoLink);
    let mut case = Case::new();
    let decoy = Decoy::new(&case);
    fs::create_dir_all(case.rootfs().join("dev")).expect("mkdir");
    symlink(format!("{}/console", decoy.path), case.rootfs().join("dev/console")).expect("symlink");
    case.set(
        "/mounts",
        json!([
            runtime_tests::config::mount("/proc", "proc", "proc", &[]),
            runtime_tests::config::mount("/dev/pts", "devpts", "devpts", &["newinstance"]),
        ]),
    );
    case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths").set("/process/terminal", json!(true)).pause();
    let socket = FdSocket::listen(case.path("console.sock"));
    let running = case.start_command(case.bundle_command("create", &["--console-socket", &socket.path]));
    running.finish();
    decoy.assert_untouched();
}

/// runc CVE-2025-52565: links in a bound /dev/pts, in the place of the terminal's name.
#[test]
fn dev_pts_of_the_attacker() {
    let mut case = Case::new();
    let pts = case.make_dir("pts");
    for n in 0..40 {
        symlink("/proc/sys/kernel/core_pattern", format!("{pts}/{n}")).expect("symlink");
    }
    case.set("/mounts/2", runtime_tests::config::mount("/dev/pts", "bind", &pts, &["bind"]));
    case.set("/process/terminal", json!(true)).caps(&["CAP_DAC_OVERRIDE"]);
    case.script("probe facts stat:/dev/console write:/dev/console read:/dev/console >/data/facts");
    let socket = FdSocket::listen(case.path("console.sock"));
    let created = case.start_command(case.bundle_command("create", &["--console-socket", &socket.path])).finish();
    if !created.succeeded() {
        return case.assert_nothing_left();
    }
    case.start().ok();
    case.wait_for_status("stopped");
    let text = fs::read_to_string(case.rootfs().join("data/facts")).expect("facts");
    let facts = Facts(serde_json::from_str(&text).expect("facts"));
    assert_eq!(facts.answer("stat:/dev/console")["type"], "char", "a terminal, and nothing of /proc");
}

/// runc CVE-2025-31133, youki CVE-2025-62161: the container's own /dev/null is used to mask, and is a link.
#[test]
fn masks_do_not_use_the_containers_null() {
    needs!(OwnNull);
    for target in ["/proc/sys/kernel/core_pattern", "/data/writable"] {
        let mut case = Case::new();
        let dev = case.make_dir("dev");
        for name in ["pts", "shm", "mqueue"] {
            case.make_dir(&format!("dev/{name}"));
        }
        symlink(target, format!("{dev}/null")).expect("symlink");
        fs::write(case.rootfs().join("data/secret"), "secret").expect("write");
        fs::write(case.rootfs().join("data/writable"), "attacker's").expect("write");
        case.set("/mounts/1", runtime_tests::config::mount("/dev", "bind", &dev, &["bind"]));
        case.set("/linux/maskedPaths", json!(["/data/secret"]));
        case.args(&["/bin/probe", "facts", "read:/data/secret"]);
        let out = case.run();
        if out.succeeded() {
            Facts::of(&out).expect(&[("read:/data/secret", "")]);
        } else {
            case.assert_nothing_left();
        }
    }
}

/// crun CVE-2026-88265: stdio that is /dev/null is opened again, and chowned, through a link in the container.
#[test]
fn stdio_is_not_reopened_through_a_link() {
    let mut case = Case::new();
    let file = case.make_file("file", "the host's");
    let dev = case.make_dir("dev");
    for name in ["pts", "shm", "mqueue"] {
        case.make_dir(&format!("dev/{name}"));
    }
    symlink("/bound", format!("{dev}/null")).expect("symlink");
    case.set("/mounts/1", runtime_tests::config::mount("/dev", "bind", &dev, &["bind"]));
    case.unset("/linux/maskedPaths").bind(&file, "/bound", &["ro"]);
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    case.args(&["/bin/probe", "facts"]);
    let out = case.run();
    let owner = fs::metadata(&file).expect("stat").uid();
    assert_eq!((owner, case.read("file")), (0, "the host's".to_owned()));
    if out.succeeded() {
        assert!(!Facts::of(&out)["fds"].to_string().contains("bound"), "{out}");
    }
}

/// crun CVE-2026-115521: the read-only root is made so through a path that the container controls.
#[test]
fn a_read_only_root_holds_with_a_fake_proc() {
    let mut case = Case::new();
    let fake = case.make_dir("fake/self/fd");
    for n in 0..64 {
        symlink("/data", format!("{fake}/{n}")).expect("symlink");
    }
    let fake = case.path("fake");
    case.set("/root/readonly", json!(true))
        .set("/mounts/0", runtime_tests::config::mount("/proc", "bind", &fake, &["bind"]));
    case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    case.args(&["/bin/probe", "facts", "create:/x", "create:/etc/x"]);
    let out = case.run();
    if out.succeeded() {
        Facts::of(&out).expect(&[("create:/x", "EROFS"), ("create:/etc/x", "EROFS")]);
    }
    assert!(!case.rootfs().join("x").exists());
}

/// Links where the runtime makes the working directory, and where it reads the password file.
#[test]
fn cwd_and_passwd_that_are_links() {
    let mut case = Case::new();
    let decoy = Decoy::new(&case);
    symlink(&decoy.path, case.rootfs().join("out")).expect("symlink");
    fs::remove_file(case.rootfs().join("etc/passwd")).expect("remove");
    let passwd = case.make_file("host-passwd", "root:x:0:0:root:/evil:/bin/sh\n");
    symlink(passwd, case.rootfs().join("etc/passwd")).expect("symlink");
    case.set("/process/cwd", json!("/out/made/here")).args(&["/bin/probe", "facts"]);
    let out = case.run();
    decoy.assert_untouched();
    if out.succeeded() {
        assert_ne!(Facts::of(&out).env("HOME"), Some("/evil"), "the host's file was read");
    }
}

/// Nothing of the host's tree is left in the container's mount namespace.
#[test]
fn the_old_root_is_gone() {
    for flags in [&[][..], &["--no-pivot"]] {
        let mut case = Case::new();
        let facts = case.facts_with(&[], flags);
        let known = ["/", "/proc", "/dev", "/sys"];
        for target in facts.mount_points() {
            let fine = known.iter().any(|k| target == *k || (*k != "/" && target.starts_with(&format!("{k}/"))));
            assert!(fine, "{flags:?}: {target} is mounted");
        }
        assert_eq!(facts.mount_points().iter().filter(|m| **m == "/").count(), 1, "{flags:?}");
    }
}

/// containerd CVE-2020-15257: an abstract socket can be reached from every container in the host's network namespace.
#[test]
fn no_abstract_sockets() {
    let mut case = Case::new();
    let before: Vec<String> = abstract_sockets();
    case.pause().create().ok();
    let new: Vec<String> =
        abstract_sockets().into_iter().filter(|s| !before.contains(s) && s.contains(&case.token)).collect();
    assert!(new.is_empty(), "{new:?}");
}

fn abstract_sockets() -> Vec<String> {
    let text = fs::read_to_string("/proc/net/unix").expect("read");
    text.lines().filter_map(|l| l.split_once('@')).map(|(_, name)| name.to_owned()).collect()
}
