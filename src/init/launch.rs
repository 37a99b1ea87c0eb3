//! The last steps: find the program, wait for `start`, execute.

use super::birth::Lineage;
use super::steps::Progress;
use super::{Loadable, Start, Step, become_the_process};
use crate::ipc::{Channel, FromInit, ToInit};
use crate::plan::process::Rlimit;
use crate::plan::{Plan, Process};
use crate::security::lsm::Labels;
use crate::security::procfs::Procfs;
use crate::security::{attributes, environment};
use crate::sys::script::{Arg, Script};
use crate::sys::{Call, exec, process, socket};
use anyhow::{Context, Result, bail};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

/// When init tells a runtime that starts the container itself to say `Start`, so that this has been said when init is ready
/// and it need not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// `start` does, later.
    None,
    /// Before masks, sysctls and the process's own attributes.
    Early,
    /// At the end: the runtime still has to answer (a seccomp listener), or it makes the caller's terminal raw, and
    /// warnings are to come before that.
    Late,
}

impl Announcement {
    pub fn of(start: &Start, plan: &Plan, seccomp: Option<Loadable>, lineage: Lineage) -> Announcement {
        // One that is not there yet cannot be made known.
        let late = lineage == Lineage::Sibling
            || seccomp.is_some_and(|filter| filter.listens)
            || plan.process.as_ref().is_some_and(|p| p.terminal);
        match start {
            Start::Listener(_) => Announcement::None,
            Start::Runtime if late => Announcement::Late,
            Start::Runtime => Announcement::Early,
        }
    }

    /// Makes it, if this is when.
    pub fn make_at(self, now: Announcement, channel: &Channel) -> Result<()> {
        if self == now { channel.tell_runtime(&FromInit::Furnished) } else { Ok(()) }
    }
}

/// Fds of the caller that the program gets, from 3 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    pub count: u32,
    /// So many of them, the first ones, come from a service manager (sd_listen_fds(3)).
    pub listening: u32,
}

/// A program that is ready to be executed.
pub(super) struct Launch<'a> {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    rlimits: &'a [Rlimit],
    /// `env` says which process has fds from the service manager.
    listening: bool,
}

const LISTEN_PID: &str = "LISTEN_PID=";

/// Whose pid a program with fds from the service manager is told (sd_listen_fds(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Executor {
    /// The caller executes it.
    Caller,
    /// A process that is not there yet.
    Newborn,
}

impl<'a> Launch<'a> {
    /// Becomes the container's process in its root directory, with the capabilities in `until_exec` besides its own, and
    /// finds the program.
    pub fn get_ready(
        process: &'a Process,
        labels: &Labels,
        until_exec: u64,
        passed: Passed,
        executor: Executor,
        at: &Progress,
        warn: &mut dyn FnMut(String),
    ) -> Result<Launch<'a>> {
        // As root first: the directory and the passwd file may be closed to the container's user.
        let entered = enter(&process.cwd).is_ok();
        let env = at.step(Step::Executable, || environment::variables(&process.env, process.user.uid, warn))?;
        at.step(Step::Identity, || become_the_process(process, labels, until_exec, executor, &Procfs::open()?, warn))?;
        if !entered {
            at.step(Step::WorkingDirectory, || enter(&process.cwd))?;
        }
        at.step(Step::Executable, || prepare(process, env, passed, executor))
    }

    /// Says by the caller's pid who has fds from the service manager.
    pub fn name_executor(&mut self) -> Result<()> {
        for variable in self.env.iter_mut().filter(|variable| variable.as_bytes() == LISTEN_PID.as_bytes()) {
            *variable = CString::new(format!("{LISTEN_PID}{}", nix::unistd::getpid())).context("a number")?;
        }
        Ok(())
    }

    /// The program's path.
    pub fn path(&self) -> &[u8] {
        self.path.to_bytes()
    }

    /// The limits of [`Launch::last_settings`].
    pub fn late_limits(&self) -> impl Iterator<Item = &'a Rlimit> + use<'a> {
        attributes::late_rlimits(self.rlimits)
    }

    /// Adds path, arguments and environment to a script, as execve(2) takes them. A `LISTEN_PID` without a value gets the
    /// pid of the process that runs the script; `code` is for a failure to get it.
    pub fn add_to(&self, script: &mut Script, code: u64) -> [Arg; 3] {
        let (path, args) = (script.text(&self.path), script.texts(&self.args));
        let mut env = Vec::with_capacity(self.env.len());
        for variable in &self.env {
            let text = if variable.as_bytes() == LISTEN_PID.as_bytes() && self.listening {
                let text = script.bytes(&[LISTEN_PID.as_bytes(), &[0; 24]].concat());
                let pid = script.call(code, libc::SYS_getpid, &[]);
                script.decimal(pid, text.behind(LISTEN_PID.len()));
                text
            } else {
                script.text(variable)
            };
            env.push(text);
        }
        let env = script.pointers(&env);
        [Arg::At(path), Arg::At(args), Arg::At(env)]
    }

    /// What is in the way of the steps before: a limit of open files that these would exceed, the signal that this
    /// program ignores. What is ignored stays so across execve.
    pub fn last_settings(&self) -> Result<()> {
        attributes::tight_rlimits(self.rlimits).context("process.rlimits")?;
        process::reset_sigpipe().call(|| "reset SIGPIPE".into())
    }

    /// The environment of the program.
    pub fn environment(&self) -> Vec<String> {
        self.env.iter().map(|variable| variable.to_string_lossy().into_owned()).collect()
    }

    /// Nothing but execve: the filter that is loaded now may allow no other call.
    pub fn exec(self) -> Result<Infallible> {
        exec::execve(&self.path, &self.args, &self.env).call(|| format!("exec {}", self.path.to_string_lossy()))
    }
}

/// Finds the program, as the container's user.
fn prepare(process: &Process, mut env: Vec<String>, passed: Passed, executor: Executor) -> Result<Launch<'_>> {
    if passed.listening > 0 {
        announce(passed.listening, executor, &mut env);
    }
    let name = process.args.first().context("process.args is empty")?;
    let path = environment::find_executable(name, &env)?;
    let strings = |list: &[String]| -> Result<Vec<CString>> {
        list.iter().map(|s| CString::new(s.as_str()).with_context(|| format!("{s:?} holds a NUL"))).collect()
    };
    Ok(Launch {
        path: CString::new(path.into_os_string().into_encoded_bytes()).context("a NUL in the program's path")?,
        args: strings(&process.args)?,
        env: strings(&env)?,
        rlimits: &process.rlimits,
        listening: passed.listening > 0,
    })
}

/// Tells the program, by its pid, of the fds that it has from the service manager.
fn announce(listening: u32, executor: Executor, env: &mut Vec<String>) {
    const NAMES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
    env.retain(|variable| variable.split_once('=').is_none_or(|(name, _)| !NAMES.contains(&name)));
    env.push(format!("LISTEN_FDS={listening}"));
    env.push(match executor {
        Executor::Caller => format!("{LISTEN_PID}{}", nix::unistd::getpid()),
        Executor::Newborn => LISTEN_PID.to_owned(),
    });
    if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
        env.push(format!("LISTEN_FDNAMES={names}"));
    }
}

/// chdir, and a check that the directory is inside the container's root (CVE-2024-21626).
fn enter(cwd: &std::path::Path) -> Result<()> {
    let describe = || format!("chdir to process.cwd {}", cwd.display());
    nix::unistd::chdir(cwd).call(describe)?;
    let here = nix::unistd::getcwd().call(|| "getcwd".into()).with_context(describe)?;
    if !here.is_absolute() || here.starts_with("(unreachable)") {
        bail!("process.cwd {} is outside the container's root", cwd.display());
    }
    Ok(())
}

/// Closes everything but stdio, the preserved fds and `keep` (init's own sockets).
///
/// Before anything of the container's is looked up: close-on-exec comes too late, for as long as a directory of the host
/// is open `/proc/self/fd/<n>/..` leads there, as `process.cwd`, as the program and as its interpreter (CVE-2024-21626).
/// The caller's own fds are closed here as well.
pub(super) fn close_descriptors(passed: Passed, keep: &[BorrowedFd]) -> Result<()> {
    exec::close_others(3 + passed.count, keep).call(|| "close_range".into())
}

/// Gives signals their defaults again but for SIGPIPE, which this program needs until [`Launch::last_settings`].
pub(super) fn stop_ignoring_signals() -> Result<()> {
    process::stop_ignoring_signals().call(|| "reset the signals".into())
}

/// Says that init is ready, and waits until somebody starts it. Returns the channel to whoever did.
///
/// Until the runtime answers `Ready` with `Go` (the container is then `created`), init dies with it.
pub(super) fn wait_for_start(channel: Channel, start: Start, at: &Progress) -> Result<Channel> {
    // From here on the end of the channel says that the runtime is gone: after its answer it may go at any moment, and
    // then no signal may come.
    process::set_parent_death_signal(0).call(|| "prctl PR_SET_PDEATHSIG".into())?;
    channel.tell_runtime(&FromInit::Ready)?;
    // While the runtime has its own things to do.
    let listener = match start {
        Start::Runtime => {
            stop_ignoring_signals()?;
            return match channel.hear_runtime()? {
                Some(ToInit::Start) => Ok(channel),
                Some(ToInit::Go) => bail!("go instead of start"),
                None => bail!("the runtime is gone"),
            };
        }
        Start::Listener(listener) => {
            // `kill` of a container that is not started ends it, as with runc.
            process::end_by_signals().call(|| "sigaction".into())?;
            listener
        }
    };
    match channel.hear_runtime()? {
        Some(ToInit::Go) => {}
        Some(ToInit::Start) => bail!("start instead of go"),
        None => bail!("the runtime is gone"),
    }
    drop(channel);
    at.step(Step::Wait, || {
        loop {
            let connection = Channel::over(socket::accept(listener.as_fd()).call(|| "accept".into())?);
            // `state` connects to see whether anybody listens, and closes again.
            if connection.hear_runtime()? == Some(ToInit::Start) {
                return Ok(connection);
            }
        }
    })
}
