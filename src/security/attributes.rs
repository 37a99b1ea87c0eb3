//! What the process is besides its capabilities: limits, scheduling, memory policy, personality, and its ids.
//!
//! One function for each attribute, each one or two syscalls, called by init in its order. Some can also be set from
//! outside by the runtime, which has privileges that a process in a new user namespace lacks: these take a pid.

use crate::plan::process::{IoPriority, MemoryPolicy, Personality, Rlimit, Scheduler, User};
use crate::security::procfs::Procfs;
use crate::sys::credentials::{self, Limit};
use crate::sys::process::{self, SchedAttr};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, lstat};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::os::fd::{AsFd, OwnedFd};

/// Sets the limits of process `pid` (0: the caller). Raising a hard limit takes CAP_SYS_RESOURCE in the initial user
/// namespace, so for a container with its own one the runtime sets them from outside.
pub fn rlimits(pid: libc::pid_t, rlimits: &[Rlimit]) -> Result<()> {
    for limit in rlimits {
        let Rlimit { resource, soft, hard } = *limit;
        let describe = || format!("set {} to soft {}, hard {}", limit.name(), shown(soft), shown(hard));
        match credentials::set_limit(pid, resource, Limit { soft, hard }) {
            Ok(()) => {}
            Err(Errno::EPERM) => {
                let now = credentials::limit(pid, resource).map_or_else(|_| "unknown".into(), |l| shown(l.hard));
                let why = format!("the hard limit is {now} and raising it needs CAP_SYS_RESOURCE: prlimit");
                return Err(Errno::EPERM).call(|| why).with_context(describe);
            }
            Err(e) => return Err(e).call(|| "prlimit".into()).with_context(describe),
        }
    }
    Ok(())
}

/// Open files that init needs after it has set the limits: to look for the program, and to hear `start`.
const FILES_OF_INIT: u64 = 64;

fn is_tight(limit: &Rlimit) -> bool {
    limit.resource == libc::RLIMIT_NOFILE && limit.soft < FILES_OF_INIT
}

/// Sets the limits of the caller, as long as it is privileged, but leaves room for its own open files and for one process
/// more: a lower RLIMIT_NOFILE, and RLIMIT_NPROC, are for [`late_rlimits`], which need no privilege.
pub fn roomy_rlimits(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        let roomy = match limit.resource {
            libc::RLIMIT_NPROC => {
                let now = credentials::limit(0, limit.resource).call(|| "prlimit".into())?;
                Rlimit { soft: now.soft.max(limit.soft), hard: now.hard.max(limit.hard), ..*limit }
            }
            _ if is_tight(limit) && limit.hard < FILES_OF_INIT => continue,
            _ if is_tight(limit) => Rlimit { soft: FILES_OF_INIT, ..*limit },
            _ => *limit,
        };
        rlimits(0, &[roomy])?;
    }
    Ok(())
}

/// What [`roomy_rlimits`] has left out.
pub fn late_rlimits(limits: &[Rlimit]) -> impl Iterator<Item = &Rlimit> {
    limits.iter().filter(|limit| is_tight(limit) || limit.resource == libc::RLIMIT_NPROC)
}

/// Sets them.
pub fn tight_rlimits(limits: &[Rlimit]) -> Result<()> {
    late_rlimits(limits).try_for_each(|limit| rlimits(0, std::slice::from_ref(limit)))
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".into() } else { limit.to_string() }
}

/// Writes `oom_score_adj` of process `pid` (as this procfs numbers it; `None`: the caller).
///
/// A process that is not dumpable cannot write its own in a user namespace, as the file then belongs to the root of the
/// user namespace that its memory was made in: there the runtime writes it from outside.
pub fn oom_score_adj(procfs: &Procfs, pid: Option<libc::pid_t>, value: i32) -> Result<()> {
    let path = pid.map_or_else(|| "self/oom_score_adj".into(), |pid| format!("{pid}/oom_score_adj"));
    procfs.write(&path, value.to_string().as_bytes()).with_context(|| match value {
        ..0 => format!("set oomScoreAdj {value} (going below the present value needs CAP_SYS_RESOURCE)"),
        _ => format!("set oomScoreAdj {value}"),
    })
}

/// The policy as sched_setattr(2) takes it.
pub fn scheduler_attributes(scheduler: &Scheduler) -> SchedAttr {
    SchedAttr {
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        ..SchedAttr::default()
    }
}

/// Sets the scheduling policy of the caller.
pub fn scheduler(scheduler: &Scheduler) -> Result<()> {
    let attr = scheduler_attributes(scheduler);
    process::sched_setattr(&attr).call(|| format!("sched_setattr policy {}", scheduler.policy)).map_err(|error| {
        let why = match (crate::sys::errno_of(&error), scheduler.policy.cast_signed()) {
            (Some(Errno::EPERM), libc::SCHED_FIFO | libc::SCHED_RR) => {
                "set the scheduler (needs CAP_SYS_NICE and, in a cgroup v1 of cpu, linux.resources.cpu.realtimeRuntime)"
            }
            (Some(Errno::EPERM), libc::SCHED_DEADLINE) => "set the scheduler (needs CAP_SYS_NICE and all CPUs)",
            (Some(Errno::EPERM), _) => "set the scheduler (needs CAP_SYS_NICE)",
            (Some(Errno::EBUSY), _) => "set the scheduler (not enough bandwidth for this deadline)",
            _ => "set the scheduler",
        };
        error.context(why)
    })
}

/// Sets the I/O priority of the caller.
pub fn io_priority(priority: &IoPriority) -> Result<()> {
    let IoPriority { class, level } = *priority;
    process::ioprio_set(class, level).call(|| format!("ioprio_set class {class} level {level}"))
}

/// Binds process `pid` (0: the caller) to the CPUs given: `execCPUAffinity.initial` before it enters the container's
/// cgroup, `final` after it.
pub fn cpu_affinity(pid: libc::pid_t, cpus: &[u32]) -> Result<()> {
    // CONFIG_NR_CPUS has never been larger; the mask of a huge number would be huge as well.
    const MOST: u32 = 8192;
    ensure!(cpus.iter().all(|&cpu| cpu < MOST), "set CPU affinity to {cpus:?}: no CPU has a number above {}", MOST - 1);
    process::sched_setaffinity(pid, cpus).call(|| format!("sched_setaffinity {cpus:?}"))
}

/// Lets the caller use every CPU of its cpuset, whichever the caller of the command is bound to.
pub fn all_cpus() -> Result<()> {
    process::use_all_cpus().call(|| "sched_setaffinity to all CPUs".into())
}

/// Sets the execution domain of the caller.
pub fn personality(personality: Personality) -> Result<()> {
    const PER_LINUX: u32 = 0;
    const PER_LINUX32: u32 = 8;
    let persona = match personality {
        Personality::Linux => PER_LINUX,
        Personality::Linux32 => PER_LINUX32,
    };
    process::set_personality(persona).call(|| format!("personality {personality:?}"))
}

/// Sets the NUMA memory policy of the caller.
pub fn memory_policy(policy: &MemoryPolicy) -> Result<()> {
    let describe = || format!("set_mempolicy mode {:#x} nodes {:?}", policy.mode, policy.nodes);
    // The kernel refuses nodes above its MAX_NUMNODES (at most 1024) too, but only after we have built their mask.
    ensure!(policy.nodes.iter().all(|&node| node < 1024), "{}: no node has a number above 1023", describe());
    process::set_mempolicy(policy.mode, &policy.nodes).call(describe)
}

/// Sets the umask: the config's, else 022 as runc and crun do.
pub fn umask(user: &User) {
    process::umask(user.umask.unwrap_or(0o022));
}

/// Gives the standard streams to the user, so that a process that is not root can open its own terminal or pipe again
/// (`/proc/self/fd/1`).
///
/// `/dev/null` belongs to everybody: in place of the host's the process gets the container's, as with runc. One that is
/// on no mount of the container can neither be named by AppArmor nor be dumped by CRIU.
pub fn own_stdio(user: &User) -> Result<()> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut own_null = None;
    for (number, fd) in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().enumerate() {
        let stat = match fstat(fd) {
            Ok(stat) => stat,
            // A stream may be closed.
            Err(Errno::EBADF) => continue,
            Err(e) => return Err(e).call(|| "fstat of a standard stream".into()),
        };
        if is_null(&stat) {
            if let Some(null) = own_null.get_or_insert_with(open_null) {
                let replaced = match number {
                    0 => dup2_stdin(null.as_fd()),
                    1 => dup2_stdout(null.as_fd()),
                    _ => dup2_stderr(null.as_fd()),
                };
                replaced.call(|| format!("dup2 /dev/null {number}"))?;
            }
            continue;
        }
        if stat.st_uid == user.uid {
            continue;
        }
        match process::fchown(fd, Some(user.uid), None) {
            // Its owner is not mapped in our user namespace, or it lies on a read-only filesystem: it is the host's to
            // give, and the process can still use the open stream.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(e) => return Err(e).call(|| format!("fchown of a standard stream to {}", user.uid)),
        }
    }
    Ok(())
}

fn is_null(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}

/// The container's `/dev/null`, unless something else is at its place (CVE-2026-88265): it is looked at before it is
/// opened, and again afterwards.
fn open_null() -> Option<OwnedFd> {
    let path = "/dev/null";
    lstat(path).ok().filter(is_null)?;
    let null =
        open(path, OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    fstat(&null).ok().filter(is_null)?;
    Some(null)
}

/// Sets the supplementary groups unless those of the caller are to stay, while the caller still has CAP_SETGID.
///
/// Where they cannot be set (a user namespace with `setgroups` denied, or no privileges at all) the groups of the
/// caller stay; that is said when the config asks for groups.
pub fn set_groups(user: &User, warn: &mut dyn FnMut(String)) -> Result<()> {
    if user.keep_groups {
        return Ok(());
    }
    let groups = &user.additional_gids;
    match credentials::set_groups(groups) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) if groups.is_empty() => Ok(()),
        Err(Errno::EPERM) => {
            warn(format!(
                "process.user.additionalGids {groups:?} are not set: setgroups is denied here \
                 (/proc/self/setgroups of the user namespace, or CAP_SETGID is missing)"
            ));
            Ok(())
        }
        Err(Errno::EINVAL) => Err(Errno::EINVAL).call(|| "setgroups".into()).with_context(|| {
            format!("a group of process.user.additionalGids {groups:?} is not mapped in the user namespace")
        }),
        Err(e) => Err(e).call(|| format!("setgroups {groups:?}")),
    }
}

/// Becomes the user. The permitted set is kept for `capabilities::apply`, which must follow. When ids change, the kernel
/// clears the parent-death signal and makes the process non-dumpable: whoever relies on the signal sets it again.
pub fn set_ids(user: &User) -> Result<()> {
    // Root keeps its capabilities anyway. The flag goes with the execve.
    if user.uid != 0 {
        process::set_keep_capabilities(true).call(|| "prctl PR_SET_KEEPCAPS".into())?;
    }
    let (uid, gid) = (user.uid, user.gid);
    credentials::set_gid(gid).map_err(|e| unmapped(e, "gid", gid))?;
    credentials::set_uid(uid).map_err(|e| unmapped(e, "uid", uid))
}

fn unmapped(errno: Errno, kind: &str, id: u32) -> anyhow::Error {
    let error = crate::sys::SyscallError { call: format!("setres{kind} {id}"), errno };
    match errno {
        Errno::EINVAL => {
            anyhow::Error::from(error).context(format!("cannot set{kind} to unmapped {kind} {id} in user namespace"))
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_by_their_names() {
        assert_eq!(shown(u64::MAX), "unlimited");
        let error = rlimits(0, &[Rlimit { resource: 99, soft: 1, hard: 1 }]).unwrap_err();
        let text = "set RLIMIT_99 to soft 1, hard 1: prlimit: invalid argument (EINVAL)";
        assert_eq!(format!("{error:#}"), text);
        let error = rlimits(0, &[Rlimit { resource: 7, soft: 2, hard: 1 }]).unwrap_err();
        assert!(format!("{error:#}").starts_with("set RLIMIT_NOFILE to soft 2, hard 1: "), "{error:#}");
    }

    #[test]
    fn numbers_beyond_any_machine_are_refused_before_a_mask_is_built() {
        assert!(cpu_affinity(0, &[u32::MAX]).unwrap_err().to_string().contains("no CPU has a number above 8191"));
        let policy = MemoryPolicy { mode: 2, nodes: vec![u32::MAX] };
        assert!(memory_policy(&policy).unwrap_err().to_string().contains("no node has a number above 1023"));
    }

    #[test]
    fn refusals_of_the_kernel_name_the_call() {
        let policy = MemoryPolicy { mode: 99, nodes: vec![] };
        let error = format!("{:#}", memory_policy(&policy).unwrap_err());
        // The second one without NUMA.
        let reasons = ["invalid argument (EINVAL)", "function not implemented (ENOSYS)"];
        assert!(reasons.iter().any(|r| error == format!("set_mempolicy mode 0x63 nodes []: {r}")), "{error}");
        let error = io_priority(&IoPriority { class: 7, level: 0 }).unwrap_err();
        assert_eq!(format!("{error:#}"), "ioprio_set class 7 level 0: invalid argument (EINVAL)");
        let none = Scheduler { policy: 99, nice: 0, priority: 0, flags: 0, runtime: 0, deadline: 0, period: 0 };
        let error = format!("{:#}", scheduler(&none).unwrap_err());
        assert_eq!(error, "set the scheduler: sched_setattr policy 99: invalid argument (EINVAL)");
        let error = format!("{:#}", unmapped(Errno::EINVAL, "gid", 7));
        let text = "cannot setgid to unmapped gid 7 in user namespace: setresgid 7: invalid argument (EINVAL)";
        assert_eq!(error, text);
    }
}
