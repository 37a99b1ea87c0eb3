//! Where the sources of binds come from: the host as it is when it is their turn, and never out of the root filesystem.

use nix::mount::{MsFlags, mount};
use runtime_tests::host_mounts::{in_own_mounts, is_mounted, is_mounted_in, set_propagation};
use runtime_tests::{Case, json, needs};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_source_in_the_root_filesystem_sees_what_is_mounted_before_it() {
    let mut case = Case::new();
    let rootfs = case.rootfs().display().to_string();
    let source = case.make_dir("source");
    case.make_file("source/name", "mounted");
    fs::create_dir_all(case.rootfs().join("t1")).expect("mkdir");
    fs::write(case.rootfs().join("t1/name"), "covered").expect("write");
    case.bind(&source, "/t1", &[]).bind(&format!("{rootfs}/t1"), "/t2", &[]);
    case.facts(&["read:/t2/name"]).expect(&[("read:/t2/name", "mounted")]);
}

#[test]
fn a_source_that_only_an_earlier_mount_brings_is_found() {
    let mut case = Case::new();
    let rootfs = case.rootfs().display().to_string();
    let source = case.make_dir("source");
    case.make_dir("source/below");
    case.make_file("source/below/name", "found");
    case.bind(&source, "/t1", &[]).bind(&format!("{rootfs}/t1/below"), "/t2", &[]);
    case.facts(&["read:/t2/name"]).expect(&[("read:/t2/name", "found")]);
}

#[test]
fn links_and_dots_lead_into_the_root_filesystem_as_well() {
    let mut case = Case::new();
    let rootfs = case.rootfs().display().to_string();
    let source = case.make_dir("source");
    case.make_file("source/name", "mounted");
    fs::create_dir_all(case.rootfs().join("t1")).expect("mkdir");
    symlink(format!("{rootfs}/t1"), case.path("link")).expect("symlink");
    let by_link = case.path("link");
    case.bind(&source, "/t1", &[]);
    case.bind(&by_link, "/by-link", &[]).bind(&format!("{rootfs}/../rootfs/t1"), "/by-dots", &[]);
    // Through the root filesystem, and out of it: this is the host's.
    let out = format!("{rootfs}/../../source");
    case.bind(&out, "/out", &[]);
    case.facts(&["read:/by-link/name", "read:/by-dots/name", "read:/out/name"]).expect(&[
        ("read:/by-link/name", "mounted"),
        ("read:/by-dots/name", "mounted"),
        ("read:/out/name", "mounted"),
    ]);
}

#[test]
fn a_link_in_the_root_filesystem_leads_nowhere_else() {
    needs!(Rvol);
    let mut case = Case::new();
    let rootfs = case.rootfs().display().to_string();
    let volume = case.make_dir("volume");
    let secret = case.make_dir("secret");
    case.make_file("secret/name", "of the host");
    symlink(&secret, format!("{volume}/link")).expect("symlink");
    case.bind(&volume, "/vol", &[]).bind(&format!("{rootfs}/vol/link"), "/data", &[]);
    case.run().fails().says("mounts[").says("/vol/link");
    case.assert_nothing_left();
    // Inside the container there is something at that path.
    let inside = case.rootfs().join(secret.trim_start_matches('/'));
    fs::create_dir_all(&inside).expect("mkdir");
    fs::write(inside.join("name"), "of the image").expect("write");
    case.facts(&["read:/data/name"]).expect(&[("read:/data/name", "of the image")]);
}

#[test]
fn sources_named_by_the_runtimes_own_process() {
    needs!(Rvol);
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.make_file("source/name", "found");
    symlink(&source, case.path("bundle/near")).expect("symlink");
    // The runtime's working directory is the test's; its root is the host's.
    case.bind(&format!("/proc/self/root{source}"), "/by-root", &[]).bind("near", "/relative", &[]);
    case.facts(&["read:/by-root/name", "read:/relative/name"])
        .expect(&[("read:/by-root/name", "found"), ("read:/relative/name", "found")]);
}

#[test]
fn a_tree_with_a_pinned_mount_namespace() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let source = case.make_dir("source");
        case.make_file("source/name", "found");
        let run = format!("{source}/run");
        case.host_tmpfs(&run, MsFlags::empty());
        set_propagation(run.as_ref(), MsFlags::MS_PRIVATE);
        // A namespace can be pinned from a younger one only.
        let pinned = case.make_file("source/run/ns", "");
        pin_mount_namespace(&pinned);
        case.expect_host_mount(&pinned);
        case.mount("/data", "none", &source, &["rbind"]);
        case.facts(&["read:/data/name"]).expect(&[("read:/data/name", "found")]);
    });
}

#[test]
fn a_root_filesystem_with_a_pinned_mount_namespace() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let run = case.rootfs().join("run-host").display().to_string();
        case.host_tmpfs(&run, MsFlags::empty());
        let pinned = format!("{run}/ns");
        fs::write(&pinned, "").expect("write");
        pin_mount_namespace(&pinned);
        case.expect_host_mount(&pinned);
        case.args(&["/bin/true"]).run().ok();
    });
}

/// Binds a mount namespace, younger than the caller's, onto a file.
fn pin_mount_namespace(file: &str) {
    let mut child = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "unchanged", "sh", "-c", "echo; read -r line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().expect("stdout"), &mut byte).expect("a namespace");
    let namespace = format!("/proc/{}/ns/mnt", child.id());
    mount(Some(namespace.as_str()), file, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("pin the namespace");
    drop(child.stdin.take());
    child.wait().expect("wait");
}

#[test]
fn unbindable_mounts_are_bound() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let source = case.make_mount("source", MsFlags::MS_UNBINDABLE);
        case.make_file("source/name", "found");
        let tree = case.make_dir("tree");
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        case.make_file("tree/sub/name", "below");
        set_propagation(format!("{tree}/sub").as_ref(), MsFlags::MS_UNBINDABLE);
        case.bind(&source, "/data", &[]).mount("/tree", "none", &tree, &["rbind"]);
        case.facts(&["read:/data/name", "read:/tree/sub/name"])
            .expect(&[("read:/data/name", "found"), ("read:/tree/sub/name", "below")]);
    });
}

#[test]
fn a_root_filesystem_on_an_unbindable_mount() {
    in_own_mounts(|| {
        let mut case = Case::new();
        case.make_mount("bundle/rootfs", MsFlags::MS_UNBINDABLE);
        case.args(&["/bin/true"]).run().ok();
    });
}

#[test]
fn a_store_of_volumes_on_an_unbindable_mount() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let store = case.volume_root();
        fs::create_dir_all(&store).expect("mkdir");
        let store = store.display().to_string();
        case.host_bind(&store, &store);
        set_propagation(store.as_ref(), MsFlags::MS_UNBINDABLE);
        case.args(&["/bin/sh", "-c", "echo x > /data/name && cat /data/name"]);
        assert_eq!(case.run_with(&["-v", "pool:/data"]).ok().stdout, "x\n");
    });
}

#[test]
fn binds_receive_what_the_host_mounts_later_by_default() {
    in_own_mounts(|| {
        for options in [&["bind"], &["rbind"]] {
            let mut case = Case::new();
            let source = case.make_mount("source", MsFlags::MS_SHARED);
            case.make_dir("source/inner");
            case.mount("/data", "none", &source, options).pause();
            let started = case.create_and_start();
            started.wait_for_line("ready");
            case.host_tmpfs(&format!("{source}/inner"), MsFlags::empty());
            assert!(is_mounted_in(case.pid(), "/data/inner"), "{options:?}");
        }
    });
}

#[test]
fn our_own_volumes_stay_private_by_default() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let source = case.make_mount("source", MsFlags::MS_SHARED);
        case.args(&["/bin/probe", "facts"]);
        let flag = format!("{source}:/bind");
        let out = case.run_with(&["-v", "pool:/data", "-v", &flag]);
        let facts = runtime_tests::Facts::of(&out.ok());
        assert_eq!(facts.mount("/data").propagation(), "private");
        assert_eq!(facts.mount("/bind").propagation(), "private");
    });
}

#[test]
fn shared_binds_reach_the_host_only_with_a_shared_root() {
    in_own_mounts(|| {
        for (root, reaches) in
            [(None, false), (Some("rprivate"), false), (Some("rslave"), false), (Some("shared"), true)]
        {
            let mut case = Case::new();
            let source = case.make_mount("source", MsFlags::MS_SHARED);
            case.make_dir("source/inner");
            if let Some(value) = root {
                case.set("/linux/rootfsPropagation", json!(value));
            }
            case.mount("/data", "none", &source, &["rbind", "rshared"]);
            case.caps(&["CAP_SYS_ADMIN"]).script("mount -t tmpfs none /data/inner && exec probe pause");
            let started = case.create_and_start();
            started.wait_for_line("ready");
            let inner = format!("{source}/inner");
            if is_mounted(&inner) {
                case.expect_host_mount(&inner);
            }
            assert_eq!(is_mounted(&inner), reaches, "{root:?}");
        }
    });
}

#[test]
fn recursive_options_win_over_plain_ones_in_any_order() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_dir("tree");
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        for (target, options) in [
            ("/a", &["rbind", "rro", "rw"][..]),
            ("/b", &["rbind", "rw", "rro"]),
            ("/c", &["rbind", "rnosuid", "suid", "rnodev", "dev"]),
            ("/d", &["rbind", "ro", "rrw"]),
        ] {
            case.mount(target, "none", &tree, options);
        }
        let facts = case.facts(&[]);
        for target in ["/a", "/a/sub", "/b", "/b/sub"] {
            assert!(facts.mount(target).has("ro"), "{target}");
        }
        for target in ["/c", "/c/sub"] {
            assert!(facts.mount(target).has("nosuid") && facts.mount(target).has("nodev"), "{target}");
        }
        assert!(facts.mount("/d").has("rw") && facts.mount("/d/sub").has("rw"));
    });
}

#[test]
fn a_missing_source_is_refused_before_anything_is_made() {
    let mut case = Case::new();
    case.bind("/no/such/source", "/data", &[]);
    case.run().fails().says("mounts[").says("/no/such/source").says("no such file or directory");
    case.assert_nothing_left();
}

#[test]
fn the_host_root_as_a_source() {
    let mut case = Case::new();
    case.mount("/host", "none", "/", &["rbind", "ro"]);
    case.make_file("marker", "seen");
    let path = format!("read:/host{}", case.path("marker"));
    case.facts(&[&path]).expect(&[(&path, "seen")]);
}
