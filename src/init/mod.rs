//! PID 1 of the container, from clone3 to execve: a list of steps, in the order of runtime.md's lifecycle.
//!
//! Runs in a fork of the runtime, so it inherits the plan and the fds and nothing is serialised towards it. Speaks to
//! the runtime only in frames. Knows nothing of the state directory, cgroup hierarchies or the command line.

mod birth;
mod console;
pub mod exec;
mod filter;
mod launch;
pub mod newborn;
pub mod restored;
mod site;
mod steps;

pub use birth::{HeadStart, Joins, Lineage, NetworkMaker, flags_at_clone};
pub use filter::Loadable;
pub use launch::Passed;
pub use steps::Step;

use crate::cgroup;
use crate::hooks;
use crate::ipc::{Cause, Channel, FromInit, Report, ToInit};
use crate::network;
use crate::plan::namespaces::Namespace;
use crate::plan::{Plan, Process};
use crate::rootfs::Prepared;
use crate::security::lsm::Labels;
use crate::security::procfs::Procfs;
use crate::security::{attributes, capabilities};
use crate::state::{HookState, Status};
use crate::sys::shared::SharedWord;
use crate::sys::{Call, process};
use anyhow::{Context, Result, bail};
use filter::{Filter, Moment};
use launch::{Announcement, Executor, Launch};
use newborn::Newborn;
use site::Site;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use steps::Progress;

/// What the runtime hands to its child.
pub struct Init<'a> {
    pub plan: &'a Plan,
    pub channel: Channel,
    /// Where init notes its step, so that the runtime can name it if init dies without a word.
    pub progress: SharedWord,
    pub lineage: Lineage,
    pub joins: Joins,
    pub cgroup: cgroup::Begun,
    pub head_start: HeadStart,
    pub network: NetworkMaker,
    pub prepared: Prepared,
    pub labels: &'a Labels,
    /// The compiled filter.
    pub seccomp: Option<Loadable<'a>>,
    /// Where the pty's master goes.
    pub console_socket: Option<OwnedFd>,
    pub start: Start,
    pub passed: Passed,
    /// The runtime has work to do before init enters the cgroup (id maps, resctrl, the cgroup itself).
    pub waits: bool,
    /// Fds of the runtime that init must not keep; closed, without their owners' destructors, as the first thing.
    pub not_ours: Vec<RawFd>,
}

/// Who lets the program start.
pub enum Start {
    /// `start`, over a connection to this listening socket.
    Listener(OwnedFd),
    /// The runtime itself (`run`).
    Runtime,
}

/// Carries the plan out in the child. Never returns: it ends as the container's program, or with the report of what
/// failed and exit code 1.
pub fn run(init: Init) -> ! {
    let channel = match init.channel.share() {
        Ok(channel) => channel,
        // Without a channel there is nobody to tell; the runtime sees the end of the connection and names the step.
        Err(_) => process::exit_now(1),
    };
    let progress = Progress::new(init.progress);
    let Err(error) = carry_out(init, &progress, &channel);
    fail(&channel, &progress, &error)
}

/// Reports the error and ends.
fn fail(channel: &Channel, at: &Progress, error: &anyhow::Error) -> ! {
    let cause = if hooks::has_failed(error) { Cause::Hook } else { Cause::Other };
    // If the other side is gone there is nobody left to tell.
    let _ = channel.tell_runtime(&FromInit::Failed(Report::new(at.name(), error, cause)));
    process::exit_now(1)
}

/// `reporter` is the handle of the channel that the caller keeps.
fn carry_out(mut init: Init, at: &Progress, reporter: &Channel) -> Result<Infallible> {
    let plan = init.plan;
    at.step(Step::Birth, || birth::be_born(&mut init))?;
    if init.head_start == HeadStart::None {
        enter_cgroup(&init.cgroup, reporter, init.waits, at)?;
    }
    at.step(Step::Namespaces, || birth::enter_namespaces(&init))?;
    at.step(Step::Network, || set_up_network(&init))?;
    let mut warn = |text: String| {
        // A warning that cannot be delivered means that the runtime is gone, and with it init in a moment.
        let _ = reporter.tell_runtime(&FromInit::Warning(text));
    };
    let site = Site::open(plan, reporter, at, init.labels)?;
    let mut root = site.enter_root(init.prepared, &mut warn)?;
    if init.head_start == HeadStart::Given {
        at.step(Step::Mounts, || root.mount_ahead(plan, &mut warn))?;
        enter_cgroup(&init.cgroup, reporter, init.waits, at)?;
        at.step(Step::Mounts, || root.open_coming(plan))?;
    }
    at.step(Step::Namespaces, || birth::make_cgroup_namespace(&plan.namespaces))?;

    // Directories and files of the host. Mount targets are found without magic links; before any other of the container's own
    // paths is looked up, none of these may be open.
    // The pid namespace is joined behind the hooks, whose processes are the host's. It leads nowhere.
    let pid_namespace = init.joins.take_pid().filter(|_| init.lineage == Lineage::Sibling);
    drop((init.cgroup, init.joins));
    let channel = init.channel;
    let announcement = Announcement::of(&init.start, plan, init.seccomp, init.lineage);
    site.furnish(&mut root, init.console_socket, &mut warn)?;
    if init.lineage != Lineage::Sibling {
        at.step(Step::Console, || console::take_control(plan.process.as_ref()))?;
    }
    announcement.make_at(Announcement::Early, &channel)?;
    site.leave_for(root, &mut warn)?;
    at.step(Step::Namespaces, || birth::join_pid(pid_namespace))?;
    at.step(Step::Descriptors, || {
        let mut keep = vec![reporter.as_fd(), channel.as_fd()];
        if let Start::Listener(listener) = &init.start {
            keep.push(listener.as_fd());
        }
        launch::close_descriptors(init.passed, &keep)
    })?;
    let filter = Filter::of(plan.process.as_ref(), init.seccomp);
    let executor = if init.lineage == Lineage::Sibling { Executor::Newborn } else { Executor::Caller };
    let late = plan.process.as_ref().and_then(|process| newborn::late_scheduler(process, executor));
    let rights = Newborn::rights(&filter, late);
    let mut launch = match &plan.process {
        Some(process) => Some(Launch::get_ready(process, init.labels, rights, init.passed, executor, at, &mut warn)?),
        None => None,
    };
    if init.lineage == Lineage::Sibling {
        at.step(Step::Birth, || birth::be_born_last(&channel))?;
        at.step(Step::Console, || console::take_control(plan.process.as_ref()))?;
        launch.iter_mut().try_for_each(Launch::name_executor)?;
        at.step(Step::Identity, || late.map_or(Ok(()), attributes::scheduler).context("process.scheduler"))?;
    }
    if let Some(filter) = filter.at(Moment::BeforeReady) {
        at.step(Step::Seccomp, || filter.load(&channel))?;
    }
    announcement.make_at(Announcement::Late, &channel)?;
    let starter = at.step(Step::Wait, || launch::wait_for_start(channel, init.start, at))?;
    // From here on whoever started the container is who hears of a failure.
    let Err(error) = set_off(plan, launch, filter, at, &starter);
    fail(&starter, at, &error)
}

/// What is done once the container is started.
fn set_off(
    plan: &Plan,
    launch: Option<Launch>,
    filter: Filter,
    at: &Progress,
    starter: &Channel,
) -> Result<Infallible> {
    let Some(launch) = launch else {
        bail!("cannot start: config.json has no `process`");
    };
    at.step(Step::Signals, || launch.last_settings())?;
    if let Some(filter) = filter.at(Moment::AtStart) {
        at.step(Step::Seccomp, || filter.load(starter))?;
    }
    at.step(Step::StartContainerHooks, || run_hooks(plan, &plan.hooks.start_container, Some(&launch.environment())))?;
    at.step(Step::Exec, || launch.exec())
}

/// Tells the runtime where init is and waits until it has done its part.
fn ask(channel: &Channel, message: &FromInit) -> Result<()> {
    channel.tell_runtime(message)?;
    match channel.hear_runtime()? {
        Some(ToInit::Go) => Ok(()),
        Some(ToInit::Start) => bail!("start before go"),
        None => bail!("the runtime is gone"),
    }
}

/// Waits for the runtime, if it has something to do before, and enters the cgroup.
fn enter_cgroup(cgroup: &cgroup::Begun, channel: &Channel, waits: bool, at: &Progress) -> Result<()> {
    if waits {
        at.step(Step::Runtime, || birth::wait_for_go(channel))?;
    }
    at.step(Step::Cgroup, || {
        cgroup.enter_self()?;
        attributes::all_cpus()
    })
}

fn set_up_network(init: &Init) -> Result<()> {
    if init.plan.namespaces.network == Namespace::New && init.network == NetworkMaker::WithOthers {
        network::loopback_up()?;
    }
    if !init.plan.net_devices.is_empty() {
        ask(&init.channel, &FromInit::NetworkReady)?;
    }
    Ok(())
}

/// Runs hooks in the container's namespaces, with `env` in place of an environment that a hook does not have.
///
/// All of them are told `created`, as the prestart hooks are: the state of a container never goes back.
fn run_hooks(plan: &Plan, list: &[crate::plan::Hook], env: Option<&[String]>) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let pid = nix::unistd::getpid().as_raw();
    let state = HookState::of(plan, Status::Created, Some(pid));
    hooks::run_all(list, &state.to_json(), env)
}

/// Everything that makes the caller the container's process, up to its credentials, but for
/// [`Launch::last_settings`]. Of the capabilities those in `until_exec` stay besides.
fn become_the_process(
    process: &Process,
    labels: &Labels,
    until_exec: u64,
    executor: Executor,
    procfs: &Procfs,
    warn: &mut dyn FnMut(String),
) -> Result<()> {
    set_attributes(process, executor)?;
    labels.set_exec(procfs)?;
    if process.no_new_privileges {
        process::set_no_new_privileges().call(|| "prctl PR_SET_NO_NEW_PRIVS".into())?;
    }
    attributes::own_stdio(&process.user)?;
    // Without any the sets are emptied: what the runtime holds is never left to the process.
    let capabilities = process.capabilities.unwrap_or_default();
    capabilities::drop_bounding(&capabilities, warn)?;
    attributes::set_groups(&process.user, warn)?;
    attributes::set_ids(&process.user)?;
    capabilities::apply(&capabilities, until_exec, warn)?;
    attributes::umask(&process.user);
    // A change of credentials clears it (prctl(2), PR_SET_PDEATHSIG).
    process::set_parent_death_signal(libc_sigkill()).call(|| "prctl PR_SET_PDEATHSIG".into())
}

/// After the cgroup is entered: with RT_GROUP_SCHED a v1 cpu cgroup takes no realtime process unless it has a realtime
/// runtime of its own (`linux.resources.cpu.realtimeRuntime`; a new one has 0), nor does it let one become that.
fn set_attributes(process: &Process, executor: Executor) -> Result<()> {
    let inherited = |scheduler: &&_| executor == Executor::Caller || !newborn::is_late(scheduler);
    if let Some(scheduler) = process.scheduler.as_ref().filter(inherited) {
        attributes::scheduler(scheduler).context("process.scheduler")?;
    }
    if let Some(priority) = &process.io_priority {
        attributes::io_priority(priority).context("process.ioPriority")?;
    }
    if let Some(policy) = &process.memory_policy {
        attributes::memory_policy(policy).context("linux.memoryPolicy")?;
    }
    if let Some(personality) = process.personality {
        attributes::personality(personality).context("linux.personality")?;
    }
    attributes::roomy_rlimits(&process.rlimits).context("process.rlimits")
}

fn libc_sigkill() -> i32 {
    nix::sys::signal::Signal::SIGKILL as i32
}
