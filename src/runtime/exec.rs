//! `exec`: one more process in a running container.

use super::Context;
use super::create::{check_pid_file, passed, write_pid_file};
use super::dialogue::{Death, Dialogue, InitProcess};
use super::foreground::Foreground;
use super::newborn::Cradle;
use super::record::Record;
use super::terminal::Terminal;
use crate::bundle::{LoadError, ProcessFile};
use crate::cgroup;
pub use crate::cgroup::SubCgroup;
use crate::init::exec::{self, Birth, Exec};
use crate::init::{Loadable, Passed};
use crate::ipc::{Channel, ToInit, socket};
use crate::plan::exec::{Changes, Template};
use crate::plan::{Problems, Process};
use crate::security::attributes;
use crate::security::lsm::Labels;
use crate::security::seal::{self, Seal};
use crate::security::seccomp::notify::{self, ContainerProcessState};
use crate::state::Status;
use crate::store::{Access, Entry, NotFound};
use crate::sys::ns::{self, Cloned, Parent};
use crate::sys::script::Layout;
use crate::sys::{Call, Errno, pidfd, process, tty};
use crate::{log, trace};
use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `exec`.
#[derive(Debug, Clone)]
pub struct ExecArgs {
    pub id: String,
    pub what: What,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub detach: bool,
    /// Number of fds from 3 on that the process keeps.
    pub preserve_fds: u32,
    pub cgroups: Vec<SubCgroup>,
    /// Go on in a paused container; the process runs when that is resumed.
    pub ignore_paused: bool,
}

/// What is executed.
#[derive(Debug, Clone)]
pub enum What {
    /// The process of a process.json.
    File(PathBuf),
    /// The container's own process with these changes.
    Changed(Changes),
}

/// Runs a process in a container. In the foreground: waits for it, and returns its exit code (128+n when signal n ended
/// it). Detached: returns 0 as soon as the program runs.
pub fn exec(context: &Context, args: &ExecArgs) -> Result<i32> {
    run(context, args).context("exec failed")
}

fn run(context: &Context, args: &ExecArgs) -> Result<i32> {
    let seal = seal::ensure(trace::variable())?;
    let passed = passed(args.preserve_fds)?;
    args.pid_file.as_deref().map_or(Ok(()), check_pid_file)?;
    let entry = context.store().open(&args.id, Access::Read)?;
    let (init, container) = running(&entry)?;
    match run_in(&entry, init, container, args, passed, seal) {
        Err(error) if has_ended(&entry, &error)? => Err(gone(&entry)),
        result => result,
    }
}

/// In the container whose first process is `init`, with the pidfd `container`.
fn run_in(entry: &Entry, init: i32, container: OwnedFd, args: &ExecArgs, passed: Passed, seal: Seal) -> Result<i32> {
    let record = Record::of(entry)?.context("the container's record is missing")?;
    if !args.ignore_paused && record.cgroup.is_frozen()? {
        bail!("cannot exec in a paused container (use --ignore-paused to override)");
    }
    let template = &record.template()?;
    let mut process = process(&args.what, template)?;
    let (terminal, console) = terminal(args, &mut process)?;
    let pidfd_socket =
        args.pidfd_socket.as_ref().map(|p| socket::connect_to(p).context("--pidfd-socket")).transpose()?;
    let labels = Labels::check(&process)?;
    let filter = template.seccomp.as_ref().map(|_| entry.filter()).transpose()?;
    let inside = Inside { entry, record: &record, template, init, container, passed, args, seal };
    // Before the program starts: no signal is lost.
    let mut foreground = if args.detach { None } else { Some(Foreground::block_signals()?) };
    let started = inside.start(&process, &labels, filter.as_deref(), console)?;
    let publish = || -> Result<()> {
        if let Some(socket) = &pidfd_socket {
            socket::send_fd(socket.as_fd(), b"pidfd", started.pidfd.as_fd()).context("--pidfd-socket")?;
        }
        if let Some(foreground) = &mut foreground {
            foreground.join(terminal)?;
        }
        args.pid_file.as_ref().map_or(Ok(()), |path| write_pid_file(path, started.pid))
    };
    if let Err(error) = publish() {
        started.end().context(format!("after {error:#}"))?;
        return Err(error);
    }
    foreground.map_or(Ok(0), |foreground| foreground.wait_for(&started))
}

/// The container's first process: its pid and a pidfd.
fn running(entry: &Entry) -> Result<(i32, OwnedFd)> {
    if let Some(found) = entry.process()? {
        return Ok(found);
    }
    if entry.init()?.is_some() || !entry.is_linked() {
        return Err(gone(entry));
    }
    bail!("cannot exec in a container that is not created yet");
}

fn gone(entry: &Entry) -> anyhow::Error {
    match entry.is_linked() {
        true => anyhow!("cannot exec in a stopped container"),
        false => NotFound(entry.id().to_owned()).into(),
    }
}

/// Whether the container has ended meanwhile, which then is why `error` came about: its namespaces take no more processes
/// (ENOMEM), its cgroup none (ENODEV), and the kernel has killed the new one with all others.
fn has_ended(entry: &Entry, error: &anyhow::Error) -> Result<bool> {
    // The first process, which is killed at the same time, may still be on its way to the end.
    const PATIENCE: Duration = Duration::from_secs(1);
    if entry.is_ending()? {
        return Ok(true);
    }
    let killed = error.downcast_ref::<Death>().is_some_and(Death::by_sigkill);
    match entry.process()? {
        Some((_, pidfd)) if killed => pidfd::wait_for_end_within(pidfd.as_fd(), PATIENCE).call(|| "poll".into()),
        Some(_) => Ok(false),
        None => Ok(true),
    }
}

fn process(what: &What, template: &Template) -> Result<Process> {
    let mut problems = Vec::new();
    let changes = match what {
        What::File(path) => {
            let place = || format!("--process {}", path.display());
            let file = match ProcessFile::load(path) {
                Ok(file) => file,
                Err(LoadError::File(error)) => return Err(error.context(place())),
                Err(LoadError::Shape(problems)) => bail!("{}: {}", place(), Problems(problems).text("the file")),
            };
            let mut warnings = file.warnings.clone();
            let process = template.from_file(&file.process, &mut problems, &mut warnings);
            warnings.iter().for_each(|text| log::warn(format_args!("{text}")));
            let problems = file.misfits.with(problems);
            if !problems.is_empty() {
                bail!("{}: {}", place(), Problems(problems).text("the file"));
            }
            return Ok(process);
        }
        What::Changed(changes) => changes.clone(),
    };
    let mut warnings = Vec::new();
    let process = template.changed(changes, &mut problems, &mut warnings);
    warnings.iter().for_each(|text| log::warn(format_args!("{text}")));
    match process {
        Some(process) if problems.is_empty() => Ok(process),
        _ => bail!("{}", Problems(problems).text("the command line")),
    }
}

/// The caller's own terminal for a foreground process that wants one, and where the process sends its master.
fn terminal(args: &ExecArgs, process: &mut Process) -> Result<(Option<Terminal>, Option<OwnedFd>)> {
    match (process.terminal, args.detach, &args.console_socket) {
        (true, true, None) => bail!("cannot allocate tty if runc will detach without setting console socket"),
        (true, true, Some(path)) => Ok((None, Some(socket::connect_to(path).context("--console-socket")?))),
        (_, _, Some(_)) => bail!("cannot use console socket if runc will not detach or allocate tty"),
        (true, false, None) => {
            if process.console_size.is_none() {
                // Without a terminal of the caller there is no size.
                process.console_size = tty::window_size(std::io::stdin().as_fd()).ok();
            }
            let (terminal, socket) = Terminal::prepare()?;
            Ok((Some(terminal), Some(socket)))
        }
        (false, _, None) => Ok((None, None)),
    }
}

/// The running container.
struct Inside<'a> {
    entry: &'a Entry,
    record: &'a Record,
    template: &'a Template,
    /// Its first process.
    init: i32,
    container: OwnedFd,
    passed: Passed,
    args: &'a ExecArgs,
    seal: Seal,
}

impl Inside<'_> {
    /// Returns when the program runs. After an error there is no process.
    fn start(
        self,
        process: &Process,
        labels: &Labels,
        filter: Option<&[u8]>,
        console_socket: Option<OwnedFd>,
    ) -> Result<InitProcess> {
        let Inside { entry, record, template, init, container, passed, args, seal } = self;
        let mount = template.namespaces & libc::CLONE_NEWNS as u64;
        let privileged = nix::unistd::geteuid().is_root();
        let (ours, theirs) = Channel::pair()?;
        let seccomp = template.seccomp.as_ref().zip(filter).map(|(seccomp, program)| Loadable {
            program,
            flags: seccomp.flags,
            listens: seccomp.listener.is_some(),
        });
        let (cradle, pipe) = Cradle::new(seccomp)?;
        let shared = cradle.shared;
        let child = Exec {
            process,
            shared,
            birth: Birth::of(template.namespaces),
            pipe,
            layout: Layout::survey().call(|| "survey the memory of this process".into())?,
            container,
            namespaces: template.namespaces,
            root: if mount == 0 { Some(open_root(record)?) } else { None },
            cgroup: record.cgroup.entry(init, &args.cgroups).context("find the container's cgroup")?,
            labels,
            seccomp,
            keyring: template.keyring.then_some(record.id.as_str()),
            console_socket,
            foreground: !args.detach,
            passed,
            waits: record.intel_rdt.is_some(),
            not_ours: [ours.as_fd().as_raw_fd(), cradle.fd(), entry.dir().as_raw_fd()]
                .into_iter()
                .chain(seal.fd())
                .collect(),
        };
        if privileged {
            process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())?;
        }
        if let Some(cpus) = process.cpu_affinity.as_ref().and_then(|a| a.initial.as_deref()) {
            // Inherited by the child, which is born in its cgroup.
            attributes::cpu_affinity(0, cpus).context("process.execCPUAffinity.initial")?;
        }
        let birth = child.birth;
        let (mut started, waiting) = beget(child, &theirs)?;
        drop((theirs, seal));
        let dialogue = Dialogue::new(ours, shared.step());
        let listener = |pid, fd| send_listener(record, template, init, pid, fd);
        if let Err(error) = answer(&dialogue, &mut started, waiting, birth, record, &cradle, &listener) {
            started.end().with_context(|| format!("after {error:#}"))?;
            return Err(error);
        }
        Ok(started)
    }
}

/// What a child waits for that was not born in its cgroup.
enum Waiting {
    /// To be moved there by the user's systemd.
    ToBeAttached(cgroup::Entry),
    No,
}

/// Clones the child, which goes its own way.
fn beget(mut child: Exec, channel: &Channel) -> Result<(InitProcess, Waiting)> {
    let mut outside = false;
    let cloned = match ns::clone3(0, child.cgroup.into_fd(), Parent::Caller) {
        Err(Errno::EACCES) if child.cgroup.can_attach() => {
            (child.waits, outside) = (true, true);
            ns::clone3(0, None, Parent::Caller)
        }
        cloned => cloned,
    };
    match cloned.call(|| "clone3".into())? {
        Cloned::Parent { pid, pidfd } => {
            let waiting = if outside { Waiting::ToBeAttached(child.cgroup) } else { Waiting::No };
            Ok((InitProcess { pid, pidfd }, waiting))
        }
        Cloned::Child => exec::run(child, channel),
    }
}

/// The runtime's part of the work until the program runs.
fn answer(
    dialogue: &Dialogue,
    started: &mut InitProcess,
    waiting: Waiting,
    birth: Birth,
    record: &Record,
    cradle: &Cradle,
    listener: &dyn Fn(i32, OwnedFd) -> Result<()>,
) -> Result<()> {
    if let Waiting::ToBeAttached(cgroup) = &waiting {
        cgroup.attach(started.pid)?;
    }
    if let Some((root, group)) = &record.intel_rdt {
        group.join(root, started.pid)?;
    }
    if record.intel_rdt.is_some() || matches!(waiting, Waiting::ToBeAttached(_)) {
        dialogue.channel.tell_init(ToInit::Go)?;
    }
    dialogue.until_prepared(started)?;
    if birth == Birth::Sibling {
        *started = cradle.receive(started)?;
    }
    let pid = started.pid;
    cradle.until_executed(started, &|fd| listener(pid, fd))
}

/// The root filesystem of a container that shares the runtime's mount namespace.
fn open_root(record: &Record) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(&record.rootfs, flags, Mode::empty()).call(|| format!("open {}", record.rootfs.display()))
}

/// Hands the seccomp listener of process `pid` to the agent that the config names.
fn send_listener(record: &Record, template: &Template, init: i32, pid: i32, fd: OwnedFd) -> Result<()> {
    let listener = template.seccomp.as_ref().and_then(|s| s.listener.as_ref());
    let listener = listener.context("a seccomp listener that the container does not have")?;
    let state = record.state(Status::Running, Some(init));
    let message = ContainerProcessState::new(&record.oci_version, pid, &listener.metadata, &state);
    notify::send(&listener.path, fd.as_fd(), &message.json()?)
}
