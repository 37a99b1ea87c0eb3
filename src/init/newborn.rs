//! The end of `exec` in the child: the process is born into the container's pid namespace, and executes.
//!
//! From its birth on the container sees it: who has CAP_SYS_PTRACE there can read its files, links and memory, whether it
//! is dumpable or not (ptrace(2), "Ptrace access mode checking"). So it is born last, when its maker is already the
//! container's process in everything else, and it holds nothing of the host: no file but one end of a pipe, and no memory
//! but the calls that are left to make ([`Script`]). What it writes to the pipe the container can forge; the runtime
//! believes no more of it than that the start failed.

use super::filter::{Filter, Loadable};
use super::launch::{Executor, Launch};
use crate::plan::Process;
use crate::plan::process::Scheduler;
use crate::security::{attributes, capabilities, seccomp};
use crate::sys::script::{Arg, Layout, Script};
use crate::sys::shared::SharedBirth;
use crate::sys::{Call as _, Errno, SyscallError, ns};
use anyhow::{Context, Result};
use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

macro_rules! calls {
    ($($call:ident = $name:literal,)*) => {
        /// The calls and notes of the script; the code of a message is their number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Call { $($call,)* }

        const CALLS: &[Call] = &[$(Call::$call,)*];

        impl Call {
            /// The call's name for an error.
            pub fn name(self) -> &'static str {
                match self { $(Call::$call => $name,)* }
            }
        }
    };
}

calls! {
    Memory = "munmap",
    Descriptors = "close_range",
    Birth = "clone3",
    Session = "setsid",
    Terminal = "ioctl TIOCSCTTY",
    Signal = "prctl PR_SET_PDEATHSIG",
    Pid = "getpid",
    Limit = "process.rlimits: prlimit",
    Scheduler = "process.scheduler: sched_setattr",
    Filter = "seccomp",
    // Notes rather than failures.
    Listener = "hand over the seccomp listener",
    Executing = "tell the runtime",
    Execute = "exec",
}

impl Call {
    fn code(self) -> u64 {
        self as u64
    }

    /// What a message's code means; the container may have written it.
    pub fn from_code(code: u64) -> Option<Call> {
        CALLS.get(usize::try_from(code).ok()?).copied()
    }
}

/// The error that a failed call is reported as. `path` is the program's, `filter` the one that was to be loaded.
pub fn failure(call: Call, errno: Errno, path: &str, filter: Option<Loadable>) -> anyhow::Error {
    let plain = |call: String| anyhow::Error::from(SyscallError { call, errno });
    match (call, filter) {
        (Call::Execute, _) => plain(format!("exec {path}")),
        (Call::Filter, Some(filter)) => {
            plain(seccomp::describe(filter.program, filter.flags, errno)).context("load the seccomp filter")
        }
        (call, _) => plain(call.name().to_owned()),
    }
}

/// What is left to do.
pub(super) struct Newborn<'a> {
    pub launch: Launch<'a>,
    pub filter: Option<Loadable<'a>>,
    /// The standard streams are a terminal, which becomes the controlling one.
    pub terminal: bool,
    /// A scheduler that is not inherited, or that lets nobody be born.
    pub scheduler: Option<&'a Scheduler>,
    /// Number of fds from 0 on that the program gets.
    pub inherited: u32,
}

/// Whether a scheduling policy has to be set after the birth: one that a fork resets, or SCHED_DEADLINE, with which there
/// is no fork without the reset (sched(7)).
pub(super) fn is_late(scheduler: &Scheduler) -> bool {
    scheduler.policy.cast_signed() == libc::SCHED_DEADLINE
        || scheduler.flags & u64::from(libc::SCHED_FLAG_RESET_ON_FORK.cast_unsigned()) != 0
}

/// The scheduler that `executor` sets when it is there.
pub(super) fn late_scheduler(process: &Process, executor: Executor) -> Option<&Scheduler> {
    process.scheduler.as_ref().filter(|scheduler| executor == Executor::Newborn && is_late(scheduler))
}

impl<'a> Newborn<'a> {
    /// The capabilities that the calls take, until execve takes them away.
    pub fn rights(filter: &Filter, scheduler: Option<&Scheduler>) -> u64 {
        filter.right | scheduler.map_or(0, |_| capabilities::for_scheduler())
    }

    /// Makes the process that executes: in `birth` a sibling in the pid namespace that was joined for children, else the
    /// caller itself. `pipe` is where it reports to. Returns only with an error.
    pub fn begin(self, birth: Option<SharedBirth>, pipe: BorrowedFd, layout: &Layout) -> Result<Infallible> {
        let mut script = Script::new(pipe.as_raw_fd());
        close_others(&mut script, self.inherited, pipe.as_raw_fd());
        match birth {
            Some(shared) => {
                ns::add_sibling(&mut script, Call::Birth.code(), shared);
                script.call(Call::Session.code(), libc::SYS_setsid, &[]);
            }
            None => {
                let signal = [libc::PR_SET_PDEATHSIG.into(), Arg::Is(0)];
                script.call(Call::Signal.code(), libc::SYS_prctl, &signal);
            }
        }
        if self.terminal {
            let arguments = [Arg::Is(0), Arg::Is(libc::TIOCSCTTY), Arg::Is(0)];
            script.call(Call::Terminal.code(), libc::SYS_ioctl, &arguments);
        }
        self.add_rest(&mut script)?;
        let kept: Vec<_> = birth.iter().map(|shared| shared.range()).collect();
        script.execute(Call::Memory.code(), layout, &kept).call(|| "prepare the birth: mmap".into())
    }

    fn add_rest(self, script: &mut Script) -> Result<()> {
        if let Some(scheduler) = self.scheduler {
            let attributes = script.bytes(&attributes::scheduler_attributes(scheduler).to_bytes());
            let arguments = [Arg::Is(0), Arg::At(attributes), Arg::Is(0)];
            script.call(Call::Scheduler.code(), libc::SYS_sched_setattr, &arguments);
        }
        for limit in self.launch.late_limits() {
            let values = script.words(&[Arg::Is(limit.soft), Arg::Is(limit.hard)]);
            let arguments = [Arg::Is(0), Arg::Is(limit.resource.into()), Arg::At(values), Arg::Is(0)];
            script.call(Call::Limit.code(), libc::SYS_prlimit64, &arguments);
        }
        let program = self.launch.add_to(script, Call::Pid.code());
        if let Some(filter) = self.filter.filter(|filter| filter.listens) {
            let listener = add_filter(script, &filter)?;
            script.tell_and_wait(Call::Listener.code(), listener, filler());
        }
        // The runtime is still there, or this is the end: SIGPIPE has its default action.
        script.tell(Call::Executing.code());
        if let Some(filter) = self.filter.filter(|filter| !filter.listens) {
            add_filter(script, &filter)?;
        }
        script.call(Call::Execute.code(), libc::SYS_execve, &program);
        Ok(())
    }
}

/// What has to be read before a process that has a listener goes on: as much as the pipe holds.
pub fn filler() -> usize {
    crate::sys::script::page_size()
}

fn add_filter(script: &mut Script, filter: &Loadable) -> Result<crate::sys::script::Data> {
    const SET_MODE_FILTER: u64 = 1;
    let flags = seccomp::effective_flags(filter.flags, filter.listens);
    let count = seccomp::count(filter.program).context("load the seccomp filter")?;
    let program = script.bytes(filter.program);
    // struct sock_fprog: a length of 16 bits, and the address after the padding.
    let mut length = [0; 8];
    length[..2].copy_from_slice(&count.to_ne_bytes());
    let header = script.words(&[Arg::Is(u64::from_ne_bytes(length)), Arg::At(program)]);
    let arguments = [Arg::Is(SET_MODE_FILTER), Arg::Is(flags.into()), Arg::At(header)];
    Ok(script.call(Call::Filter.code(), libc::SYS_seccomp, &arguments))
}

/// All but the program's fds and the pipe.
fn close_others(script: &mut Script, inherited: u32, pipe: RawFd) {
    let pipe = pipe.cast_unsigned();
    let mut close = |first: u32, last: u32| {
        let arguments = [Arg::Is(first.into()), Arg::Is(last.into()), Arg::Is(0)];
        script.call(Call::Descriptors.code(), libc::SYS_close_range, &arguments);
    };
    if inherited < pipe {
        close(inherited, pipe - 1);
    }
    close(pipe + 1, u32::MAX);
}
