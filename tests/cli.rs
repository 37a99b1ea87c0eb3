//! The command line from outside: exit codes, output and the log, as far as no container is needed.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn rvol() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rvol-runc"))
}

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = rvol().args(args).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn usage_errors_are_one_line_and_exit_with_1() {
    let cases = [
        (&["crete"][..], "rvol-runc: unknown command crete, perhaps create?; see rvol-runc --help\n"),
        (
            &["delete", "--forc", "x"],
            "rvol-runc: delete: unknown flag --forc, perhaps --force?; see rvol-runc delete --help\n",
        ),
        (&["start"], "rvol-runc: start: CONTAINER-ID is missing; see rvol-runc start --help\n"),
    ];
    for (args, expected) in cases {
        assert_eq!(run(args), (1, String::new(), expected.to_owned()), "{args:?}");
    }
}

#[test]
fn an_error_is_the_last_record_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.json");
    let root = dir.path().join("missing");
    let (log_flag, root_flag) = (format!("--log={}", log.display()), format!("--root={}", root.display()));
    for args in [&["list"][..], &["kill", "x", "NOSUCH"], &["create", "--no-such-flag"]] {
        let (code, out, err) = run(&[&[&log_flag, "--log-format", "json", &root_flag], args].concat());
        assert_eq!((code, out.as_str()), (1, ""));
        let text = fs::read_to_string(&log).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
        assert_eq!(format!("rvol-runc: {}\n", last["msg"].as_str().unwrap()), err);
        assert!(last["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3, "appended");
}

#[test]
fn without_a_file_json_records_go_to_stderr() {
    let (code, _, err) = run(&["--log-format=json", "kill", "x", "NOSUCH"]);
    let record: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &record["msg"]), (1, &Value::from("kill x: unknown signal NOSUCH")));
}

#[test]
fn spec_leaves_an_existing_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().to_str().unwrap();
    assert_eq!(run(&["spec", "--bundle", bundle]).0, 0);
    let first = fs::read(dir.path().join("config.json")).unwrap();
    let (code, _, err) = run(&["spec", "--rootless", "--bundle", bundle]);
    assert_eq!((code, err), (1, format!("rvol-runc: spec: {bundle}/config.json exists; remove it first\n")));
    assert_eq!(fs::read(dir.path().join("config.json")).unwrap(), first);
}

#[test]
fn help_goes_to_stdout() {
    for args in [&["--help"][..], &[], &["help"]] {
        let (code, out, err) = run(args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(out.contains("\n  create "), "{out}");
    }
    let (code, out, _) = run(&["run", "--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Usage: rvol-runc run [OPTIONS] <CONTAINER-ID>") && out.contains("--detach"), "{out}");
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let mut child = rvol().arg("features").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.into_raw(), output.stderr), (0, Vec::new()));
}

/// What is opened first must not become descriptor 1 or 2 and be written to as output or as an error.
#[test]
fn closed_standard_descriptors_are_no_danger() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = r#"exec <&- >&- 2>&-; "$0" --log "$1" kill x NOSUCH"#;
    let status = Command::new("sh").args(["-c", script]).arg(env!("CARGO_BIN_EXE_rvol-runc")).arg(&log).status();
    assert_eq!(status.unwrap().code(), Some(1));
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("time=\"") && text.ends_with("msg=\"kill x: unknown signal NOSUCH\"\n"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Several faults are one error: a heading and a line for each, and one record of the log.
#[test]
fn all_faults_of_a_config_are_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().to_str().unwrap();
    let config =
        r#"{"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": [{"destination": "tmp"}], "hostname": "a"}"#;
    fs::write(dir.path().join("config.json"), config.replace("tmp", "tmp\\u0000")).unwrap();
    let log = dir.path().join("log");
    let log_flag = format!("--log={}", log.display());
    for (format, command) in [("json", "plan"), ("text", "plan"), ("json", "create")] {
        let _ = fs::remove_file(&log);
        let operands = if command == "plan" { vec![bundle] } else { vec!["--bundle", bundle, "c1"] };
        let (code, out, err) =
            run(&[&[&log_flag, "--log-format", format, "--root=/nonexistent", command], &operands[..]].concat());
        assert_eq!((code, out.as_str()), (1, ""));
        let (heading, faults) = err.split_once('\n').unwrap();
        assert!(
            heading.starts_with("rvol-runc: ") && heading.ends_with(&format!("{} faults:", faults.lines().count())),
            "{err}"
        );
        assert!(faults.lines().count() > 1 && faults.lines().all(|line| line.starts_with("  ")), "{err}");
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        if format == "json" {
            let record: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("rvol-runc: {}\n", record["msg"].as_str().unwrap()), err);
        }
    }
}

/// What only root can create is planned as for root, whoever asks.
#[test]
fn a_plan_needs_no_privilege() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    let bundle = dir.path().to_str().unwrap();
    assert_eq!(run(&["spec", "--bundle", bundle]).0, 0);
    mode(&dir.path().join("config.json"), 0o644);
    let (code, plan, err) = run(&["plan", bundle]);
    assert_eq!((code, err.as_str()), (0, ""));
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // Where the build is may be closed to others.
    let binary = dir.path().join("rvol-runc");
    // By another process: a child of another test would have our copy open for writing when it is executed (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_rvol-runc")).arg(&binary).status().unwrap();
    assert!(copied.success());
    let output = Command::new(&binary).args(["plan", bundle]).uid(65534).gid(65534).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), plan);
}

#[test]
fn debug_info_describes_the_machine_and_names_nothing_of_the_users() {
    let output = rvol().arg("debug-info").env("SECRET_OF_THE_TEST", "not-to-be-shown").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let info: Value = serde_json::from_str(&text).unwrap();
    assert!(info["kernel"].as_str().unwrap().starts_with("Linux version "), "{text}");
    assert!(info["rvol-runc"][0].as_str().unwrap().starts_with("rvol-runc version "), "{text}");
    assert!(info["caller"]["CapEff"].is_string() && info["features"]["ociVersionMax"].is_string(), "{text}");
    assert!(info["settings"].as_object().unwrap().contains_key("/sys/kernel/security/lsm"), "{text}");
    assert!(!text.contains("not-to-be-shown"), "{text}");
}
