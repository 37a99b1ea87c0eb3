//! A later process of the container, from clone3 to execve: `exec` in the child.
//!
//! The list of init's steps with namespaces that are joined in place of those that are made, and without mounts. From
//! its birth in the container's pid namespace to execve the process is visible to the container: it is therefore born last,
//! with nothing of the host (CVE-2016-9962, CVE-2024-21626; [`super::newborn`]).

use super::filter::{Filter, Loadable};
use super::launch::{self, Executor, Launch, Passed};
use super::newborn::{self, Newborn};
use super::steps::{Progress, Step};
use super::{birth, console, fail};
use crate::cgroup;
use crate::ipc::{Channel, FromInit};
use crate::plan::Process;
use crate::security::attributes;
use crate::security::keyring;
use crate::security::lsm::Labels;
use crate::security::procfs::Procfs;
use crate::sys::script::Layout;
use crate::sys::shared::SharedBirth;
use crate::sys::{Call, Errno, ns, process};
use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
const NEWPID: u64 = libc::CLONE_NEWPID as u64;

/// How the process comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// The runtime's child is the process: it stays in the runtime's pid namespace, where nothing can be hidden.
    Child,
    /// The runtime's child becomes the container's in everything but the pid namespace, and clones the process as the
    /// runtime's second child, which is born there.
    Sibling,
}

impl Birth {
    /// `namespaces` are the `CLONE_NEW*` bits of what is joined.
    pub fn of(namespaces: u64) -> Birth {
        if namespaces & NEWPID != 0 { Birth::Sibling } else { Birth::Child }
    }
}

/// What the runtime hands to its child.
pub struct Exec<'a> {
    pub process: &'a Process,
    pub shared: SharedBirth,
    pub birth: Birth,
    /// Where the process reports to once it is born.
    pub pipe: OwnedFd,
    pub layout: Layout,
    /// A pidfd of the container's first process, whose namespaces are joined.
    pub container: OwnedFd,
    /// `CLONE_NEW*` bits of the namespaces to join.
    pub namespaces: u64,
    /// The root directory, for a container that shares the runtime's mount namespace.
    pub root: Option<OwnedFd>,
    pub cgroup: cgroup::Entry,
    pub labels: &'a Labels,
    pub seccomp: Option<Loadable<'a>>,
    /// The container's id, if it has a session keyring of its own.
    pub keyring: Option<&'a str>,
    /// Where the pty's master goes.
    pub console_socket: Option<OwnedFd>,
    /// The runtime itself takes the master.
    pub foreground: bool,
    pub passed: Passed,
    /// The runtime has work to do before the first step.
    pub waits: bool,
    /// Fds of the runtime that the process must not keep.
    pub not_ours: Vec<RawFd>,
}

/// Carries it out in the child. Never returns: it ends as the program, or with the report of what failed.
pub fn run(exec: Exec, channel: &Channel) -> ! {
    let progress = Progress::new(exec.shared.step());
    let Err(error) = carry_out(exec, &progress, channel);
    fail(channel, &progress, &error)
}

fn carry_out(mut exec: Exec, at: &Progress, channel: &Channel) -> Result<Infallible> {
    let (process, birth, shared) = (exec.process, exec.birth, exec.shared);
    at.step(Step::Birth, || be_born(&mut exec, channel))?;
    at.step(Step::Cgroup, || exec.cgroup.enter_self())?;
    // Only this process's own files are looked up, and it is one of the host's pid namespace until its end.
    let procfs = Procfs::host();
    at.step(Step::Identity, || exec.labels.set_exec(&procfs))?;
    at.step(Step::Namespaces, || enter(&exec))?;
    let mut warn = |text: String| {
        // A warning that cannot be delivered means that the runtime is gone, and with it this process in a moment.
        let _ = channel.tell_runtime(&FromInit::Warning(text));
    };
    if let Some(id) = exec.keyring {
        at.step(Step::Keyring, || keyring::rejoin(id, exec.labels, &procfs, &mut warn))?;
    }

    // Directories and files of the host: nothing of them may be open when the container's own paths are looked up.
    let Exec { container, root, cgroup, seccomp, console_socket, foreground, passed, pipe, layout, .. } = exec;
    drop((container, root, cgroup, procfs));
    at.step(Step::Descriptors, || {
        let mut keep = vec![channel.as_fd(), pipe.as_fd()];
        keep.extend(console_socket.as_ref().map(AsFd::as_fd));
        launch::close_descriptors(passed, &keep)
    })?;
    if process.terminal {
        let socket = console_socket.context("process.terminal is true, but there is no console socket")?;
        at.step(Step::Console, || set_up_console(process, socket, foreground))?;
    }
    let newborn = become_the_process(process, seccomp, passed, at, &mut warn)?;
    shared.set_path(newborn.launch.path());
    at.step(Step::Exec, || newborn.begin((birth == Birth::Sibling).then_some(shared), pipe.as_fd(), &layout))
}

/// Everything but the pid namespace, the filter, and what a clone does not inherit.
fn become_the_process<'a>(
    process: &'a Process,
    seccomp: Option<Loadable<'a>>,
    passed: Passed,
    at: &Progress,
    warn: &mut dyn FnMut(String),
) -> Result<Newborn<'a>> {
    at.step(Step::Identity, || {
        let Some(affinity) = &process.cpu_affinity else { return attributes::all_cpus() };
        let last = affinity.last.as_deref();
        last.map_or(Ok(()), |cpus| attributes::cpu_affinity(0, cpus)).context("process.execCPUAffinity.final")
    })?;
    let filter = Filter::of(Some(process), seccomp);
    let scheduler = newborn::late_scheduler(process, Executor::Newborn);
    let rights = Newborn::rights(&filter, scheduler);
    // The labels are set already.
    let launch = Launch::get_ready(process, &Labels::default(), rights, passed, Executor::Newborn, at, warn)?;
    at.step(Step::Signals, || {
        // The change of ids has set it to what fs.suid_dumpable says.
        process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())?;
        launch::stop_ignoring_signals()?;
        process::reset_sigpipe().call(|| "reset SIGPIPE".into())
    })?;
    Ok(Newborn { launch, filter: seccomp, terminal: process.terminal, scheduler, inherited: 3 + passed.count })
}

/// What takes the runtime's rights, or belongs to the time before the cgroup.
fn be_born(exec: &mut Exec, channel: &Channel) -> Result<()> {
    for fd in exec.not_ours.drain(..) {
        nix::unistd::close(fd).call(|| format!("close {fd}"))?;
    }
    birth::die_with_the_runtime()?;
    if exec.waits {
        birth::wait_for_go(channel)?;
    }
    if let Some(score) = exec.process.oom_score_adj {
        // The host's procfs still, in which `self` is this process whatever pid namespace it is in.
        let path = "/proc/self/oom_score_adj";
        std::fs::write(path, score.to_string())
            .call(|| format!("write {path} {score}"))
            .context("process.oomScoreAdj")?;
    }
    if exec.namespaces & NEWUSER != 0 {
        // Raising a hard limit takes a right of the initial user namespace.
        attributes::roomy_rlimits(&exec.process.rlimits).context("process.rlimits")?;
    }
    // The runtime has done so already unless that would have made the file above root's.
    process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())
}

/// Joins the container's namespaces, the pid namespace for children, and takes its root directory.
fn enter(exec: &Exec) -> Result<()> {
    join(exec.container.as_fd(), exec.namespaces)?;
    if let Some(root) = &exec.root {
        nix::unistd::fchdir(root).call(|| "fchdir to the container's root".into())?;
        nix::unistd::chroot(".").call(|| "chroot to the container's root".into())?;
    }
    if exec.namespaces & NEWUSER != 0 {
        birth::become_root(exec.process.user.keep_groups)?;
    }
    nix::unistd::setsid().call(|| "setsid".into()).map(drop)
}

/// All in one setns(2), which takes the user namespace first. A namespace that belongs to another user namespace than
/// the container's is joined before that, with the runtime's rights.
fn join(container: BorrowedFd, kinds: u64) -> Result<()> {
    if kinds == 0 {
        return Ok(());
    }
    let describe = || format!("setns {kinds:#x} of the container");
    match ns::setns(container, kinds) {
        Err(Errno::EPERM) if kinds & NEWUSER != 0 => {}
        result => return result.call(describe),
    }
    let mut left = NEWUSER;
    for kind in (0..u64::BITS).map(|bit| 1 << bit).filter(|kind| kinds & !NEWUSER & kind != 0) {
        match ns::setns(container, kind) {
            Err(Errno::EPERM) => left |= kind,
            result => result.call(|| format!("setns {kind:#x} of the container"))?,
        }
    }
    ns::setns(container, left).call(describe)
}

fn set_up_console(process: &Process, socket: OwnedFd, foreground: bool) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open("/", flags, Mode::empty()).call(|| "open /".into())?;
    console::set_up_later(root.as_fd(), process, socket, foreground)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_joins_a_pid_namespace_is_born_there_last() {
        assert_eq!(Birth::of(NEWUSER | NEWPID), Birth::Sibling);
        assert_eq!(Birth::of(NEWPID), Birth::Sibling);
        assert_eq!(Birth::of(NEWUSER), Birth::Child);
    }
}
