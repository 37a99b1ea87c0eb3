//! Reading: what is no file, no JSON or no config, and what only looks strange.

use super::*;
use serde_json::{Value, json};

/// A directory for a bundle, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("rvol-bundle-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    fn error(&self) -> String {
        let error = Bundle::load(&self.0).unwrap_err();
        assert!(matches!(error, LoadError::File(_)), "{error}");
        error.to_string().replace(self.0.to_str().unwrap(), "/b")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn from(value: &Value) -> Bundle {
    Bundle::from_json("/b".into(), value.to_string().as_bytes()).unwrap()
}

fn misfits(value: &Value) -> Vec<String> {
    from(value).misfits.problems.iter().map(Problem::to_string).collect()
}

fn error(text: &[u8]) -> String {
    Bundle::from_json("/b".into(), text).unwrap_err().to_string()
}

#[test]
fn files_that_are_none() {
    assert_eq!(
        Bundle::load(Path::new("/nonexistent/b")).unwrap_err().to_string(),
        "open bundle config /nonexistent/b/config.json: no such file or directory (ENOENT)"
    );
    let scratch = Scratch::new("none");
    let config = scratch.0.join("config.json");
    assert_eq!(scratch.error(), "open bundle config /b/config.json: no such file or directory (ENOENT)");
    std::fs::create_dir(&config).unwrap();
    assert_eq!(scratch.error(), "open bundle config /b/config.json: not a regular file");
    std::fs::remove_dir(&config).unwrap();
    nix::unistd::mkfifo(&config, Mode::S_IRUSR).unwrap();
    assert_eq!(scratch.error(), "open bundle config /b/config.json: not a regular file");
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("config.json", &config).unwrap();
    assert_eq!(scratch.error(), "open bundle config /b/config.json: too many symbolic links encountered (ELOOP)");
    std::fs::remove_file(&config).unwrap();
    std::fs::File::create(&config).unwrap().set_len(MAX_SIZE as u64 + 1).unwrap();
    assert_eq!(scratch.error(), "open bundle config /b/config.json: 16777217 bytes, more than the limit of 16777216");
    std::fs::write(&config, "").unwrap();
    assert_eq!(scratch.error(), "parse bundle config /b/config.json: EOF while parsing a value at line 1 column 0");
}

#[test]
fn the_directory_is_resolved() {
    let scratch = Scratch::new("resolved");
    let (real, link) = (scratch.0.join("real"), scratch.0.join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    std::fs::write(real.join("config.json"), "{}").unwrap();
    assert_eq!(Bundle::load(&link).unwrap().dir, std::fs::canonicalize(&real).unwrap());
}

#[test]
fn text_that_is_no_json() {
    let front = "parse bundle config /b/config.json: ";
    assert_eq!(error(b"{\n  \"a\": 1,\n}"), format!("{front}trailing comma at line 3 column 1"));
    assert_eq!(error(b"{} x"), format!("{front}trailing characters at line 1 column 4"));
    assert_eq!(error(b"{\"a\": \"\xff\"}"), format!("{front}byte 7 is not UTF-8"));
    assert!(error(&[b'['; 1000]).contains("recursion limit exceeded at line 1 column"));
}

#[test]
fn json_that_is_no_config() {
    assert_eq!(error(b"[]"), "config.json: is an array, not an object");
    assert_eq!(error(b"null"), "config.json: is null, not an object");
    let many: Vec<u32> = vec![1; 60];
    let text = json!({ "process": { "args": many, "cwd": "/" } }).to_string();
    let Err(LoadError::Shape(problems)) = Bundle::from_json("/b".into(), text.as_bytes()) else { panic!("no error") };
    assert_eq!(problems.len(), 51);
    assert_eq!(problems[49].place, "process.args[49]");
    assert_eq!(problems[50].to_string(), "config.json: has more misfits than these; the rest is not looked at");
}

#[test]
fn what_is_not_for_us_is_ignored() {
    let config = json!({
        "ociVersion": "1.0.0", "windows": "seven", "solaris": 3, "vm": [], "zos": 1, "freebsd": 2, "uidMappings": "x",
        "new": { "things": [null] }, "process": { "cwd": "/", "user": { "uid": 7, "shoe": 43 } }
    });
    let bundle = from(&config);
    assert!(bundle.misfits.is_empty(), "{:?}", bundle.misfits);
    assert_eq!(bundle.spec.process().as_ref().unwrap().user().uid(), 7);
}

#[test]
fn null_is_as_absent() {
    let config = json!({
        "ociVersion": "1.0.0", "root": { "path": "r", "readonly": null }, "hooks": null,
        "process": { "cwd": "/", "user": null, "args": null, "rlimits": [{ "type": "RLIMIT_CPU", "hard": 1, "soft": 1 }] },
        "linux": { "resources": { "pids": { "limit": null }, "devices": [{ "allow": true, "access": null }] } }
    });
    assert_eq!(misfits(&config), [""; 0]);
    let config = json!({
        "root": { "path": null }, "mounts": [{ "destination": null }, null], "annotations": { "a": null },
        "linux": { "sysctl": { "net.x": null } }
    });
    let mut found = misfits(&config);
    found.sort();
    assert_eq!(
        found,
        [
            "annotations.a: invalid type: null, expected a string",
            r#"linux.sysctl["net.x"]: invalid type: null, expected a string"#,
            "mounts[0].destination: is required",
            "mounts[1]: invalid type: null, expected an object",
        ]
    );
}

#[test]
fn an_array_is_no_object() {
    let config = json!({ "root": ["rootfs", true], "mounts": [["/a"]], "process": { "cwd": "/", "user": [0, 0] } });
    let mut found = misfits(&config);
    found.sort();
    assert_eq!(
        found,
        [
            "mounts[0]: invalid type: array, expected an object",
            "process.user: invalid type: array, expected an object",
            "root: invalid type: array, expected an object",
        ]
    );
}

#[test]
fn numbers_that_are_required_are_not_taken_for_0() {
    let config = json!({
        "process": {
            "cwd": "/", "rlimits": [{ "type": "RLIMIT_CPU", "hard": 1 }], "ioPriority": { "priority": 1 },
            "consoleSize": { "width": 1 }
        },
        "linux": {
            "uidMappings": [{ "containerID": 0, "hostID": 1 }, { "hostID": 1, "size": 1 }, { "containerID": 0, "size": 1 }],
            "devices": [{ "type": "c", "major": 1, "minor": 3 }],
            "resources": { "devices": [{ "access": "rwm" }] }
        }
    });
    let mut found = misfits(&config);
    found.sort();
    assert_eq!(
        found,
        [
            "linux.devices[0].path: is required",
            "linux.resources.devices[0].allow: is required",
            "linux.uidMappings[0].size: is required",
            "linux.uidMappings[1].containerID: is required",
            "linux.uidMappings[2].hostID: is required",
            "process.consoleSize.height: is required",
            "process.ioPriority.class: is required",
            "process.rlimits[0].soft: is required",
        ]
    );
    // In 1.3.0 this one may be missing: no limit.
    let bundle = from(&json!({ "linux": { "resources": { "pids": {} } } }));
    assert!(bundle.misfits.is_empty());
    assert!(bundle.spec.linux().as_ref().unwrap().resources().as_ref().unwrap().pids().is_none());
}

#[test]
fn a_property_given_twice_counts_once_and_last() {
    let text = br#"{ "ociVersion": "1.0.0", "hostname": "a", "hostname": "b" }"#;
    let bundle = Bundle::from_json("/b".into(), text).unwrap();
    assert_eq!(bundle.spec.hostname().as_deref(), Some("b"));
    assert!(bundle.misfits.is_empty());
}

#[test]
fn nul_is_named_where_it_stands() {
    let config = json!({
        "ociVersion": "1.0.0", "annotations": { "a": "\u{0}" },
        "mounts": [{ "destination": 1 }, { "destination": "/a", "options": ["x", "y\u{0}"] }],
        "linux": { "sysctl": { "net.\u{0}": "1" } }
    });
    assert_eq!(
        misfits(&config),
        [
            "mounts[0].destination: invalid type: integer `1`, expected a string",
            r#"linux.sysctl["net.\0"]: contains a NUL character"#,
            "mounts[1].options[1]: contains a NUL character",
        ]
    );
    // The characters `\u0000` themselves.
    assert_eq!(misfits(&json!({ "hostname": "\\u0000" })), [""; 0]);
}

#[test]
fn messages_hold_no_control_characters() {
    let found = misfits(&json!({ "linux": { "namespaces": [{ "type": "a\u{1b}[31m\nb" }] } }));
    assert!(found[0].starts_with("linux.namespaces[0].type: unknown value `a\\u{1b}[31m\\nb`, expected"), "{found:?}");
}

#[test]
fn places_are_those_of_the_file() {
    let config = json!({ "mounts": [
        { "destination": 1 }, { "destination": "/a", "options": ["a", 2, "c", 4] }, 3, { "destination": "/d", "type": 5 }
    ] });
    let bundle = from(&config);
    let places: Vec<&str> = bundle.misfits.problems.iter().map(|p| p.place.as_str()).collect();
    assert_eq!(
        places,
        ["mounts[0].destination", "mounts[1].options[1]", "mounts[1].options[3]", "mounts[2]", "mounts[3].type"]
    );
    // Later problems name places of the repaired config: mounts[0] and mounts[1] are left of it.
    let found = ["mounts[0].options[1]", "mounts[1]", "mounts[1].type", r#"linux.sysctl["a[0]"]"#];
    let found = found.map(|place| Problem::new(place, "x")).to_vec();
    let all: Vec<String> = bundle.misfits.with(found).split_off(5).into_iter().map(|p| p.place).collect();
    assert_eq!(all, ["mounts[1].options[2]", "mounts[3]", r#"linux.sysctl["a[0]"]"#]);
}
