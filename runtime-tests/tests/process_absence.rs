//! What it means that a field of `process` is missing, in config.json, in the file of `exec --process`, and on the command
//! line of `exec`: the rows of the tables in docs/compatibility.md.

use runtime_tests::console::FdSocket;
use runtime_tests::{Case, Facts, Value, json, needs, needs_machine};
use std::fs;

const KILL: u64 = 5;
const SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];

/// A started container whose config has been changed.
fn started(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::new();
    change(&mut case);
    case.started();
    case
}

/// What the probe sees as a process of a file with these fields.
#[track_caller]
fn exec_file(case: &Case, mut fields: Value) -> Facts {
    fields["args"] = json!(["/bin/probe", "facts"]);
    Facts::of(&case.exec_process(fields, &[]).ok())
}

#[track_caller]
fn no_capability(facts: &Facts) {
    for set in SETS {
        assert_eq!(facts.caps(set), [0; 0], "{set}");
    }
}

/// Changes the record of the case's container, as another version of the program or a caller may have written it.
fn edit_record(case: &Case, pointer: &str, value: Value) {
    let path = case.state_root().join(&case.id).join("container.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("read the record")).expect("JSON");
    *record.pointer_mut(pointer).unwrap_or_else(|| panic!("the record has no {pointer}")) = value;
    fs::write(&path, record.to_string()).expect("write the record");
}

// --- capabilities

#[test]
fn a_config_without_capabilities_gives_none() {
    needs!(Rvol);
    let mut case = Case::new();
    for new_privileges in [true, false] {
        case.unset("/process/capabilities").set("/process/noNewPrivileges", json!(!new_privileges));
        no_capability(&case.facts(&[]));
        case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        no_capability(&case.facts(&[]));
        case.set("/process/user", json!({ "uid": 0, "gid": 0 })).set("/process/capabilities", json!({}));
        no_capability(&case.facts(&[]));
    }
}

/// The attack that all capabilities made possible: a read-only root filesystem is remounted.
#[test]
fn without_capabilities_a_read_only_root_stays_so() {
    needs!(Rvol);
    let mut case = Case::new();
    case.unset("/process/capabilities").set("/root/readonly", json!(true));
    case.facts(&["remount-rw:/", "create:/x"]).expect(&[("remount-rw:/", "EPERM"), ("create:/x", "EROFS")]);
}

#[test]
fn a_set_missing_from_capabilities_is_empty() {
    let mut case = Case::new();
    case.set("/process/capabilities", json!({ "bounding": ["CAP_KILL"] }));
    let facts = case.facts(&[]);
    assert_eq!((facts.caps("bounding"), facts.caps("permitted"), facts.caps("ambient")), (vec![KILL], vec![], vec![]));
    case.set("/process/capabilities", json!({ "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] }));
    no_capability(&case.facts(&[]));
    needs!(Rvol);
    case.set("/process/capabilities", json!({ "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"] }));
    no_capability(&case.facts(&[]));
}

#[test]
fn a_file_without_capabilities_has_the_containers() {
    let case = started(|case| {
        case.caps(&["CAP_KILL"]);
    });
    let facts = exec_file(&case, json!({}));
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(facts.caps(set), [KILL], "{set}");
    }
    no_capability(&exec_file(&case, json!({ "capabilities": {} })));
    no_capability(&exec_file(&case, json!({ "user": { "uid": 7, "gid": 7 }, "capabilities": {} })));
}

#[test]
fn a_file_without_capabilities_in_a_container_without_any_has_none() {
    needs!(Rvol);
    let case = started(|case| {
        case.unset("/process/capabilities");
    });
    no_capability(&exec_file(&case, json!({})));
    no_capability(&case.exec_facts(&[], &[]));
}

/// Version 0.1 wrote `null` for a config without capabilities, and left the process all of them.
#[test]
fn an_old_record_without_capabilities_gives_an_exec_none() {
    needs!(Rvol);
    let case = started(|_| {});
    edit_record(&case, "/template/process/capabilities", Value::Null);
    no_capability(&exec_file(&case, json!({})));
    no_capability(&case.exec_facts(&[], &[]));
    let outcome = case.exec_with(&["--cap", "CAP_KILL"], &["/bin/probe", "facts"]).ok();
    assert_eq!(Facts::of(&outcome).caps("permitted"), [KILL]);
    outcome.says("created by version 0.1 from a config without process.capabilities");
}

// --- privileges that a process can gain

#[test]
fn a_config_without_no_new_privileges_does_not_set_it() {
    let mut case = Case::new();
    assert_eq!(case.unset("/process/noNewPrivileges").facts(&[])["no_new_privs"], 0);
}

#[test]
fn a_file_without_no_new_privileges_has_the_containers() {
    needs!(Rvol);
    let case = started(|_| {});
    assert_eq!(exec_file(&case, json!({}))["no_new_privs"], 1);
    assert_eq!(exec_file(&case, json!({ "noNewPrivileges": false }))["no_new_privs"], 0);
    let case = started(|case| {
        case.unset("/process/noNewPrivileges");
    });
    assert_eq!(exec_file(&case, json!({}))["no_new_privs"], 0);
}

/// No machine of the tests' needs to have the modules: a label that is kept cannot be applied there, which is an error.
#[test]
fn a_file_without_labels_has_the_containers() {
    needs!(Rvol);
    needs_machine!(!fs::exists("/sys/module/apparmor").unwrap_or(false), "this host has AppArmor");
    needs_machine!(!fs::exists("/sys/fs/selinux").unwrap_or(false), "this host has SELinux");
    let case = started(|_| {});
    edit_record(&case, "/template/process/apparmor_profile", json!("kept"));
    case.exec_process(json!({}), &[]).fails().says("process.apparmorProfile").says("kept");
    case.exec(&["/bin/true"]).fails().says("kept");
    edit_record(&case, "/template/process/apparmor_profile", Value::Null);
    edit_record(&case, "/template/process/selinux_label", json!("u:r:kept:s0"));
    case.exec_process(json!({}), &[]).fails().says("process.selinuxLabel");
    case.exec(&["/bin/true"]).fails().says("process.selinuxLabel");
}

#[test]
fn without_labels_the_process_has_the_callers() {
    let mut case = Case::new();
    let own = fs::read_to_string("/proc/self/attr/current").ok();
    assert_eq!(case.facts(&[])["attr_current"].as_str(), own.as_deref());
}

#[test]
fn a_config_without_seccomp_has_no_filter() {
    let mut case = Case::new();
    let caller = fs::read_to_string("/proc/self/status").expect("read");
    needs_machine!(caller.contains("Seccomp:\t0"), "the tests themselves run under a seccomp filter");
    assert_eq!(case.facts(&[])["seccomp"], 0);
}

// --- user

#[test]
fn without_a_umask_it_is_022() {
    let mut case = Case::new();
    assert_eq!(case.facts(&[])["umask"], "0022");
}

#[test]
fn a_file_without_a_umask_has_the_containers() {
    needs!(Umask, Rvol);
    let case = started(|case| {
        case.set("/process/user/umask", json!(63));
    });
    assert_eq!(exec_file(&case, json!({}))["umask"], "0077");
    assert_eq!(case.exec_facts(&["--user", "1000"], &[])["umask"], "0077");
}

#[test]
fn without_additional_gids_there_are_no_groups() {
    let mut case = Case::new();
    assert_eq!(case.facts(&[])["groups"], json!([]));
    let case = started(|case| {
        case.set("/process/user/additionalGids", json!([5]));
    });
    assert_eq!(exec_file(&case, json!({}))["groups"], json!([]));
    // The container's own process, and what the flag adds.
    assert_eq!(case.exec_facts(&[], &[])["groups"], json!([5]));
    assert_eq!(case.exec_facts(&["-g", "9"], &[])["groups"], json!([5, 9]));
}

#[test]
fn without_a_user_it_is_root_with_no_more_than_the_containers_capabilities() {
    let mut case = Case::new();
    case.unset("/process/user").caps(&["CAP_KILL"]);
    let facts = case.facts(&[]);
    assert_eq!((&facts["uid"][0], &facts["gid"][0], facts.caps("permitted")), (&json!(0), &json!(0), vec![KILL]));
    let case = started(|case| {
        case.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).caps(&["CAP_KILL"]);
    });
    let path = case.make_file("process.json", r#"{"cwd":"/","args":["/bin/probe","facts"],"env":["PATH=/bin"]}"#);
    let facts = Facts::of(&case.exec_with(&["--process", &path], &[]).ok());
    assert_eq!((&facts["uid"][0], facts.caps("bounding")), (&json!(0), vec![KILL]));
    assert_eq!(case.exec_facts(&[], &[])["uid"][0], 1000);
}

// --- limits and scheduling

#[test]
fn a_config_without_rlimits_has_the_callers() {
    let mut case = Case::new();
    case.unset("/process/rlimits").args(&["/bin/probe", "facts"]).write_config();
    let command = case.bundle_command("run", &[]);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut shell = runtime_tests::command::quiet("/bin/sh".as_ref());
    shell.args(["-c", &format!("ulimit -c 7; exec {}", words.join(" "))]).env("RVOL_VOLUME_ROOT", case.volume_root());
    let facts = Facts::of(&case.finish(shell).ok());
    assert_eq!(facts["rlimits"]["RLIMIT_CORE"][0], facts["rlimits"]["RLIMIT_CORE"][1]);
    assert_ne!(facts["rlimits"]["RLIMIT_CORE"][0], json!(u64::MAX));
}

#[test]
fn a_file_without_rlimits_has_the_containers() {
    needs!(Rvol);
    let case = started(|case| {
        case.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 3, "hard": 4 }]));
    });
    for facts in [exec_file(&case, json!({})), exec_file(&case, json!({ "rlimits": [] })), case.exec_facts(&[], &[])] {
        assert_eq!(facts["rlimits"]["RLIMIT_CORE"], json!([3, 4]));
    }
    let own = json!({ "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 }] });
    assert_eq!(exec_file(&case, own)["rlimits"]["RLIMIT_NOFILE"], json!([100, 100]));
}

#[test]
fn a_file_without_scheduling_has_the_containers() {
    needs!(Scheduler, IoPriority, Rvol);
    let mut case = Case::new();
    let facts = case.facts(&[]);
    assert_eq!((&facts["scheduler"]["policy"], &facts["io_priority"]["class"]), (&json!(0), &json!(0)));
    let case = started(|case| {
        case.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
        case.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 7 }));
    });
    for facts in [exec_file(&case, json!({})), case.exec_facts(&[], &[])] {
        assert_eq!(facts["scheduler"]["policy"], libc::SCHED_BATCH);
        assert_eq!((&facts["scheduler"]["nice"], &facts["io_priority"]["class"]), (&json!(5), &json!(3)));
    }
}

#[test]
fn a_file_without_cpu_affinity_has_the_containers() {
    needs!(Rvol);
    let case = started(|case| {
        case.set("/process/execCPUAffinity", json!({ "final": "0" }));
    });
    assert_eq!(exec_file(&case, json!({}))["cpus"], "0");
    assert_eq!(case.exec_facts(&[], &[])["cpus"], "0");
}

#[test]
fn without_an_oom_score_the_callers_stays() {
    let mut case = Case::new();
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("read");
    assert_eq!(case.facts(&[])["oom_score_adj"].to_string(), own.trim());
    let case = started(|case| {
        case.set("/process/oomScoreAdj", json!(300));
    });
    assert_eq!(exec_file(&case, json!({}))["oom_score_adj"], 300);
    assert_eq!(case.exec_facts(&[], &[])["oom_score_adj"], 300);
}

// --- what is executed, and where

#[test]
fn cwd_and_args_are_required() {
    for field in ["cwd", "args"] {
        let mut case = Case::new();
        case.unset(&format!("/process/{field}"));
        case.run().fails().says(field);
        case.assert_nothing_left();
        let case = started(|_| {});
        let mut process = json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["/bin/true"] });
        process.as_object_mut().expect("an object").remove(field);
        let path = case.make_file("process.json", &process.to_string());
        case.exec_with(&["--process", &path], &[]).fails().says(field);
    }
}

#[test]
fn without_an_environment_there_is_only_home() {
    let mut case = Case::new();
    case.unset("/process/env");
    assert_eq!(case.facts(&[])["env"], json!(["HOME=/root"]));
    let case = started(|_| {});
    let facts = exec_file(&case, json!({ "env": [] }));
    assert_eq!(facts["env"], json!(["HOME=/root"]));
    // Without PATH no program is found by its name.
    case.exec_process(json!({ "env": [], "args": ["true"] }), &[]).fails().says("executable file not found in $PATH");
}

#[test]
fn without_terminal_there_is_none() {
    let mut case = Case::new();
    assert_eq!(case.unset("/process/terminal").facts(&[])["terminal"]["controlling"], false);
    let case = started(|_| {});
    assert_eq!(exec_file(&case, json!({}))["terminal"]["controlling"], false);
    assert_eq!(case.exec_facts(&[], &[])["terminal"]["controlling"], false);
}

#[test]
fn without_a_console_size_the_terminal_has_none() {
    let case = started(|_| {});
    let socket = FdSocket::listen(case.path("console.sock"));
    // What is written is lost when the terminal is closed.
    let fields = json!({ "terminal": true, "args": ["/bin/sh", "-c", "stty size 2>&1; sleep 3"] });
    let flags = ["--detach", "--console-socket", &socket.path];
    case.exec_process(fields, &flags).ok();
    let (_, fds) = socket.receive();
    let mut text = String::new();
    while !text.contains('\n') {
        let mut part = [0; 64];
        let count = nix::unistd::read(&fds[0], &mut part).expect("read the terminal");
        text.push_str(&String::from_utf8_lossy(&part[..count]));
    }
    // Busybox has an error for a size of 0 rows and 0 columns.
    assert!(text.trim() == "0 0" || text.starts_with("stty: standard input"), "{text}");
}
