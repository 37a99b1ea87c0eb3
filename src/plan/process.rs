//! `process`: what is executed and as whom.

use super::{Problem, capabilities, numbers, scheduling};
use crate::annotations::KEEP_GROUPS;
use oci_spec::runtime::{self as oci, Linux, LinuxPersonalityDomain, PosixRlimitType, Spec};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// `NGROUPS_MAX` of the kernel.
const MOST_GROUPS: usize = 65536;

/// Numbers of CPUs are below this in every kernel; the lists have no other limit (1024 is one of glibc only).
const LAST_CPU: u32 = 65535;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub terminal: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
    pub user: User,
    pub args: Vec<String>,
    /// `NAME=value`, HOME not yet added.
    pub env: Vec<String>,
    pub cwd: PathBuf,
    /// `None` means no capability in any set, as the default value does. Only the record of a container that version
    /// 0.1 created from a config without `capabilities` has it.
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: Option<u32>,
    pub additional_gids: Vec<u32>,
    /// The caller's supplementary groups stay, whatever `additional_gids` says ([`KEEP_GROUPS`]).
    pub keep_groups: bool,
}

/// Bit sets, bit n being capability number n of capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number of setrlimit(2).
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

impl Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    pub fn name(&self) -> String {
        // In the order of <asm-generic/resource.h>, which x86, Arm, RISC-V and POWER share.
        const NAMES: [&str; 16] = [
            "CPU",
            "FSIZE",
            "DATA",
            "STACK",
            "CORE",
            "RSS",
            "NPROC",
            "NOFILE",
            "MEMLOCK",
            "AS",
            "LOCKS",
            "SIGPENDING",
            "MSGQUEUE",
            "NICE",
            "RTPRIO",
            "RTTIME",
        ];
        match NAMES.get(self.resource as usize) {
            Some(name) => format!("RLIMIT_{name}"),
            None => format!("RLIMIT_{}", self.resource),
        }
    }
}

/// Fields of sched_setattr(2), checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// 1 realtime, 2 best effort, 3 idle (ioprio_set(2)).
    pub class: u8,
    pub level: u8,
}

/// `execCPUAffinity`, as lists of CPU numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuAffinity {
    pub initial: Option<Vec<u32>>,
    pub last: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    Linux,
    Linux32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its mode flags (set_mempolicy(2)).
    pub mode: u32,
    pub nodes: Vec<u32>,
}

impl CpuAffinity {
    fn new(config: &oci::ExecCPUAffinity, problems: &mut Vec<Problem>) -> Option<CpuAffinity> {
        let mut list = |name: &str, text: &Option<String>| match numbers::parse(text.as_deref()?, LAST_CPU) {
            Ok(cpus) => Some(cpus).filter(|cpus| !cpus.is_empty()),
            Err(message) => {
                problems.push(Problem::new(format!("process.execCPUAffinity.{name}"), message));
                None
            }
        };
        let (initial, last) = (list("initial", config.initial()), list("final", config.cpu_affinity_final()));
        (initial.is_some() || last.is_some()).then_some(CpuAffinity { initial, last })
    }
}

/// `process`, and `linux.personality` and `linux.memoryPolicy` which are attributes of it too.
pub fn plan(spec: &Spec, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Option<Process> {
    let linux = spec.linux().as_ref();
    let personality = linux.and_then(|l| personality(l, problems));
    let memory_policy =
        linux.and_then(|l| l.memory_policy().as_ref()).and_then(|m| scheduling::memory_policy(m, problems));
    let process = Process::new(spec.process().as_ref()?, problems, warnings);
    let keep_groups = spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key(KEEP_GROUPS));
    let user = User { keep_groups, ..process.user };
    Some(Process { user, personality, memory_policy, ..process })
}

impl Process {
    /// One process object of the spec: that of a config, or the whole of a process.json for `exec`.
    pub fn new(config: &oci::Process, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Process {
        let non_empty = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let terminal = config.terminal().unwrap_or(false);
        Process {
            terminal,
            // "Runtimes MUST ignore consoleSize if terminal is false or unset", config.md.
            console_size: config.console_size().filter(|_| terminal).and_then(|size| console_size(size, problems)),
            user: user(config.user(), problems),
            args: args(config, problems),
            env: env("process.env", config.env().as_deref().unwrap_or_default(), problems),
            cwd: cwd(config, problems),
            // No capability where the config names none, as crun does; runc 1.5 would grant all of its own.
            capabilities: Some(
                config.capabilities().as_ref().map_or_else(Capabilities::default, |c| capabilities::plan(c, warnings)),
            ),
            rlimits: rlimits(config, problems),
            no_new_privileges: config.no_new_privileges().unwrap_or(false),
            apparmor_profile: non_empty(config.apparmor_profile()),
            selinux_label: non_empty(config.selinux_label()),
            oom_score_adj: oom_score_adj(config, problems),
            scheduler: config.scheduler().as_ref().and_then(|s| scheduling::scheduler(s, problems)),
            io_priority: config.io_priority().as_ref().and_then(|p| scheduling::io_priority(p, problems)),
            cpu_affinity: config.exec_cpu_affinity().as_ref().and_then(|a| CpuAffinity::new(a, problems)),
            personality: None,
            memory_policy: None,
        }
    }
}

fn console_size(size: oci::Box, problems: &mut Vec<Problem>) -> Option<(u16, u16)> {
    let mut cells = |name: &str, value: u64| match u16::try_from(value) {
        Ok(cells) => cells,
        Err(_) => {
            let place = format!("process.consoleSize.{name}");
            problems.push(Problem::new(place, format!("{value} is above 65535, the most that a terminal can have")));
            0
        }
    };
    let size = (cells("height", size.height()), cells("width", size.width()));
    (size != (0, 0)).then_some(size)
}

fn user(config: &oci::User, problems: &mut Vec<Problem>) -> User {
    let mut id = |place: &dyn Fn() -> String, id: u32| {
        if id == u32::MAX {
            problems.push(Problem::new(place(), format!("{id} is not an id: it stands for none (-1)")));
        }
        id
    };
    let uid = id(&|| "process.user.uid".into(), config.uid());
    let gid = id(&|| "process.user.gid".into(), config.gid());
    let groups = config.additional_gids().as_deref().unwrap_or_default();
    let additional_gids =
        groups.iter().enumerate().map(|(i, gid)| id(&|| format!("process.user.additionalGids[{i}]"), *gid)).collect();
    if groups.len() > MOST_GROUPS {
        let message = format!("has {} groups, and the kernel takes {MOST_GROUPS}", groups.len());
        problems.push(Problem::new("process.user.additionalGids", message));
    }
    if let Some(umask) = config.umask().filter(|mask| *mask > 0o777) {
        let message = format!("{umask} is above 511 (octal 777); the number is a decimal one");
        problems.push(Problem::new("process.user.umask", message));
    }
    User { uid, gid, umask: config.umask(), additional_gids, keep_groups: false }
}

fn args(config: &oci::Process, problems: &mut Vec<Problem>) -> Vec<String> {
    let args = config.args().clone().unwrap_or_default();
    match args.first() {
        None => problems.push(Problem::new("process.args", "is required and must have at least one entry")),
        // The phrase is what engines turn into the exit code 127.
        Some(file) if file.is_empty() => {
            problems.push(Problem::new("process.args[0]", "is empty: executable file not found in $PATH"));
        }
        Some(_) => {}
    }
    args
}

/// Environment variables, each name once with its last value, as a shell or runc would have it.
pub fn env(place: &str, variables: &[String], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut names = HashSet::with_capacity(variables.len());
    let mut kept = Vec::with_capacity(variables.len());
    for (i, variable) in variables.iter().enumerate().rev() {
        match variable.split_once('=') {
            Some(("", _)) => {
                problems.push(Problem::new(format!("{place}[{i}]"), format!("{variable:?} has no name before the =")));
            }
            Some((name, _)) => {
                if names.insert(name) {
                    kept.push(variable.clone());
                }
            }
            None => {
                problems.push(Problem::new(format!("{place}[{i}]"), format!("{variable:?} has no = (NAME=value)")));
            }
        }
    }
    kept.reverse();
    kept
}

fn cwd(config: &oci::Process, problems: &mut Vec<Problem>) -> PathBuf {
    let cwd = config.cwd();
    if cwd.as_os_str().is_empty() {
        problems.push(Problem::new("process.cwd", "is required and must not be empty"));
    } else if !cwd.is_absolute() {
        problems.push(Problem::new("process.cwd", format!("{cwd:?} is not an absolute path")));
    }
    cwd.clone()
}

fn rlimits(config: &oci::Process, problems: &mut Vec<Problem>) -> Vec<Rlimit> {
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for (i, limit) in config.rlimits().iter().flatten().enumerate() {
        let (soft, hard) = (limit.soft(), limit.hard());
        let resource = resource(limit.typ());
        if rlimits.iter().any(|r| r.resource == resource) {
            let message = format!("{} is listed more than once", limit.typ());
            problems.push(Problem::new(format!("process.rlimits[{i}].type"), message));
            continue;
        }
        if soft > hard {
            let message = format!("{soft} is above the hard limit of {hard}");
            problems.push(Problem::new(format!("process.rlimits[{i}].soft"), message));
        }
        rlimits.push(Rlimit { resource, soft, hard });
    }
    rlimits
}

fn resource(typ: PosixRlimitType) -> u32 {
    match typ {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn oom_score_adj(config: &oci::Process, problems: &mut Vec<Problem>) -> Option<i32> {
    let score = config.oom_score_adj()?;
    if !(-1000..=1000).contains(&score) {
        problems.push(Problem::new("process.oomScoreAdj", format!("{score} is out of range (-1000 to 1000)")));
    }
    Some(score)
}

fn personality(linux: &Linux, problems: &mut Vec<Problem>) -> Option<Personality> {
    let config = linux.personality().as_ref()?;
    for (i, flag) in config.flags().iter().flatten().enumerate() {
        let message = format!("{flag:?} is not known: the spec has no flags as yet");
        problems.push(Problem::new(format!("linux.personality.flags[{i}]"), message));
    }
    Some(match config.domain() {
        LinuxPersonalityDomain::PerLinux => Personality::Linux,
        LinuxPersonalityDomain::PerLinux32 => Personality::Linux32,
    })
}
