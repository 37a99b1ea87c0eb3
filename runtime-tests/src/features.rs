//! What the peers cannot do, so that their runs skip it with a reason. rvol-runc skips nothing here.

use crate::runtime::{Kind, Runtime, runtime};
use std::io::Write;

/// Something that a test needs and that some peer lacks or does against the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Only rvol-runc: its own commands, messages and guarantees.
    Rvol,
    /// A config without `process`.
    ProcessOptional,
    /// `run --keep`.
    RunKeep,
    /// `process.user.umask`.
    Umask,
    /// uid 4294967295, which chown(2) and setuid(2) take for "no change", is an error.
    RefusesIdMinusOne,
    /// A limit that `process.rlimits` names twice is an error.
    RefusesDuplicateRlimits,
    /// A capability that the runtime does not have itself is left out with a warning (spec 1.1).
    UngrantableCapabilities,
    /// `process.scheduler`.
    Scheduler,
    /// `process.ioPriority`.
    IoPriority,
    /// `linux.personality`.
    Personality,
    /// `linux.memoryPolicy`.
    MemoryPolicy,
    /// `mounts[].destination` may be `/`.
    DestinationRoot,
    /// Options that are left for the filesystem are an error on a bind mount, which has none.
    RefusesDataOnBind,
    /// `rw`, `suid`, `dev` and `exec` on a bind mount clear what its source has.
    ClearingOptionsOnBind,
    /// A bind mount keeps `nosuid`, `nodev`, `noexec` and the access times of its source unless told otherwise.
    KeepsSourceAttributes,
    /// Recursive attributes such as `rro`.
    RecursiveAttributes,
    /// Every option string of the spec's table, `iversion` and `silent` included.
    AllMountOptions,
    /// Of several access-time options the last one holds.
    LastAccessTimeWins,
    /// `nosymfollow` and `symfollow`.
    NoSymFollow,
    /// `tmpcopyup`.
    TmpCopyUp,
    /// `idmap` and `ridmap`.
    IdmappedMounts,
    /// Idmapped mounts whose mapping is not that of the container's user namespace.
    FreeIdmappedMounts,
    /// `linux.rootfsPropagation` is what `/` has in the container.
    RootPropagation,
    /// `domainname`.
    Domainname,
    /// A namespace kind that is listed twice is an error.
    RefusesDuplicateNamespaces,
    /// Namespaces of type `time`, and `linux.timeOffsets`.
    TimeNamespace,
    /// A `user` namespace with a path and without mappings.
    JoinUserNamespace,
    /// `ro` on a bind in a user namespace, where the source's other flags are locked.
    LockedFlags,
    /// A file that is not the device where `linux.devices` wants one is an error.
    RefusesFileAsDevice,
    /// Keys of `linux.sysctl` with slashes.
    SysctlSlashes,
    /// poststart hooks run when the program already does.
    PoststartAfterProcess,
    /// A failing poststart hook stops the container and does not keep the poststop hooks from running.
    PoststartFailure,
    /// `start` waits for the startContainer hooks and for execve, and fails with them.
    StartReportsFailure,
    /// A failing poststop hook is a warning.
    PoststopFailure,
    /// poststop hooks run after a create that a hook made fail.
    PoststopAfterFailedCreate,
    /// `--pidfd-socket`.
    PidfdSocket,
    /// `linux.seccomp.flags`.
    SeccompFlags,
    /// `errnoRet` 0 lets the syscall return 0 without being made.
    ErrnoZero,
    /// The filter is loaded so late that the runtime makes no syscall under it but execve.
    LateSeccomp,
    /// Sections of the config for other platforms are ignored.
    OtherPlatforms,
    /// Of several creates of one id at a time exactly one succeeds, undisturbed.
    ConcurrentCreate,
    /// Of several starts at a time exactly one succeeds.
    ConcurrentStart,
    /// A create or delete that was killed can be cleaned up and repeated.
    SurvivesKill,
    /// A link in the image at /dev/console does no harm (runc before 1.2.8, crun before 1.30).
    ConsoleIsNoLink,
    /// /dev of the image may be a link (runc before 1.3.6 and 1.4.3, crun before 1.28).
    DevIsNoLink,
    /// Masks do not use the container's /dev/null (runc before 1.2.8).
    OwnNull,
    /// Paths that a neighbour exchanges do not lead out of the root (runc before 1.2.8).
    RaceFree,
    /// The subcommand `features`.
    Features,
    /// `additionalGids` of an unprivileged user who has more gids than one.
    RootlessGroups,
    /// `linux.netDevices`.
    NetDevices,
    /// `run --no-subreaper`.
    NoSubreaper,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
    WaitKillable,
    /// `root.path` may be a symbolic link.
    SymlinkedRoot,
}

impl Feature {
    /// Why the runtime under test lacks it.
    fn missing_in(self, runtime: &Runtime) -> Option<&'static str> {
        let runc = runtime.kind == Kind::Runc;
        let crun = runtime.kind == Kind::Crun;
        let before = |version: (u32, u32)| (runtime.version.0, runtime.version.1) < version;
        let old_runc = |version| runc && before(version);
        let old_crun = |version| crun && before(version);
        match self {
            Feature::Rvol => (runc || crun).then_some("a guarantee of rvol-runc"),
            Feature::ProcessOptional => (runc || crun).then_some("wants a process"),
            Feature::RunKeep => crun.then_some("has no such flag"),
            Feature::Umask => old_runc((1, 1)).then_some("came with 1.1"),
            Feature::RefusesIdMinusOne => crun.then_some("does not look"),
            Feature::RefusesDuplicateRlimits => (old_runc((1, 2)) || crun).then_some("takes the last one"),
            Feature::UngrantableCapabilities => (runc || crun).then_some("fails"),
            Feature::Scheduler => (old_runc((1, 2)) || old_crun((1, 9))).then_some("came later"),
            Feature::IoPriority => (old_runc((1, 2)) || old_crun((1, 9))).then_some("came later"),
            Feature::Personality => old_runc((1, 2)).then_some("came with 1.2"),
            Feature::DestinationRoot => (runc || old_crun((1, 22))).then_some("refuses it"),
            Feature::RefusesDataOnBind => (old_runc((1, 2)) || crun).then_some("ignores them"),
            Feature::ClearingOptionsOnBind => old_runc((1, 2)).then_some("came with 1.2"),
            Feature::KeepsSourceAttributes => (old_runc((1, 2)) || crun).then_some("a remount drops them"),
            Feature::RecursiveAttributes => old_runc((1, 1)).then_some("came with 1.1"),
            Feature::AllMountOptions => (runc || crun).then_some("lacks some, or passes them on wrongly"),
            Feature::LastAccessTimeWins => (runc || crun).then_some("passes all of them to the kernel"),
            Feature::NoSymFollow => crun.then_some("lacks it"),
            Feature::TmpCopyUp => None,
            Feature::IdmappedMounts | Feature::FreeIdmappedMounts => old_runc((1, 2)).then_some("came with 1.2"),
            Feature::RootPropagation => runc.then_some("sets it outside only"),
            Feature::Domainname => (old_runc((1, 2)) || old_crun((1, 9))).then_some("came later"),
            Feature::RefusesDuplicateNamespaces => old_crun((1, 18)).then_some("came with 1.18"),
            Feature::TimeNamespace => old_runc((1, 2)).then_some("came with 1.2"),
            Feature::JoinUserNamespace => old_runc((1, 2)).then_some("wants mappings"),
            Feature::LockedFlags => (old_runc((1, 2)) || crun).then_some("EPERM, or the flags are gone"),
            Feature::RefusesFileAsDevice => (runc || crun).then_some("takes any file"),
            Feature::SysctlSlashes => (old_runc((1, 2)) || crun).then_some("knows dots only"),
            Feature::PoststartAfterProcess => (old_runc((1, 6)) || crun).then_some("runs them before"),
            Feature::PoststartFailure => (old_runc((1, 6)) || crun).then_some("leaves the container as it is"),
            Feature::StartReportsFailure => runc.then_some("start does not wait"),
            Feature::PoststopFailure => (runc || crun).then_some("ends at the first one that fails"),
            Feature::PoststopAfterFailedCreate => (runc || crun).then_some("does not run them"),
            Feature::PidfdSocket => (old_runc((1, 3)) || crun).then_some("has no such flag"),
            Feature::SeccompFlags => old_runc((1, 2)).then_some("came with 1.2"),
            Feature::ErrnoZero => None,
            Feature::LateSeccomp => (runc || crun).then_some("goes on working under the filter"),
            Feature::OtherPlatforms => None,
            Feature::ConcurrentCreate => (runc || crun).then_some("they disturb each other's cgroup"),
            Feature::ConcurrentStart => (runc || crun).then_some("several succeed"),
            Feature::SurvivesKill => (runc || crun).then_some("leaves what it cannot delete"),
            Feature::ConsoleIsNoLink => (runc || crun).then_some("not in this version"),
            Feature::DevIsNoLink => (old_runc((1, 5)) || old_crun((1, 28))).then_some("CVE-2026-41579"),
            Feature::OwnNull => old_runc((1, 2)).then_some("CVE-2025-31133"),
            Feature::RaceFree => (old_runc((1, 4)) || old_crun((1, 26))).then_some("CVE-2024-45310 and others"),
            Feature::Features => old_crun((1, 9)).then_some("came with 1.9"),
            Feature::RootlessGroups => runc.then_some("refuses them"),
            Feature::NetDevices => (old_runc((1, 4)) || old_crun((1, 22))).then_some("came later"),
            Feature::NoSubreaper => crun.then_some("has no such flag"),
            Feature::WaitKillable => (old_runc((1, 5)) || old_crun((1, 20))).then_some("came later"),
            Feature::SymlinkedRoot => runc.then_some("refuses it"),
            Feature::MemoryPolicy => (old_runc((1, 4)) || old_crun((1, 24))).then_some("came later"),
        }
    }
}

/// True, after printing the reason, when the runtime under test lacks the feature. Use [`needs!`](crate::needs).
pub fn lacks(feature: Feature) -> bool {
    let Some(reason) = feature.missing_in(runtime()) else { return false };
    skip(&format!("{feature:?}: {reason}"));
    true
}

/// Prints why a test ends early. Not `eprintln!`, which the test harness swallows.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {reason}");
}

/// Ends the test here, with a printed reason, when the runtime under test lacks one of the [`Feature`]s.
#[macro_export]
macro_rules! needs {
    ($($feature:ident),+ $(,)?) => {
        $(if $crate::features::lacks($crate::Feature::$feature) {
            return;
        })+
    };
}

/// Ends the test here, with a printed reason, when the machine lacks something.
#[macro_export]
macro_rules! needs_machine {
    ($condition:expr, $reason:expr $(,)?) => {
        if !$condition {
            $crate::features::skip($reason);
            return;
        }
    };
}
