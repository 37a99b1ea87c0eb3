//! `process.scheduler`, `process.ioPriority` and `linux.memoryPolicy`, checked by the rules of the kernel.

use super::process::{IoPriority, MemoryPolicy, Scheduler};
use super::{Problem, numbers};
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Scheduler as Config,
};

/// The shortest runtime that SCHED_DEADLINE takes, in nanoseconds (`DL_SCALE` of the kernel).
const SHORTEST_RUNTIME: u64 = 1024;

/// `MAX_NUMNODES` of the kernel is at most this.
const LAST_NODE: u32 = 1023;

/// `MPOL_F_*` of `<linux/mempolicy.h>`.
const STATIC_NODES: u32 = 1 << 15;
const RELATIVE_NODES: u32 = 1 << 14;
const NUMA_BALANCING: u32 = 1 << 13;

/// `process.scheduler` by the rules of sched_setattr(2).
pub fn scheduler(config: &Config, problems: &mut Vec<Problem>) -> Option<Scheduler> {
    let mut wrong = |field: &str, message: String| {
        problems.push(Problem::new(format!("process.scheduler.{field}"), message));
    };
    let nice = config.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        wrong("nice", format!("{nice} is out of range (-20 to 19)"));
    }
    let priority = config.priority().unwrap_or(0);
    match config.policy() {
        LinuxSchedulerPolicy::SchedIso => {
            wrong("policy", "SCHED_ISO is reserved, and Linux does not implement it".into());
        }
        LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr => {
            if !(1..=99).contains(&priority) {
                wrong("priority", format!("{priority} is out of range for {} (1 to 99)", config.policy()));
            }
        }
        policy => {
            if priority != 0 {
                wrong("priority", format!("{priority} is for SCHED_FIFO and SCHED_RR only, not for {policy}"));
            }
        }
    }
    deadline(config, &mut wrong);
    Some(Scheduler {
        policy: policy_number(*config.policy()),
        nice,
        priority: u32::try_from(priority).unwrap_or(0),
        flags: config.flags().iter().flatten().map(|flag| flag_bit(*flag)).fold(0, |all, bit| all | bit),
        runtime: config.runtime().unwrap_or(0),
        deadline: config.deadline().unwrap_or(0),
        period: config.period().unwrap_or(0),
    })
}

fn deadline(config: &Config, wrong: &mut dyn FnMut(&str, String)) {
    let times = [("runtime", config.runtime()), ("deadline", config.deadline()), ("period", config.period())];
    if *config.policy() != LinuxSchedulerPolicy::SchedDeadline {
        for (field, _) in times.iter().filter(|(_, time)| time.unwrap_or(0) != 0) {
            wrong(field, format!("is for SCHED_DEADLINE only, not for {}", config.policy()));
        }
        return;
    }
    let [runtime, deadline, period] = times.map(|(_, time)| time.unwrap_or(0));
    if runtime < SHORTEST_RUNTIME {
        wrong("runtime", format!("{runtime} is below {SHORTEST_RUNTIME}, the least for SCHED_DEADLINE"));
    }
    if deadline < runtime {
        wrong("deadline", format!("{deadline} is shorter than the runtime of {runtime}"));
    }
    // A period of 0 is that of the deadline.
    if period != 0 && period < deadline {
        wrong("period", format!("{period} is shorter than the deadline of {deadline}"));
    }
    for (field, time) in [("deadline", deadline), ("period", period)] {
        if time > i64::MAX as u64 {
            wrong(field, format!("{time} is above {}", i64::MAX));
        }
    }
}

fn policy_number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// `SCHED_FLAG_*` of `<linux/sched.h>`.
fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// `process.ioPriority`.
pub fn io_priority(config: &LinuxIOPriority, problems: &mut Vec<Problem>) -> Option<IoPriority> {
    let class = match config.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = config.priority();
    if !(0..=7).contains(&level) {
        problems.push(Problem::new("process.ioPriority.priority", format!("{level} is out of range (0 to 7)")));
        return None;
    }
    Some(IoPriority { class, level: level as u8 })
}

/// `linux.memoryPolicy` by the rules of set_mempolicy(2).
pub fn memory_policy(config: &LinuxMemoryPolicy, problems: &mut Vec<Problem>) -> Option<MemoryPolicy> {
    let mut wrong = |field: &str, message: String| {
        problems.push(Problem::new(format!("linux.memoryPolicy.{field}"), message));
    };
    let nodes = numbers::parse(config.nodes().as_deref().unwrap_or_default(), LAST_NODE).unwrap_or_else(|message| {
        wrong("nodes", message);
        vec![0]
    });
    let flags = config.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFNumaBalancing => NUMA_BALANCING,
            MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE_NODES,
            MemoryPolicyFlagType::MpolFStaticNodes => STATIC_NODES,
        }
    });
    // (number of the mode, it takes nodes, it needs nodes)
    let (mode, takes, needs) = match config.mode() {
        MemoryPolicyModeType::MpolDefault => (0, false, false),
        MemoryPolicyModeType::MpolPreferred => (1, true, false),
        MemoryPolicyModeType::MpolBind => (2, true, true),
        MemoryPolicyModeType::MpolInterleave => (3, true, true),
        MemoryPolicyModeType::MpolLocal => (4, false, false),
        MemoryPolicyModeType::MpolPreferredMany => (5, true, true),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, true, true),
    };
    if !takes && !nodes.is_empty() {
        wrong("nodes", format!("must be empty for {}", config.mode()));
    }
    if needs && nodes.is_empty() {
        wrong("nodes", format!("is required for {}", config.mode()));
    }
    if flags & (STATIC_NODES | RELATIVE_NODES) == STATIC_NODES | RELATIVE_NODES {
        wrong("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".into());
    }
    if flags & (STATIC_NODES | RELATIVE_NODES) != 0 && nodes.is_empty() && mode != 0 {
        wrong("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes".into());
    }
    if flags & NUMA_BALANCING != 0 && ![2, 5].contains(&mode) {
        wrong("flags", "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY only".into());
    }
    Some(MemoryPolicy { mode: mode | flags, nodes })
}
