//! `linux.seccomp`: actions, arguments, flags, and what is left when the filter is on.

use runtime_tests::{Case, Facts, Value, json, needs};

/// `sched_get_priority_max(2)`: takes a number, does nothing, and succeeds for policies 0 to 6.
const SYSCALL: i64 = libc::SYS_sched_get_priority_max;

fn allow_but(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules })
}

/// Asks the probe for `sched_get_priority_max` of each policy under a filter.
#[track_caller]
fn results(filter: Value, policies: &[u64]) -> Vec<Value> {
    let mut case = Case::new();
    case.set("/linux/seccomp", filter);
    let questions: Vec<String> = policies.iter().map(|p| format!("syscall:{SYSCALL},{p}")).collect();
    let facts = case.facts(&questions.iter().map(String::as_str).collect::<Vec<_>>());
    questions.iter().map(|q| facts.answer(q).clone()).collect()
}

fn rule(action: &str) -> Value {
    json!({ "names": ["sched_get_priority_max"], "action": action })
}

#[test]
fn a_filter_is_on() {
    let mut case = Case::new();
    case.set("/linux/seccomp", allow_but(json!([rule("SCMP_ACT_ERRNO")])));
    assert_eq!(case.facts(&[])["seccomp"], 2);
}

#[test]
fn allow_and_log_let_through() {
    assert_eq!(results(allow_but(json!([rule("SCMP_ACT_ALLOW")])), &[1]), [json!(99)]);
    assert_eq!(results(allow_but(json!([rule("SCMP_ACT_LOG")])), &[1]), [json!(99)]);
}

#[test]
fn errno_is_eperm_by_default() {
    assert_eq!(results(allow_but(json!([rule("SCMP_ACT_ERRNO")])), &[1]), [json!("EPERM")]);
}

#[test]
fn errno_as_asked() {
    let mut with = rule("SCMP_ACT_ERRNO");
    with["errnoRet"] = json!(libc::EXDEV);
    assert_eq!(results(allow_but(json!([with])), &[1]), [json!("EXDEV")]);
}

#[test]
fn errno_zero_is_zero() {
    needs!(ErrnoZero);
    let mut with = rule("SCMP_ACT_ERRNO");
    with["errnoRet"] = json!(0);
    assert_eq!(results(allow_but(json!([with])), &[1]), [json!(0)]);
}

#[test]
fn trace_without_a_tracer_is_enosys() {
    let mut with = rule("SCMP_ACT_TRACE");
    with["errnoRet"] = json!(1);
    assert_eq!(results(allow_but(json!([with])), &[1]), [json!("ENOSYS")]);
}

#[track_caller]
fn exit_code_of(action: &str) -> i32 {
    let mut case = Case::new();
    // Init of a pid namespace does not die of a signal that it sends itself, so without one.
    case.set("/linux/seccomp", allow_but(json!([rule(action)])));
    case.args(&["/bin/probe", "facts", &format!("syscall:{SYSCALL},1")]);
    case.run().code()
}

#[test]
fn kill_and_trap_end_the_process() {
    const SIGSYS: i32 = 31;
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert_eq!(exit_code_of(action), 128 + SIGSYS, "{action}");
    }
}

#[track_caller]
fn compared(op: &str, value: u64, value_two: u64) -> Vec<bool> {
    let mut with = rule("SCMP_ACT_ERRNO");
    with["args"] = json!([{ "index": 0, "op": op, "value": value, "valueTwo": value_two }]);
    results(allow_but(json!([with])), &[0, 1, 2, 3]).iter().map(|r| r == "EPERM").collect()
}

#[test]
fn arguments_are_compared() {
    assert_eq!(compared("SCMP_CMP_EQ", 2, 0), [false, false, true, false]);
    assert_eq!(compared("SCMP_CMP_NE", 2, 0), [true, true, false, true]);
    assert_eq!(compared("SCMP_CMP_LT", 2, 0), [true, true, false, false]);
    assert_eq!(compared("SCMP_CMP_LE", 2, 0), [true, true, true, false]);
    assert_eq!(compared("SCMP_CMP_GE", 2, 0), [false, false, true, true]);
    assert_eq!(compared("SCMP_CMP_GT", 2, 0), [false, false, false, true]);
    assert_eq!(compared("SCMP_CMP_MASKED_EQ", 1, 1), [false, true, false, true]);
}

#[test]
fn all_64_bits_are_compared() {
    let mut with = rule("SCMP_ACT_ERRNO");
    with["args"] = json!([{ "index": 0, "op": "SCMP_CMP_EQ", "value": 0x1_0000_0001u64 }]);
    assert_eq!(results(allow_but(json!([with.clone()])), &[1, 0x1_0000_0001]), [json!(99), json!("EPERM")]);
    with["args"] = json!([{ "index": 0, "op": "SCMP_CMP_GT", "value": 0xffff_ffffu64 }]);
    assert_eq!(results(allow_but(json!([with])), &[1, 0x1_0000_0001]), [json!(99), json!("EPERM")]);
}

#[test]
fn several_arguments_must_all_hold() {
    let mut with = rule("SCMP_ACT_ERRNO");
    with["args"] = json!([
        { "index": 0, "op": "SCMP_CMP_EQ", "value": 1 },
        { "index": 1, "op": "SCMP_CMP_EQ", "value": 7 },
    ]);
    let mut case = Case::new();
    case.set("/linux/seccomp", allow_but(json!([with])));
    let [both, one] = [format!("syscall:{SYSCALL},1,7"), format!("syscall:{SYSCALL},1,8")];
    let facts = case.facts(&[&both, &one]);
    assert_eq!((facts.answer(&both), facts.answer(&one)), (&json!("EPERM"), &json!(99)));
}

#[test]
fn several_rules_for_one_syscall() {
    let rules: Vec<Value> = [(1, libc::EXDEV), (2, libc::EBUSY)]
        .iter()
        .map(|(value, errno)| {
            json!({ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
                "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": value }] })
        })
        .collect();
    assert_eq!(results(allow_but(json!(rules)), &[0, 1, 2]), [json!(0), json!("EXDEV"), json!("EBUSY")]);
}

/// The filter that Docker 20.10 writes for a container with the default capabilities.
fn docker() -> Value {
    serde_json::from_str(include_str!("data/docker-seccomp.json")).expect("the profile is JSON")
}

#[test]
fn the_default_action() {
    let mut filter = docker();
    let rules = filter["syscalls"].as_array_mut().expect("rules");
    for rule in rules.iter_mut() {
        let names = rule["names"].as_array_mut().expect("names");
        names.retain(|n| n != "sched_get_priority_max");
    }
    rules.retain(|r| r["names"].as_array().is_some_and(|n| !n.is_empty()));
    filter["defaultErrnoRet"] = json!(libc::EXDEV);
    assert_eq!(results(filter, &[1]), [json!("EXDEV")]);
}

#[test]
fn dockers_profile() {
    let mut case = Case::new();
    case.set("/linux/seccomp", docker());
    let [reboot, personality, number] = [
        format!("syscall:{},0", libc::SYS_reboot),
        format!("syscall:{},{}", libc::SYS_personality, 0xffff_ffffu32),
        format!("syscall:{SYSCALL},1"),
    ];
    let facts = case.facts(&[&reboot, &personality, &number, "mount:/data", "create:/data/x"]);
    facts.expect(&[(&reboot, "EPERM"), ("mount:/data", "EPERM"), ("create:/data/x", "ok")]);
    assert_eq!(facts.answer(&personality), &json!(0));
    assert_eq!(facts.answer(&number), &json!(99));
    // Once more: from a cache, if there is one.
    assert_eq!(case.facts(&[&reboot]).answer(&reboot), "EPERM");
}

#[test]
fn without_no_new_privileges_and_as_a_user() {
    // Then the filter must be loaded while the runtime still has CAP_SYS_ADMIN.
    let mut case = Case::new();
    case.set("/linux/seccomp", docker()).set("/process/noNewPrivileges", json!(false));
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] }));
    let facts = case.facts(&[]);
    assert_eq!((&facts["seccomp"], &facts["no_new_privs"]), (&json!(2), &json!(0)));
    assert_eq!(facts["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(facts.caps("bounding"), [5, 10, 29]);
}

#[test]
fn the_runtime_needs_nothing_but_execve_under_the_filter() {
    needs!(LateSeccomp);
    let mut case = Case::new();
    let names = [
        "execve",
        "write",
        "writev",
        "exit",
        "exit_group",
        "brk",
        "arch_prctl",
        "getuid",
        "mprotect",
        "mmap",
        "prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "readlinkat",
        "getrandom",
        "prlimit64",
        "readlink",
        "geteuid",
        "setuid",
        "setgid",
        "getgid",
        "uname",
        "fstat",
        "newfstatat",
        "ioctl",
    ];
    case.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] }),
    );
    case.args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
}

#[test]
fn flags() {
    needs!(SeccompFlags);
    let mut case = Case::new();
    for flag in ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"] {
        let mut filter = allow_but(json!([rule("SCMP_ACT_ERRNO")]));
        filter["flags"] = json!([flag]);
        case.set("/linux/seccomp", filter);
        assert_eq!(case.facts(&[])["seccomp"], 2, "{flag}");
    }
}

#[test]
fn speculation_can_be_allowed() {
    needs!(SeccompFlags);
    let mut case = Case::new();
    let mut filter = allow_but(json!([rule("SCMP_ACT_ERRNO")]));
    filter["flags"] = json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    case.set("/linux/seccomp", filter);
    let facts = case.facts(&["read:/proc/self/status"]);
    let status = facts.answer("read:/proc/self/status").as_str().unwrap_or_default().to_owned();
    let line = status.lines().find(|l| l.starts_with("Speculation_Store_Bypass")).unwrap_or_default();
    assert!(!line.contains("force mitigated"), "{line}");
}

#[test]
fn unknown_syscalls_are_passed_over() {
    let mut filter = allow_but(json!([rule("SCMP_ACT_ERRNO")]));
    filter["syscalls"][0]["names"] = json!(["no_such_syscall_yet", "sched_get_priority_max"]);
    assert_eq!(results(filter, &[1]), [json!("EPERM")]);
}

#[test]
fn other_architectures_can_be_listed() {
    let mut filter = allow_but(json!([rule("SCMP_ACT_ERRNO")]));
    filter["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!(results(filter, &[1]), [json!("EPERM")]);
}

#[test]
fn bad_filters_are_refused() {
    let mut case = Case::new();
    for filter in [
        json!({ "defaultAction": "SCMP_ACT_MADE_UP" }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MADE_UP"] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_MADE_UP" }] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_MADE_UP" }] }] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }] }),
    ] {
        case.set("/linux/seccomp", filter.clone());
        let out = case.run();
        assert!(!out.succeeded(), "{filter}: {out}");
        case.assert_nothing_left();
    }
}

#[test]
fn what_the_spec_forbids_is_refused() {
    needs!(Rvol);
    let mut case = Case::new();
    for (filter, place) in [
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_MADE_UP"] }),
            "linux.seccomp.flags[0]",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }), "linux.seccomp.defaultErrnoRet"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 5 }] }),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [], "action": "SCMP_ACT_KILL" }] }),
            "linux.seccomp.syscalls[0].names",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }), "linux.seccomp.listenerMetadata"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] }),
            "linux.seccomp",
        ),
    ] {
        case.set("/linux/seccomp", filter);
        case.run().fails().says(place);
        case.assert_nothing_left();
    }
}

#[test]
fn a_child_of_the_program_is_filtered_too() {
    let mut case = Case::new();
    case.set("/linux/seccomp", allow_but(json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }])));
    case.script("mkdir /data/x 2>&1; probe facts");
    let out = case.run().ok();
    assert!(out.stdout.contains("Operation not permitted"), "{out}");
    assert_eq!(Facts::of(&out)["seccomp"], 2);
}
