//! What must not go wrong with volumes: files outside that are read or written, copies that are not true, full and
//! read-only filesystems.

use nix::mount::{MsFlags, mount};
use runtime_tests::trees::{add_socket, assert_same, described, fill};
use runtime_tests::{Case, host_mounts::in_own_mounts, needs, needs_machine};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tmpfs of the host where the case's store will be.
fn store_on_tmpfs(case: &Case, size: &str) {
    fs::create_dir_all(case.volume_root()).expect("mkdir");
    let options = format!("size={size},mode=0701");
    mount(Some("test"), &case.volume_root(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("tmpfs");
    case.expect_host_mount(case.volume_root());
}

#[test]
fn copies_are_true() {
    needs!(Rvol);
    for own_filesystem in [false, true] {
        in_own_mounts(|| {
            let mut case = Case::new();
            if own_filesystem {
                store_on_tmpfs(&case, "80m");
            }
            let image = case.rootfs().join("data");
            fill(&image);
            add_socket(&image);
            let before = described(&image);
            case.args(&["/bin/true"]);
            case.run_with(&["-v", "data:/data"]).ok();
            let what = format!("own filesystem: {own_filesystem}");
            assert_same(&before, &described(&case.data("data")), &what);
            assert_same(&before, &described(&image), "the image is as it was");
            let sparse = fs::metadata(case.data("data").join("sparse")).expect("stat");
            assert!(sparse.blocks() < 1024, "the hole is a hole: {} blocks", sparse.blocks());
            let inode = |name: &str| fs::metadata(case.data("data").join(name)).expect("stat").ino();
            assert_eq!(inode("plain"), inode("deep/linked"));
        });
    }
}

#[test]
fn a_mount_point_that_is_a_link_stays_in_the_container() {
    needs!(Rvol);
    let mut case = Case::new();
    let secret = case.make_dir("outside");
    case.make_file("outside/secret", "secret");
    for (link, target) in [("abs", "/etc"), ("up", "../../../../../../etc"), ("host", secret.as_str())] {
        symlink(target, case.rootfs().join(link)).expect("link");
    }
    case.script("ls -A /abs /up /etc");
    case.run_with(&["-v", "a1:/abs", "-v", "u1:/up", "-v", "h1:/host"]).ok();
    for name in ["a1", "u1"] {
        let own = fs::read_to_string(case.rootfs().join("etc/passwd")).expect("the container's own");
        assert_eq!(case.read_data(name, "passwd"), own, "the container's /etc, not the host's");
        assert!(!case.data(name).join("hostname").exists());
    }
    assert!(!case.data("h1").join("secret").exists());
    assert_eq!(fs::read_dir(&secret).expect("list").count(), 1);
}

#[test]
fn a_subpath_that_is_exchanged_for_a_link() {
    needs!(Rvol);
    let mut case = Case::new();
    case.volume(&["create", "data"]).ok();
    case.make_dir("outside");
    case.make_file("outside/secret", "secret");
    let data = case.data("data");
    fs::create_dir(data.join("sub")).expect("mkdir");
    fs::write(data.join("sub/inside"), "").expect("write");
    symlink(case.path("outside"), data.join("link")).expect("link");
    case.script("ls /sub");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let [sub, link] = ["sub", "link"].map(|name| data.join(name));
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let here = || nix::fcntl::AT_FDCWD;
            while !stop.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(here(), &sub, here(), &link, exchange).expect("exchange");
            }
        });
        let mut seen = 0;
        for _ in 0..100 {
            let out = case.run_with(&["--mount", "src=data,dst=/sub,volume-subpath=sub"]);
            assert!(!out.stdout.contains("secret"), "{out}");
            seen += u32::from(out.stdout == "inside\n");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seen > 0, "the race was never won by the right side");
    });
}

/// The image's directory, and one in it, are exchanged for links that lead out while they are copied.
#[test]
fn an_image_that_is_exchanged_for_links_while_it_is_copied() {
    needs!(Rvol);
    let mut case = Case::new();
    case.make_dir("outside");
    case.make_file("outside/secret", "secret");
    let image = case.rootfs().join("data");
    fs::create_dir(image.join("sub")).expect("mkdir");
    for number in 0..20 {
        fs::write(image.join(format!("sub/{number}")), "inside").expect("write");
    }
    symlink(case.path("outside"), image.join("link")).expect("link");
    symlink(case.path("outside"), case.rootfs().join("link")).expect("link");
    case.args(&["/bin/true"]);
    let stop = AtomicBool::new(false);
    let pairs = [(image.clone(), case.rootfs().join("link")), (image.join("sub"), image.join("link"))];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let here = || nix::fcntl::AT_FDCWD;
            while !stop.load(Ordering::Relaxed) {
                for (a, b) in &pairs {
                    // The second pair is in the first, which may be away just now.
                    let _ = nix::fcntl::renameat2(here(), a, here(), b, exchange);
                }
            }
        });
        let (mut copied, mut other) = (0, 0);
        for round in 0..100 {
            let name = format!("v{round}");
            let out = case.run_with(&["-v", &format!("{name}:/data")]);
            let found =
                Command::new("find").arg(case.data(&name)).args(["-name", "secret"]).output().expect("run find");
            assert!(found.stdout.is_empty(), "{out}");
            let whole = case.data(&name).join("sub/19").is_file() || case.data(&name).join("link/19").is_file();
            copied += u32::from(whole);
            other += u32::from(!whole);
        }
        stop.store(true, Ordering::Relaxed);
        println!("{copied} copies, {other} times something else");
        assert!(copied > 0, "nothing was ever copied");
    });
    assert_eq!(fs::read_dir(case.path("outside")).expect("list").count(), 1);
}

#[test]
fn a_full_filesystem() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        store_on_tmpfs(&case, "1m");
        fs::write(case.rootfs().join("data/small"), "x").expect("write");
        fs::write(case.rootfs().join("data/big"), vec![1; 4 << 20]).expect("write");
        case.script("ls /data");
        let out = case.run_with(&["-v", "data:/data"]).fails().says("no space left on device");
        assert!(out.stderr.contains("copy the image's /data into volume data"), "{out}");
        assert_eq!(fs::read_dir(case.data("data")).expect("list").count(), 0, "nothing half");
        assert_eq!(case.users("data"), [""; 0]);
        fs::remove_file(case.rootfs().join("data/big")).expect("make it small");
        assert_eq!(case.run_with(&["-v", "data:/data"]).ok().stdout, "small\n");
        // With no room for anything: what there is stays, and can be removed.
        fs::write(case.data("data").join("mine"), "mine").expect("write");
        let filler = case.volume_root().join("filler");
        let filled = fs::write(&filler, vec![1; 2 << 20]);
        assert!(filled.is_err(), "it is full");
        for words in [&["create", "new"][..], &["clone", "data", "new"]] {
            case.volume(words).fails().says("no space left on device");
        }
        case.run_with(&["-v", "new:/data"]).fails().says("no space left on device");
        let out = case.run_with(&["-v", "data:/data"]);
        assert!(out.succeeded() || out.stderr.contains("(ENOSPC)"), "{out}");
        assert_eq!((case.volume_names(), case.debris()), (vec!["data".to_owned()], vec![]));
        assert_eq!((case.read_data("data", "mine").as_str(), case.users("data").len()), ("mine", 0));
        case.volume(&["inspect", "data"]).ok();
        fs::remove_file(&filler).expect("make room");
        case.volume(&["clone", "data", "new"]).ok();
        case.volume(&["rm", "data"]).ok();
        assert_eq!(case.read_data("new", "mine"), "mine");
    });
}

fn remount(case: &Case, flags: MsFlags) {
    let none = None::<&str>;
    mount(none, &case.volume_root(), none, MsFlags::MS_REMOUNT | flags, none).expect("remount");
}

#[test]
fn a_read_only_store() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        store_on_tmpfs(&case, "1m");
        case.volume(&["create", "data"]).ok();
        fs::write(case.data("data").join("file"), "kept").expect("write");
        remount(&case, MsFlags::MS_RDONLY);
        case.args(&["/bin/true"]);
        case.run_with(&["-v", "data:/data"]).fails().says("read-only file system");
        case.volume(&["create", "other"]).fails().says("read-only file system");
        let archive = case.path("data.tar");
        for words in [
            &["rm", "data"][..],
            &["rm", "-f", "data"],
            &["prune", "-af"],
            &["rename", "data", "other"],
            &["clone", "data", "other"],
            &["create", "--label", "new=yes"],
        ] {
            case.volume(words).fails().says("read-only file system");
        }
        case.volume(&["export", "data", "-o", &archive]).fails().says("read-only file system");
        case.volume(&["ls"]).ok();
        case.volume(&["inspect", "data"]).ok();
        assert_eq!(case.volume_names(), ["data"]);
        assert_eq!((case.read_data("data", "file").as_str(), case.debris().len()), ("kept", 0));
        // A container goes, even if its volume cannot be told; and then the volume stays until it can.
        remount(&case, MsFlags::empty());
        case.create_with(&["-v", "data:/data"]).ok();
        remount(&case, MsFlags::MS_RDONLY);
        let out = case.delete_force().ok();
        assert!(out.stderr.contains("give back volume data") && out.stderr.contains("(EROFS)"), "{out}");
        assert_eq!(case.users("data"), [case.id.as_str()]);
        remount(&case, MsFlags::empty());
        case.volume(&["rm", "data"]).fails().says("volume is in use");
        case.invoke(&["gc"]).ok();
        assert_eq!(case.users("data"), [""; 0]);
        assert_eq!(case.read_data("data", "file"), "kept");
    });
}

#[test]
fn what_is_mounted_in_a_volume_is_not_emptied_by_rm() {
    needs!(Rvol);
    in_own_mounts(|| {
        let case = Case::without_rootfs();
        case.volume(&["create", "data"]).ok();
        let outside = case.make_dir("outside");
        case.make_file("outside/keep", "");
        case.host_bind(&outside, case.data("data").to_str().expect("UTF-8"));
        case.volume(&["rm", "data"]).fails().says("something is mounted at");
        assert!(Path::new(&case.path("outside/keep")).exists());
        assert_eq!(case.volume_names(), ["data"]);
    });
}

/// In memory, so that it is the runtime that takes the time and not a disk.
#[test]
fn a_hundred_thousand_small_files() {
    needs!(Rvol);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    let available: u64 = available.and_then(|kilobytes| kilobytes.trim().parse().ok()).unwrap_or(0);
    needs_machine!(available > 2 << 20, "less than 2 GB of memory are free");
    in_own_mounts(|| {
        let mut case = Case::new();
        store_on_tmpfs(&case, "1g");
        let image = case.rootfs().join("data");
        case.host_tmpfs(image.to_str().expect("UTF-8"), MsFlags::empty());
        for dir in 0..100 {
            let dir = image.join(dir.to_string());
            fs::create_dir(&dir).expect("mkdir");
            for file in 0..1000 {
                fs::write(dir.join(file.to_string()), "small").expect("write");
            }
        }
        case.args(&["/bin/true"]);
        let begin = std::time::Instant::now();
        let run = case.start_command(case.bundle_command("run", &["-v", "data:/data"]));
        // Seconds; minutes where others work as well.
        run.finish_within(std::time::Duration::from_secs(300)).ok();
        println!("copied up in {:.1} s", begin.elapsed().as_secs_f64());
        assert_same(&described(&image), &described(&case.data("data")), "100,000 files");
    });
}
