//! `linux.maskedPaths` and `linux.readonlyPaths`.

use runtime_tests::{Case, json, needs};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn masked_files_and_directories() {
    let mut case = Case::new();
    fs::create_dir_all(case.rootfs().join("data/dir/sub")).expect("mkdir");
    fs::write(case.rootfs().join("data/secret"), "secret").expect("write");
    case.set("/linux/maskedPaths", json!(["/data/secret", "/data/dir", "/proc/keys", "/sys/firmware"]));
    let facts = case.facts(&[
        "read:/data/secret",
        "list:/data/dir",
        "create:/data/dir/x",
        "read:/proc/keys",
        "list:/sys/firmware",
    ]);
    facts.expect(&[("read:/data/secret", ""), ("create:/data/dir/x", "EROFS"), ("read:/proc/keys", "")]);
    assert_eq!(facts.answer("list:/data/dir"), &json!([]));
    assert_eq!(facts.answer("list:/sys/firmware"), &json!([]));
    assert_eq!(fs::read_to_string(case.rootfs().join("data/secret")).expect("read"), "secret");
}

#[test]
fn what_is_written_to_a_masked_file_is_gone() {
    let mut case = Case::new();
    fs::write(case.rootfs().join("data/secret"), "secret").expect("write");
    case.set("/linux/maskedPaths", json!(["/data/secret"]));
    let facts = case.facts(&["put:/data/secret=changed", "read:/data/secret"]);
    facts.expect(&[("read:/data/secret", "")]);
    assert_eq!(fs::read_to_string(case.rootfs().join("data/secret")).expect("read"), "secret");
}

#[test]
fn a_mask_gives_no_hold_on_the_hosts_device() {
    let mut case = Case::new();
    case.set("/linux/maskedPaths", json!(["/proc/keys"])).caps(&["CAP_FOWNER", "CAP_CHOWN"]);
    // What it already is, so that a runtime that lets this through does no harm.
    case.script("chmod 666 /proc/keys; chown 0 /proc/keys; echo gone >/proc/keys && echo written");
    let outcome = case.run();
    assert_eq!(outcome.stdout, "written\n", "{outcome}");
    needs!(Rvol);
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome}");
}

#[test]
fn missing_paths_are_passed_over() {
    let mut case = Case::new();
    case.set("/linux/maskedPaths", json!(["/no/such/path", "/proc/no-such-file"]));
    case.set("/linux/readonlyPaths", json!(["/no/such/path", "/proc/no-such-file"]));
    let facts = case.facts(&["stat:/no"]);
    facts.expect(&[("stat:/no", "ENOENT")]);
}

#[test]
fn masks_in_bind_mounts() {
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.make_dir("source/dir");
    case.make_file("source/dir/file", "secret");
    case.make_file("source/file", "secret");
    case.bind(&source, "/data", &[]).set("/linux/maskedPaths", json!(["/data/dir", "/data/file"]));
    let facts = case.facts(&["list:/data/dir", "read:/data/file"]);
    assert_eq!(facts.answer("list:/data/dir"), &json!([]));
    facts.expect(&[("read:/data/file", "")]);
    assert_eq!(case.read("source/file"), "secret");
}

#[test]
fn masks_follow_links_inside_the_root() {
    let mut case = Case::new();
    let decoy = case.make_file("decoy", "the host's");
    fs::write(case.rootfs().join("data/real"), "secret").expect("write");
    symlink("/data/real", case.rootfs().join("data/link")).expect("symlink");
    symlink(&decoy, case.rootfs().join("data/out")).expect("symlink");
    case.set("/linux/maskedPaths", json!(["/data/link", "/data/out"]));
    let facts = case.facts(&["read:/data/real"]);
    facts.expect(&[("read:/data/real", "")]);
    assert_eq!(fs::read_to_string(decoy).expect("read"), "the host's");
}

/// `..` behind a link leads to the parent of what the link points to, and that is what a program in the container opens.
#[test]
fn dots_behind_a_link_lead_where_the_kernel_goes() {
    for field in ["maskedPaths", "readonlyPaths"] {
        let mut case = Case::new();
        for dir in ["data/m", "data/other/d"] {
            fs::create_dir_all(case.rootfs().join(dir)).expect("mkdir");
        }
        for file in ["data/m/f", "data/other/f"] {
            fs::write(case.rootfs().join(file), "secret").expect("write");
        }
        symlink("../other/d", case.rootfs().join("data/m/ld")).expect("symlink");
        case.set(&format!("/linux/{field}"), json!(["/data/m/ld/../f"]));
        let facts = case.facts(&["read:/data/m/f", "read:/data/other/f", "write:/data/other/f"]);
        facts.expect(&[("read:/data/m/f", "secret")]);
        match field {
            "maskedPaths" => facts.expect(&[("read:/data/other/f", "")]),
            _ => facts.expect(&[("read:/data/other/f", "secret"), ("write:/data/other/f", "EROFS")]),
        }
        case.assert_nothing_left();
    }
}

/// A cover over the root directory would lie below what the container sees, and hide nothing.
#[test]
fn the_root_cannot_be_masked() {
    needs!(Rvol);
    let mut case = Case::new();
    for path in ["/", "//.", "/..", "/data/.."] {
        case.set("/linux/maskedPaths", json!([path]));
        case.run().fails().says("linux.maskedPaths[0]").says("root directory");
        case.assert_nothing_left();
    }
    case.unset("/linux/maskedPaths").set("/linux/readonlyPaths", json!(["/data/.."]));
    case.facts(&["create:/x"]).expect(&[("create:/x", "EROFS")]);
}

#[test]
fn read_only_paths() {
    let mut case = Case::new();
    fs::create_dir_all(case.rootfs().join("data/dir")).expect("mkdir");
    fs::write(case.rootfs().join("data/file"), "text").expect("write");
    case.set("/linux/readonlyPaths", json!(["/data/dir", "/data/file", "/proc/sys"]));
    let facts = case.facts(&[
        "create:/data/dir/x",
        "write:/data/file",
        "read:/data/file",
        "create:/data/x",
        "write:/proc/sys/net/ipv4/ip_forward",
    ]);
    facts.expect(&[
        ("create:/data/dir/x", "EROFS"),
        ("write:/data/file", "EROFS"),
        ("read:/data/file", "text"),
        ("create:/data/x", "ok"),
        ("write:/proc/sys/net/ipv4/ip_forward", "EROFS"),
    ]);
}

#[test]
fn read_only_paths_keep_other_flags() {
    let mut case = Case::new();
    case.mount("/data", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"]);
    case.mount("/data/sub", "tmpfs", "tmpfs", &["nosuid"]);
    case.set("/linux/readonlyPaths", json!(["/data"]));
    let facts = case.facts(&["create:/data/x"]);
    facts.expect(&[("create:/data/x", "EROFS")]);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(facts.mount("/data").has(option), "{option}");
    }
    assert!(facts.has_mount("/data/sub"), "what is mounted below stays visible");
}

#[test]
fn the_root_of_a_container_with_masks_can_be_read_only() {
    let mut case = Case::new();
    fs::write(case.rootfs().join("data/secret"), "secret").expect("write");
    case.set("/root/readonly", json!(true)).set("/linux/maskedPaths", json!(["/data/secret"]));
    case.facts(&["read:/data/secret"]).expect(&[("read:/data/secret", "")]);
}

#[test]
fn masks_cannot_be_taken_off_without_privileges() {
    let mut case = Case::new();
    let facts = case.facts(&["umount:/proc/keys", "umount:/proc/sys", "remount-rw:/proc/sys", "mount:/data"]);
    for question in ["umount:/proc/keys", "umount:/proc/sys", "remount-rw:/proc/sys", "mount:/data"] {
        assert_eq!(facts.answer(question), "EPERM", "{question}");
    }
}

#[test]
fn relative_paths_are_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/maskedPaths", json!(["proc/kcore"])).set("/linux/readonlyPaths", json!(["proc/sys"]));
    case.run().fails().says("linux.maskedPaths[0]").says("linux.readonlyPaths[0]");
    case.assert_nothing_left();
}

#[test]
fn many_masks() {
    let mut case = Case::new();
    let paths: Vec<String> = (0..300).map(|n| format!("/data/{n}")).collect();
    for path in &paths {
        fs::create_dir(case.rootfs().join(&path[1..])).expect("mkdir");
    }
    case.set("/linux/maskedPaths", json!(paths));
    let facts = case.facts(&["create:/data/299/x"]);
    facts.expect(&[("create:/data/299/x", "EROFS")]);
}
