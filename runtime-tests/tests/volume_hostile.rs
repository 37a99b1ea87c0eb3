//! What a container writes into its volume commands nothing: no name, type, size, depth or attribute that lies there
//! gains rights, holds anybody up, or makes the runtime's memory grow.

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::mkfifo;
use runtime_tests::strace::traced;
use runtime_tests::{Case, Value, needs, needs_machine};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// No command needs longer for the few files here, whatever they are; one that hangs would.
const SOON: Duration = Duration::from_secs(20);

/// A container whose image has a file where the volume is mounted.
fn case() -> Case {
    let mut case = Case::new();
    let image = case.rootfs().join("data");
    fs::create_dir_all(&image).expect("mkdir");
    fs::write(image.join("file"), "image").expect("write");
    case.args(&["/bin/true"]);
    case
}

/// The notes by which version 0.1 finished a copy-up, forged: give `rootonly` the attributes of `top`, and what is in
/// `tree`.
fn forge(data: &Path) -> PathBuf {
    let stage = data.join(".rvol-staged");
    fs::create_dir_all(stage.join("tree/planted")).expect("mkdir");
    fs::create_dir(stage.join("top")).expect("mkdir");
    fs::set_permissions(stage.join("top"), fs::Permissions::from_mode(0o777)).expect("chmod");
    std::os::unix::fs::chown(stage.join("top"), Some(1000), Some(1000)).expect("chown");
    fs::create_dir(data.join("rootonly")).expect("mkdir");
    fs::set_permissions(data.join("rootonly"), fs::Permissions::from_mode(0o700)).expect("chmod");
    stage
}

#[track_caller]
fn assert_untouched(data: &Path) {
    let rootonly = fs::metadata(data.join("rootonly")).expect("it stays");
    assert_eq!((rootonly.uid(), rootonly.mode() & 0o7777), (0, 0o700));
    assert_eq!(fs::read_dir(data.join("rootonly")).expect("list").count(), 0);
}

/// Makes a volume look as version 0.1 made it.
fn make_old(case: &Case, name: &str) {
    let file = case.volume_root().join(name).join("volume.json");
    let mut metadata: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    metadata.as_object_mut().expect("an object").remove("notes_beside");
    fs::write(&file, metadata.to_string()).expect("write");
}

#[test]
fn notes_that_a_container_forges_command_nothing() {
    needs!(Rvol);
    let case = case();
    for old in [false, true] {
        case.volume(&["create", "data"]).ok();
        let data = case.data("data");
        let stage = forge(&data);
        fs::write(stage.join("into"), "rootonly").expect("write");
        if old {
            make_old(&case, "data");
        }
        case.run_with(&["-v", "data:/data"]).ok();
        assert_untouched(&data);
        assert_eq!(stage.exists(), !old, "what version 0.1 may have left is removed, once");
        case.volume(&["clone", "data", "copy"]).ok();
        case.volume(&["export", "data", "-o", &case.path("data.tar")]).ok();
        assert_untouched(&data);
        case.volume(&["rm", "data", "copy"]).ok();
    }
}

#[test]
fn notes_that_cannot_be_read_hold_nobody_up() {
    needs!(Rvol);
    let case = case();
    type Make = fn(&Path);
    let kinds: [(&str, Make); 4] = [
        ("fifo", |path| mkfifo(path, Mode::S_IRWXU).expect("mkfifo")),
        ("huge", |path| fs::File::create(path).and_then(|f| f.set_len(3 << 30)).expect("ftruncate")),
        ("link", |path| std::os::unix::fs::symlink("/dev/zero", path).expect("symlink")),
        ("directory", |path| fs::create_dir(path).expect("mkdir")),
    ];
    for (kind, make) in kinds {
        for old in [false, true] {
            case.volume(&["create", "data"]).ok();
            make(&forge(&case.data("data")).join("into"));
            if old {
                make_old(&case, "data");
            }
            let start = Instant::now();
            case.run_with(&["-v", "data:/data"]).ok();
            assert!(start.elapsed() < SOON, "{kind}: {:?}", start.elapsed());
            assert_untouched(&case.data("data"));
            case.volume(&["rm", "data"]).ok();
        }
    }
}

/// Without a directory in its place, a forged note is no more than a file.
#[test]
fn notes_of_any_type_are_content() {
    needs!(Rvol);
    let case = case();
    for name in [".rvol-staged", ".rvol-staging", "_staged", "_staging"] {
        case.volume(&["create", "data"]).ok();
        let note = case.data("data").join(name);
        mkfifo(&note, Mode::S_IRWXU).expect("mkfifo");
        case.run_with(&["-v", "data:/data"]).ok();
        assert!(note.exists(), "{name}");
        assert!(!case.data("data").join("file").exists(), "{name}: the volume was not empty");
        case.volume(&["rm", "data"]).ok();
    }
}

#[test]
fn special_files_are_copied_and_never_opened() {
    needs!(Rvol);
    let case = case();
    case.volume(&["create", "data"]).ok();
    let data = case.data("data");
    mkfifo(&data.join("fifo"), Mode::S_IRWXU).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).expect("bind");
    std::os::unix::fs::symlink("/dev/zero", data.join("link")).expect("symlink");
    // A major number that no driver has: to open it is ENXIO.
    let made = Command::new("mknod").arg(data.join("device")).args(["c", "250", "7"]).status().expect("run mknod");
    assert!(made.success());
    let start = Instant::now();
    case.volume(&["clone", "data", "copy"]).ok();
    case.volume(&["export", "data", "-o", &case.path("data.tar")]).ok();
    case.volume(&["df"]).ok();
    case.run_with(&["-v", "data:/data"]).ok();
    case.volume(&["rm", "data"]).ok();
    assert!(start.elapsed() < 2 * SOON, "{:?}", start.elapsed());
    let names = fs::read_dir(case.data("copy")).expect("list").count();
    assert_eq!(names, 4);
}

/// A chain of directories.
fn deep(top: &Path, levels: usize) {
    let mut here: OwnedFd = fs::File::open(top).expect("open").into();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for _ in 0..levels {
        mkdirat(&here, "d", Mode::S_IRWXU).expect("mkdirat");
        here = openat(&here, "d", flags, Mode::empty()).expect("openat");
    }
}

#[test]
fn a_tree_that_is_too_deep_is_refused_and_can_be_removed() {
    needs!(Rvol);
    let case = case();
    case.volume(&["create", "data"]).ok();
    deep(&case.data("data"), 4000);
    case.volume(&["export", "data", "-o", &case.path("data.tar")]).ok();
    case.volume(&["clone", "data", "copy"]).ok();
    case.volume(&["rm", "data", "copy"]).ok();
    case.volume(&["create", "data"]).ok();
    deep(&case.data("data"), 4200);
    case.volume(&["export", "data", "-o", &case.path("data.tar")]).fails().says("more than 4096 levels of directories");
    case.volume(&["clone", "data", "copy"]).fails().says("more than 4096 levels of directories");
    case.run_with(&["-v", "data:/data"]).ok();
    case.volume(&["prune", "-af"]).ok();
    assert_eq!((case.volume_names(), case.debris()), (vec![], vec![]));
}

#[test]
fn attributes_without_end_are_refused() {
    needs!(Rvol);
    let case = case();
    let store = case.volume_root();
    fs::create_dir_all(&store).expect("mkdir");
    nix::mount::mount(Some("test"), &store, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).expect("tmpfs");
    case.expect_host_mount(&store);
    case.volume(&["create", "data"]).ok();
    let file = case.data("data").join("file");
    fs::write(&file, "").expect("write");
    let value = "x".repeat(60_000);
    let set = (0..20).all(|n| {
        let set = Command::new("setfattr").args(["-n", &format!("user.n{n}"), "-v", &value]).arg(&file).status();
        set.is_ok_and(|status| status.success())
    });
    if set {
        let words = "the extended attributes have more than 1048576 bytes";
        case.volume(&["export", "data", "-o", &case.path("data.tar")]).fails().says(words);
        case.volume(&["clone", "data", "copy"]).fails().says(words);
        assert_eq!((case.volume_names(), case.debris()), (vec!["data".to_owned()], vec![]));
    } else {
        eprintln!("skipped: tmpfs has no extended attributes of users here, or there is no setfattr");
    }
    case.volume(&["rm", "data"]).ok();
    nix::mount::umount(&store).expect("umount");
}

#[test]
fn a_record_that_is_too_large_is_named() {
    needs!(Rvol);
    let case = case();
    case.volume(&["create", "data"]).ok();
    fs::write(case.volume_root().join("data/volume.json"), " ".repeat(2 << 20)).expect("write");
    case.volume(&["inspect", "data"]).fails().says("volume.json is larger than 1048576 bytes");
    case.volume(&["rm", "-f", "data"]).ok();
}

/// What an injected error leaves of a volume that was being made.
#[test]
fn an_error_while_a_volume_is_made_leaves_nothing() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    let case = case();
    case.volume(&["create", "other"]).ok();
    for call in ["mkdirat", "openat", "flock", "write", "fchmod", "renameat", "fsync"] {
        for when in 1..40 {
            let mut command = case.command();
            command.args(["volume", "create", "data"]);
            let output = case.path("trace");
            let out = case.finish(traced(&command, &["-e", &format!("inject={call}:error=EIO:when={when}")], &output));
            let debris = case.debris();
            assert_eq!(debris, [""; 0], "{call} {when}: {out}");
            let injected = case.read("trace").contains("(INJECTED)");
            case.volume(&["rm", "-f", "data"]).ok();
            if !injected {
                break;
            }
        }
    }
}

/// Writes this many small files: half of them in one directory, the others in directories of a hundred.
fn many(dir: &Path, count: usize) {
    fs::create_dir(dir.join("wide")).expect("mkdir");
    for n in 0..count {
        let below = dir.join(if n % 2 == 0 { "wide".into() } else { format!("d{}", n / 200) });
        if n % 200 == 1 {
            fs::create_dir(&below).expect("mkdir");
        }
        fs::write(below.join(format!("f{n}")), "x").expect("write");
    }
}

/// The most memory that a command had, in KiB, measured by a shell that waits for it.
fn peak(case: &Case, words: &[&str]) -> u64 {
    let mut command = Command::new("/usr/bin/time");
    let (own, report) = (case.command(), case.path("peak"));
    command.args(["-f", "%M", "-o", &report, "--"]).arg(own.get_program()).args(own.get_args()).args(words);
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // No pipes: a container that is created keeps them open.
    let null = std::process::Stdio::null;
    let status = command.current_dir(&case.dir).stdin(null()).stdout(null()).stderr(null()).status();
    assert!(status.expect("run time").success(), "{words:?}");
    case.read("peak").trim().parse().expect("a number")
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    needs!(Rvol);
    needs_machine!(Path::new("/usr/bin/time").exists(), "no /usr/bin/time");
    let mut peaks: Vec<Vec<(&str, u64)>> = Vec::new();
    for count in [5_000, 50_000] {
        let case = case();
        // In memory, where 300,000 files cost seconds and no wait for a disk.
        let (store, image) = (case.volume_root(), case.rootfs().join("data"));
        fs::create_dir_all(&store).expect("mkdir");
        for place in [&store, &image] {
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("test"), place, Some("tmpfs"), flags, Some("mode=755")).expect("tmpfs");
            case.expect_host_mount(place);
        }
        case.volume(&["create", "data"]).ok();
        many(&case.data("data"), count);
        let archive = case.path("data.tar");
        let bundle = case.path("bundle");
        many(&image, count);
        case.write_config();
        peaks.push(vec![
            ("export", peak(&case, &["volume", "export", "data", "-o", &archive])),
            ("import", peak(&case, &["volume", "import", "imported", &archive])),
            ("clone", peak(&case, &["volume", "clone", "data", "copy"])),
            ("df", peak(&case, &["volume", "df"])),
            ("copy-up", peak(&case, &["create", "--bundle", &bundle, "-v", "new:/data", &case.id])),
            ("rm", peak(&case, &["volume", "rm", "data", "imported", "copy"])),
        ]);
        case.delete_force().ok();
        for place in [&store, &image] {
            nix::mount::umount(place).expect("umount");
        }
    }
    for ((what, few), (_, many)) in peaks[0].iter().zip(&peaks[1]) {
        eprintln!("{what}: {few} KiB, {many} KiB");
        // Ten times the files. One portion of the names of a directory is in memory.
        assert!(many.saturating_sub(*few) < 6 << 10 && *many < 50 << 10, "{what}: {few} KiB, then {many} KiB");
    }
}

#[test]
fn making_one_more_volume_reads_no_other() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    let case = case();
    let calls = || {
        let mut command = case.command();
        command.args(["volume", "create", "one-more"]);
        let output = case.path("trace");
        case.finish(traced(&command, &[], &output)).ok();
        case.volume(&["rm", "one-more"]).ok();
        let calls = runtime_tests::strace::calls(&case.read("trace"));
        assert!(!calls.iter().any(|call| call.name.starts_with("getdents")), "it lists the store");
        calls.len()
    };
    let fill = |numbers: std::ops::Range<u32>| {
        case.volume(&["create", "model"]).ok();
        for n in numbers {
            let volume = case.volume_root().join(format!("v{n}"));
            fs::create_dir_all(volume.join("_data")).expect("mkdir");
            fs::create_dir(volume.join("refs")).expect("mkdir");
            fs::copy(case.volume_root().join("model/volume.json"), volume.join("volume.json")).expect("copy");
        }
    };
    fill(0..10);
    let few = calls();
    fill(10..1000);
    assert_eq!(case.volume_names().len(), 1001);
    let many = calls();
    assert_eq!(few, many, "syscalls with 10 and with 1,000 volumes");
}
