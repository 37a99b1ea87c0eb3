//! `create`: from a plan to a container that waits for `start`, or to nothing at all.

use super::dialogue::{Death, Dialogue, InitProcess};
use super::record::{HostMount, Record};
use super::storage::{self, Volumes};
use super::{Context, CreateArgs};
use crate::cgroup::{self, KillsAbove, Portion};
use crate::host::Host;
use crate::init::{self, HeadStart, Init, Joins, Lineage, Loadable, NetworkMaker, Passed, Start};
use crate::ipc::{Cause, Channel, Report, ToInit, socket};
use crate::plan::mounts::{FsOption, MountOp};
use crate::plan::namespaces::Namespace;
use crate::plan::resources::Limit;
use crate::plan::{Plan, RootChange};
use crate::rootfs::Prepared;
use crate::security::lsm::{self, Labels};
use crate::security::seal::{self, Seal};
use crate::security::seccomp;
use crate::store::{self, Entry, InitRecord, START_SOCKET};
use crate::sys::mount::FsContext;
use crate::sys::netns::NetworkInTheMaking;
use crate::sys::ns::{self, Cloned, Parent};
use crate::sys::shared::SharedWord;
use crate::sys::{Call, Errno, errno_of, exec, pidfd, process};
use crate::volumes::Remove;
use crate::{clock, hooks, log, rdt, trace};
use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes a container that waits for `start`.
///
/// Fails with nothing left behind: no process, cgroup, mount or directory.
pub fn create(context: &Context, args: &CreateArgs) -> Result<()> {
    let seal = seal::ensure(trace::variable())?;
    store::check_id(&args.id)?;
    let sockets = Sockets::connect(args)?;
    let (plan, host) = super::plan(context, args)?;
    sockets.check_terminal(&plan)?;
    let creation = Creation::begin(context, args, plan, host, seal, Starter::StartCommand, sockets.console)?;
    let published = publish(&creation.entry, &creation.init, args, sockets.pidfd.as_ref());
    let finished =
        published.and_then(|()| creation.dialogue.channel.tell_init(ToInit::Go).inspect_err(|_| remove_pid_file(args)));
    creation.or_undo(finished)
}

/// Who will start the container.
pub(super) enum Starter<'a> {
    /// `start`, later.
    StartCommand,
    /// The command that creates it (`run`). Before that it does this: by then the container has to be known
    /// ([`publish`]).
    Creator(&'a mut dyn FnMut(&Entry, &InitProcess) -> Result<()>),
}

/// The sockets that the caller gave.
pub(super) struct Sockets {
    pub console: Option<OwnedFd>,
    pub pidfd: Option<OwnedFd>,
}

impl Sockets {
    pub fn connect(args: &CreateArgs) -> Result<Sockets> {
        args.pid_file.as_deref().map_or(Ok(()), check_pid_file)?;
        let connect = |path: &Option<std::path::PathBuf>, flag: &str| {
            path.as_ref().map(|p| socket::connect_to(p).with_context(|| flag.to_owned())).transpose()
        };
        Ok(Sockets {
            console: connect(&args.console_socket, "--console-socket")?,
            pidfd: connect(&args.pidfd_socket, "--pidfd-socket")?,
        })
    }

    /// A terminal needs somebody to hold its master, and nobody else may ask for one.
    pub fn check_terminal(&self, plan: &Plan) -> Result<()> {
        match (plan.process.as_ref().is_some_and(|p| p.terminal), &self.console) {
            (true, None) => bail!("process.terminal: a detached terminal needs --console-socket"),
            (false, Some(_)) => bail!("--console-socket: process.terminal is false"),
            _ => Ok(()),
        }
    }
}

/// A container in the making, with what has to be undone if it fails.
pub(super) struct Creation {
    pub entry: Entry,
    pub record: Record,
    pub init: InitProcess,
    pub dialogue: Dialogue,
    /// Of a creator that starts the container itself, and will have time to close it.
    pub seal: Option<Seal>,
}

impl Creation {
    /// Goes as far as init being ready. Undoes everything if it fails on the way.
    pub fn begin(
        context: &Context,
        args: &CreateArgs,
        mut plan: Plan,
        host: Host,
        seal: Seal,
        starter: Starter,
        console: Option<OwnedFd>,
    ) -> Result<Creation> {
        for warning in &plan.warnings {
            log::warn(format_args!("{}: {warning}", plan.id));
        }
        trace::phase("prepare the filter, labels and namespaces");
        let passed = passed(args.preserve_fds)?;
        let network = match NetworkMaker::of(&plan.namespaces) {
            NetworkMaker::Beside => NetworkInTheMaking::begin(),
            NetworkMaker::WithOthers => None,
        };
        // All that can be refused without a trace comes before the state directory is made.
        let mut parts = Parts::gather(context, &mut plan, host, network)?;
        // With a user namespace init is born into the pid namespace first, and has no use for the option.
        let of_host = plan.namespaces.user == Namespace::Inherit;
        parts.outside =
            parts.joins.pid().is_some_and(|namespace| of_host && show_from_outside(&mut plan, namespace.as_fd()));
        let mut record = Record::new(&plan, parts.host.uid, clock::now())?;
        trace::phase("make the state directory");
        let entry = context.store().create(&plan.id)?;
        record.storage = storage::record(context, &plan, parts.volumes.as_ref());
        let mut making = Making { plan: &plan, entry: &entry, record, init: None, seal: Some(seal), kills_above: None };
        match making.make(parts, starter, console, passed) {
            Ok(dialogue) => {
                let Making { record, init, seal, .. } = making;
                let init = init.context("there is no init process")?;
                Ok(Creation { entry, record, init, dialogue, seal })
            }
            Err(error) => {
                let error = explain_oom(error, &making);
                undo(&entry, &making.record, making.init.as_ref(), failed_in_hook(&error));
                Err(error)
            }
        }
    }

    /// Undoes the creation if a step after it has failed.
    pub fn or_undo<T>(&self, step: Result<T>) -> Result<T> {
        if step.is_err() {
            undo(&self.entry, &self.record, Some(&self.init), false);
        }
        step
    }
}

/// Makes the container known by its init file, pidfd and pid file.
pub(super) fn publish(
    entry: &Entry,
    init: &InitProcess,
    args: &CreateArgs,
    pidfd_socket: Option<&OwnedFd>,
) -> Result<()> {
    trace::phase("make the container known");
    entry.publish_init()?;
    if let Some(socket) = pidfd_socket {
        socket::send_fd(socket.as_fd(), b"pidfd", init.pidfd.as_fd()).context("--pidfd-socket")?;
    }
    match &args.pid_file {
        Some(path) => write_pid_file(path, init.pid),
        None => Ok(()),
    }
}

/// Takes back what [`publish`] wrote, after an error: that is the one to tell, whatever comes of this.
pub(super) fn remove_pid_file(args: &CreateArgs) {
    if let Some(path) = &args.pid_file {
        let _ = std::fs::remove_file(path);
    }
}

/// What init is made from, gathered without a side effect.
struct Parts {
    host: Host,
    filter: Option<Vec<u8>>,
    labels: Labels,
    joins: Joins,
    network: Option<NetworkInTheMaking>,
    volumes: Option<Volumes>,
    /// The procfs of the pid namespace that is joined is made from outside.
    outside: bool,
}

impl Parts {
    fn gather(context: &Context, plan: &mut Plan, host: Host, network: Option<NetworkInTheMaking>) -> Result<Parts> {
        storage::check_sources(plan)?;
        if let Some(text) = lsm::mount_label_warning(plan.rootfs.mount_label.as_deref()) {
            log::warn(format_args!("{}: {text}", plan.id));
        }
        let volumes = Volumes::of(context, plan)?;
        // No container can have this name.
        let cache = context.root.join("@seccomp");
        Ok(Parts {
            filter: plan.seccomp.as_ref().map(|s| seccomp::compiled(&s.filter, Some(&cache))).transpose()?,
            labels: match &plan.process {
                Some(process) => Labels::check(process)?,
                None => Labels::default(),
            },
            joins: Joins::open(plan)?,
            network,
            volumes,
            outside: false,
            host,
        })
    }
}

/// The part of `create` that has side effects.
struct Making<'a> {
    plan: &'a Plan,
    entry: &'a Entry,
    record: Record,
    init: Option<InitProcess>,
    seal: Option<Seal>,
    /// Only with limits.
    kills_above: Option<KillsAbove>,
}

impl Making<'_> {
    fn make(&mut self, parts: Parts, starter: Starter, console: Option<OwnedFd>, passed: Passed) -> Result<Dialogue> {
        let plan = self.plan;
        let Parts { host, filter, labels, mut joins, network, volumes, outside } = parts;
        let intent = cgroup::intend(&plan.cgroup, &host)?;
        self.record.cgroup = intent.record().clone();
        if let Some(rdt) = &plan.intel_rdt {
            let root = rdt::root()?;
            let group = rdt::Group::intend(&root, &plan.id, rdt)?;
            self.record.intel_rdt = Some((root, group));
        }
        if plan.root_change == RootChange::Chroot {
            self.record.mounted = Some(HostMount::intend(&plan.rootfs.path)?);
        }
        self.entry.write_record(&self.record)?;
        if let Some(program) = &filter {
            self.entry.write_filter(program)?;
        }
        let privileged = host.uid == 0;
        let lineage = Lineage::of(&plan.namespaces, privileged, outside);
        let useful = intent.is_made_later() && plan.net_devices.is_empty();
        let head_start = HeadStart::of(&plan.namespaces, lineage, useful);
        trace::phase("make the cgroup");
        let cgroup = intent.begin(match head_start {
            HeadStart::Given => Portion::ForBirth,
            HeadStart::None => Portion::All,
        })?;
        trace::phase("open the mounts' sources");
        storage::make_sources(plan)?;
        let sources = volumes.map(|volumes| volumes.take(plan, &self.record)).transpose()?;
        // A mount of type cgroup has the container's own cgroup as its source.
        let prepared = Prepared::for_init(plan, sources.unwrap_or_default(), &cgroup.coming(), &mut |text| {
            log::warn(format_args!("{}: {text}", plan.id));
        })?;
        if let (Some(rdt), Some((root, _))) = (&plan.intel_rdt, &self.record.intel_rdt) {
            rdt::Group::create(root, &plan.id, rdt)?;
        }
        let (start, before_start) = match starter {
            Starter::StartCommand => (Start::Listener(socket::listen_in(self.entry.dir(), START_SOCKET)?), None),
            Starter::Creator(before_start) => (Start::Runtime, Some(before_start)),
        };
        let progress = SharedWord::new().call(|| "mmap a shared page".into())?;
        let (ours, theirs) = Channel::pair()?;
        let new_user_namespace = plan.namespaces.user == Namespace::New;
        if privileged || !new_user_namespace {
            process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())?;
        }
        trace::phase("wait for the network namespace");
        let network = match network.and_then(NetworkInTheMaking::finish) {
            Some(namespace) => {
                joins.add_network(namespace);
                NetworkMaker::Beside
            }
            // It is joined or shared, or making it has failed: then it fails again, and with an error.
            None => NetworkMaker::WithOthers,
        };
        trace::phase("clone init");
        let waits = new_user_namespace
            // Its first word may not come before that of who makes it.
            || lineage == Lineage::Grandchild
            || head_start == HeadStart::Given
            || plan.intel_rdt.is_some()
            || oom_score_adj(plan).is_some()
            || cgroup.waits_for_attach();

        let flags = if lineage != Lineage::Grandchild { init::flags_at_clone(&plan.namespaces, network) } else { 0 };
        let cloned = {
            let inside = PidNamespaceVisit::enter(joins.pid_around_clone(lineage).map(AsFd::as_fd))?;
            let cloned = ns::clone3(flags, cgroup.into_fd(), Parent::Caller).call(|| format!("clone3 {flags:#x}"))?;
            if matches!(cloned, Cloned::Child) {
                inside.stay();
            }
            cloned
        };
        let (pid, pidfd) = match cloned {
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
            Cloned::Child => init::run(Init {
                plan,
                channel: theirs,
                progress,
                lineage,
                joins,
                cgroup,
                head_start,
                network,
                prepared,
                labels: &labels,
                seccomp: plan.seccomp.as_ref().zip(filter.as_deref()).map(|(seccomp, program)| Loadable {
                    program,
                    flags: seccomp.flags,
                    listens: seccomp.listener.is_some(),
                }),
                console_socket: console,
                start,
                passed,
                waits,
                not_ours: [ours.as_fd().as_raw_fd(), self.entry.dir().as_raw_fd()]
                    .into_iter()
                    .chain(self.seal.as_ref().and_then(Seal::fd))
                    .collect(),
            }),
        };
        trace::phase("make the rest of the cgroup");
        drop((theirs, start, console));
        log::debug(format_args!("{}: init is process {pid}", plan.id));
        let dialogue = Dialogue::new(ours, progress);
        let mut init = InitProcess { pid, pidfd };
        if lineage == Lineage::Grandchild {
            init = dialogue.hear_birth(self.init.insert(init))?;
        }
        let pid = self.init.insert(init).pid;
        let attended = self.finish_cgroup(cgroup, pid).and_then(|()| match waits {
            true => prepare_init(plan, &self.record, pid, &host, &prepared),
            false => Ok(()),
        });
        let init = self.init.as_ref().context("there is no init process")?;
        match attended {
            // Init, which has gone ahead, knows better why: it is gone.
            Err(error) if dialogue.channel.is_closed()? => return Err(dialogue.last_words(init).unwrap_or(error)),
            attended => attended?,
        }
        if waits {
            dialogue.let_go_on(init)?;
        }
        trace::phase("wait for init");
        if lineage != Lineage::Sibling {
            // While it works.
            let start_time = store::start_time(init.pid).context("init is gone")?;
            self.entry.write_init(&InitRecord { pid: init.pid, start_time })?;
        }
        drop((joins, prepared));
        let mut before_start = before_start;
        let seal = if before_start.is_none() { self.seal.take() } else { None };
        let entry = self.entry;
        let mut before_start = |init: &InitProcess| match &mut before_start {
            Some(act) => act(entry, init),
            None => bail!("a frame out of turn"),
        };
        let born = dialogue.until_ready(plan, init, seal, &mut before_start)?;
        if let Some(newborn) = born {
            let init = self.init.insert(newborn);
            let start_time = store::start_time(init.pid).context("init is gone")?;
            entry.write_init(&InitRecord { pid: init.pid, start_time })?;
            dialogue.let_go_on(init)?;
            dialogue.until_newborn_is_ready(plan, init, &mut before_start)?;
        }
        Ok(dialogue)
    }

    /// What of the cgroup is made when there is an init.
    fn finish_cgroup(&mut self, cgroup: cgroup::Begun, init: i32) -> Result<()> {
        let mut cgroup = cgroup.finish()?;
        let note = |text: &str| log::debug(format_args!("{}: {text}", self.plan.id));
        cgroup.notes().iter().for_each(|text| note(text));
        if self.plan.cgroup.has_limits() {
            self.kills_above = KillsAbove::of(&self.record.cgroup)?;
        }
        let attached = cgroup.attach(init);
        if attached.is_err() {
            self.record.cgroup = cgroup.record().clone();
        }
        attached?.iter().for_each(|text| note(text));
        cgroup.complete()
    }
}

/// `process.oomScoreAdj`, which the runtime writes: it may have rights that the container's root has not.
fn oom_score_adj(plan: &Plan) -> Option<i32> {
    plan.process.as_ref().and_then(|p| p.oom_score_adj)
}

/// Does what init waits for before its first step.
fn prepare_init(plan: &Plan, record: &Record, init: i32, host: &Host, prepared: &Prepared) -> Result<()> {
    if let Some(map) = plan.namespaces.id_map.as_ref().filter(|_| plan.namespaces.user == Namespace::New) {
        super::idmap::write(init, map, host)?;
        if prepared.needs_user_namespace() {
            let path = format!("/proc/{init}/ns/user");
            let namespace = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .call(|| format!("open {path}"))?;
            prepared.map_ids(plan, namespace.as_fd())?;
        }
    }
    if let Some(score) = oom_score_adj(plan) {
        let path = format!("/proc/{init}/oom_score_adj");
        std::fs::write(&path, score.to_string())
            .call(|| format!("write {path} {score}"))
            .context("process.oomScoreAdj")?;
    }
    if let Some((root, group)) = &record.intel_rdt {
        group.join(root, init)?;
    }
    Ok(())
}

/// Lets the procfs mounts of the plan show this pid namespace, whoever makes them; false where the kernel has no way to
/// say so (before Linux 6.17).
fn show_from_outside(plan: &mut Plan, namespace: BorrowedFd) -> bool {
    const OPTION: &str = "pidns";
    // Init makes the mounts while it has the host's /proc and this fd.
    let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    if FsContext::open("proc").and_then(|context| context.set_string(OPTION, path.as_bytes())).is_err() {
        return false;
    }
    for mount in &mut plan.mounts {
        if let MountOp::Fs(fs) = &mut mount.op
            && fs.fstype == "proc"
        {
            fs.options.push(FsOption::Value(OPTION.to_owned(), path.clone()));
        }
    }
    true
}

/// The runtime's own stay in the pid namespace that its child is to be born in.
pub(super) struct PidNamespaceVisit {
    home: Option<OwnedFd>,
}

impl PidNamespaceVisit {
    const KIND: u64 = libc::CLONE_NEWPID as u64;

    pub fn enter(namespace: Option<BorrowedFd>) -> Result<PidNamespaceVisit> {
        let Some(namespace) = namespace else { return Ok(PidNamespaceVisit { home: None }) };
        let home = open("/proc/self/ns/pid", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| "open /proc/self/ns/pid".into())?;
        ns::setns(namespace, Self::KIND).call(|| "setns pid".into()).context("pid namespace of linux.namespaces")?;
        Ok(PidNamespaceVisit { home: Some(home) })
    }
}

impl PidNamespaceVisit {
    /// For the child: it was born there and has no way back.
    pub fn stay(mut self) {
        self.home = None;
    }
}

impl Drop for PidNamespaceVisit {
    fn drop(&mut self) {
        if let Some(home) = &self.home
            && let Err(errno) = ns::setns(home.as_fd(), Self::KIND)
        {
            log::warn(format_args!("setns back to the runtime's pid namespace: {errno}"));
        }
    }
}

/// Says so if init was killed because the memory limit is too small for it.
fn explain_oom(error: anyhow::Error, making: &Making) -> anyhow::Error {
    let record = &making.record;
    // Only a better sentence: where the count cannot be read the first error stands.
    let in_its_cgroup = || record.cgroup.oom_kills().is_ok_and(|kills| kills > 0);
    let above = || making.kills_above.as_ref().is_some_and(|above| above.have_grown().is_ok_and(|grown| grown));
    // With systemd init may be dead before it is asked for anything.
    let is_dead = || making.init.as_ref().is_some_and(|init| pidfd::ended_child() == Ok(Some(init.pid)));
    let died = || error.downcast_ref::<Death>().is_some_and(Death::by_sigkill) || is_dead();
    let killed = in_its_cgroup() || (above() && died());
    match making.plan.cgroup.resources.memory.limit {
        Some(Limit::To(limit)) if killed || errno_of(&error) == Some(Errno::ENOMEM) => {
            let end = if killed { "init was killed for want of memory" } else { "there was no memory" };
            error.context(format!("linux.resources.memory.limit: {limit} bytes are too few for a start: {end}"))
        }
        // A limit of a cgroup above, or one of `unified`.
        _ if killed => error.context("init was killed for want of memory: a limit of its cgroup is too small"),
        _ => error,
    }
}

/// Takes back what `create` did. What cannot be taken back is logged; its record stays, for `delete --force`.
fn undo(entry: &Entry, record: &Record, init: Option<&InitProcess>, run_poststop: bool) {
    undo_what("create", entry, record, init, run_poststop, Remove::Yes);
}

/// The same for another command that makes a container.
pub(super) fn undo_what(
    command: &str,
    entry: &Entry,
    record: &Record,
    init: Option<&InitProcess>,
    run_poststop: bool,
    volumes: Remove,
) {
    let warn = |what: &str, result: Result<()>| {
        let Err(error) = result else { return true };
        log::warn(format_args!("{}: after the failed {command}: {what}: {error:#}", entry.id()));
        false
    };
    if let Some(init) = init {
        warn("end init", init.end());
    }
    let taken = warn("take away its groups and mounts", record.take_away());
    record.give_back_volumes(volumes);
    if taken {
        warn("remove the state directory", entry.remove());
    }
    if run_poststop {
        record.run_poststop_hooks();
    }
}

/// Whether a hook was what failed: the lifecycle then goes on with the poststop hooks.
pub(super) fn failed_in_hook(error: &anyhow::Error) -> bool {
    hooks::has_failed(error) || error.downcast_ref::<Report>().is_some_and(|r| r.cause == Cause::Hook)
}

/// The caller's fds that the process gets: those of a service manager (sd_listen_fds(3)), and then `--preserve-fds` more.
/// Each must be one that the caller left open, or one of our own, which close at an exec, would take its place.
pub(super) fn passed(preserve: u32) -> Result<Passed> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let listening = match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0),
        false => 0,
    };
    let count = listening.saturating_add(preserve);
    for number in (3..).take(count as usize) {
        if exec::is_inherited(number).call(|| format!("fcntl F_GETFD {number}"))? {
            continue;
        }
        match number.cast_unsigned() < 3 + listening {
            true => bail!("LISTEN_FDS {listening}: fd {number} is not open"),
            false => bail!("--preserve-fds {preserve}: fd {number} is not open"),
        }
    }
    Ok(Passed { count, listening })
}

/// Refuses to replace what is not a file: the rename would take the place of a device node (`/dev/null`), a socket or a FIFO
/// that somebody else uses.
pub(super) fn check_pid_file(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) => {
            let path = path.display();
            ensure!(
                found.is_file(),
                "--pid-file {path}: exists and is not a regular file; name a file, or one to make"
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).call(|| format!("stat {}", path.display())).context("--pid-file"),
    }
}

/// The pid file appears whole: written aside and renamed.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    check_pid_file(path)?;
    let name = path.file_name().context("--pid-file has no file name")?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    let write = || -> Result<()> {
        let create = || std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = match create() {
            // Left by one that was killed, or laid as a trap: a link is not followed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&temporary).call(|| format!("unlink {}", temporary.display()))?;
                create()
            }
            file => file,
        };
        let mut file = file.call(|| format!("create {}", temporary.display()))?;
        file.write_all(pid.to_string().as_bytes()).call(|| format!("write {}", temporary.display()))?;
        std::fs::rename(&temporary, path).call(|| format!("rename to {}", path.display()))
    };
    write().context("--pid-file").inspect_err(|_| {
        // Mostly it was never made.
        let _ = std::fs::remove_file(&temporary);
    })
}
