//! When the seccomp filter is loaded, and how its listener gets to the runtime.

use super::ask;
use crate::ipc::{Channel, FromInit};
use crate::plan::{Plan, Process, Seccomp};
use crate::security::seccomp;
use anyhow::Result;
use std::os::fd::{AsFd, AsRawFd};

/// As late as it can be: a profile knows the program's calls and not ours, such as openat2 and faccessat2 with which
/// the program is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Without no_new_privs loading takes CAP_SYS_ADMIN, which goes with the change of user where the config leaves
    /// the capabilities to it.
    BeforeIds,
    /// Before the container is `created`: without no_new_privs, so that nothing privileged waits for `start`, and with
    /// a listener, which the creator hands on.
    BeforeReady,
    /// With no_new_privs, just before the program.
    AtStart,
}

impl Moment {
    fn of(process: &Process, listener: bool) -> Moment {
        if process.no_new_privileges {
            return if listener { Moment::BeforeReady } else { Moment::AtStart };
        }
        let keeps_capabilities = process.capabilities.is_some() || process.user.uid == 0;
        if keeps_capabilities { Moment::BeforeReady } else { Moment::BeforeIds }
    }
}

/// The filter of a plan; none where it has no filter, or no process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter<'a> {
    when: Option<(Moment, Loadable<'a>)>,
}

/// A compiled filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loadable<'a> {
    plan: &'a Seccomp,
    program: &'a [u8],
}

impl<'a> Filter<'a> {
    pub fn of(plan: &'a Plan, program: Option<&'a [u8]>) -> Filter<'a> {
        let (Some(process), Some(seccomp), Some(program)) = (&plan.process, &plan.seccomp, program) else {
            return Filter { when: None };
        };
        let moment = Moment::of(process, seccomp.listener.is_some());
        Filter { when: Some((moment, Loadable { plan: seccomp, program })) }
    }

    /// The filter, if this is when to load it.
    pub fn at(&self, moment: Moment) -> Option<Loadable<'a>> {
        self.when.filter(|(when, _)| *when == moment).map(|(_, filter)| filter)
    }
}

impl Loadable<'_> {
    /// Loads it; with a listener, hands that to the runtime.
    pub fn load(&self, channel: &Channel) -> Result<()> {
        if self.plan.listener.is_none() {
            return seccomp::load(self.program, self.plan.flags);
        }
        let listener = seccomp::load_with_listener(self.program, self.plan.flags)?;
        ask(channel, &FromInit::SeccompListener(listener.as_fd().as_raw_fd()))
    }
}
