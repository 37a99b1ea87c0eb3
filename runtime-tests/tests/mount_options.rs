//! `mounts[].options`: every row of the spec's table, as the container's mountinfo shows it.

use nix::mount::MsFlags;
use runtime_tests::host_mounts::in_own_mounts;
use runtime_tests::{Case, Facts, json, needs};

/// The tmpfs at /x with these options, as the probe sees it.
#[track_caller]
fn tmpfs(options: &[&str]) -> Facts {
    let mut case = Case::new();
    case.mount("/x", "tmpfs", "tmpfs", options);
    case.facts(&["create:/x/file"])
}

/// A table of options, what the mount then has, and what it has not.
type Rows<'a> = &'a [(&'a [&'a str], &'a [&'a str], &'a [&'a str])];

#[track_caller]
fn check(rows: Rows, facts: impl Fn(&[&str]) -> Facts) {
    for (options, has, has_not) in rows {
        let facts = facts(options);
        let mount = facts.mount("/x");
        for option in *has {
            assert!(mount.has(option) || mount.super_has(option), "{options:?} should give {option}: {mount:?}");
        }
        for option in *has_not {
            assert!(!mount.has(option), "{options:?} should not give {option}: {mount:?}");
        }
    }
}

#[test]
fn attributes_of_a_new_filesystem() {
    check(
        &[
            (&[], &["rw", "relatime"], &["nosuid", "nodev", "noexec", "nodiratime"]),
            (&["ro"], &["ro"], &["rw"]),
            (&["rw"], &["rw"], &["ro"]),
            (&["nosuid"], &["nosuid"], &["nodev", "noexec"]),
            (&["nodev"], &["nodev"], &["nosuid", "noexec"]),
            (&["noexec"], &["noexec"], &["nosuid", "nodev"]),
            (&["noatime"], &["noatime"], &["relatime"]),
            (&["nodiratime"], &["nodiratime"], &[]),
            (&["relatime"], &["relatime"], &[]),
            (&["strictatime"], &[], &["relatime", "noatime"]),
            (&["ro", "nosuid", "nodev", "noexec", "noatime"], &["ro", "nosuid", "nodev", "noexec", "noatime"], &[]),
        ],
        tmpfs,
    );
}

#[test]
fn the_later_option_wins() {
    check(
        &[
            (&["ro", "rw"], &["rw"], &["ro"]),
            (&["rw", "ro"], &["ro"], &["rw"]),
            (&["nosuid", "suid"], &[], &["nosuid"]),
            (&["nodev", "dev"], &[], &["nodev"]),
            (&["noexec", "exec"], &[], &["noexec"]),
            (&["exec", "noexec"], &["noexec"], &[]),
            (&["noatime", "atime"], &["relatime"], &["noatime"]),
            (&["nodiratime", "diratime"], &[], &["nodiratime"]),
            (&["strictatime", "nostrictatime"], &["relatime"], &[]),
            (&["relatime", "norelatime", "relatime"], &["relatime"], &[]),
        ],
        tmpfs,
    );
}

#[test]
fn access_times_exclude_each_other() {
    needs!(LastAccessTimeWins);
    check(
        &[
            (&["noatime", "relatime"], &["relatime"], &["noatime"]),
            (&["strictatime", "noatime"], &["noatime"], &["relatime"]),
            (&["noatime", "strictatime"], &[], &["relatime", "noatime"]),
        ],
        tmpfs,
    );
}

#[test]
fn flags_of_the_superblock() {
    check(
        &[(&["sync"], &["sync"], &[]), (&["dirsync"], &["dirsync"], &[]), (&["sync", "async"], &[], &["sync"])],
        tmpfs,
    );
    let facts = tmpfs(&["sync", "async"]);
    assert!(!facts.mount("/x").super_has("sync"));
}

#[test]
fn flags_that_some_runtimes_do_not_know() {
    needs!(AllMountOptions);
    check(&[(&["defaults"], &["rw", "relatime"], &["nosuid", "nodev", "noexec"])], tmpfs);
    check(&[(&["lazytime"], &["lazytime"], &[])], tmpfs);
    assert!(!tmpfs(&["lazytime", "nolazytime"]).mount("/x").super_has("lazytime"));
}

#[test]
fn symlinks_are_not_followed_on_request() {
    needs!(NoSymFollow);
    check(&[(&["nosymfollow"], &["nosymfollow"], &[]), (&["nosymfollow", "symfollow"], &[], &["nosymfollow"])], tmpfs);
}

/// The options of the spec for any mount.
const OPTIONS: &str = "\
     async atime defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
     noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private relatime ro \
     rprivate rshared rslave runbindable rw shared silent slave strictatime suid symfollow sync unbindable";

/// Those for whole trees of mounts.
const OF_TREES: &str = "\
     ratime rdev rdiratime rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
     rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow";

/// Mounts once with each option, and looks that it is there.
fn each_is_taken(options: &str, mut mount: impl FnMut(&mut Case, &str, &str)) {
    let mut case = Case::new();
    let at = |n: usize| format!("/data/{n}");
    for (n, option) in options.split(' ').enumerate() {
        mount(&mut case, &at(n), option);
    }
    let facts = case.facts(&[]);
    for (n, option) in options.split(' ').enumerate() {
        assert!(facts.has_mount(&at(n)), "{option}");
    }
}

#[test]
fn every_option_of_the_spec_is_taken() {
    needs!(AllMountOptions, NoSymFollow);
    // iversion is refused by filesystems that have no version counter, which tmpfs has not on all kernels.
    each_is_taken(OPTIONS, |case, at, option| {
        case.mount(at, "tmpfs", "tmpfs", &[option]);
    });
}

#[test]
fn every_option_of_the_spec_is_taken_on_a_bind() {
    needs!(AllMountOptions, NoSymFollow, RecursiveAttributes);
    each_is_taken(&format!("{OPTIONS} {OF_TREES}"), |case, at, option| {
        let source = case.make_dir("source");
        case.mount(at, "none", &source, &["rbind", option]);
    });
}

#[test]
fn attributes_of_a_bind() {
    let bind = |options: &[&str]| {
        let mut case = Case::new();
        let source = case.make_dir("source");
        case.bind(&source, "/x", options);
        case.facts(&["create:/x/file", "mknod:/x/node"])
    };
    check(
        &[
            (&[], &["rw"], &["nosuid", "nodev", "noexec"]),
            (&["ro"], &["ro"], &["rw"]),
            (&["nosuid"], &["nosuid"], &["nodev", "noexec"]),
            (&["nodev"], &["nodev"], &["nosuid", "noexec"]),
            (&["noexec"], &["noexec"], &["nosuid", "nodev"]),
            (&["noatime"], &["noatime"], &["relatime"]),
            (&["nodiratime"], &["nodiratime"], &[]),
            (&["strictatime"], &[], &["relatime", "noatime"]),
            (&["ro", "nosuid", "nodev", "noexec"], &["ro", "nosuid", "nodev", "noexec"], &[]),
        ],
        bind,
    );
    bind(&["ro"]).expect(&[("create:/x/file", "EROFS")]);
}

#[test]
fn a_read_only_bind_leaves_the_host_writable() {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.bind(&source, "/data", &["ro"]).script("probe facts create:/data/x; exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.make_file("source/from-host", "written meanwhile");
}

#[test]
fn a_bind_keeps_what_its_source_has() {
    needs!(KeepsSourceAttributes);
    in_own_mounts(|| {
        let mut case = Case::new();
        let source = case.path("source");
        case.host_tmpfs(&source, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME);
        case.bind(&source, "/x", &["ro"]);
        let facts = case.facts(&[]);
        for option in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
            assert!(facts.mount("/x").has(option), "{option}");
        }
    });
}

#[test]
fn a_bind_clears_what_its_source_has_on_request() {
    needs!(ClearingOptionsOnBind);
    in_own_mounts(|| {
        let mut case = Case::new();
        let source = case.path("source");
        let all = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        case.host_tmpfs(&source, MsFlags::empty());
        case.host_bind(&source, &source);
        let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | all;
        nix::mount::mount(None::<&str>, source.as_str(), None::<&str>, remount, None::<&str>).expect("remount");
        case.bind(&source, "/clear", &["rw", "suid", "dev", "exec"]).bind(&source, "/exec", &["exec"]);
        let facts = case.facts(&["create:/clear/file", "create:/exec/file"]);
        facts.expect(&[("create:/clear/file", "ok"), ("create:/exec/file", "EROFS")]);
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(!facts.mount("/clear").has(option), "{option}");
        }
        assert!(!facts.mount("/exec").has("noexec"));
        assert!(facts.mount("/exec").has("nosuid"));
    });
}

#[test]
fn ro_is_for_the_mount_itself_and_rro_for_all_below() {
    needs!(RecursiveAttributes);
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_dir("tree");
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        case.mount("/ro", "none", &tree, &["rbind", "ro"]).mount("/rro", "none", &tree, &["rbind", "rro"]);
        let facts = case.facts(&["create:/ro/x", "create:/ro/sub/x", "create:/rro/x", "create:/rro/sub/x"]);
        facts.expect(&[("create:/ro/x", "EROFS"), ("create:/ro/sub/x", "ok")]);
        facts.expect(&[("create:/rro/x", "EROFS"), ("create:/rro/sub/x", "EROFS")]);
    });
}

/// The same for a bind of a directory with a mount below; both must be as the row says.
#[track_caller]
fn check_recursive(rows: Rows) {
    for (options, has, has_not) in rows {
        in_own_mounts(|| {
            let mut case = Case::new();
            let tree = case.make_dir("tree");
            case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
            let options: Vec<&str> = ["rbind"].iter().chain(*options).copied().collect();
            case.mount("/x", "none", &tree, &options);
            let facts = case.facts(&[]);
            for target in ["/x", "/x/sub"] {
                let mount = facts.mount(target);
                assert!(has.iter().all(|o| mount.has(o)), "{options:?} should give {has:?}: {mount:?}");
                assert!(!has_not.iter().any(|o| mount.has(o)), "{options:?} should not give {has_not:?}: {mount:?}");
            }
        });
    }
}

#[test]
fn recursive_attributes() {
    needs!(RecursiveAttributes);
    check_recursive(&[
        (&["rro"], &["ro"], &["rw"]),
        (&["rnosuid"], &["nosuid"], &[]),
        (&["rnodev"], &["nodev"], &[]),
        (&["rnoexec"], &["noexec"], &[]),
        (&["rnoatime"], &["noatime"], &["relatime"]),
        (&["rnodiratime"], &["nodiratime"], &[]),
        (&["rstrictatime"], &[], &["relatime", "noatime"]),
        (&["rrelatime"], &["relatime"], &["noatime"]),
        (&["rro", "rnosuid", "rnodev", "rnoexec"], &["ro", "nosuid", "nodev", "noexec"], &[]),
    ]);
}

#[test]
fn of_recursive_options_the_later_wins_too() {
    needs!(RecursiveAttributes, AllMountOptions);
    check_recursive(&[
        (&["rro", "rrw"], &["rw"], &["ro"]),
        (&["rnosuid", "rsuid"], &[], &["nosuid"]),
        (&["rnodev", "rdev"], &[], &["nodev"]),
        (&["rnoexec", "rexec"], &[], &["noexec"]),
        (&["rnoatime", "ratime"], &["relatime"], &["noatime"]),
        (&["rnodiratime", "rdiratime"], &[], &["nodiratime"]),
        (&["rstrictatime", "rnostrictatime"], &["relatime"], &["noatime"]),
        (&["rnoatime", "rrelatime"], &["relatime"], &["noatime"]),
        (&["rnosymfollow"], &["nosymfollow"], &[]),
        (&["rnosymfollow", "rsymfollow"], &[], &["nosymfollow"]),
    ]);
}

#[test]
fn recursive_clearing_of_what_the_sources_have() {
    needs!(RecursiveAttributes);
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.path("tree");
        let all = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        case.host_tmpfs(&tree, all);
        case.host_tmpfs(&format!("{tree}/sub"), all);
        case.mount("/x", "none", &tree, &["rbind", "rsuid", "rdev", "rexec"]);
        let facts = case.facts(&[]);
        for target in ["/x", "/x/sub"] {
            for option in ["nosuid", "nodev", "noexec"] {
                assert!(!facts.mount(target).has(option), "{option} at {target}");
            }
        }
    });
}

#[test]
fn recursive_attributes_go_with_plain_ones() {
    needs!(RecursiveAttributes);
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_dir("tree");
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        case.mount("/x", "none", &tree, &["rbind", "ro", "rnosuid"]);
        let facts = case.facts(&[]);
        assert!(facts.mount("/x").has("ro") && facts.mount("/x").has("nosuid"));
        assert!(!facts.mount("/x/sub").has("ro") && facts.mount("/x/sub").has("nosuid"));
    });
}

#[test]
fn remount_changes_what_is_there() {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.mount("/fs", "tmpfs", "tmpfs", &["size=1m"]).mount("/fs", "tmpfs", "tmpfs", &["remount", "ro", "size=2m"]);
    case.bind(&source, "/bound", &[]).mount("/bound", "none", &source, &["bind", "remount", "ro", "nosuid"]);
    let facts = case.facts(&["create:/fs/x", "create:/bound/x"]);
    facts.expect(&[("create:/fs/x", "EROFS"), ("create:/bound/x", "EROFS")]);
    assert!(facts.mount("/fs").super_has("size=2048k"));
    assert!(facts.mount("/bound").has("nosuid"));
    assert_eq!(facts.mount_points().iter().filter(|m| **m == "/fs").count(), 1, "changed, not mounted again");
    case.make_file("source/the-host-may-write", "");
}

#[test]
fn tmpcopyup() {
    needs!(TmpCopyUp);
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mut case = Case::new();
    let data = case.rootfs().join("data");
    std::fs::create_dir_all(data.join("sub/deep")).expect("mkdir");
    std::fs::write(data.join("sub/deep/file"), "content").expect("write");
    std::fs::write(data.join("tool"), "x").expect("write");
    std::fs::set_permissions(data.join("tool"), std::fs::Permissions::from_mode(0o4750)).expect("chmod");
    std::os::unix::fs::chown(data.join("sub"), Some(7), Some(8)).expect("chown");
    symlink("sub/deep", data.join("link")).expect("symlink");
    symlink("/etc/passwd", data.join("absolute")).expect("symlink");
    case.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "nodev"]);
    let facts = case.facts(&[
        "read:/data/sub/deep/file",
        "link:/data/link",
        "link:/data/absolute",
        "stat:/data/tool",
        "stat:/data/sub",
        "put:/data/sub/deep/file=changed",
    ]);
    facts.expect(&[
        ("read:/data/sub/deep/file", "content"),
        ("link:/data/link", "sub/deep"),
        ("link:/data/absolute", "/etc/passwd"),
        ("put:/data/sub/deep/file=changed", "ok"),
    ]);
    assert_eq!(facts.mount("/data").fstype(), "tmpfs");
    assert!(facts.mount("/data").has("nodev"));
    let sub = facts.answer("stat:/data/sub");
    assert_eq!((&sub["uid"], &sub["gid"]), (&json!(7), &json!(8)));
    assert_eq!(std::fs::read_to_string(data.join("sub/deep/file")).expect("read"), "content", "the image is untouched");
}

#[test]
fn tmpcopyup_of_a_read_only_mount() {
    needs!(Rvol);
    let mut case = Case::new();
    std::fs::write(case.rootfs().join("data/file"), "content").expect("write");
    case.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "ro"]);
    let facts = case.facts(&["read:/data/file", "create:/data/x"]);
    facts.expect(&[("read:/data/file", "content"), ("create:/data/x", "EROFS")]);
}

#[test]
fn overlays_with_more_layers_than_a_page_of_options_holds() {
    needs!(Rvol);
    let mut case = Case::new();
    let layer = |n: usize| format!("{n:0100}");
    let layers: Vec<String> = (0..60).map(|n| case.make_dir(&layer(n))).collect();
    for n in 0..60 {
        case.make_file(&format!("{}/file{n}", layer(n)), "found");
    }
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 4096);
    case.mount("/data", "overlay", "overlay", &[&lower]);
    case.facts(&["read:/data/file0", "read:/data/file59"])
        .expect(&[("read:/data/file0", "found"), ("read:/data/file59", "found")]);
}

#[test]
fn options_that_mount_would_cut_off_are_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    let long = format!("context={}", "x".repeat(4100));
    case.mount("/data", "tmpfs", "tmpfs", &[&long]);
    case.run().fails().says("mounts[").says("longer than 4095 bytes");
    case.assert_nothing_left();
}
