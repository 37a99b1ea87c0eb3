//! Default devices and links, `linux.devices`.

use runtime_tests::{Case, Facts, Value, json, needs};
use std::fs;

#[track_caller]
fn node(facts: &Facts, path: &str) -> (String, u64, u64, String) {
    let stat = facts.answer(&format!("stat:{path}"));
    let text = |key: &str| stat[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| stat[key].as_u64().unwrap_or(u64::MAX);
    (text("type"), number("major"), number("minor"), text("mode"))
}

#[test]
fn the_default_devices() {
    let mut case = Case::new();
    let defaults = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    let questions: Vec<String> = defaults.iter().map(|(n, ..)| format!("stat:/dev/{n}")).collect();
    let facts = case.facts(&questions.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, major, minor) in defaults {
        let expected = ("char".to_owned(), major, minor, "0666".to_owned());
        assert_eq!(node(&facts, &format!("/dev/{name}")), expected, "{name}");
        assert_eq!(facts.answer(&format!("stat:/dev/{name}"))["uid"], 0);
    }
}

#[test]
fn the_default_devices_work() {
    let mut case = Case::new();
    case.script("echo x >/dev/null && head -c 3 /dev/zero | tr '\\0' z && head -c 9 /dev/urandom >/dev/null && echo y >/dev/full");
    let out = case.run();
    assert!(out.stdout.contains("zzz"), "{out}");
    assert!(out.stderr.contains("No space left on device"), "{out}");
}

#[test]
fn links_in_dev() {
    let mut case = Case::new();
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    let facts = case.facts(&["link:/dev/fd", "link:/dev/stdin", "link:/dev/stdout", "link:/dev/stderr"]);
    for (name, target) in links {
        assert_eq!(facts.answer(&format!("link:/dev/{name}")), target, "{name}");
    }
}

#[test]
fn ptmx_is_the_containers() {
    let mut case = Case::new();
    let facts = case.facts(&["link:/dev/ptmx", "open:/dev/ptmx", "list:/dev/pts"]);
    facts.expect(&[("open:/dev/ptmx", "ok")]);
    // A link or a bind, as the spec allows.
    assert!(facts.answer("link:/dev/ptmx") == "pts/ptmx" || facts.has_mount("/dev/ptmx"), "{facts:?}");
    assert_eq!(facts.answer("list:/dev/pts"), &json!(["ptmx"]), "no terminal of the host");
}

#[test]
fn without_a_terminal_there_is_no_console() {
    let mut case = Case::new();
    let facts = case.facts(&["stat:/dev/console"]);
    facts.expect(&[("stat:/dev/console", "ENOENT")]);
}

#[test]
fn devices_without_a_dev_mount() {
    // /dev in the image itself: everything is made there.
    let mut case = Case::new();
    case.set("/mounts", json!([runtime_tests::config::mount("/proc", "proc", "proc", &[])]));
    case.unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    let facts = case.facts(&["stat:/dev/null", "link:/dev/fd"]);
    assert_eq!(node(&facts, "/dev/null").0, "char");
    facts.expect(&[("link:/dev/fd", "/proc/self/fd")]);
    // And once more, now that they exist.
    case.facts(&["stat:/dev/null"]);
}

fn device(path: &str, kind: &str, numbers: Option<(u32, u32)>, mode: u32) -> Value {
    let mut device = json!({ "path": path, "type": kind, "fileMode": mode, "uid": 7, "gid": 8 });
    if let Some((major, minor)) = numbers {
        device["major"] = json!(major);
        device["minor"] = json!(minor);
    }
    device
}

#[test]
fn listed_devices_of_each_type() {
    let mut case = Case::new();
    case.set(
        "/linux/devices",
        json!([
            device("/dev/char", "c", Some((10, 229)), 0o600),
            device("/dev/unbuffered", "u", Some((1, 5)), 0o640),
            device("/dev/block", "b", Some((7, 200)), 0o060),
            device("/dev/fifo", "p", None, 0o622),
        ]),
    );
    let facts = case.facts(&["stat:/dev/char", "stat:/dev/unbuffered", "stat:/dev/block", "stat:/dev/fifo"]);
    let expect = |path: &str, kind: &str, major, minor, mode: &str| {
        assert_eq!(node(&facts, path), (kind.to_owned(), major, minor, mode.to_owned()), "{path}");
        let stat = facts.answer(&format!("stat:{path}"));
        assert_eq!((&stat["uid"], &stat["gid"]), (&json!(7), &json!(8)), "{path}");
    };
    expect("/dev/char", "char", 10, 229, "0600");
    expect("/dev/unbuffered", "char", 1, 5, "0640");
    expect("/dev/block", "block", 7, 200, "0060");
    expect("/dev/fifo", "fifo", 0, 0, "0622");
}

#[test]
fn listed_devices_ignore_the_umask() {
    let mut case = Case::new();
    case.set("/linux/devices", json!([device("/dev/char", "c", Some((10, 229)), 0o777)]));
    let facts = case.facts(&["stat:/dev/char"]);
    assert_eq!(node(&facts, "/dev/char").3, "0777");
}

#[test]
fn listed_devices_outside_of_dev() {
    let mut case = Case::new();
    case.set("/linux/devices", json!([device("/made/for/null", "c", Some((1, 3)), 0o666)]));
    let facts = case.facts(&["stat:/made/for/null", "write:/made/for/null"]);
    assert_eq!(node(&facts, "/made/for/null").0, "char");
    facts.expect(&[("write:/made/for/null", "ok")]);
}

#[test]
fn a_default_device_may_be_listed() {
    let mut case = Case::new();
    let listed = [("null", 3), ("zero", 5), ("urandom", 9)];
    let list: Vec<Value> = listed
        .iter()
        .map(|(n, m)| json!({ "path": format!("/dev/{n}"), "type": "c", "major": 1, "minor": m, "fileMode": 438 }))
        .collect();
    case.set("/linux/devices", json!(list));
    case.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
    let facts = case.facts(&["stat:/dev/null", "stat:/dev/full"]);
    assert_eq!(node(&facts, "/dev/null").3, "0666");
    assert_eq!(node(&facts, "/dev/full").0, "char");
}

#[test]
fn a_file_in_the_place_of_a_device_is_an_error() {
    needs!(RefusesFileAsDevice);
    let mut case = Case::new();
    fs::write(case.rootfs().join("etc/null"), "").expect("write");
    case.set("/linux/devices", json!([device("/etc/null", "c", Some((1, 3)), 0o666)]));
    case.run().fails().says("/etc/null");
    case.assert_nothing_left();
    assert!(case.rootfs().join("etc/null").is_file());
}

#[test]
fn a_device_that_is_there_already_is_taken() {
    let mut case = Case::new();
    let made = std::process::Command::new("mknod").arg(case.rootfs().join("etc/null")).args(["c", "1", "3"]).status();
    assert!(made.expect("run mknod").success());
    case.set("/linux/devices", json!([device("/etc/null", "c", Some((1, 3)), 0o666)]));
    let facts = case.facts(&["stat:/etc/null"]);
    assert_eq!(node(&facts, "/etc/null").2, 3);
}

#[test]
fn bad_devices_are_refused() {
    let mut case = Case::new();
    for bad in [
        json!({ "path": "/dev/x", "type": "x", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/x", "major": 1, "minor": 3 }),
    ] {
        case.set("/linux/devices", json!([bad]));
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn a_device_needs_its_numbers() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/devices", json!([{ "path": "/dev/x", "type": "c" }]));
    case.run().fails().says("linux.devices[0]");
    case.set("/linux/devices", json!([{ "path": "relative", "type": "c", "major": 1, "minor": 3 }]));
    case.run().fails().says("linux.devices[0]");
    case.assert_nothing_left();
}

#[test]
fn a_bound_dev_is_left_alone() {
    // As `-v /dev:/dev`: what is the host's must not be changed by setting up defaults.
    let mut case = Case::new();
    let dev = case.make_dir("dev");
    case.make_file("dev/ptmx", "the host's");
    for name in ["pts", "shm", "mqueue"] {
        case.make_dir(&format!("dev/{name}"));
    }
    let made = std::process::Command::new("mknod").arg(format!("{dev}/null")).args(["c", "1", "3"]).status();
    assert!(made.expect("run mknod").success());
    case.set("/mounts/1", runtime_tests::config::mount("/dev", "bind", &dev, &["rbind"]));
    let facts = case.facts(&["read:/dev/ptmx"]);
    facts.expect(&[("read:/dev/ptmx", "the host's")]);
    assert_eq!(case.read("dev/ptmx"), "the host's");
}
