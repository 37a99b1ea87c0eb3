//! The seccomp filter, summed up.

use super::{Text, row};
use crate::plan::seccomp::{Action, Seccomp};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

impl Display for Seccomp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(f, "default", self.filter.default_action)?;
        let architectures = match self.filter.architectures.as_slice() {
            [] => "native".to_owned(),
            names => names.join(" "),
        };
        row(f, "architectures", Text(&architectures))?;
        // By action, with the number of rules and of the syscalls they name.
        let mut actions: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for rule in &self.filter.rules {
            let (rules, syscalls) = actions.entry(rule.action.to_string()).or_default();
            *rules += 1;
            *syscalls += rule.names.len();
        }
        for (action, (rules, syscalls)) in actions {
            row(f, &action, format_args!("rules {rules}, syscalls {syscalls}"))?;
        }
        let flags = flags(self.flags);
        if !flags.is_empty() {
            row(f, "flags", flags.join(" "))?;
        }
        let Some(listener) = &self.listener else { return Ok(()) };
        row(f, "listener", Text::of(&listener.path))?;
        if !listener.metadata.is_empty() {
            row(f, "listener metadata", Text(&listener.metadata))?;
        }
        Ok(())
    }
}

fn flags(bits: u32) -> Vec<String> {
    let known = [
        (libc::SECCOMP_FILTER_FLAG_TSYNC as u32, "TSYNC"),
        (libc::SECCOMP_FILTER_FLAG_LOG as u32, "LOG"),
        (libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32, "SPEC_ALLOW"),
        (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32, "NEW_LISTENER"),
        (libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32, "TSYNC_ESRCH"),
        (libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32, "WAIT_KILLABLE_RECV"),
    ];
    let named = known.iter().filter(|(bit, _)| bits & bit != 0);
    let mut names: Vec<_> = named.map(|(_, name)| format!("SECCOMP_FILTER_FLAG_{name}")).collect();
    let rest = known.iter().fold(bits, |bits, (bit, _)| bits & !bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::KillThread => write!(f, "kill the thread"),
            Action::KillProcess => write!(f, "kill the process"),
            Action::Trap => write!(f, "trap"),
            Action::Errno(number) => match Errno::from_raw(i32::from(*number)) {
                Errno::UnknownErrno => write!(f, "errno {number}"),
                errno => write!(f, "errno {errno:?}"),
            },
            Action::Notify => write!(f, "notify"),
            Action::Trace(value) => write!(f, "trace {value}"),
            Action::Log => write!(f, "log"),
            Action::Allow => write!(f, "allow"),
        }
    }
}
