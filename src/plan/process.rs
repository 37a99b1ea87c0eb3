//! `process`: what is executed and as whom.

use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    pub terminal: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
    pub user: User,
    pub args: Vec<String>,
    /// `NAME=value`, HOME not yet added.
    pub env: Vec<String>,
    pub cwd: PathBuf,
    /// `None`: the capabilities are left as they are.
    pub capabilities: Option<Capabilities>,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
    pub cpu_affinity: Option<CpuAffinity>,
    pub personality: Option<Personality>,
    pub memory_policy: Option<MemoryPolicy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: Option<u32>,
    pub additional_gids: Vec<u32>,
}

/// Bit sets, bit n being capability number n of capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number of setrlimit(2).
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// Fields of sched_setattr(2), checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// `SCHED_*` number.
    pub policy: u32,
    pub nice: i32,
    pub priority: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nanoseconds.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IoPriority {
    /// 1 realtime, 2 best effort, 3 idle (ioprio_set(2)).
    pub class: u8,
    pub level: u8,
}

/// `execCPUAffinity`, as lists of CPU numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuAffinity {
    pub initial: Option<Vec<u32>>,
    pub last: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    Linux,
    Linux32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its mode flags (set_mempolicy(2)).
    pub mode: u32,
    pub nodes: Vec<u32>,
}
