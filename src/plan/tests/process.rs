//! `process` and the attributes of the process in `linux`.

use super::super::process::{CpuAffinity, IoPriority, MemoryPolicy, Personality, Rlimit, Scheduler};
use super::{check, planned};
use serde_json::{Value, json};

fn process(patch: Value) -> Value {
    json!({ "process": patch })
}

#[test]
fn a_config_may_have_no_process() {
    assert!(planned(json!({ "process": null })).process.is_none());
}

#[test]
fn command() {
    check(&[
        (process(json!({ "args": null })), &["process.args: is required and must have at least one entry"]),
        (process(json!({ "args": [] })), &["process.args: is required and must have at least one entry"]),
        (process(json!({ "args": [""] })), &["process.args[0]: is empty: executable file not found in $PATH"]),
        (process(json!({ "args": ["a\u{0}b"] })), &["process.args[0]: contains a NUL character"]),
        (process(json!({ "cwd": null })), &["process.cwd: is required"]),
        (process(json!({ "cwd": "" })), &["process.cwd: is required and must not be empty"]),
        (process(json!({ "cwd": "tmp" })), &[r#"process.cwd: "tmp" is not an absolute path"#]),
        (process(json!({ "env": ["A"] })), &[r#"process.env[0]: "A" has no = (NAME=value)"#]),
        (process(json!({ "env": ["A=", "=b"] })), &[r#"process.env[1]: "=b" has no name before the ="#]),
        (process(json!({ "env": ["A=\u{0}"] })), &["process.env[0]: contains a NUL character"]),
        (
            process(json!({ "terminal": "yes" })),
            &[r#"process.terminal: invalid type: string "yes", expected a boolean"#],
        ),
        (
            process(json!({ "terminal": true, "consoleSize": { "height": 65536, "width": 80 } })),
            &["process.consoleSize.height: 65536 is above 65535, the most that a terminal can have"],
        ),
        (process(json!({ "consoleSize": { "height": 65536, "width": 80 } })), &[]),
    ]);
    let planned = planned(process(json!({
        "env": ["A=1", "B=2", "A=3"], "terminal": true, "consoleSize": { "height": 25, "width": 80 }
    })));
    let process = planned.process.unwrap();
    assert_eq!(process.env, ["B=2", "A=3"]);
    assert_eq!(process.console_size, Some((25, 80)));
}

#[test]
fn user() {
    check(&[
        (process(json!({ "user": null })), &[]),
        (
            process(json!({ "user": { "uid": 4294967295_u32 } })),
            &["process.user.uid: 4294967295 is not an id: it stands for none (-1)"],
        ),
        (
            process(json!({ "user": { "uid": 4294967296_u64 } })),
            &["process.user.uid: invalid value: integer `4294967296`, expected a number from 0 to 4294967295"],
        ),
        (
            process(json!({ "user": { "gid": -1, "additionalGids": [0, -5, 4294967295_u32] } })),
            &[
                "process.user.gid: invalid value: integer `-1`, expected a number from 0 to 4294967295",
                "process.user.additionalGids[1]: invalid value: integer `-5`, expected a number from 0 to 4294967295",
                "process.user.additionalGids[2]: 4294967295 is not an id: it stands for none (-1)",
            ],
        ),
        (
            process(json!({ "user": { "uid": "root" } })),
            &[r#"process.user.uid: invalid type: string "root", expected a number from 0 to 4294967295"#],
        ),
        (
            process(json!({ "user": { "umask": 512 } })),
            &["process.user.umask: 512 is above 511 (octal 777); the number is a decimal one"],
        ),
    ]);
    let process = planned(process(json!({ "user": null }))).process.unwrap();
    assert_eq!((process.user.uid, process.user.umask), (0, None));
}

#[test]
fn rlimits() {
    let limit = |name: &str, soft: u64, hard: u64| json!({ "type": name, "soft": soft, "hard": hard });
    check(&[
        (
            process(json!({ "rlimits": [limit("RLIMIT_CORE", 0, 0), limit("RLIMIT_CORE", 1, 1)] })),
            &["process.rlimits[1].type: RLIMIT_CORE is listed more than once"],
        ),
        (
            process(json!({ "rlimits": [limit("RLIMIT_NOFILE", 9, 8)] })),
            &["process.rlimits[0].soft: 9 is above the hard limit of 8"],
        ),
        (
            process(json!({ "rlimits": [limit("RLIMIT_AS", 1, 1), { "hard": 1, "soft": 1 }] })),
            &["process.rlimits[1].type: is required"],
        ),
    ]);
    let unknown = super::plan_on(
        &crate::host::Host::example(),
        &process(json!({ "rlimits": [limit("RLIMIT_AS", 2, 1), limit("RLIMIT_X", 1, 1), limit("RLIMIT_CPU", 2, 1)] })),
    );
    let places: Vec<String> = unknown.unwrap_err().into_iter().map(|p| p.place).collect();
    assert_eq!(places, ["process.rlimits[1].type", "process.rlimits[0].soft", "process.rlimits[2].soft"]);
    let all = ["CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS"];
    let all = all.into_iter().chain(["SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"]);
    let list: Vec<Value> = all.map(|name| limit(&format!("RLIMIT_{name}"), 1, u64::MAX)).collect();
    let rlimits = planned(process(json!({ "rlimits": list }))).process.unwrap().rlimits;
    assert_eq!(rlimits.len(), 16);
    assert_eq!(rlimits[7], Rlimit { resource: libc::RLIMIT_NOFILE, soft: 1, hard: u64::MAX });
}

#[test]
fn unknown_capabilities_are_a_warning() {
    let plan = planned(process(json!({ "capabilities": {
        "bounding": ["CAP_CHOWN", "CAP_BANANA"], "permitted": ["cap_chown"], "effective": ["CAP_CHOWN"], "ambient": ["CAP_X"]
    } })));
    let sets = plan.process.unwrap().capabilities.unwrap();
    assert_eq!((sets.bounding, sets.permitted, sets.effective, sets.ambient), (1, 1, 1, 0));
    let mut warnings = plan.warnings;
    warnings.sort();
    assert_eq!(
        warnings,
        [
            r#"process.capabilities.ambient: "CAP_X" is not a known capability and is left out"#,
            r#"process.capabilities.bounding: "CAP_BANANA" is not a known capability and is left out"#,
        ]
    );
    check(&[(
        process(json!({ "capabilities": { "bounding": [7] } })),
        &["process.capabilities.bounding[0]: invalid type: integer `7`, expected a string"],
    )]);
}

#[test]
fn scores_and_priorities() {
    check(&[
        (process(json!({ "oomScoreAdj": -1001 })), &["process.oomScoreAdj: -1001 is out of range (-1000 to 1000)"]),
        (process(json!({ "oomScoreAdj": 1000 })), &[]),
        (
            process(json!({ "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 8 } })),
            &["process.ioPriority.priority: 8 is out of range (0 to 7)"],
        ),
        (
            process(json!({ "ioPriority": { "class": "IOPRIO_CLASS_X", "priority": 1 } })),
            &["process.ioPriority.class: unknown value `IOPRIO_CLASS_X`, \
                expected one of `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE`, `IOPRIO_CLASS_IDLE`"],
        ),
    ]);
    let plan = planned(process(json!({ "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 4 } })));
    assert_eq!(plan.process.unwrap().io_priority, Some(IoPriority { class: 3, level: 4 }));
}

#[test]
fn scheduler() {
    let scheduler = |patch: Value| process(json!({ "scheduler": patch }));
    check(&[
        (scheduler(json!({ "nice": 1 })), &["process.scheduler.policy: is required"]),
        (
            scheduler(json!({ "policy": "SCHED_OTHER", "nice": 20 })),
            &["process.scheduler.nice: 20 is out of range (-20 to 19)"],
        ),
        (
            scheduler(json!({ "policy": "SCHED_BATCH", "priority": 1 })),
            &["process.scheduler.priority: 1 is for SCHED_FIFO and SCHED_RR only, not for SCHED_BATCH"],
        ),
        (
            scheduler(json!({ "policy": "SCHED_FIFO" })),
            &["process.scheduler.priority: 0 is out of range for SCHED_FIFO (1 to 99)"],
        ),
        (
            scheduler(json!({ "policy": "SCHED_RR", "priority": -3 })),
            &["process.scheduler.priority: -3 is out of range for SCHED_RR (1 to 99)"],
        ),
        (
            scheduler(json!({ "policy": "SCHED_IDLE", "runtime": 5000, "period": 1 })),
            &[
                "process.scheduler.runtime: is for SCHED_DEADLINE only, not for SCHED_IDLE",
                "process.scheduler.period: is for SCHED_DEADLINE only, not for SCHED_IDLE",
            ],
        ),
        (
            scheduler(json!({ "policy": "SCHED_ISO" })),
            &["process.scheduler.policy: SCHED_ISO is reserved, and Linux does not implement it"],
        ),
        (
            scheduler(json!({ "policy": "SCHED_DEADLINE", "runtime": 1000, "deadline": 10, "period": 5 })),
            &[
                "process.scheduler.runtime: 1000 is below 1024, the least for SCHED_DEADLINE",
                "process.scheduler.deadline: 10 is shorter than the runtime of 1000",
                "process.scheduler.period: 5 is shorter than the deadline of 10",
            ],
        ),
    ]);
    let plan = planned(scheduler(json!({
        "policy": "SCHED_DEADLINE", "runtime": 10000, "deadline": 20000, "period": 30000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]
    })));
    let expected =
        Scheduler { policy: 6, nice: 0, priority: 0, flags: 7, runtime: 10000, deadline: 20000, period: 30000 };
    assert_eq!(plan.process.unwrap().scheduler, Some(expected));
}

#[test]
fn cpu_affinity() {
    let affinity =
        |initial: &str, last: &str| process(json!({ "execCPUAffinity": { "initial": initial, "final": last } }));
    check(&[
        (affinity("3-1", "0"), &[r#"process.execCPUAffinity.initial: the range "3-1" runs backwards"#]),
        (affinity("0", "65536"), &["process.execCPUAffinity.final: 65536 is above 65535"]),
        (affinity("x", "0"), &["process.execCPUAffinity.initial: Invalid execCPUAffinity format: x"]),
    ]);
    let plan = planned(affinity(" 0-1, 4", "1500-1501"));
    let expected = CpuAffinity { initial: Some(vec![0, 1, 4]), last: Some(vec![1500, 1501]) };
    assert_eq!(plan.process.unwrap().cpu_affinity, Some(expected));
    assert_eq!(planned(affinity("", "")).process.unwrap().cpu_affinity, None);
}

#[test]
fn personality() {
    let personality = |patch: Value| json!({ "linux": { "personality": patch } });
    check(&[
        (personality(json!({})), &["linux.personality.domain: is required"]),
        (
            personality(json!({ "domain": "BSD" })),
            &["linux.personality.domain: unknown value `BSD`, expected `LINUX` or `LINUX32`"],
        ),
        (
            personality(json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] })),
            &[r#"linux.personality.flags[0]: "ADDR_NO_RANDOMIZE" is not known: the spec has no flags as yet"#],
        ),
    ]);
    let plan = planned(personality(json!({ "domain": "LINUX32", "flags": [] })));
    assert_eq!(plan.process.unwrap().personality, Some(Personality::Linux32));
}

#[test]
fn memory_policy() {
    let policy = |mode: &str, nodes: &str, flags: &[&str]| json!({ "linux": { "memoryPolicy": { "mode": mode, "nodes": nodes, "flags": flags } } });
    let (fixed, relative, balancing) = ("MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING");
    check(&[
        (policy("MPOL_DEFAULT", "0", &[]), &["linux.memoryPolicy.nodes: must be empty for MPOL_DEFAULT"]),
        (policy("MPOL_LOCAL", "0", &[]), &["linux.memoryPolicy.nodes: must be empty for MPOL_LOCAL"]),
        (policy("MPOL_BIND", "", &[]), &["linux.memoryPolicy.nodes: is required for MPOL_BIND"]),
        (
            policy("MPOL_WEIGHTED_INTERLEAVE", "", &[]),
            &["linux.memoryPolicy.nodes: is required for MPOL_WEIGHTED_INTERLEAVE"],
        ),
        (policy("MPOL_PREFERRED", "", &[]), &[]),
        (policy("MPOL_BIND", "0-1024", &[]), &["linux.memoryPolicy.nodes: 1024 is above 1023"]),
        (
            policy("MPOL_BIND", "0", &[fixed, relative]),
            &["linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"],
        ),
        (
            policy("MPOL_INTERLEAVE", "0", &[balancing]),
            &["linux.memoryPolicy.flags: MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY only"],
        ),
        (
            policy("MPOL_LOCAL", "", &[fixed]),
            &["linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes"],
        ),
        (json!({ "linux": { "memoryPolicy": {} } }), &["linux.memoryPolicy.mode: is required"]),
    ]);
    let plan = planned(policy("MPOL_BIND", "0,2-3", &[fixed, balancing]));
    let expected = MemoryPolicy { mode: 2 | 1 << 15 | 1 << 13, nodes: vec![0, 2, 3] };
    assert_eq!(plan.process.unwrap().memory_policy, Some(expected));
}
