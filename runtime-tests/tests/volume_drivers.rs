//! The `local` driver's options: what is mounted, when, and for how long.

use nix::mount::{MntFlags, MsFlags, umount2};
use runtime_tests::host_mounts::{in_own_mounts, is_mounted};
use runtime_tests::loop_device::{Loop, filesystem};
use runtime_tests::{Case, json, needs, needs_machine, runtime, unprivileged};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// How often something is mounted at the volume's data.
fn mounts_at(case: &Case, name: &str) -> usize {
    let path = case.data(name);
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("read the mount table");
    table.lines().filter(|line| line.split(' ').nth(4) == path.to_str()).count()
}

fn mounted(case: &Case, name: &str) -> bool {
    is_mounted(case.data(name).to_str().expect("UTF-8"))
}

/// `volume create` with options of the driver.
#[track_caller]
fn make(case: &Case, name: &str, options: &[&str]) {
    let flags: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    case.volume(&[&["create"], &flags[..], &[name]].concat()).ok();
}

/// A file with an ext4 in it.
fn make_ext4(case: &Case) -> Option<String> {
    let path = case.make_file("ext4.img", "");
    fs::File::options().write(true).open(&path).expect("open").set_len(16 << 20).expect("grow");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", &path]).status();
    made.is_ok_and(|status| status.success()).then_some(path)
}

#[test]
fn a_tmpfs_lives_as_long_as_it_is_used() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        fs::write(case.rootfs().join("data/image"), "").expect("write");
        make(&case, "scratch", &["type=tmpfs", "device=tmpfs", "o=size=1m,mode=0750,uid=7,noexec"]);
        let shown = case.volume(&["inspect", "scratch"]).ok().json();
        let options = json!({"device": "tmpfs", "o": "size=1m,mode=0750,uid=7,noexec", "type": "tmpfs"});
        assert_eq!(shown[0]["Options"], options);
        assert_eq!(shown[0]["Mountpoint"], json!(case.data("scratch")));
        assert!(!mounted(&case, "scratch"), "nobody uses it");
        case.pause();
        case.create_with(&["-v", "scratch:/data"]).ok();
        assert_eq!(mounts_at(&case, "scratch"), 1);
        let stat = fs::metadata(case.data("scratch")).expect("stat");
        assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o750, 7));
        assert_eq!(fs::read_dir(case.data("scratch")).expect("list").count(), 0, "nothing is copied into it");
        fs::write(case.data("scratch").join("shared"), "text\n").expect("write");

        let second = case.other_id("second");
        case.set("/process/args", json!(["/bin/sh", "-c", "cat /data/shared; grep ' /data ' /proc/self/mountinfo"]));
        let out = case.finish(case.other("run", &second, &["-v", "scratch:/data:ro"])).ok().stdout;
        assert!(out.starts_with("text\n") && out.contains("- tmpfs") && out.contains("size=1024k"), "{out}");
        assert!(out.contains(" ro,") && out.contains("noexec"), "{out}");
        assert_eq!(mounts_at(&case, "scratch"), 1, "the first one uses it still");
        case.volume(&["rm", "scratch"]).fails().says("volume is in use");
        case.delete_force().ok();
        assert_eq!(mounts_at(&case, "scratch"), 0);
        assert_eq!(fs::read_dir(case.data("scratch")).expect("list").count(), 0, "its content went with it");
        // One without a name goes with its container.
        let flag = "dst=/data,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
        case.script("grep -c ' /data ' /proc/self/mountinfo");
        assert_eq!(case.run_with(&["--mount", flag]).ok().stdout, "1\n");
        assert_eq!(case.volume_names(), ["scratch"]);
        let out = case.volume(&["df"]).ok().stdout;
        assert!(out.contains("scratch       0         N/A"), "{out}");
        case.volume(&["prune", "-af"]).ok();
        assert_eq!(case.volume_names(), ["scratch"], "prune leaves those with options");
        case.volume(&["clone", "scratch", "copy"]).fails().says("only its driver can copy it");
        case.volume(&["rm", "scratch"]).ok();
        assert_eq!(fs::read_dir(case.volume_root()).expect("list").count(), 0);
    });
}

#[test]
fn a_bound_directory_is_never_touched() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let dir = case.make_dir("outside");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o705)).expect("chmod");
        fs::write(case.rootfs().join("data/image"), "").expect("write");
        let device = format!("volume-opt=device={dir}");
        let flag = format!("src=named,dst=/data,volume-driver=local,volume-opt=type=none,volume-opt=o=bind,{device}");
        case.script("ls -A /data; echo inside > /data/file");
        assert_eq!(case.run_with(&["--mount", &flag]).ok().stdout, "");
        assert_eq!(case.read("outside/file"), "inside\n");
        assert_eq!(fs::metadata(&dir).expect("stat").mode() & 0o7777, 0o705);
        assert!(!mounted(&case, "named"));
        assert_eq!(fs::read_dir(case.data("named")).expect("list").count(), 0);
        // By its name alone, and read-only.
        make(&case, "fixed", &["type=none", &format!("device={dir}"), "o=bind,ro"]);
        case.script("cat /data/file; touch /data/new");
        let out = case.run_with(&["-v", "fixed:/data"]);
        assert!(out.stdout == "inside\n" && out.stderr.contains("Read-only file system"), "{out}");
        for name in ["named", "fixed"] {
            case.volume(&["rm", name]).ok();
        }
        assert_eq!(case.read("outside/file"), "inside\n");
        // A directory that is missing is an error of the use, as in Docker.
        make(&case, "lost", &["type=none", &format!("device={dir}/gone"), "o=bind"]);
        let out = case.run_with(&["-v", "lost:/data"]).fails().says("failed to mount local volume: type=none");
        assert!(out.stderr.contains("volume lost") && out.stderr.contains("does not exist"), "{out}");
        assert_eq!(case.users("lost"), [""; 0]);
        case.make_file("plain", "");
        make(&case, "file", &["type=none", &format!("device={}", case.path("plain")), "o=bind"]);
        case.run_with(&["-v", "file:/data"]).fails().says("is not a directory");
        case.assert_nothing_left();
    });
}

#[test]
fn a_filesystem_on_a_device() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let image = make_ext4(&case);
        needs_machine!(image.is_some(), "no mkfs.ext4");
        let image = image.expect("an image");
        make(&case, "file", &["type=ext4", &format!("device={image}")]);
        let out = case.run_with(&["-v", "file:/data"]).fails().says("is a file and not a block device");
        assert!(out.stderr.contains("losetup") && out.stderr.contains("(ENOTBLK)"), "{out}");
        let device = Loop::attach(&image);
        needs_machine!(device.is_some(), "no loop device is to be had");
        let device = device.expect("a loop device");
        make(&case, "disk", &["type=ext4", &format!("device={}", device.0), "o=noatime,nodev"]);
        case.script("echo kept >> /data/log; grep ' /data ' /proc/self/mountinfo");
        for _ in 0..2 {
            let out = case.run_with(&["-v", "disk:/data"]).ok().stdout;
            assert!(out.contains("- ext4") && out.contains("nodev") && out.contains("noatime"), "{out}");
            assert!(!mounted(&case, "disk"));
        }
        case.script("cat /data/log; ls -A /data");
        assert_eq!(case.run_with(&["-v", "disk:/data"]).ok().stdout, "kept\nkept\nlog\nlost+found\n");
        make(&case, "fixed", &["type=ext4", &format!("device={}", device.0), "o=ro"]);
        case.script("cat /data/log; touch /data/new");
        let out = case.run_with(&["-v", "fixed:/data"]);
        assert!(out.stdout == "kept\nkept\n" && out.stderr.contains("Read-only file system"), "{out}");
        make(&case, "wrong", &["type=ext4", &format!("device={}", device.0), "o=frob=1"]);
        let out = case.run_with(&["-v", "wrong:/data"]).fails().says("fsconfig frob=1");
        assert!(out.stderr.contains("volume wrong") && out.stderr.contains("(EINVAL)"), "{out}");
        make(&case, "other", &["type=nosuchfs", &format!("device={}", device.0)]);
        case.run_with(&["-v", "other:/data"]).fails().says("the kernel has no filesystem type \"nosuchfs\"");
        case.assert_nothing_left();
    });
}

#[test]
fn an_overlay_of_two_directories() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        // An overlay cannot lie on an overlay, which the test's directory may be on.
        let base = case.make_dir("base");
        case.host_tmpfs(&base, MsFlags::empty());
        for dir in ["lower", "upper", "work"] {
            case.make_dir(&format!("base/{dir}"));
        }
        case.make_file("base/lower/below", "below\n");
        let options = format!("o=lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
        make(&case, "layers", &["type=overlay", "device=overlay", &options]);
        case.script("cat /data/below; echo up > /data/below");
        for expected in ["below\n", "up\n"] {
            assert_eq!(case.run_with(&["-v", "layers:/data"]).ok().stdout, expected);
        }
        assert_eq!(case.read("base/lower/below"), "below\n");
        assert_eq!(case.read("base/upper/below"), "up\n");
    });
}

#[test]
fn options_of_the_config() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let options = ["driver=local", "driver-opt=type=tmpfs", "driver-opt=device=tmpfs", "driver-opt=o=size=64k,ro"];
        case.mount("/data", "volume", "data", &options);
        case.script("grep ' /data ' /proc/self/mountinfo; touch /data/x");
        let out = case.run();
        assert!(out.stdout.contains("size=64k") && out.stderr.contains("Read-only file system"), "{out}");
        case.unset("/mounts/-");
        case.volume(&["create", "-o", "type=tmpfs", "-o", "device=other", "data"])
            .fails()
            .says("exists already with other driver options");
        assert!(!mounted(&case, "data"));
    });
}

#[test]
fn options_that_are_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    for (options, why) in [
        (&["frob=1"][..], "invalid option: \"frob\""),
        (&["type=tmpfs"], "missing required option: \"device\""),
        (&["device=tmpfs"], "missing required option: \"type\""),
        (&["o=ro"], "missing required option: \"device\""),
        (&["size=huge"], "invalid size: 'huge'"),
        (&["type=cifs", "device=//h:1/x"], "port not allowed in CIFS device URL, include 'port' in 'o='"),
        (&["type=none", "device=/x"], "needs o=bind"),
        (&["type=none", "device=x", "o=bind"], "absolute path"),
        (&["type=tmpfs", "device=tmpfs", "o=remount"], "remount cannot be an option of a volume"),
    ] {
        let flags: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        case.volume(&[&["create"], &flags[..], &["data"]].concat()).fails().says(why);
        let words: Vec<String> = options.iter().map(|option| format!("volume-opt={option}")).collect();
        let flag = format!("src=data,dst=/data,{}", words.join(","));
        case.run_with(&["--mount", &flag]).fails().says(why);
    }
    assert_eq!(case.volume_names(), [""; 0]);
    // An annotation can neither bring options nor lead to a directory of the host.
    case.set("/annotations", json!({"rvol.volumes": "[\"data:/data:driver-opt=type=none\"]"}));
    case.run().fails().says("invalid mode");
}

#[test]
fn hosts_are_looked_up_and_passwords_kept() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        case.args(&["/bin/true"]);
        make(&case, "nfs", &["type=nfs", "device=:/export", "o=addr=no-such-host.invalid,rw"]);
        let out = case.run_with(&["-v", "nfs:/data"]).fails().says("error resolving passed in network volume address");
        assert!(out.stderr.contains("no such host: no-such-host.invalid"), "{out}");
        make(&case, "cifs", &["type=cifs", "device=//127.0.0.1/share", "o=username=u,password=hunter2"]);
        let out = case.run_with(&["-v", "cifs:/data"]).fails().says("failed to mount local volume");
        assert!(!out.stderr.contains("hunter2") && out.stderr.contains("password=********"), "{out}");
        assert_eq!(case.users("nfs"), [""; 0]);
        assert!(!mounted(&case, "nfs") && !mounted(&case, "cifs"));
        case.assert_nothing_left();
    });
}

#[test]
fn a_failed_create_leaves_nothing_mounted() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        make(&case, "good", &["type=tmpfs", "device=tmpfs"]);
        make(&case, "bad", &["type=tmpfs", "device=tmpfs", "o=size=banana"]);
        case.args(&["/bin/true"]);
        let out = case.create_with(&["-v", "good:/data", "-v", "bad:/tmp"]).fails();
        assert!(out.stderr.contains("volume bad") && out.stderr.contains("Bad value for 'size'"), "{out}");
        case.args(&["/no/such/program"]);
        case.create_with(&["-v", "good:/data"]).fails().says("no such file or directory");
        for name in ["good", "bad"] {
            assert_eq!((mounts_at(&case, name), case.users(name).len()), (0, 0), "{name}");
        }
        case.assert_nothing_left();
    });
}

#[test]
fn who_was_killed_leaves_nothing_that_misleads() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    in_own_mounts(|| {
        let mut case = Case::new();
        make(&case, "data", &["type=tmpfs", "device=tmpfs"]);
        case.script("ls -A /data");
        let mut kills = 0;
        // Killed between the mount and the end of create: what is there of the container is deleted.
        for call in ["move_mount", "umount2", "clone3", "flock"] {
            for n in 1..4 {
                let mut command = Command::new("strace");
                command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]).arg(&runtime().path);
                command.args(case.bundle_command("create", &["-v", "data:/data"]).get_args());
                command.env("RVOL_VOLUME_ROOT", case.volume_root()).stdin(std::process::Stdio::null());
                kills += u32::from(case.finish(command).code() == 137);
                case.delete_force().ok();
                assert_eq!((mounts_at(&case, "data"), case.users("data").len()), (0, 0), "{call} {n}");
            }
        }
        assert!(kills > 3, "{kills}");
        // Killed between the unmount and the end of delete, or the other way round.
        for lost in ["reference", "mount"] {
            case.create_with(&["-v", "data:/data"]).ok();
            if lost == "mount" {
                umount2(&case.data("data"), MntFlags::empty()).expect("unmount");
            } else {
                fs::remove_file(case.volume_root().join("data/refs").join(&case.id)).expect("lose the reference");
            }
            case.delete_force().ok();
            assert_eq!(mounts_at(&case, "data"), 0, "{lost}");
        }
        // A reboot of the state directory alone: prune takes the mount away.
        case.create_with(&["-v", "data:/data"]).ok();
        let (state, aside) = (case.state_root().join(&case.id), case.dir.join("aside"));
        fs::rename(&state, &aside).expect("lose the state");
        assert_eq!(mounts_at(&case, "data"), 1);
        case.volume(&["prune", "-f"]).ok();
        assert_eq!((mounts_at(&case, "data"), case.users("data").len()), (0, 0));
        fs::rename(&aside, &state).expect("put it back");
        // What is left mounted without a user is used, and goes with the next one or by rm.
        fs::write(case.data("data").join("below"), "").expect("write");
        case.host_tmpfs(case.data("data").to_str().expect("UTF-8"), MsFlags::empty());
        case.delete_force().ok();
        case.volume(&["rm", "data"]).ok();
        assert_eq!(case.volume_names(), [""; 0]);
    });
}

#[test]
fn many_at_once_share_one_mount() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        make(&case, "data", &["type=tmpfs", "device=tmpfs"]);
        case.script("touch /data/$HOSTNAME; exec probe pause");
        let ids: Vec<String> = (0..6).map(|n| case.other_id(&format!("n{n}"))).collect();
        case.write_config();
        let running: Vec<_> =
            ids.iter().map(|id| case.start_command(case.other("create", id, &["-v", "data:/data"]))).collect();
        running.into_iter().for_each(|running| drop(running.finish().ok()));
        assert_eq!((mounts_at(&case, "data"), case.users("data").len()), (1, ids.len()));
        let running: Vec<_> = ids
            .iter()
            .map(|id| {
                let mut command = case.command();
                command.args(["delete", "--force", id]);
                case.start_command(command)
            })
            .collect();
        running.into_iter().for_each(|running| drop(running.finish().ok()));
        assert_eq!((mounts_at(&case, "data"), case.users("data").len()), (0, 0));
    });
}

#[test]
fn on_a_shared_mount_it_stays_private() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        case.make_mount("lib", MsFlags::MS_SHARED);
        make(&case, "data", &["type=tmpfs", "device=tmpfs"]);
        case.args(&["/bin/true"]);
        case.create_with(&["-v", "data:/data"]).ok();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("read the mount table");
        let line = table.lines().find(|line| line.split(' ').nth(4) == case.data("data").to_str()).expect("the mount");
        assert!(!line.contains("shared:"), "{line}");
        case.delete_force().ok();
        assert_eq!(mounts_at(&case, "data"), 0);
    });
}

#[test]
fn an_ordinary_user_is_told() {
    needs!(Rvol);
    let mut case = unprivileged::case(unprivileged::USER);
    case.args(&["/bin/true"]);
    let flag = "src=data,dst=/data,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    let out = case.run_with(&["--mount", flag]).fails().says("only root may mount");
    assert!(out.stderr.contains("(EPERM)"), "{out}");
    assert_eq!(case.users("data"), [""; 0]);
    assert!(Path::new(&case.data("data")).is_dir());
}

#[test]
fn a_limit_needs_project_quotas() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.volume(&["create", "-o", "size=0", "unlimited"]).ok();
    let out = case.volume(&["create", "-o", "size=10m", "data"]);
    if out.succeeded() {
        runtime_tests::features::skip("the store's filesystem has project quotas");
        return;
    }
    out.says("quota size requested but no quota support");
    assert_eq!(case.volume_names(), ["unlimited"]);
    assert_eq!(case.debris(), [""; 0]);
}

/// A store on a filesystem with project quotas; `None` after printing why there is none.
fn store_with_quotas(case: &Case, fstype: &str, flags: &[&str]) -> Option<Loop> {
    // It needs CONFIG_QFMT_V2, or CONFIG_XFS_QUOTA.
    filesystem(case, &case.volume_root(), (fstype, flags), 320, Some("prjquota"))
}

#[test]
fn a_limit_is_kept_on_ext4() {
    a_limit_is_kept("ext4", &["-F", "-O", "quota,project", "-E", "quotatype=prjquota"]);
}

#[test]
fn a_limit_is_kept_on_xfs() {
    a_limit_is_kept("xfs", &[]);
}

fn a_limit_is_kept(fstype: &str, flags: &[&str]) {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let Some(_device) = store_with_quotas(&case, fstype, flags) else { return };
        // The image's files come in, though they are staged outside the directory otherwise.
        fs::write(case.rootfs().join("data/image"), "image\n").expect("write");
        case.volume(&["create", "-o", "size=1m", "small"]).ok();
        case.volume(&["create", "free"]).ok();
        case.script("cat /data/image; dd if=/dev/zero of=/data/big bs=64k count=32");
        let out = case.run_with(&["-v", "small:/data"]);
        assert!(out.stdout == "image\n" && out.code() != 0, "{out}");
        let told = ["No space left on device", "Disk quota exceeded"];
        assert!(told.iter().any(|told| out.stderr.contains(told)), "{out}");
        let size = fs::metadata(case.data("small").join("big")).expect("stat").len();
        assert!((900 << 10..=1 << 20).contains(&size), "{size}");
        case.run_with(&["-v", "free:/data"]).ok();
        // A copy has a limit of its own, and so has a second one.
        fs::remove_file(case.data("small").join("big")).expect("remove");
        case.volume(&["clone", "small", "copy"]).ok();
        case.script("dd if=/dev/zero of=/data/big bs=64k count=12");
        case.run_with(&["-v", "copy:/data"]).ok();
        case.run_with(&["-v", "small:/data"]).ok();
        case.script("dd if=/dev/zero of=/data/more bs=64k count=12");
        let out = case.run_with(&["-v", "copy:/data"]);
        assert_ne!(out.code(), 0, "{out}");
        // What the runtime itself keeps of a full volume is not in its way.
        case.args(&["/bin/true"]);
        case.run_with(&["-v", "copy:/data"]).ok();
        for name in ["small", "copy"] {
            case.volume(&["rm", name]).ok();
        }
        assert_eq!(case.volume_names(), ["free"]);
    });
}
