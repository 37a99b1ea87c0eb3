use super::*;
use serde_json::{Value, json};

struct Planned {
    lines: Vec<String>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

fn plan_on(config: Value, user: Namespace) -> Planned {
    let spec: Spec = serde_json::from_value(config).unwrap();
    let host = Host { kernel: (6, 12), ..Host::example() };
    let namespaces = Namespaces { user, ..Namespaces::default() };
    let targets: Vec<_> = spec.mounts().iter().flatten().map(|mount| clean(mount.destination())).collect();
    let taken: Vec<_> = targets.iter().map(|path| path.as_os_str()).collect();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mounts = plan(&spec, &namespaces, &host, &taken, &mut problems, &mut warnings);
    Planned {
        lines: mounts.iter().map(Mount::to_string).collect(),
        problems: problems.iter().map(Problem::to_string).collect(),
        warnings,
    }
}

fn devices(devices: Value) -> Planned {
    plan_on(json!({"ociVersion": "1.2.0", "linux": {"devices": devices}}), Namespace::Inherit)
}

#[test]
fn the_defaults_of_the_spec() {
    assert_eq!(
        devices(json!([])).lines,
        [
            "device  /dev/null  c 1:3  mode 0666 owner 0:0  (default device)",
            "device  /dev/zero  c 1:5  mode 0666 owner 0:0  (default device)",
            "device  /dev/full  c 1:7  mode 0666 owner 0:0  (default device)",
            "device  /dev/random  c 1:8  mode 0666 owner 0:0  (default device)",
            "device  /dev/urandom  c 1:9  mode 0666 owner 0:0  (default device)",
            "device  /dev/tty  c 5:0  mode 0666 owner 0:0  (default device)",
            "symlink  /dev/fd -> /proc/self/fd  (default link)",
            "symlink  /dev/stdin -> /proc/self/fd/0  (default link)",
            "symlink  /dev/stdout -> /proc/self/fd/1  (default link)",
            "symlink  /dev/stderr -> /proc/self/fd/2  (default link)",
            "symlink  /dev/core -> /proc/kcore  (default link)",
            "symlink  /dev/ptmx -> pts/ptmx  (default link)",
        ]
    );
}

#[test]
fn of_all_types() {
    let planned = devices(json!([
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 384, "uid": 1, "gid": 2},
        {"type": "u", "path": "//x/./y/u", "major": 4095, "minor": 1_048_575},
        {"type": "b", "path": "/dev/sda", "major": 8, "minor": 0, "fileMode": 24960},
        {"type": "p", "path": "/run/fifo"},
    ]));
    assert_eq!(planned.problems, [""; 0]);
    assert_eq!(
        planned.lines[6..10],
        [
            "device  /dev/fuse  c 10:229  mode 0600 owner 1:2  (linux.devices[0])",
            "device  /x/y/u  c 4095:1048575  mode 0666 owner 0:0  (linux.devices[1])",
            "device  /dev/sda  b 8:0  mode 0600 owner 0:0  (linux.devices[2])",
            "device  /run/fifo  p  mode 0666 owner 0:0  (linux.devices[3])",
        ]
    );
}

#[test]
fn a_configured_device_takes_the_place_of_a_default() {
    let planned = devices(json!([
        {"type": "c", "path": "/dev//null", "major": 1, "minor": 5, "fileMode": 256},
        {"type": "c", "path": "/dev/ptmx", "major": 5, "minor": 2},
        {"type": "c", "path": "/dev/null", "major": 1, "minor": 5},
    ]));
    assert_eq!(planned.problems, [""; 0]);
    assert_eq!(planned.lines.len(), 12);
    assert_eq!(planned.lines[5], "device  /dev/null  c 1:5  mode 0400 owner 0:0  (linux.devices[0])");
}

#[test]
fn problems() {
    let device =
        |path: &str, major: i64, minor: i64| json!({"type": "c", "path": path, "major": major, "minor": minor});
    let mut mode = device("/m", 1, 3);
    mode["fileMode"] = json!(0o10666 + 0o200000);
    let mut ids = device("/i", 1, 3);
    ids["uid"] = json!(u32::MAX);
    let problems = devices(json!([
        {"type": "a", "path": "/a", "major": 1, "minor": 3},
        device("x", 1, 3),
        device("", 1, 3),
        device("/x/..", 1, 3),
        device("/n\u{0}", 1, 3),
        device("/big", 4096, 1_048_576),
        device("/less", -1, 3),
        device("/none", 0, 0),
        mode,
        ids,
        device("/twice", 1, 3),
        device("/twice/", 1, 5),
    ]))
    .problems;
    let starts = [
        "linux.devices[0].type: `a`",
        "linux.devices[1].path: is not an absolute path",
        "linux.devices[2].path: is missing",
        "linux.devices[3].path: has a `..` behind a name",
        "linux.devices[4].path: holds a NUL byte",
        "linux.devices[5].major: 4096",
        "linux.devices[5].minor: 1048576",
        "linux.devices[6].major: -1",
        "linux.devices[7].major: major and minor are missing",
        "linux.devices[8].fileMode: ",
        "linux.devices[9].uid: ",
        "linux.devices[11].path: /twice is another device in linux.devices[10]",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (found, start) in problems.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn bound_in_a_user_namespace() {
    let linux = json!({"devices": [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
        {"type": "p", "path": "/run/fifo"},
    ]});
    let planned = plan_on(json!({"ociVersion": "1.2.0", "linux": linux}), Namespace::New);
    assert_eq!(planned.lines[0], "device  /dev/null  c 1:3  bound from /dev/null  (default device)");
    assert_eq!(planned.lines[6], "device  /dev/fuse  c 10:229  bound from /dev/fuse  (linux.devices[0])");
    assert_eq!(planned.lines[7], "device  /run/fifo  p  mode 0666 owner 0:0  (linux.devices[1])");
}

#[test]
fn nothing_is_made_in_the_hosts_dev() {
    let linux = json!({"devices": [
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
        {"type": "c", "path": "/opt/null", "major": 1, "minor": 3},
    ]});
    for mount in [
        json!({"destination": "/dev/", "source": "/dev", "options": ["rbind"]}),
        json!({"destination": "dev", "type": "devtmpfs"}),
    ] {
        let config = json!({"ociVersion": "1.2.0", "mounts": [mount], "linux": linux});
        let planned = plan_on(config, Namespace::Inherit);
        assert_eq!(planned.lines, ["device  /opt/null  c 1:3  mode 0666 owner 0:0  (linux.devices[1])"]);
    }
}

#[test]
fn what_mounts_has_is_left_to_it() {
    let config = json!({
        "ociVersion": "1.2.0",
        "mounts": [
            {"destination": "/dev/random", "source": "/dev/urandom", "options": ["bind"]},
            {"destination": "/dev/fuse", "source": "/dev/fuse", "options": ["bind"]},
        ],
        "linux": {"devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}]},
    });
    let planned = plan_on(config, Namespace::Inherit);
    assert!(!planned.lines.iter().any(|line| line.contains(" /dev/random ") || line.contains("/dev/fuse")));
    assert_eq!(planned.warnings, ["linux.devices[0]: /dev/fuse is left to mounts[1]"]);
}
