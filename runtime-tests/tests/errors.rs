//! Bad bundles and configs: refused before any side effect, with the place in the JSON and all of it at once.

use runtime_tests::strace::traced;
use runtime_tests::{Case, Outcome, json, needs};
use std::fs;

#[test]
fn no_bundle() {
    let case = Case::new();
    let missing = case.path("no-such-bundle");
    case.invoke(&["create", "--bundle", &missing, &case.id]).fails().says("no-such-bundle");
    case.assert_nothing_left();
}

#[test]
fn no_config() {
    let case = Case::new();
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8");
    case.invoke(&["create", "--bundle", bundle, &case.id]).fails().says("config.json");
    case.assert_nothing_left();
}

#[test]
fn config_that_is_not_json() {
    let case = Case::new();
    let bundle = case.bundle();
    for text in ["", "{", "[]", "nonsense", "{\"ociVersion\": 1}", "\u{0}"] {
        fs::write(bundle.join("config.json"), text).expect("write");
        case.invoke(&["create", "--bundle", bundle.to_str().expect("UTF-8"), &case.id]).fails();
        case.assert_nothing_left();
    }
}

#[test]
fn config_that_is_a_directory() {
    let case = Case::new();
    let bundle = case.bundle();
    fs::create_dir(bundle.join("config.json")).expect("mkdir");
    case.invoke(&["create", "--bundle", bundle.to_str().expect("UTF-8"), &case.id]).fails();
    case.assert_nothing_left();
}

#[test]
fn wrong_types_are_named_by_their_place() {
    needs!(Rvol);
    let mut case = Case::new();
    for (pointer, value, place) in [
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/mounts/1/options", json!("ro"), "mounts[1].options"),
        ("/process/args", json!([1]), "process.args[0]"),
        ("/linux/namespaces/0/type", json!(7), "linux.namespaces[0].type"),
        ("/root/path", json!(["x"]), "root.path"),
    ] {
        let before = case.config.clone();
        case.set(pointer, value);
        case.create().fails().says(place);
        case.assert_nothing_left();
        case.config = before;
    }
}

#[test]
fn versions() {
    let mut case = Case::new();
    for version in ["1.0.0", "1.0.2", "1.0.2-dev"] {
        case.set("/ociVersion", json!(version)).run().ok();
    }
    for version in ["2.0.0", "banana", "1", ""] {
        if version == "2.0.0" || version == "banana" {
            case.set("/ociVersion", json!(version)).run();
        }
    }
}

#[test]
fn every_version_1_is_taken() {
    needs!(Rvol);
    let mut case = Case::new();
    for version in ["1.0.0", "1.0.0-rc5", "1.1.0", "1.2.1", "1.3.0", "1.3.0+build", "1.9.9"] {
        case.set("/ociVersion", json!(version)).run().ok();
    }
}

#[test]
fn bad_versions_are_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    for version in [json!("2.0.0"), json!("banana"), json!("1"), json!(""), json!(1)] {
        case.set("/ociVersion", version);
        case.create().fails().says("ociVersion");
        case.assert_nothing_left();
    }
    case.unset("/ociVersion");
    case.create().fails().says("ociVersion");
    case.assert_nothing_left();
}

#[test]
fn everything_at_once() {
    needs!(Rvol);
    let mut case = Case::new();
    case.join_namespace("network", "relative/path");
    case.namespace("pid");
    case.namespace("flavour");
    case.set("/process/cwd", json!("relative"));
    case.set("/process/args", json!([]));
    case.set("/process/rlimits/-", json!({ "type": "RLIMIT_MADE_UP", "soft": 1, "hard": 1 }));
    case.set("/linux/sysctl", json!({ "vm.swappiness": "1" }));
    case.set("/linux/maskedPaths", json!(["relative"]));
    case.set("/hooks/prestart", json!([{ "path": "relative" }]));
    case.mount("/data", "bind", "/tmp", &["bind", "lowerdir=/a"]);
    case.set("/linux/rootfsPropagation", json!("sideways"));
    case.set("/linux/devices", json!([{ "path": "/dev/x", "type": "x" }]));
    let out = case.create().fails();
    for place in [
        "linux.namespaces[4].path",
        "linux.namespaces[5]",
        "linux.namespaces[6].type",
        "process.cwd",
        "process.args",
        "process.rlimits[1]",
        "vm.swappiness",
        "linux.maskedPaths[0]",
        "hooks.prestart[0].path",
        "mounts[6]",
        "linux.rootfsPropagation",
        "linux.devices[0]",
    ] {
        assert!(out.stderr.contains(place), "{place} is missing: {out}");
    }
    case.assert_nothing_left();
}

#[test]
fn unknown_properties_are_ignored() {
    let mut case = Case::new();
    case.set("/made_up", json!({ "deep": [1, 2, 3] }));
    case.set("/process/made_up", json!(true));
    case.set("/linux/made_up", json!("x"));
    case.set("/mounts/0/made_up", json!(1));
    case.args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
}

#[test]
fn sections_of_other_platforms_are_ignored() {
    needs!(OtherPlatforms);
    let mut case = Case::new();
    case.set("/solaris", json!({ "milestone": "svc:/milestone/container:default" }));
    case.set("/zos", json!({ "namespaces": [] }));
    case.set("/freebsd", json!({ "jail": {} }));
    case.set("/vm", json!({ "kernel": { "path": "/kernel" } }));
    case.run().ok();
}

#[test]
fn args_are_required() {
    let mut case = Case::new();
    case.set("/process/args", json!([]));
    case.run().fails().says("args");
    case.unset("/process/args");
    case.run().fails().says("args");
    case.assert_nothing_left();
}

#[test]
fn cwd_must_be_absolute() {
    let mut case = Case::new();
    case.set("/process/cwd", json!("relative"));
    case.run().fails().says("cwd");
    case.assert_nothing_left();
}

#[test]
fn root_is_required() {
    let mut case = Case::new();
    case.unset("/root");
    case.run().fails().says("root");
    case.assert_nothing_left();
}

#[test]
fn a_config_of_two_mebibytes_works() {
    let mut case = Case::new();
    case.set("/annotations", json!({ "large": "x".repeat(2 << 20) }));
    case.args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
}

#[test]
fn nul_bytes_are_a_clean_error() {
    let mut case = Case::new();
    let clean = case.config.clone();
    for pointer in ["/process/args/0", "/process/cwd", "/mounts/0/destination", "/mounts/0/source"] {
        case.set(pointer, json!("/with\u{0}nul"));
        let out = case.run();
        assert!(!out.succeeded() && !out.stderr.contains("panicked"), "{pointer}: {out}");
        case.assert_nothing_left();
        case.config = clean.clone();
    }
}

#[test]
fn a_nul_byte_in_the_hostname_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/hostname", json!("with\u{0}nul")).create().fails().says("hostname");
    case.assert_nothing_left();
}

#[test]
fn a_program_that_is_not_a_program() {
    use std::os::unix::fs::PermissionsExt;
    let mut case = Case::new();
    let file = case.rootfs().join("bin/garbage");
    fs::write(&file, "no magic number").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
    case.args(&["/bin/garbage"]);
    case.run().fails().says("exec format error");
    case.assert_nothing_left();
}

#[test]
fn a_script_whose_interpreter_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let mut case = Case::new();
    let file = case.rootfs().join("bin/script");
    fs::write(&file, "#!/no/such/interpreter\n").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
    case.args(&["/bin/script"]);
    case.run().fails().says("no such file or directory");
    case.assert_nothing_left();
}

#[test]
fn errors_go_to_the_log_too() {
    let mut case = Case::new();
    case.args(&["/no/such/program"]);
    let log = case.path("log");
    let bundle = case.bundle();
    case.write_config();
    let words = ["--log", &log, "--log-format", "json", "run", "--bundle", bundle.to_str().expect("UTF-8"), &case.id];
    assert!(!case.invoke(&words).succeeded());
    let text = case.read("log");
    let last = text.lines().last().expect("a line in the log");
    let record: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(record["level"], "error");
    assert!(record["msg"].as_str().is_some_and(|m| m.contains("/no/such/program")), "{record}");
    assert!(record["time"].is_string());
}

#[test]
fn unknown_flags_and_commands_are_errors() {
    let case = Case::new();
    case.write_config();
    let id = case.id.as_str();
    for words in [
        &["--made-up", "state", id][..],
        &["create", "--made-up", id],
        &["state", "--made-up", id],
        &["run", "--detach=maybe", id],
        &["delete", "--forc", id],
    ] {
        assert!(!case.invoke(words).succeeded(), "{words:?}");
    }
    case.assert_nothing_left();
}

#[test]
fn what_is_unknown_is_said() {
    needs!(Rvol);
    let case = Case::new();
    case.invoke(&["made-up"]).fails().says("made-up");
    case.invoke(&["create", "--made-up", &case.id]).fails().says("--made-up");
    case.invoke(&["state", &case.id, "too-many"]).fails().says("too-many");
}

/// The first column of the table in docs/errors.md, and a way to each: engines look for these very words.
#[test]
fn the_words_that_engines_read() {
    needs!(Rvol);
    let manual = include_str!("../../docs/errors.md");
    let listed: Vec<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(words, _)| words).collect();
    let mut case = Case::new();
    let file = case.make_file("file", "");
    let mut said = Vec::new();
    let mut say = |words: &'static str, out: Outcome| {
        // In these letters, unlike `says`.
        assert!(!out.succeeded() && out.stderr.contains(words), "{words}: {out}");
        said.push(words);
    };
    for (program, words) in [
        ("nosuch", "executable file not found in $PATH"),
        ("/no/such", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        say(words, case.args(&[program]).run());
    }
    case.args(&["/bin/true"]);
    say("not a directory", case.run_with(&["--mount", &format!("type=bind,src={file},dst=/etc")]));
    say("container does not exist", case.invoke(&["state", "nobody"]));
    let _started = case.started();
    for (errno, words) in [("EPERM", "operation not permitted"), ("ESRCH", "no such process")] {
        let inject = format!("inject=setns:error={errno}");
        let exec = case.exec_command(&[], &["/bin/true"]);
        say(words, case.finish(traced(&exec, &["-e", "trace=setns", "-e", &inject], "/dev/null")));
    }
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    say("container not running", case.kill("TERM"));
    said.sort_unstable();
    let mut listed = listed;
    listed.sort_unstable();
    assert_eq!(said, listed, "docs/errors.md");
}
