//! The runtime's side of the frames, and init as a process.

use crate::init::Step;
use crate::ipc::{Channel, FromInit, ToInit};
use crate::plan::Plan;
use crate::security::seal::Seal;
use crate::security::seccomp::notify::{self, ContainerProcessState};
use crate::state::{HookState, Status};
use crate::sys::shared::SharedWord;
use crate::sys::{Call, Errno, pidfd};
use crate::{hooks, log, network};
use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The container's first process: a child of ours.
#[derive(Debug)]
pub(super) struct InitProcess {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

impl InitProcess {
    /// Kills and reaps. An error if the process has not ended after 10 s.
    pub fn end(&self) -> Result<()> {
        const DEATH: Duration = Duration::from_secs(10);
        match pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL as i32) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).call(|| format!("pidfd_send_signal {} SIGKILL", self.pid)),
        }
        if !pidfd::wait_for_end_within(self.pidfd.as_fd(), DEATH).call(|| "poll the pidfd of init".into())? {
            bail!("process {} does not end {} s after SIGKILL", self.pid, DEATH.as_secs());
        }
        match pidfd::wait(self.pidfd.as_fd()) {
            Ok(_) | Err(Errno::ECHILD) => Ok(()),
            Err(errno) => Err(errno).call(|| format!("waitid {}", self.pid)),
        }
    }
}

/// The conversation with init until it is ready.
pub(super) struct Dialogue {
    pub channel: Channel,
    progress: SharedWord,
}

impl Dialogue {
    pub fn new(channel: Channel, progress: SharedWord) -> Dialogue {
        Dialogue { channel, progress }
    }

    /// The next frame that is not a warning; a failure or the end of init is an error.
    fn hear(&self, init: &InitProcess) -> Result<FromInit> {
        loop {
            match self.channel.hear_init()? {
                Some(FromInit::Warning(text)) => log::warn(format_args!("{text}")),
                Some(FromInit::Failed(report)) => return Err(report.into()),
                Some(frame) => return Ok(frame),
                None => return Err(self.obituary(init)),
            }
        }
    }

    /// Tells init to go on; if it is gone, why.
    pub fn let_go_on(&self, init: &InitProcess) -> Result<()> {
        self.tell(init, ToInit::Go)
    }

    fn tell(&self, init: &InitProcess, message: ToInit) -> Result<()> {
        let told = self.channel.tell_init(message);
        // One that is there waits for what could not be said.
        if told.is_err() && self.channel.is_closed()? {
            self.hear(init)?;
        }
        told
    }

    /// With an intermediate process: init's own, which that process has made as our child. Reaps the former.
    pub fn hear_birth(&self, intermediate: &InitProcess) -> Result<InitProcess> {
        let FromInit::Born(pid) = self.hear(intermediate)? else { bail!("a frame before init was born") };
        self.adopt(pid, intermediate)
    }

    /// The process `pid`, which `intermediate` has made as our child before it ended.
    fn adopt(&self, pid: i32, intermediate: &InitProcess) -> Result<InitProcess> {
        // Our own child and not reaped: the number is still its.
        let pidfd = pidfd::open(pid).call(|| format!("pidfd_open {pid}"))?;
        pidfd::wait(intermediate.pidfd.as_fd()).call(|| format!("waitid {}", intermediate.pid))?;
        Ok(InitProcess { pid, pidfd })
    }

    /// Why an init has ended that is gone.
    pub fn last_words(&self, init: &InitProcess) -> Option<anyhow::Error> {
        self.hear(init).err()
    }

    /// The socket by which criu is spoken to, from the child that becomes it.
    pub fn hear_socket(&self, child: &InitProcess) -> Result<OwnedFd> {
        let FromInit::Ready = self.hear(child)? else { bail!("a frame out of turn") };
        self.channel.receive_fds()?.pop().context("the child sent no socket")
    }

    /// Does the runtime's part of the work until init waits for `start`, or until it is ready after it was told to start:
    /// by a runtime that starts it, which does `before_start` first. `seal` is closed when there is nothing else to do.
    pub fn until_ready(
        &self,
        plan: &Plan,
        init: &InitProcess,
        seal: Option<Seal>,
        before_start: &mut dyn FnMut(&InitProcess) -> Result<()>,
    ) -> Result<Option<InitProcess>> {
        drop(seal);
        loop {
            match self.hear(init)? {
                FromInit::Ready => return Ok(None),
                FromInit::Born(pid) => return self.adopt(pid, init).map(Some),
                FromInit::Furnished => {
                    before_start(init)?;
                    self.tell(init, ToInit::Start)?;
                    continue;
                }
                FromInit::NetworkReady => {
                    let path = format!("/proc/{}/ns/net", init.pid);
                    let namespace = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                        .call(|| format!("open {path}"))?;
                    network::move_devices(&plan.net_devices, namespace.as_fd())?;
                }
                FromInit::MountsReady => {
                    // prestart hooks were once a part of `start`, and are told `created` since (runtime-tools,
                    // hooks_stdin): the spec has it "after step 2" of the lifecycle. No later hook is told `creating`.
                    let state = HookState::of(plan, Status::Created, Some(init.pid)).to_json();
                    hooks::run_all(&plan.hooks.prestart, &state, None)?;
                    hooks::run_all(&plan.hooks.create_runtime, &state, None)?;
                }
                FromInit::SeccompListener(number) => hand_on_listener(plan, init, number)?,
                FromInit::Warning(_) | FromInit::Failed(_) => bail!("a frame out of turn"),
            }
            self.channel.tell_init(ToInit::Go)?;
        }
    }

    /// The rest for an init that was born last. Others can write in its name, so nothing is done for it but what comes now.
    pub fn until_newborn_is_ready(
        &self,
        plan: &Plan,
        init: &InitProcess,
        before_start: &mut dyn FnMut(&InitProcess) -> Result<()>,
    ) -> Result<()> {
        let (mut told, mut handed_on) = (false, false);
        loop {
            match self.hear(init)? {
                FromInit::Ready => return Ok(()),
                FromInit::Furnished if !std::mem::replace(&mut told, true) => {
                    before_start(init)?;
                    self.tell(init, ToInit::Start)?;
                }
                FromInit::SeccompListener(number) if !std::mem::replace(&mut handed_on, true) => {
                    hand_on_listener(plan, init, number)?;
                    self.tell(init, ToInit::Go)?;
                }
                _ => bail!("unexpected handshake message from init"),
            }
        }
    }

    /// Until the child of `exec` has closed the channel, because nothing is left to do but the birth.
    pub fn until_prepared(&self, process: &InitProcess) -> Result<()> {
        loop {
            match self.channel.hear_init()? {
                None if Step::from_note(self.progress) == Step::Exec => return Ok(()),
                None => return Err(self.obituary(process)),
                Some(FromInit::Warning(text)) => log::warn(format_args!("{text}")),
                Some(FromInit::Failed(report)) => return Err(report.into()),
                Some(_) => bail!("unexpected handshake message from the child of exec"),
            }
        }
    }

    /// What the program's start came to.
    pub fn hear_start(&self, init: &InitProcess) -> Result<()> {
        hear_start(&self.channel)?;
        match Step::from_note(self.progress) {
            Step::Exec => Ok(()),
            _ => Err(self.obituary(init)),
        }
    }

    /// What became of an init that closed the channel without a report.
    pub fn obituary(&self, init: &InitProcess) -> anyhow::Error {
        anyhow!(Death { end: pidfd::wait(init.pidfd.as_fd()), step: Step::from_note(self.progress).name() })
    }
}

/// Takes the listener of init's filter, under this number, and hands it to the agent that the config names.
fn hand_on_listener(plan: &Plan, init: &InitProcess, number: i32) -> Result<()> {
    let fd = pidfd::get_fd(init.pidfd.as_fd(), number).call(|| format!("pidfd_getfd {number}"))?;
    let listener = plan.seccomp.as_ref().and_then(|s| s.listener.as_ref());
    let listener = listener.context("a seccomp listener that the plan does not have")?;
    let state = HookState::of(plan, Status::Creating, Some(init.pid));
    let message = ContainerProcessState::new(&plan.oci_version, init.pid, &listener.metadata, &state);
    notify::send(&listener.path, fd.as_fd(), &message.json()?)
}

/// Init has ended without a report.
#[derive(Debug)]
pub(super) struct Death {
    pub end: nix::Result<pidfd::End>,
    pub step: &'static str,
}

impl Death {
    /// As the kernel ends who needs memory that there is not.
    pub fn by_sigkill(&self) -> bool {
        self.end == Ok(pidfd::End::Killed(libc::SIGKILL))
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Ok(end) => write!(f, "init {end}")?,
            Err(errno) => write!(f, "init ended ({errno})")?,
        }
        write!(f, " at the step \"{}\"", self.step)
    }
}

impl std::error::Error for Death {}

/// What the program's start came to, once the channel is closed or has brought a report: execve has closed it, or the
/// death of init.
pub(super) fn hear_start(channel: &Channel) -> Result<()> {
    loop {
        match channel.hear_init()? {
            None => return Ok(()),
            Some(FromInit::Failed(report)) => return Err(anyhow::Error::from(report)),
            Some(FromInit::Warning(text)) => log::warn(format_args!("{text}")),
            Some(FromInit::SeccompListener(_)) => bail!("a seccomp listener after create"),
            Some(_) => bail!("a frame out of turn"),
        }
    }
}
