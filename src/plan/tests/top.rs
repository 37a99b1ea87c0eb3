//! The properties at the top, the command's own values, hooks, and several problems at once.

use super::super::{RootChange, validate};
use super::{check, check_on, config, plan_on, planned, request};
use crate::bundle::Bundle;
use crate::host::Host;
use crate::plan::{Plan, Problem, Problems, Request};
use serde_json::json;
use std::path::{Path, PathBuf};

#[test]
fn the_base_is_without_fault() {
    let plan = planned(json!({}));
    assert_eq!(plan.rootfs.path, Path::new("/bundle/rootfs"));
    assert_eq!(plan.hostname.as_deref(), Some("box"));
    assert_eq!(plan.root_change, RootChange::PivotRoot);
    assert!(plan.new_keyring && plan.warnings.is_empty());
}

#[test]
fn oci_version() {
    for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.0-rc.1", "1.1.0+dev", "1.0.0-rc5-dev+build.7"] {
        planned(json!({ "ociVersion": good }));
    }
    check(&[
        (json!({ "ociVersion": null }), &["ociVersion: is required"]),
        (json!({ "ociVersion": "2.0.0" }), &[r#"ociVersion: "2.0.0" is not supported: it must be 1.x.y"#]),
        (json!({ "ociVersion": "0.9.0" }), &[r#"ociVersion: "0.9.0" is not supported: it must be 1.x.y"#]),
        (json!({ "ociVersion": 1 }), &["ociVersion: invalid type: integer `1`, expected a string"]),
    ]);
    for bad in ["1.0", "1", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.x", "banana"] {
        let message = format!("ociVersion: {bad:?} is not a version as SemVer 2.0.0 has it (1.3.0, 1.2.0-rc.1)");
        check(&[(json!({ "ociVersion": bad }), &[&message])]);
    }
}

#[test]
fn root() {
    check(&[
        (json!({ "root": null }), &["root: is required"]),
        (json!({ "root": { "path": null } }), &["root.path: is required and must not be empty"]),
        (json!({ "root": { "path": "" } }), &["root.path: is required and must not be empty"]),
        (json!({ "root": "rootfs" }), &[r#"root: invalid type: string "rootfs", expected an object"#]),
        (json!({ "root": { "readonly": 1 } }), &["root.readonly: invalid type: integer `1`, expected a boolean"]),
    ]);
    assert_eq!(planned(json!({ "root": { "path": "/r//./x/../y" } })).rootfs.path, Path::new("/r/x/../y"));
}

#[test]
fn host_and_domain_name() {
    let long = "x".repeat(65);
    check(&[
        (json!({ "hostname": long }), &["hostname: has 65 bytes, and the kernel takes 64"]),
        (
            json!({ "domainname": "d", "linux": { "namespaces": [{ "type": "mount" }] } }),
            &[
                "hostname: needs a uts namespace, and linux.namespaces has none",
                "domainname: needs a uts namespace, and linux.namespaces has none",
            ],
        ),
        (json!({ "hostname": "", "linux": { "namespaces": [] } }), &[]),
    ]);
}

#[test]
fn annotations() {
    check(&[
        (json!({ "annotations": { "": "x" } }), &[r#"annotations[""]: has no key: it must not be empty"#]),
        (
            json!({ "annotations": { "a.b": 1 } }),
            &[r#"annotations["a.b"]: invalid type: integer `1`, expected a string"#],
        ),
        (json!({ "annotations": { "a.b": "", "c": "\u{0}" } }), &[]),
    ]);
}

#[test]
fn container_id() {
    let problems = |id: &str| {
        let mut problems = Vec::new();
        validate::container_id(id, &mut problems);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for good in ["a", "Ubuntu_20.04+x-1", "...", "-", &"x".repeat(1024)] {
        assert_eq!(problems(good), [""; 0], "{good}");
    }
    let only = "only letters, digits and _ + - . may be in it";
    assert_eq!(problems(""), ["container id: is empty"]);
    assert_eq!(problems("."), [r#"container id: "." is the name of a directory"#]);
    assert_eq!(problems(".."), [r#"container id: ".." is the name of a directory"#]);
    assert_eq!(problems("a/b"), [format!(r#"container id: "a/b" contains '/': {only}"#)]);
    assert_eq!(problems("a\nb"), [format!(r#"container id: "a\nb" contains '\n': {only}"#)]);
    assert_eq!(problems("ä"), [format!(r#"container id: "ä" contains 'ä': {only}"#)]);
    assert_eq!(problems(&"x".repeat(1025)), ["container id: has 1025 bytes, more than 1024"]);
}

#[test]
fn hooks() {
    check(&[
        (
            json!({ "hooks": { "poststop": [{ "path": "h" }] } }),
            &[r#"hooks.poststop[0].path: "h" is not an absolute path"#],
        ),
        (json!({ "hooks": { "prestart": [{ "args": ["h"] }] } }), &["hooks.prestart[0].path: is required"]),
        (
            json!({ "hooks": { "createRuntime": [{ "path": "/a", "timeout": 5 }, { "path": "/b", "timeout": 0 }] } }),
            &["hooks.createRuntime[1].timeout: 0 is out of range (1 to 4294967295 seconds)"],
        ),
        (
            json!({ "hooks": { "startContainer": [{ "path": "/b", "timeout": -1, "env": ["A"] }] } }),
            &[
                "hooks.startContainer[0].timeout: -1 is out of range (1 to 4294967295 seconds)",
                r#"hooks.startContainer[0].env[0]: "A" has no = (NAME=value)"#,
            ],
        ),
        (json!({ "hooks": { "poststart": {} } }), &["hooks.poststart: invalid type: object, expected an array"]),
    ]);
    let plan =
        planned(json!({ "hooks": { "createContainer": [{ "path": "/bin/h" }, { "path": "/i", "args": ["j"] }] } }));
    let [first, second] = plan.hooks.create_container.as_slice() else { panic!("{:?}", plan.hooks) };
    assert_eq!(
        (first.place.as_str(), first.args.as_slice()),
        ("hooks.createContainer[0]", &["/bin/h".to_string()][..])
    );
    assert_eq!((second.args.as_slice(), second.timeout), (&["j".to_string()][..], None));
}

#[test]
fn an_old_kernel_is_one_line() {
    let host = Host { kernel: (5, 13), ..Host::example() };
    check_on(&host, &[(json!({ "root": null }), &["kernel: Linux 5.13 is too old: 5.14 or newer is needed"])]);
    check_on(&Host { kernel: (5, 14), ..Host::example() }, &[(json!({}), &[])]);
}

#[test]
fn root_change_follows_the_command_and_the_mount_namespace() {
    let text = config().to_string();
    let bundle = Bundle::from_json(PathBuf::from("/b"), text.as_bytes()).unwrap();
    let no_pivot = Request { no_pivot: true, no_new_keyring: true, ..request() };
    let plan = Plan::new(&bundle, &no_pivot, &Host::example()).unwrap();
    assert_eq!((plan.root_change, plan.new_keyring), (RootChange::MoveMount, false));
    assert_eq!(planned(json!({ "hostname": "", "linux": null })).root_change, RootChange::Chroot);
}

#[test]
fn several_problems_stand_below_a_heading() {
    let problem = |place: &str| Problem::new(place, "is wrong");
    assert_eq!(Problems(vec![problem("root")]).to_string(), "root: is wrong");
    let text = Problems(vec![problem("root"), problem("hostname")]).to_string();
    assert_eq!(text, "config.json has 2 faults:\n  root: is wrong\n  hostname: is wrong");
}

#[test]
fn everything_at_once_with_the_places_of_the_file() {
    let patch = json!({
        "ociVersion": "3.0.0",
        "process": { "args": "sh", "cwd": 7, "user": { "uid": -1 }, "env": [1, "A"], "oomScoreAdj": 1001 },
        "linux": { "namespaces": [
            { "type": "mount" }, { "type": "utz" }, { "type": "mount" }, {}, { "type": "pid", "path": "x" }
        ], "sysctl": { "net.core.somaxconn": "1" }, "uidMappings": [{ "containerID": 0, "hostID": 1, "size": 0 }] },
    });
    let problems = plan_on(&Host::example(), &patch).unwrap_err();
    let mut found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    found.sort();
    let namespaces = "expected one of `mount`, `cgroup`, `uts`, `ipc`, `user`, `pid`, `network`, `time`";
    assert_eq!(
        found,
        [
            "linux.namespaces[1].type: unknown value `utz`, ".to_string() + namespaces,
            "linux.namespaces[2].type: is the same as that of linux.namespaces[0]; a kind may be listed once only"
                .into(),
            "linux.namespaces[3].type: is required".into(),
            r#"linux.namespaces[4].path: "x" is not an absolute path"#.into(),
            "linux.uidMappings[0].size: must not be 0".into(),
            r#"ociVersion: "3.0.0" is not supported: it must be 1.x.y"#.into(),
            r#"process.args: invalid type: string "sh", expected an array"#.into(),
            "process.cwd: invalid type: integer `7`, expected a string".into(),
            "process.env[0]: invalid type: integer `1`, expected a string".into(),
            r#"process.env[1]: "A" has no = (NAME=value)"#.into(),
            "process.oomScoreAdj: 1001 is out of range (-1000 to 1000)".into(),
            "process.user.uid: invalid value: integer `-1`, expected a number from 0 to 4294967295".into(),
        ]
    );
}
