//! What must not go wrong with volumes: files outside that are read or written, copies that are not true, full and
//! read-only filesystems.

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;
use runtime_tests::{Case, host_mounts::in_own_mounts, needs, needs_machine};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
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

/// Everything that is to be said of a tree, by find(1) and getfattr(1)'s like: one line a file.
fn described(root: &Path) -> String {
    let format = "%P %y %m %U %G %T@ %n %s %l\\n";
    let out = Command::new("find").arg(root).args(["-printf", format]).output().expect("run find");
    let mut lines: Vec<String> = out
        .stdout
        .split(|b| *b == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
        // The size of a directory is the filesystem's affair.
        .map(|line| {
            if line.contains(" d ") {
                line.rsplit_once(' ').map_or(line.clone(), |(a, _)| a.rsplit_once(' ').map_or(a, |(a, _)| a).to_owned())
            } else {
                line
            }
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn fill_image(image: &Path) {
    let write = |name: &OsStr, mode: u32, uid: u32| {
        fs::write(image.join(name), name.as_bytes()).expect("write");
        lchown(image.join(name), Some(uid), Some(uid + 1)).expect("chown");
        fs::set_permissions(image.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    write("plain".as_ref(), 0o644, 0);
    write("setuid".as_ref(), 0o4755, 33);
    write("sticky".as_ref(), 0o1600, 4_000_000_000);
    write(OsStr::from_bytes(b"not \xff utf-8\n?"), 0o400, 7);
    fs::create_dir_all(image.join("deep/er/and/deeper")).expect("mkdir");
    fs::set_permissions(image.join("deep/er"), fs::Permissions::from_mode(0o2500)).expect("chmod");
    fs::hard_link(image.join("plain"), image.join("deep/linked")).expect("link");
    let sparse = fs::File::create(image.join("sparse")).expect("create");
    sparse.set_len(64 << 20).expect("grow");
    sparse.write_at(b"end", (64 << 20) - 3).expect("write");
    symlink("/etc/passwd", image.join("absolute")).expect("link");
    symlink("nowhere", image.join("deep/dangling")).expect("link");
    lchown(image.join("absolute"), Some(12), Some(13)).expect("chown");
    mkfifo(&image.join("fifo"), Mode::from_bits_truncate(0o622)).expect("mkfifo");
    mknod(&image.join("device"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), nix::sys::stat::makedev(1, 3))
        .expect("mknod");
    drop(UnixListener::bind(image.join("socket")).expect("socket"));
    for name in ["plain", "deep", "absolute", "fifo"] {
        Command::new("touch")
            .args(["-h", "-d", "2001-02-03 04:05:06.123456789"])
            .arg(image.join(name))
            .status()
            .expect("touch");
    }
    lchown(image, Some(101), Some(102)).expect("chown");
    Command::new("touch").args(["-d", "1999-01-01 00:00:00.987654321"]).arg(image).status().expect("touch");
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
            fill_image(&image);
            let before = described(&image);
            case.args(&["/bin/true"]);
            case.run_with(&["-v", "data:/data"]).ok();
            assert_eq!(described(&case.data("data")), before, "own filesystem: {own_filesystem}");
            assert_eq!(described(&image), before, "the image is as it was");
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
    });
}

#[test]
fn a_read_only_store() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        store_on_tmpfs(&case, "1m");
        case.volume(&["create", "data"]).ok();
        mount(None::<&str>, &case.volume_root(), None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)
            .expect("remount");
        case.args(&["/bin/true"]);
        case.run_with(&["-v", "data:/data"]).fails().says("read-only file system");
        case.volume(&["create", "other"]).fails().says("read-only file system");
        case.volume(&["rm", "data"]).fails().says("read-only file system");
        assert_eq!(case.volume_names(), ["data"]);
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

#[test]
fn a_hundred_thousand_small_files() {
    needs!(Rvol);
    needs_machine!(std::env::var_os("RVOL_SLOW_TESTS").is_some(), "RVOL_SLOW_TESTS is not set");
    let mut case = Case::new();
    for dir in 0..100 {
        let dir = case.rootfs().join(format!("data/{dir}"));
        fs::create_dir(&dir).expect("mkdir");
        for file in 0..1000 {
            fs::write(dir.join(file.to_string()), "small").expect("write");
        }
    }
    case.args(&["/bin/true"]);
    case.run_with(&["-v", "data:/data"]).ok();
    assert_eq!(described(&case.data("data")), described(&case.rootfs().join("data")));
}
