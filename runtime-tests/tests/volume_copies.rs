//! How copies are made: shared where the filesystem can, with file capabilities for the right root, and with a word to
//! whoever watches a terminal.

use nix::mount::MsFlags;
use nix::pty::openpty;
use nix::sys::statvfs::statvfs;
use runtime_tests::console::Terminal;
use runtime_tests::loop_device::filesystem;
use runtime_tests::strace::traced;
use runtime_tests::trees::{assert_same, described, fill};
use runtime_tests::{Case, host_mounts::in_own_mounts, json, needs, needs_machine};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// What is in use on a filesystem, in megabytes, when everything is on disk.
fn used(path: &Path) -> u64 {
    nix::unistd::syncfs(fs::File::open(path).expect("open")).expect("syncfs");
    let stat = statvfs(path).expect("statvfs");
    ((stat.blocks() - stat.blocks_free()) * stat.fragment_size()) >> 20
}

#[test]
fn data_is_shared_on_xfs() {
    data_is_shared("xfs", &["-m", "reflink=1"]);
}

#[test]
fn data_is_shared_on_btrfs() {
    data_is_shared("btrfs", &[]);
}

fn data_is_shared(fstype: &str, flags: &[&str]) {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let disk = case.dir.join("disk");
        let Some(_device) = filesystem(&case, &disk, (fstype, flags), 320, None) else { return };
        // The image's directory and the store, on one filesystem.
        let (image, store) = (disk.join("image"), disk.join("store"));
        for (dir, place) in [(&image, case.rootfs().join("data")), (&store, case.volume_root())] {
            fs::create_dir(dir).expect("mkdir");
            fs::create_dir_all(&place).expect("mkdir");
            case.host_bind(dir.to_str().expect("UTF-8"), place.to_str().expect("UTF-8"));
        }
        fill(&image);
        let noise: Vec<u8> = (0..40u64 << 20).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        fs::write(image.join("large"), &noise).expect("write");
        let (before, described_before) = (used(&disk), described(&image));
        case.args(&["/bin/true"]);
        case.run_with(&["-v", "data:/data"]).ok();
        case.volume(&["clone", "data", "copy"]).ok();
        for name in ["data", "copy"] {
            assert_same(&described_before, &described(&case.data(name)), name);
            assert!(fs::read(case.data(name).join("large")).expect("read") == noise, "{name}");
        }
        let grown = used(&disk) - before;
        assert!(grown < 20, "two copies of 40 MB took {grown} MB");
        // Who writes gets a part of his own.
        fs::write(case.data("copy").join("large"), "mine").expect("write");
        assert!(fs::read(case.data("data").join("large")).expect("read") == noise);
        assert!(fs::read(image.join("large")).expect("read") == noise);
        // What sharing saves, so that the figure above says something.
        fs::write(disk.join("own"), &noise).expect("write");
        assert!(used(&disk) - before >= 40);
    });
}

/// A file capability is for the root of one user namespace. Through an idmapped mount that root has another id.
#[test]
fn file_capabilities_keep_their_root() {
    needs!(Rvol);
    let mut case = Case::new();
    case.user_namespace(200_000, 65536);
    let image = case.rootfs().join("data");
    // cap_net_raw+ep; version 3 has the id of the root at its end, little-endian.
    let sets = "00200000000000000000000000000000";
    let (host, own, other) =
        (format!("0x01000002{sets}"), format!("0x01000003{sets}400d0300"), format!("0x01000003{sets}07000000"));
    for (name, value) in [("host", &host), ("own", &own), ("other", &other)] {
        // busybox goes by its name.
        let name = &format!("{name}/grep");
        fs::create_dir(image.join(name).parent().expect("a directory")).expect("mkdir");
        fs::copy(case.rootfs().join("bin/busybox"), image.join(name)).expect("copy");
        std::os::unix::fs::chown(image.join(name), Some(200_000), Some(200_000)).expect("chown");
        let set = ["-n", "security.capability", "-v", value];
        let done = Command::new("setfattr").args(set).arg(image.join(name)).status().expect("run setfattr");
        needs_machine!(done.success(), "no file capabilities here");
    }
    let shown = |path: &Path| {
        let words = ["-n", "security.capability", "-e", "hex", "--only-values", "--absolute-names"];
        let out = Command::new("getfattr").args(words).arg(path).output().expect("run getfattr");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    case.set("/process/user", json!({"uid": 33, "gid": 33}));
    case.caps(&["CAP_NET_RAW"]);
    case.set("/process/noNewPrivileges", json!(false));
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        case.set(&format!("/process/capabilities/{set}"), json!([]));
    }
    case.script("for who in host own other; do /data/$who/grep CapEff /proc/self/status; done");
    let without = case.run().ok().stdout;
    let flags = ["--mount", "type=volume,src=plain,dst=/data"];
    assert_eq!(case.run_with(&flags).ok().stdout, without, "without a mapping of the mount");
    for (name, value) in [("host", &host), ("own", &own), ("other", &other)] {
        assert_eq!(shown(&case.data("plain").join(name).join("grep")), value[2..], "{name}");
    }
    case.mount("/data", "volume", "data", &["idmap"]);
    let mapped = case.run().ok().stdout;
    assert_eq!(mapped, without, "with it");
    let line = |number: usize| mapped.lines().nth(number).unwrap_or_default().to_owned();
    assert!(line(1).ends_with("0000000000002000") && line(2).ends_with("0000000000000000"), "{mapped}");
    // Stored for the store's root; the one that the mapping does not have as it was.
    for (name, value) in [("host", &host), ("own", &host), ("other", &other)] {
        assert_eq!(shown(&case.data("data").join(name).join("grep")), value[2..], "{name}");
    }
    // An archive and a clone have it as it is stored.
    let archive = case.path("plain.tar");
    case.volume(&["export", "plain", "-o", &archive]).ok();
    case.volume(&["import", "imported", &archive]).ok();
    case.volume(&["clone", "plain", "cloned"]).ok();
    for name in ["imported", "cloned"] {
        assert_eq!(shown(&case.data(name).join("own/grep")), own[2..], "{name}");
    }
}

/// Twenty links, of which each takes a tenth of a second.
#[test]
fn long_work_is_shown_on_a_terminal() {
    needs!(Rvol);
    let mut case = Case::new();
    for number in 0..20 {
        symlink("somewhere", case.rootfs().join(format!("data/{number:02}"))).expect("link");
    }
    case.args(&["/bin/true"]).write_config();
    let (bundle, id, archive) = (case.path("bundle"), case.id.clone(), case.path("a.tar"));
    for (call, words, doing) in [
        ("symlinkat", vec!["create", "--bundle", &bundle, "-v", "data:/data", &id], "copying into volume data"),
        ("symlinkat", vec!["volume", "clone", "data", "copy"], "cloning volume data"),
        ("readlinkat", vec!["volume", "export", "data", "-o", &archive], "exporting volume data"),
        ("symlinkat", vec!["volume", "import", "new", &archive], "importing into volume new"),
    ] {
        let mut command = case.command();
        command.args(&words);
        let slow = format!("inject={call}:delay_enter=100000");
        let mut slowed = traced(&command, &["-e", &format!("trace={call}"), "-e", &slow], "/dev/null");
        let pty = openpty(None, None).expect("openpty");
        slowed.stdout(fs::File::create(case.path("stdout")).expect("create")).stderr(pty.slave);
        let mut child = slowed.spawn().expect("start");
        // The other end of the terminal is now with the child alone.
        drop(slowed);
        let mut terminal = Terminal::new(pty.master);
        let first = terminal.read_until(" files, 0 MB");
        assert!(first.contains(doing), "{first:?}");
        terminal.read_until(&format!("{doing}: 20 files, 0 bytes"));
        assert!(child.wait().expect("wait").success(), "{words:?}");
        assert!(!case.read("stdout").contains("files"), "what programs read has nothing of it");
    }
    // Nobody looks: nothing is said.
    case.delete_force().ok();
    case.volume(&["rm", "data"]).ok();
    let mut command = case.command();
    command.args(["create", "--bundle", &bundle, "-v", "data:/data", &id]);
    let slow = ["-e", "trace=symlinkat", "-e", "inject=symlinkat:delay_enter=100000"];
    let out = case.finish(traced(&command, &slow, "/dev/null")).ok();
    assert_eq!(out.stderr, "");
    case.delete_force().ok();
}

/// After an error there is a line of its own for that, and nothing is left.
#[test]
fn an_error_in_the_middle_of_long_work() {
    needs!(Rvol);
    in_own_mounts(|| {
        let case = Case::without_rootfs();
        fs::create_dir_all(case.volume_root()).expect("mkdir");
        let store = case.volume_root();
        nix::mount::mount(Some("test"), &store, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).expect("tmpfs");
        case.expect_host_mount(&store);
        case.volume(&["create", "data"]).ok();
        for number in 0..15 {
            symlink("somewhere", case.data("data").join(format!("{number:02}"))).expect("link");
        }
        // Links come first; half of the room is taken by then.
        fs::create_dir(case.data("data").join("below")).expect("mkdir");
        fs::write(case.data("data").join("below/large"), vec![1; 700 << 10]).expect("write");
        let mut command = case.command();
        command.args(["volume", "clone", "data", "copy"]);
        let slow = ["-e", "trace=symlinkat", "-e", "inject=symlinkat:delay_enter=100000"];
        let mut slowed = traced(&command, &slow, "/dev/null");
        let pty = openpty(None, None).expect("openpty");
        slowed.stderr(pty.slave);
        let mut child = slowed.spawn().expect("start");
        drop(slowed);
        let mut terminal = Terminal::new(pty.master);
        terminal.read_until("cloning volume data: ");
        let rest = terminal.read_until("(ENOSPC)");
        assert!(rest.contains("\r\nrvol-runc: "), "{rest:?}");
        assert!(!child.wait().expect("wait").success());
        assert_eq!(case.volume_names(), ["data"]);
        assert_eq!(case.debris(), [""; 0]);
        assert_eq!(fs::read(case.data("data").join("below/large")).expect("read").len(), 700 << 10);
    });
}
