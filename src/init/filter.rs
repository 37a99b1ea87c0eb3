//! When the seccomp filter is loaded, and how its listener gets to the runtime.

use super::ask;
use crate::ipc::{Channel, FromInit};
use crate::plan::Process;
use crate::security::{capabilities, seccomp};
use anyhow::Result;
use std::os::fd::{AsFd, AsRawFd};

/// As late as it can be: a profile knows the program's calls and not ours, such as accept4 for `start`, or openat2 and
/// faccessat2 with which the program is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// With a listener, which the creator hands on.
    BeforeReady,
    /// Just before the program.
    AtStart,
}

/// The filter of a process; none where there is no filter, or no process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter<'a> {
    when: Option<(Moment, Loadable<'a>)>,
    /// The capability that loading it takes, kept until execve.
    pub right: u64,
}

/// A compiled filter.
#[derive(Debug, Clone, Copy)]
pub struct Loadable<'a> {
    pub program: &'a [u8],
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// It notifies, and somebody listens.
    pub listens: bool,
}

impl<'a> Filter<'a> {
    pub fn of(process: Option<&Process>, filter: Option<Loadable<'a>>) -> Filter<'a> {
        let (Some(process), Some(filter)) = (process, filter) else { return Filter { when: None, right: 0 } };
        let moment = if filter.listens { Moment::BeforeReady } else { Moment::AtStart };
        let right = if process.no_new_privileges { 0 } else { capabilities::for_filter() };
        Filter { when: Some((moment, filter)), right }
    }

    /// The filter, if this is when to load it.
    pub fn at(&self, moment: Moment) -> Option<Loadable<'a>> {
        self.when.filter(|(when, _)| *when == moment).map(|(_, filter)| filter)
    }
}

impl Loadable<'_> {
    /// Loads it; with a listener, hands that to the runtime.
    pub fn load(&self, channel: &Channel) -> Result<()> {
        if !self.listens {
            return seccomp::load(self.program, self.flags);
        }
        let listener = seccomp::load_with_listener(self.program, self.flags)?;
        ask(channel, &FromInit::SeccompListener(listener.as_fd().as_raw_fd()))
    }
}
