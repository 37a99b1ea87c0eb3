//! `mounts[]`: destinations, sources, order, and what the host sees of them.

use runtime_tests::host_mounts::in_own_mounts;
use runtime_tests::{Case, Kind, cgroups, json, needs, runtime};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn the_default_filesystems() {
    let mut case = Case::new();
    let facts = case.facts(&["link:/dev/ptmx", "stat:/dev/pts/ptmx"]);
    for (target, fstype) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
    ] {
        assert_eq!(facts.mount(target).fstype(), fstype, "{target}");
    }
    assert!(facts.mount("/sys").has("ro"));
    assert!(facts.mount("/dev/shm").super_has("size=65536k"));
    assert!(facts.mount("/dev/pts").super_has("gid=5"));
    assert!(facts.mount("/dev/pts").super_has("ptmxmode=666"));
}

#[test]
fn the_cgroup_filesystem() {
    for (namespace, option) in [(false, "ro"), (true, "ro"), (true, "rw")] {
        let mut case = Case::new();
        case.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", option]);
        if namespace {
            case.namespace("cgroup");
        }
        let facts = case.facts(&["list:/sys/fs/cgroup"]);
        let cgroups = facts.mount_points().iter().filter(|m| m.starts_with("/sys/fs/cgroup")).count();
        assert!(cgroups >= 1);
        for target in facts.mount_points().iter().filter(|m| m.starts_with("/sys/fs/cgroup")) {
            let mount = facts.mount(target);
            assert!(["tmpfs", "cgroup", "cgroup2"].contains(&mount.fstype()), "{target}");
            // Some leave the tmpfs around the hierarchies of cgroup v1 writable.
            if option == "ro" && (mount.fstype() != "tmpfs" || runtime().kind == Kind::Rvol) {
                assert!(mount.has("ro"), "{target} with namespace: {namespace}");
            }
        }
        // Nothing of other containers: the root of each hierarchy is the container's own cgroup. In the host's cgroup
        // namespace a unified tree is whole, so that the paths in /proc/self/cgroup are right.
        let names = facts.answer("list:/sys/fs/cgroup");
        let whole = cgroups::is_v2_only() && !namespace;
        assert_eq!(names.to_string().contains(&case.token), whole, "{names}");
    }
}

#[test]
fn a_directory_of_the_host() {
    let mut case = Case::new();
    let shared = case.make_dir("shared");
    case.make_file("shared/from-host", "hello");
    case.bind(&shared, "/data", &[]);
    let facts = case.facts(&["read:/data/from-host", "put:/data/from-container=world"]);
    facts.expect(&[("read:/data/from-host", "hello"), ("put:/data/from-container=world", "ok")]);
    assert_eq!(case.read("shared/from-container"), "world");
}

#[test]
fn mounts_are_invisible_to_the_host() {
    let mut case = Case::new();
    let shared = case.make_dir("shared");
    case.bind(&shared, "/data", &[]).mount("/extra", "tmpfs", "tmpfs", &[]).pause();
    case.make_file("shared/file", "");
    case.create_and_start().wait_for_line("ready");
    assert!(runtime_tests::leaks::mounts(&case.token).is_empty(), "in the host's mount table");
    assert_eq!(fs::read_dir(case.rootfs().join("data")).expect("list").count(), 0, "in the root filesystem");
}

#[test]
fn sources_relative_to_the_bundle() {
    let mut case = Case::new();
    fs::create_dir(case.bundle().join("relative")).expect("mkdir");
    fs::write(case.bundle().join("relative/file"), "found").expect("write");
    case.bind("relative", "/data", &[]);
    case.facts(&["read:/data/file"]).expect(&[("read:/data/file", "found")]);
}

#[test]
fn a_source_that_is_a_symlink_is_followed() {
    let mut case = Case::new();
    case.make_dir("real");
    case.make_file("real/file", "found");
    symlink("real", case.path("alias")).expect("symlink");
    let alias = case.path("alias");
    case.bind(&alias, "/data", &[]);
    case.facts(&["read:/data/file"]).expect(&[("read:/data/file", "found")]);
}

#[test]
fn a_missing_source_is_an_error() {
    let mut case = Case::new();
    case.bind("/no/such/source", "/data", &[]);
    case.run().fails().says("/no/such/source").says("no such file or directory");
    case.assert_nothing_left();
}

#[test]
fn a_file_onto_a_file() {
    let mut case = Case::new();
    let hosts = case.make_file("hosts", "of the host");
    fs::write(case.rootfs().join("etc/hosts"), "of the image").expect("write");
    case.bind(&hosts, "/etc/hosts", &[]);
    case.facts(&["read:/etc/hosts"]).expect(&[("read:/etc/hosts", "of the host")]);
    assert_eq!(fs::read_to_string(case.rootfs().join("etc/hosts")).expect("read"), "of the image");
}

#[test]
fn missing_mount_points_are_made() {
    let mut case = Case::new();
    let file = case.make_file("file", "file");
    let dir = case.make_dir("dir");
    case.bind(&file, "/made/for/file", &[]).bind(&dir, "/made/for/dir", &[]).mount("/also/made", "tmpfs", "tmpfs", &[]);
    case.set("/root/readonly", json!(true));
    let facts = case.facts(&["read:/made/for/file", "stat:/made/for/dir", "stat:/made"]);
    facts.expect(&[("read:/made/for/file", "file")]);
    assert_eq!(facts.answer("stat:/made/for/dir")["type"], "directory");
    assert_eq!(facts.answer("stat:/made")["mode"], "0755");
    assert_eq!(facts.mount("/also/made").fstype(), "tmpfs");
    assert!(case.rootfs().join("made/for/file").is_file());
}

#[test]
fn a_directory_onto_a_file_is_an_error() {
    let mut case = Case::new();
    let dir = case.make_dir("dir");
    case.bind(&dir, "/etc/passwd", &[]);
    case.run().fails().says("/etc/passwd");
    case.assert_nothing_left();
}

#[test]
fn a_file_onto_a_directory_is_an_error() {
    let mut case = Case::new();
    let file = case.make_file("file", "");
    case.bind(&file, "/data", &[]);
    case.run().fails().says("/data");
    case.assert_nothing_left();
}

#[test]
fn relative_destinations_are_relative_to_the_root() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("/tmp")).mount("data", "tmpfs", "tmpfs", &[]).mount("a/b", "tmpfs", "tmpfs", &[]);
    let facts = case.facts(&[]);
    assert_eq!(facts.mount("/data").fstype(), "tmpfs");
    assert_eq!(facts.mount("/a/b").fstype(), "tmpfs");
}

#[test]
fn destinations_are_cleaned() {
    let mut case = Case::new();
    case.mount("//data/./x//", "tmpfs", "tmpfs", &[]).mount("/../../../up", "tmpfs", "tmpfs", &[]);
    let facts = case.facts(&[]);
    assert_eq!(facts.mount("/data/x").fstype(), "tmpfs");
    assert_eq!(facts.mount("/up").fstype(), "tmpfs", "nothing is above the root");
}

#[test]
fn destinations_with_odd_characters() {
    let mut case = Case::new();
    for name in ["with space", "comma,colon:", "ünï", "back\\slash", "new\nline", "tab\t", "%s"] {
        case.mount(&format!("/data/{name}"), "tmpfs", "tmpfs", &[]);
    }
    let facts = case.facts(&["list:/data", "statfs:/data/with space", "statfs:/data/new\nline"]);
    assert_eq!(facts.answer("list:/data").as_array().map(Vec::len), Some(7));
    assert_eq!(facts.answer("statfs:/data/with space")["magic"], 0x0102_1994);
    assert_eq!(facts.answer("statfs:/data/new\nline")["magic"], 0x0102_1994);
}

#[test]
fn symlinks_in_destinations_stay_inside_the_root() {
    let mut case = Case::new();
    let decoy = case.make_dir("decoy");
    let rootfs = case.rootfs();
    symlink("/data/target", rootfs.join("absolute")).expect("symlink");
    symlink("../../../../../../../data/up", rootfs.join("etc/relative")).expect("symlink");
    symlink(&decoy, rootfs.join("to-host")).expect("symlink");
    let source = case.make_dir("source");
    case.make_file("source/file", "found");
    case.bind(&source, "/absolute", &[]).bind(&source, "/etc/relative/deep", &[]).bind(&source, "/to-host/x", &[]);
    let inside = format!("read:{decoy}/x/file");
    let facts = case.facts(&["read:/data/target/file", "read:/data/up/deep/file", &inside]);
    facts.expect(&[("read:/data/target/file", "found"), ("read:/data/up/deep/file", "found"), (&inside, "found")]);
    assert_eq!(fs::read_dir(decoy).expect("list").count(), 0, "nothing is made on the host");
}

#[test]
fn mounts_in_mounts() {
    let mut case = Case::new();
    let inner = case.make_dir("inner");
    case.make_file("inner/file", "inner");
    case.mount("/outer", "tmpfs", "tmpfs", &[]).bind(&inner, "/outer/a/b", &[]).mount(
        "/outer/a/b/c",
        "tmpfs",
        "tmpfs",
        &[],
    );
    let facts = case.facts(&["read:/outer/a/b/file"]);
    facts.expect(&[("read:/outer/a/b/file", "inner")]);
    assert!(facts.has_mount("/outer/a/b/c"));
    assert!(case.dir.join("inner/c").is_dir(), "the mount point is made in the host's directory");
}

#[test]
fn mounts_follow_the_listed_order() {
    let mut case = Case::new();
    let [one, two] = ["one", "two"].map(|n| case.make_dir(n));
    case.make_file("one/file", "one");
    case.make_file("two/file", "two");
    case.bind(&one, "/data", &[]).bind(&two, "/data", &[]).bind(&two, "/etc/x/y", &[]).mount(
        "/etc/x",
        "tmpfs",
        "tmpfs",
        &[],
    );
    let facts = case.facts(&["read:/data/file", "read:/etc/x/y/file"]);
    facts.expect(&[("read:/data/file", "two"), ("read:/etc/x/y/file", "!ENOENT")]);
}

/// A program that reads the table finds the order of the config. Since Linux 6.8 it is sorted by when a mount was cloned or
/// made.
#[test]
fn the_table_of_mounts_has_the_listed_order() {
    let mut case = Case::new();
    let dir = case.make_dir("dir");
    let file = case.make_file("file", "found");
    case.bind(&dir, "/order/a", &[]).mount("/order/b", "tmpfs", "tmpfs", &[]);
    case.bind(&dir, "/order/c", &["rslave"]).bind(&file, "/order/d", &["ro"]);
    case.mount("/order/e", "tmpfs", "tmpfs", &[]).bind(&dir, "/order/b/f", &["rshared", "noexec"]);
    let mut expected: Vec<String> =
        ["a", "b", "c", "d", "e", "b/f"].into_iter().map(|name| format!("/order/{name}")).collect();
    // More than the soft limit of open files may allow.
    for number in 0..260 {
        expected.push(format!("/order/{number:03}"));
        case.bind(&file, expected.last().expect("just pushed"), &[]);
    }
    let facts = case.facts(&["read:/order/d", "read:/order/259"]);
    facts.expect(&[("read:/order/d", "found"), ("read:/order/259", "found")]);
    let found: Vec<&str> = facts.mount_points().into_iter().filter(|point| point.starts_with("/order/")).collect();
    assert_eq!(found, expected);
    assert!(facts.mount("/order/d").has("ro") && facts.mount("/order/b/f").has("noexec"));
    let propagation = |target: &str| facts.mount(target).0["propagation"].to_string();
    assert!(propagation("/order/b/f").contains("shared:"), "{}", propagation("/order/b/f"));
    assert!(!propagation("/order/c").contains("shared:"), "{}", propagation("/order/c"));
}

#[test]
fn a_missing_source_behind_a_filesystem_is_an_error() {
    let mut case = Case::new();
    case.mount("/data", "tmpfs", "tmpfs", &[]).bind("/no/such/source", "/data/x", &[]);
    case.run().fails().says("/no/such/source").says("no such file or directory");
    case.assert_nothing_left();
}

#[test]
fn the_root_as_destination() {
    needs!(DestinationRoot);
    let mut case = Case::new();
    let root = case.make_dir("other-root");
    runtime_tests::payload::make_rootfs(&case.dir.join("other-root/copy"));
    case.make_file("other-root/copy/marker", "other");
    let entry = runtime_tests::config::mount("/", "bind", &format!("{root}/copy"), &["rbind", "ro"]);
    let mounts = case.config["mounts"].as_array_mut().expect("mounts");
    mounts.insert(0, entry);
    let facts = case.facts(&["read:/marker", "create:/x"]);
    facts.expect(&[("read:/marker", "other"), ("create:/x", "EROFS")]);
    assert_eq!(facts.mount("/proc").fstype(), "proc", "later mounts go onto the new root");
}

#[test]
fn rbind_takes_the_mounts_below_and_bind_does_not() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_dir("tree");
        case.host_tmpfs(&format!("{tree}/sub"), nix::mount::MsFlags::empty());
        case.make_file("tree/sub/file", "below");
        case.bind(&tree, "/plain", &[]).mount("/recursive", "none", &tree, &["rbind"]);
        let facts = case.facts(&["read:/plain/sub/file", "read:/recursive/sub/file"]);
        facts.expect(&[("read:/plain/sub/file", "!ENOENT"), ("read:/recursive/sub/file", "below")]);
    });
}

#[test]
fn bind_without_a_type() {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.make_file("source/file", "found");
    case.set("/mounts/-", json!({ "destination": "/data", "source": source, "options": ["rbind"] }));
    case.facts(&["read:/data/file"]).expect(&[("read:/data/file", "found")]);
}

#[test]
fn unknown_filesystems_are_an_error() {
    let mut case = Case::new();
    case.mount("/data", "madeupfs", "none", &[]);
    case.run().fails().says("/data");
    case.assert_nothing_left();
}

#[test]
fn filesystem_options_reach_the_filesystem() {
    let mut case = Case::new();
    case.mount("/fresh", "tmpfs", "tmpfs", &["size=4m", "nr_inodes=99", "mode=1750", "uid=7", "gid=8"]);
    let facts = case.facts(&["stat:/fresh", "statfs:/fresh"]);
    let stat = facts.answer("stat:/fresh");
    assert_eq!((&stat["mode"], &stat["uid"], &stat["gid"]), (&json!("1750"), &json!(7), &json!(8)));
    let filesystem = facts.answer("statfs:/fresh");
    assert_eq!((&filesystem["blocks"], &filesystem["files"]), (&json!(1024), &json!(99)));
}

#[test]
fn bad_filesystem_options_are_an_error_that_names_the_mount() {
    let mut case = Case::new();
    for option in ["size=banana", "madeup", "madeup=value"] {
        case.set("/mounts", json!([runtime_tests::config::mount("/data", "tmpfs", "tmpfs", &[option])]));
        case.run().fails().says("/data");
        case.assert_nothing_left();
    }
}

#[test]
fn the_kernels_words_are_in_the_error() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/mounts", json!([runtime_tests::config::mount("/data", "tmpfs", "tmpfs", &["size=banana"])]));
    case.run().fails().says("mounts[0] /data").says("size=banana").says("bad value for 'size'").says("EINVAL");
}

#[test]
fn filesystem_options_on_a_bind_are_refused() {
    needs!(RefusesDataOnBind);
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.bind(&source, "/data", &["lowerdir=/a"]);
    case.run().fails().says("lowerdir=/a");
    case.assert_nothing_left();
}

#[test]
fn overlays() {
    let mut case = Case::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|n| case.make_dir(n));
    case.make_file("lower/file", "lower");
    let options = [format!("lowerdir={lower}"), format!("upperdir={upper}"), format!("workdir={work}")];
    case.mount("/data", "overlay", "overlay", &options.iter().map(String::as_str).collect::<Vec<_>>());
    let facts = case.facts(&["read:/data/file", "put:/data/new=new"]);
    facts.expect(&[("read:/data/file", "lower"), ("put:/data/new=new", "ok")]);
    assert_eq!(case.read("upper/new"), "new");
}

#[test]
fn overlays_with_many_layers() {
    // More bytes than one value of fsconfig(2) holds.
    let mut case = Case::new();
    let layers: Vec<String> = (0..20).map(|n| case.make_dir(&format!("a-layer-with-a-long-name-{n}"))).collect();
    case.make_file("a-layer-with-a-long-name-0/top", "top");
    case.make_file("a-layer-with-a-long-name-19/bottom", "bottom");
    case.mount("/data", "overlay", "overlay", &[&format!("lowerdir={}", layers.join(":"))]);
    let facts = case.facts(&["read:/data/top", "read:/data/bottom", "create:/data/x"]);
    facts.expect(&[("read:/data/top", "top"), ("read:/data/bottom", "bottom"), ("create:/data/x", "EROFS")]);
}

#[test]
fn a_read_only_root() {
    let mut case = Case::new();
    case.set("/root/readonly", json!(true)).mount("/data", "tmpfs", "tmpfs", &[]).caps(&["CAP_SYS_ADMIN"]);
    let facts = case.facts(&["create:/x", "create:/etc/x", "write:/etc/passwd", "create:/data/x", "create:/dev/x"]);
    facts.expect(&[("create:/x", "EROFS"), ("create:/etc/x", "EROFS"), ("write:/etc/passwd", "EROFS")]);
    facts.expect(&[("create:/data/x", "ok"), ("create:/dev/x", "ok")]);
    assert!(facts.mount("/").has("ro"));
}

#[test]
fn a_writable_root() {
    let mut case = Case::new();
    case.facts(&["put:/written=text"]).expect(&[("put:/written=text", "ok")]);
    assert_eq!(fs::read_to_string(case.rootfs().join("written")).expect("read"), "text");
}

#[test]
fn roots_at_other_places() {
    let mut case = Case::without_rootfs();
    let absolute = case.path("elsewhere");
    runtime_tests::payload::make_rootfs(absolute.as_ref());
    case.set("/root/path", json!(absolute));
    assert_eq!(case.facts(&["stat:/bin/probe"]).answer("stat:/bin/probe")["type"], "file");
    case.set("/root/path", json!("./../elsewhere"));
    case.facts(&[]);
}

#[test]
fn a_bundle_behind_a_symlink() {
    let mut case = Case::new();
    symlink("bundle", case.path("alias")).expect("symlink");
    case.args(&["/bin/echo", "hello"]).write_config();
    let alias = case.path("alias");
    assert_eq!(case.invoke(&["run", "--bundle", &alias, &case.id]).ok().stdout, "hello\n");
}

#[test]
fn a_root_behind_a_symlink() {
    needs!(SymlinkedRoot);
    let mut case = Case::without_rootfs();
    runtime_tests::payload::make_rootfs(case.path("elsewhere").as_ref());
    symlink("../elsewhere", case.rootfs()).expect("symlink");
    case.facts(&[]);
}

#[test]
fn a_missing_root_is_an_error() {
    let case = Case::without_rootfs();
    case.run().fails().says("rootfs");
    case.assert_nothing_left();
}

#[test]
fn a_mount_label_without_selinux_is_a_warning() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/mountLabel", json!("system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"));
    case.mount("/data", "tmpfs", "tmpfs", &[]);
    case.args(&["/bin/probe", "facts"]);
    let outcome = case.run().ok();
    assert_eq!(runtime_tests::Facts::of(&outcome).mount("/data").fstype(), "tmpfs");
    outcome.says("linux.mountLabel").says("has no effect");
}

/// `..` behind a link leads to the parent of what the link points to.
#[test]
fn dots_behind_a_link_of_a_destination_lead_where_the_kernel_goes() {
    let mut case = Case::new();
    for dir in ["data/m/f", "data/other/d", "data/other/f"] {
        fs::create_dir_all(case.rootfs().join(dir)).expect("mkdir");
    }
    symlink("../other/d", case.rootfs().join("data/m/ld")).expect("symlink");
    case.mount("/data/m/ld/../f", "tmpfs", "tmpfs", &[]);
    assert_eq!(case.facts(&[]).mount("/data/other/f").fstype(), "tmpfs");
}

#[test]
fn a_destination_that_leads_to_proc_by_dots_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.bind(&source, "/data/../proc", &[]);
    case.run().fails().says("destination").says("`..`");
    case.assert_nothing_left();
}

/// Below the root of a procfs other files have the names that labels and sysctls are written to.
#[test]
fn only_the_root_of_a_procfs_is_bound_on_proc() {
    needs!(Rvol);
    let mut case = Case::new();
    if let Some(mounts) = case.config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != "/proc");
    }
    case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    for source in ["/proc/sys", "/proc/self", "/proc/self/task", "/sys", "/tmp"] {
        let config = case.config.clone();
        case.bind(source, "/proc", &["rbind"]);
        case.run().fails().says("\"/proc\" cannot be mounted because it is not of type proc");
        case.assert_nothing_left();
        case.config = config;
    }
    case.bind("/proc", "/proc", &["rbind"]);
    assert_eq!(case.facts(&[]).mount("/proc").fstype(), "proc");
}

#[test]
fn a_device_behind_dots_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/devices", json!([{ "path": "/dev/x/../y", "type": "c", "major": 1, "minor": 3 }]));
    case.run().fails().says("linux.devices[0].path").says("`..`");
    case.assert_nothing_left();
}

#[test]
fn a_hundred_mounts() {
    let mut case = Case::new();
    let source = case.make_dir("source");
    for n in 0..100 {
        case.bind(&source, &format!("/data/{n}"), &["ro"]);
    }
    let facts = case.facts(&["create:/data/99/x"]);
    facts.expect(&[("create:/data/99/x", "EROFS")]);
    assert_eq!(facts.mount_points().iter().filter(|m| m.starts_with("/data/")).count(), 100);
}
