//! `restore`: a container from its bundle and an image that `checkpoint` has written.
//!
//! What `create` prepares for init is prepared for criu: the cgroup, the sources of the mounts as open trees, namespaces
//! of others. A child of ours enters the cgroup and a mount namespace where the sources are laid out, and becomes criu;
//! the process that criu makes is our child too.

use super::checkpoint::utf8;
use super::create::{Sockets, failed_in_hook, undo_what, write_pid_file};
use super::dialogue::{Dialogue, InitProcess};
use super::external;
use super::foreground::Foreground;
use super::images::{self, ImageArgs, Images};
use super::notify::{self, Notifying, Relay};
use super::record::Record;
use super::sentinel::Sentinel;
use super::storage::{self, AnonymousNames, Volumes};
use super::surroundings::{Joined, cgroup_roots, check_namespaces, is_apart};
use super::terminal::Terminal;
use super::{Context, CreateArgs, delete};
use crate::cgroup;
use crate::criu::{self, Conversation, Criu, InheritFd, Kind, Notify, Request};
use crate::host::Host;
use crate::init::restored::{self, Restored};
use crate::ipc::{Channel, ToInit, socket};
use crate::plan::Plan;
use crate::plan::namespaces::Namespace;
use crate::rootfs::Prepared;
use crate::rootfs::stage::Staged;
use crate::security::seccomp;
use crate::state::{HookState, Status};
use crate::store::{self, Entry, InitRecord};
use crate::sys::ns::{self, CLONE_NEWTIME, Cloned, Parent};
use crate::sys::shared::SharedWord;
use crate::sys::{Call, pidfd, process};
use crate::volumes::Remove;
use crate::{clock, hooks, log, network, rdt};
use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The flags of `restore`.
#[derive(Debug, Clone, Default)]
pub struct RestoreArgs {
    /// Id, bundle, console socket, pid file, no_pivot.
    pub create: CreateArgs,
    pub image: ImageArgs,
    pub detach: bool,
    pub no_subreaper: bool,
    /// `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

const LOG: &str = "restore.log";
/// In the state directory; what is laid out there is seen by criu alone.
const STAGE: &str = "criu";

/// Restores a container. In the foreground: as `run`, with the process's exit code. Detached: 0 when it runs.
///
/// Fails with nothing left behind, but for criu's log.
pub fn restore(context: &Context, args: &RestoreArgs) -> Result<i32> {
    images::warn_rootless("restore");
    store::check_id(&args.create.id)?;
    let criu = Criu::find()?;
    check_version(&criu, args)?;
    let mut sockets = Sockets::connect(&args.create)?;
    let images = Images::open(&args.image)?;
    let notifying = images.read::<Notifying>(images::NOTIFY)?.unwrap_or_default();
    let notifies = notifying.mounted || notify::manager().is_some();
    let (mut plan, host) = super::plan_notifying(context, &args.create, notifies)?;
    for warning in &plan.warnings {
        log::warn(format_args!("{}: {warning}", plan.id));
    }
    check_plan(&plan, args)?;
    let terminal = terminal(&plan, args, &mut sockets)?;
    let parts = Parts::gather(context, &mut plan, args, images)?;
    // Those that the image names are older than this attempt.
    let made_volumes = if parts.names_volumes { Remove::No } else { Remove::Yes };
    let entry = context.store().create(&plan.id)?;
    let mut record = Record::new(&plan, host.uid, clock::now())?;
    record.storage = storage::record(context, &plan, parts.volumes.as_ref());
    let mut restoring = Restoring {
        plan: &plan,
        args,
        entry: &entry,
        record,
        criu: &criu,
        console: sockets.console.take(),
        helper: None,
        init: None,
        sentinel: None,
        relay: None,
        foreground: None,
    };
    let done = restoring.restore(parts, &host, terminal);
    let Restoring { record, helper, init, sentinel, relay, foreground, .. } = restoring;
    if let Err(error) = done {
        // Both before the container's processes, which neither of them waits for.
        let ends = [helper.map(|helper| helper.end()), sentinel.map(Sentinel::end)];
        for end in ends.into_iter().flatten().filter_map(Result::err) {
            log::warn(format_args!("{}: after the failed restore: end criu: {end:#}", entry.id()));
        }
        if let (Some(_), Some(path)) = (&init, &args.create.pid_file) {
            // Written just now, if at all; the first error is the one to tell.
            let _ = std::fs::remove_file(path);
        }
        undo_what("restore", &entry, &record, init.as_ref(), failed_in_hook(&error), made_volumes);
        return Err(error);
    }
    let init = init.context("criu has not told of the restored process")?;
    let relay = if notifying.awaited { relay } else { tell_ready(relay, &init, args.detach).map(|()| None)? };
    wait(entry, init, relay, foreground)
}

/// For a container that has said so before, or never will: tells the service manager that it runs.
fn tell_ready(relay: Option<Relay>, init: &InitProcess, detach: bool) -> Result<()> {
    let Some(relay) = relay else { return Ok(()) };
    if !detach {
        return relay.say_ready(std::process::id().cast_signed());
    }
    relay.say_ready(init.pid)?;
    relay.synchronise()
}

/// In the foreground: until the end, and takes the container away.
fn wait(entry: Entry, init: InitProcess, relay: Option<Relay>, foreground: Option<Foreground>) -> Result<i32> {
    let entry = entry.unlock()?;
    let Some(mut foreground) = foreground else {
        return relay.map_or(Ok(0), |relay| relay.wait(init.pid, init.pidfd.as_fd()).map(|()| 0));
    };
    foreground.relay(relay);
    let code = foreground.wait_for(&init)?;
    if let Some(entry) = entry.lock_again()? {
        // Anonymous volumes are older than this run.
        delete::destroy(&entry, Record::of(&entry)?.as_ref(), Remove::No)?;
    }
    Ok(code)
}

fn check_version(criu: &Criu, args: &RestoreArgs) -> Result<()> {
    for (flag, given) in [("--lsm-profile", &args.lsm_profile), ("--lsm-mount-context", &args.lsm_mount_context)] {
        if given.is_some() {
            criu.ensure_version(31600, flag)?;
        }
    }
    Ok(())
}

/// Refuses what criu cannot do, before anything is done.
fn check_plan(plan: &Plan, args: &RestoreArgs) -> Result<()> {
    ensure!(plan.process.is_some(), "cannot restore: config.json has no `process`");
    let namespaces = &plan.namespaces;
    ensure!(
        namespaces.mount == Namespace::New,
        "linux.namespaces: without a new mount namespace nothing can be restored"
    );
    // Criu is born in it first, with the host's files and all privileges before the container's neighbours.
    ensure!(
        !matches!(namespaces.pid, Namespace::Join(_)),
        "linux.namespaces: cannot restore into a pid namespace that exists: its processes could take over criu (leave out \
         the path)"
    );
    ensure!(namespaces.user == Namespace::Inherit, "linux.namespaces: criu cannot restore into a user namespace");
    ensure!(
        !matches!(namespaces.cgroup, Namespace::Join(_)),
        "linux.namespaces: criu cannot restore into a cgroup namespace that exists"
    );
    if args.create.no_pivot {
        log::warn(format_args!("{}: --no-pivot: criu changes the root in its own way", plan.id));
    }
    Ok(())
}

/// A container with a terminal sends its master to the console socket, or to ourselves in the foreground.
fn terminal(plan: &Plan, args: &RestoreArgs, sockets: &mut Sockets) -> Result<Option<Terminal>> {
    let wanted = plan.process.as_ref().is_some_and(|p| p.terminal);
    if !wanted || args.detach || sockets.console.is_some() {
        sockets.check_terminal(plan)?;
        return Ok(None);
    }
    let (terminal, socket) = Terminal::prepare()?;
    sockets.console = Some(socket);
    Ok(Some(terminal))
}

/// What is gathered without a side effect.
struct Parts {
    images: Images,
    streams: Vec<String>,
    volumes: Option<Volumes>,
    filter: Option<Vec<u8>>,
    joined: Joined,
    /// The image has names of anonymous volumes.
    names_volumes: bool,
}

impl Parts {
    fn gather(context: &Context, plan: &mut Plan, args: &RestoreArgs, images: Images) -> Result<Parts> {
        let streams = images.read::<Vec<String>>(images::DESCRIPTORS)?.with_context(|| {
            format!("{} has no {}: it is not a container's image", args.image.directory.display(), images::DESCRIPTORS)
        })?;
        ensure!(streams.len() <= 3, "{}: more than the standard streams", images::DESCRIPTORS);
        let names = anonymous_names(&images)?;
        storage::check_sources(plan)?;
        let volumes = Volumes::with_names(context, plan, &names)?;
        let cache = context.root.join("@seccomp");
        Ok(Parts {
            filter: plan.seccomp.as_ref().map(|s| seccomp::compiled(&s.filter, Some(&cache))).transpose()?,
            joined: Joined::open(plan)?,
            names_volumes: !names.is_empty(),
            images,
            streams,
            volumes,
        })
    }
}

/// The container finds its anonymous volumes again by their names. Nothing but a name of an anonymous volume is taken
/// from the image.
fn anonymous_names(images: &Images) -> Result<AnonymousNames> {
    let names: AnonymousNames = images.read(images::VOLUMES)?.unwrap_or_default();
    let is_name = |name: &str| name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(name) = names.values().find(|name| !is_name(name)) {
        bail!("{}: {name:?} is not the name of an anonymous volume", images::VOLUMES);
    }
    Ok(names)
}

/// The part with side effects.
struct Restoring<'a> {
    plan: &'a Plan,
    args: &'a RestoreArgs,
    entry: &'a Entry,
    record: Record,
    criu: &'a Criu,
    /// Where the master of the container's terminal goes.
    console: Option<OwnedFd>,
    /// Criu, or who is to become it.
    helper: Option<InitProcess>,
    /// The restored process.
    init: Option<InitProcess>,
    /// While criu would not tell that this process has died.
    sentinel: Option<Sentinel>,
    relay: Option<Relay>,
    foreground: Option<Foreground>,
}

struct Answering<'a, 'b> {
    restoring: &'a mut Restoring<'b>,
    stage: &'a Path,
    criu: i32,
}

impl criu::Caller for Answering<'_, '_> {
    fn answer(&mut self, notify: &Notify, file: Option<OwnedFd>) -> Result<()> {
        self.restoring.answer(notify, file, self.stage, self.criu)
    }

    fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.restoring.sentinel.as_ref().map(Sentinel::as_fd)
    }
}

impl Restoring<'_> {
    fn restore(&mut self, parts: Parts, host: &Host, terminal: Option<Terminal>) -> Result<()> {
        let plan = self.plan;
        let Parts { images, streams, volumes, filter, joined, .. } = parts;
        let mut cgroup = self.make_cgroup(host, filter.as_deref())?;
        storage::make_sources(plan)?;
        let sources = volumes.map(|volumes| volumes.take(plan, &self.record)).transpose()?;
        let prepared = Prepared::cloned(plan, sources.unwrap_or_default(), &mut |text| {
            log::warn(format_args!("{}: {text}", plan.id));
        })?;
        // As the kernel's table of mounts will have it, without links.
        let stage = self.entry.make_directory(STAGE)?;
        let stage = std::fs::canonicalize(&stage).call(|| format!("realpath {}", stage.display()))?;
        if !self.args.detach && !self.args.no_subreaper {
            process::set_child_subreaper().call(|| "prctl PR_SET_CHILD_SUBREAPER".into())?;
        }
        let (pid, mut conversation, images) = self.start_criu(&mut cgroup, prepared, &stage, images, &joined)?;
        self.entry.replace_record(&self.record)?;
        // Before the container runs: no message and no signal is lost.
        self.relay = Relay::listen(self.entry)?;
        if !self.args.detach {
            self.foreground = Some(Foreground::block_signals()?);
        }
        let request = Request {
            kind: Kind::Restore as i32,
            options: Some(self.options(&images, &streams, &joined, &stage, pid)?),
            ..Request::default()
        };
        log::debug(format_args!("{}: criu is process {pid}: {:?}", plan.id, request.options));
        conversation.hold(&request, &mut Answering { restoring: self, stage: &stage, criu: pid }).map_err(|error| {
            match error.downcast_ref::<criu::Refusal>() {
                Some(_) => images.explain(error, LOG),
                None => error,
            }
        })?;
        drop(conversation);
        self.reap_criu()?;
        self.entry.remove_directory(STAGE)?;
        if let Some(foreground) = &mut self.foreground {
            foreground.join(terminal)?;
        }
        Ok(())
    }

    /// Makes what `create` makes for the container, with the intent written before.
    fn make_cgroup(&mut self, host: &Host, filter: Option<&[u8]>) -> Result<cgroup::Created> {
        let plan = self.plan;
        let intent = cgroup::intend(&plan.cgroup, host)?;
        self.record.cgroup = intent.record().clone();
        if let Some(rdt) = &plan.intel_rdt {
            let root = rdt::root()?;
            let group = rdt::Group::intend(&root, &plan.id, rdt)?;
            self.record.intel_rdt = Some((root, group));
        }
        self.entry.write_record(&self.record)?;
        if let Some(program) = filter {
            self.entry.write_filter(program)?;
        }
        let cgroup = intent.create()?;
        for note in cgroup.notes() {
            log::debug(format_args!("{}: {note}", plan.id));
        }
        if let (Some(rdt), Some((root, _))) = (&plan.intel_rdt, &self.record.intel_rdt) {
            rdt::Group::create(root, &plan.id, rdt)?;
        }
        Ok(cgroup)
    }

    /// Returns the pid of a criu that waits for its request, how to speak to it, and the directories again.
    fn start_criu(
        &mut self,
        cgroup: &mut cgroup::Created,
        prepared: Prepared,
        stage: &Path,
        images: Images,
        joined: &Joined,
    ) -> Result<(i32, Conversation, Images)> {
        let program = self.criu.program()?;
        let progress = SharedWord::new().call(|| "mmap a shared page".into())?;
        let (ours, theirs) = Channel::pair()?;
        let waits = cgroup.waits_for_attach();
        let cloned = ns::clone3(0, cgroup.into_fd(), Parent::Caller).call(|| "clone3".into())?;
        let (pid, pidfd) = match cloned {
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
            Cloned::Child => restored::run(Restored {
                plan: self.plan,
                channel: theirs,
                progress,
                cgroup,
                prepared,
                stage,
                program: program.path,
                environment: program.environment,
                inherited: joined.open.iter().map(|(_, fd)| fd.as_fd()).collect(),
                directories: images.into_directories(),
                waits,
                not_ours: vec![ours.as_fd().as_raw_fd(), self.entry.dir().as_raw_fd()],
            }),
        };
        drop((theirs, prepared));
        let helper = self.helper.insert(InitProcess { pid, pidfd });
        let attached = cgroup.attach(pid);
        self.record.cgroup = cgroup.record().clone();
        for note in attached? {
            log::debug(format_args!("{}: {note}", self.plan.id));
        }
        cgroup.complete()?;
        let dialogue = Dialogue::new(ours, progress);
        if waits {
            dialogue.channel.tell_init(ToInit::Go)?;
        }
        let socket = dialogue.hear_socket(helper)?;
        dialogue.until_prepared(helper)?;
        Ok((pid, Conversation::over(socket), images))
    }

    fn options(
        &self,
        images: &Images,
        streams: &[String],
        joined: &Joined,
        stage: &Path,
        criu: i32,
    ) -> Result<criu::Options> {
        let args = self.args;
        let staged = Staged(stage);
        let mut inherit_fds: Vec<InheritFd> = Vec::new();
        for (number, stream) in (0..).zip(streams).filter(|(_, stream)| external::is_given(stream)) {
            inherit_fds.push(InheritFd { key: external::given_key(stream).to_owned(), fd: number });
        }
        for (key, fd) in &joined.open {
            inherit_fds.push(InheritFd { key: (*key).to_owned(), fd: fd.as_raw_fd() });
        }
        Ok(criu::Options {
            evasive_devices: Some(true),
            restore_sibling: Some(true),
            root: Some(utf8(&staged.root())?),
            lsm_profile: args.lsm_profile.clone(),
            lsm_mount_context: args.lsm_mount_context.clone(),
            external_mounts: external::sources(self.plan, staged)?,
            join_namespaces: joined.by_path.clone(),
            cgroup_roots: cgroup_roots(criu)?,
            inherit_fds,
            ..images.options(LOG, &self.record, &args.image)
        })
    }

    /// What is done when criu stops to tell where it is; `criu` is its pid.
    fn answer(&mut self, notify: &Notify, file: Option<OwnedFd>, stage: &Path, criu: i32) -> Result<()> {
        log::debug(format_args!("{}: criu: {}", self.plan.id, notify.script()));
        match notify.script() {
            "setup-namespaces" => self.set_up_namespaces(notify.pid()),
            "orphan-pts-master" => {
                let master = file.context("criu sent no terminal")?;
                let socket = self.console.as_ref();
                let socket = socket.context("the image has a terminal: process.terminal is false in config.json")?;
                socket::send_fd(socket.as_fd(), b"/dev/ptmx", master.as_fd())
            }
            "post-restore" => {
                self.publish(notify.pid(), stage, criu)?;
                if self.plan.namespaces.pid == Namespace::New {
                    self.sentinel = Some(Sentinel::beside(notify.pid())?);
                }
                Ok(())
            }
            // From now on the container's processes may end as they like.
            "pre-resume" => self.sentinel.take().map_or(Ok(()), Sentinel::end),
            _ => Ok(()),
        }
    }

    /// The namespaces are there, and nothing in them yet.
    fn set_up_namespaces(&self, pid: i32) -> Result<()> {
        let plan = self.plan;
        if plan.namespaces.network == Namespace::New {
            let path = format!("/proc/{pid}/ns/net");
            let namespace = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .call(|| format!("open {path}"))?;
            network::loopback_up_in(namespace.as_fd())?;
            network::move_devices(&plan.net_devices, namespace.as_fd())?;
        }
        let state = HookState::of(plan, Status::Created, Some(pid)).to_json();
        hooks::run_all(&plan.hooks.prestart, &state, None)?;
        hooks::run_all(&plan.hooks.create_runtime, &state, None)
    }

    /// All is restored and stands still: checked, and made known.
    fn publish(&mut self, pid: i32, stage: &Path, criu: i32) -> Result<()> {
        // Our own child and not reaped: the number is its.
        let pidfd = pidfd::open(pid).call(|| format!("pidfd_open {pid}"))?;
        self.init = Some(InitProcess { pid, pidfd });
        check_namespaces(self.plan, pid)?;
        external::check_readonly(self.plan, Staged(stage), criu, pid)?;
        if let Some((root, group)) = &self.record.intel_rdt {
            for process in self.record.cgroup.processes()?.into_iter().filter(|process| *process != criu) {
                group.join(root, process)?;
            }
        }
        if is_apart(pid, "time")? {
            // Criu gives the container one, so that its clocks go on where they stood.
            let mut template = self.record.template()?;
            template.namespaces |= CLONE_NEWTIME;
            self.record.set_template(&template)?;
        }
        self.entry.replace_record(&self.record)?;
        let start_time = store::start_time(pid).context("the restored process is gone")?;
        self.entry.write_init(&InitRecord { pid, start_time })?;
        self.entry.publish_init()?;
        self.args.create.pid_file.as_deref().map_or(Ok(()), |path| write_pid_file(path, pid))
    }

    fn reap_criu(&mut self) -> Result<()> {
        let Some(helper) = self.helper.take() else { return Ok(()) };
        let end = pidfd::wait(helper.pidfd.as_fd()).call(|| format!("waitid {}", helper.pid))?;
        ensure!(end.code() == 0 || self.args.image.lazy_pages, "criu {end} after it had answered");
        Ok(())
    }
}
