//! `linux.seccomp` as data; compiling it is the work of `security::seccomp`.

use super::Problem;
use oci_spec::runtime::{
    Linux, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `SECCOMP_FILTER_FLAG_*` of `<linux/seccomp.h>`.
const TSYNC: u32 = 1;
const LOG: u32 = 1 << 1;
pub const SPEC_ALLOW: u32 = 1 << 2;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `MAX_ERRNO` of the kernel.
const LAST_ERRNO: u32 = 4095;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Seccomp {
    pub filter: Filter,
    /// `SECCOMP_FILTER_FLAG_*` bits to load it with.
    pub flags: u32,
    pub listener: Option<Listener>,
}

/// Everything that decides the compiled program (and so its hash).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Filter {
    pub default_action: Action,
    /// `SCMP_ARCH_*` names beside the native one, as the config has them.
    pub architectures: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    pub args: Vec<Arg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    Notify,
    Trace(u16),
    Log,
    Allow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
pub struct Arg {
    /// 0 to 5.
    pub index: u8,
    pub op: Compare,
    pub value: u64,
    /// The value for `MaskedEqual` (its mask is `value`).
    pub value_two: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Listener {
    /// Absolute; a relative one in the config is taken from the bundle.
    pub path: PathBuf,
    pub metadata: String,
}

/// `linux.seccomp`.
pub fn plan(
    linux: Option<&Linux>,
    bundle_dir: &Path,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<Seccomp> {
    let config = linux?.seccomp().as_ref()?;
    let filter = Filter {
        default_action: default_action(config, problems),
        architectures: architectures(config),
        rules: config.syscalls().iter().flatten().enumerate().map(|(i, rule)| Rule::new(i, rule, problems)).collect(),
    };
    let notifies = filter.rules.iter().any(|rule| rule.action == Action::Notify);
    let listener = listener(config, bundle_dir, notifies, problems);
    Some(Seccomp { flags: flags(config, notifies, warnings), filter, listener })
}

fn default_action(config: &LinuxSeccomp, problems: &mut Vec<Problem>) -> Action {
    if config.default_action() == LinuxSeccompAction::ScmpActNotify {
        let message = "SCMP_ACT_NOTIFY cannot be the default: handing over the listener needs syscalls itself";
        problems.push(Problem::new("linux.seccomp.defaultAction", message));
    }
    let place = || "linux.seccomp.defaultErrnoRet".to_string();
    action(config.default_action(), config.default_errno_ret(), place, problems)
}

fn action(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    place: impl Fn() -> String,
    problems: &mut Vec<Problem>,
) -> Action {
    let mut value = |most: u32| {
        let value = errno.unwrap_or(libc::EPERM as u32);
        if value > most {
            problems.push(Problem::new(place(), format!("{value} is above {most}, the most for {action}")));
        }
        value as u16
    };
    let planned = match action {
        LinuxSeccompAction::ScmpActErrno => return Action::Errno(value(LAST_ERRNO)),
        LinuxSeccompAction::ScmpActTrace => return Action::Trace(value(u16::MAX.into())),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
    };
    // "When the action doesn't support an errno, the runtime MUST print and error and fail", config-linux.md.
    if errno.is_some() {
        problems.push(Problem::new(place(), format!("cannot be set with {action}, which returns no errno")));
    }
    planned
}

/// The names of libseccomp's architectures, each once; the native one is in every filter.
fn architectures(config: &LinuxSeccomp) -> Vec<String> {
    let mut names = Vec::new();
    for arch in config.architectures().iter().flatten() {
        let name = arch.to_string();
        if name != "SCMP_ARCH_NATIVE" && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn flags(config: &LinuxSeccomp, notifies: bool, warnings: &mut Vec<String>) -> u32 {
    // No list, not even an empty one: as runc and crun, without the mitigation that costs more than it gives.
    let Some(flags) = config.flags() else { return SPEC_ALLOW };
    let mut bits = flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE_RECV,
        }
    });
    if notifies {
        // With a listener the kernel refuses it without TSYNC_ESRCH; the process that loads the filter has one thread.
        bits &= !TSYNC;
    } else if bits & WAIT_KILLABLE_RECV != 0 {
        // The kernel refuses it without a listener.
        bits &= !WAIT_KILLABLE_RECV;
        warnings
            .push("linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is left out: no rule notifies".into());
    }
    bits
}

fn listener(config: &LinuxSeccomp, bundle_dir: &Path, notifies: bool, problems: &mut Vec<Problem>) -> Option<Listener> {
    let path = config.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    let metadata = config.listener_metadata().clone().unwrap_or_default();
    let Some(path) = path else {
        if notifies {
            problems.push(Problem::new("linux.seccomp.listenerPath", "is required with SCMP_ACT_NOTIFY"));
        }
        if !metadata.is_empty() {
            problems.push(Problem::new("linux.seccomp.listenerMetadata", "must not be set without listenerPath"));
        }
        return None;
    };
    // "If the SCMP_ACT_NOTIFY action is not used this value is ignored", config-linux.md.
    notifies.then(|| Listener { path: bundle_dir.join(path), metadata })
}

impl Rule {
    fn new(index: usize, config: &LinuxSyscall, problems: &mut Vec<Problem>) -> Rule {
        let at = |rest: &str| format!("linux.seccomp.syscalls[{index}]{rest}");
        let names = config.names();
        if names.is_empty() {
            problems.push(Problem::new(at(".names"), "must have at least one entry"));
        }
        for (i, name) in names.iter().enumerate() {
            if name.is_empty() {
                problems.push(Problem::new(at(&format!(".names[{i}]")), "must not be empty"));
            } else if name == "write" && config.action() == LinuxSeccompAction::ScmpActNotify {
                let message = "write cannot have SCMP_ACT_NOTIFY: handing over the listener needs it";
                problems.push(Problem::new(at(&format!(".names[{i}]")), message));
            }
        }
        let args = config.args().iter().flatten().enumerate();
        Rule {
            names: names.clone(),
            action: action(config.action(), config.errno_ret(), || at(".errnoRet"), problems),
            args: args.map(|(i, arg)| Arg::new(arg, || at(&format!(".args[{i}].index")), problems)).collect(),
        }
    }
}

impl Arg {
    fn new(config: &LinuxSeccompArg, place: impl Fn() -> String, problems: &mut Vec<Problem>) -> Arg {
        if config.index() > 5 {
            problems
                .push(Problem::new(place(), format!("{} is above 5, the last argument of a syscall", config.index())));
        }
        let op = match config.op() {
            LinuxSeccompOperator::ScmpCmpNe => Compare::NotEqual,
            LinuxSeccompOperator::ScmpCmpLt => Compare::Less,
            LinuxSeccompOperator::ScmpCmpLe => Compare::LessOrEqual,
            LinuxSeccompOperator::ScmpCmpEq => Compare::Equal,
            LinuxSeccompOperator::ScmpCmpGe => Compare::GreaterOrEqual,
            LinuxSeccompOperator::ScmpCmpGt => Compare::Greater,
            LinuxSeccompOperator::ScmpCmpMaskedEq => Compare::MaskedEqual,
        };
        let value_two = config.value_two().unwrap_or(0);
        Arg { index: config.index() as u8, op, value: config.value(), value_two }
    }
}
