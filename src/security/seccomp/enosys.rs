//! ENOSYS for system calls that are newer than the profile.
//!
//! A profile that answers EPERM to whatever it does not name also answers so to a system call of a later kernel, and a
//! libc that would fall back on ENOSYS gives up instead. So a call whose number is above every number that the profile
//! names for its architecture gets ENOSYS, as runc does since 1.0.0-rc93. A profile whose default lets calls through
//! or says ENOSYS itself needs none of this.

use super::architecture::{Architecture, X32_BIT, number};
use super::bpf::{ARCHITECTURE, Condition, NUMBER, Program, Target};
use crate::plan::seccomp::{Action, Filter};
use libseccomp::ScmpArch;

/// Whether the default action of a profile calls for it. A tracer is expected to deal with new calls itself.
pub fn applies_to(filter: &Filter) -> bool {
    const ENOSYS: u16 = libc::ENOSYS as u16;
    !matches!(filter.default_action, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS))
}

/// The answer for such calls.
pub fn answer() -> u32 {
    Action::Errno(libc::ENOSYS as u16).answer()
}

/// The first number that counts as newer than a profile, by the largest number that it names.
pub fn newer_than(largest: Option<u32>) -> Option<u32> {
    largest.filter(|&number| number > 0).map(|number| number + 1)
}

/// The first number that counts as newer, for an architecture; `None` if the profile names no call of it.
pub fn newer(filter: &Filter, architecture: ScmpArch) -> Option<u32> {
    let names = filter.rules.iter().flat_map(|rule| &rule.names);
    newer_than(names.filter_map(|name| number(name, architecture)?.plain()).max())
}

/// Puts the check in front of a compiled filter.
pub fn prepend(filter: &Filter, architectures: &[Architecture], compiled: &[u8]) -> Vec<u8> {
    let mut program = Program::ending_in(compiled);
    let rest = Target::To(program.front());
    let limits: Vec<(&Architecture, u32)> =
        architectures.iter().filter_map(|a| newer(filter, a.scmp).map(|n| (a, n))).collect();
    // x86_64 and x32 are one architecture to the kernel.
    let mut tokens: Vec<u32> = limits.iter().map(|(a, _)| a.audit).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut sections = Vec::new();
    for token in tokens {
        let of_token = || limits.iter().filter(|(a, _)| a.audit == token);
        let mut check = |x32: bool| match of_token().find(|(a, _)| (a.scmp == ScmpArch::X32) == x32) {
            Some((_, newer)) => {
                Target::To(program.branch(Condition::GreaterOrEqual, *newer, Target::Answer(answer()), rest))
            }
            None => rest,
        };
        let (mut normal, x32) = (check(false), check(true));
        if of_token().any(|(a, _)| matches!(a.scmp, ScmpArch::S390 | ScmpArch::S390X)) {
            // There number 0 (setup, long gone) carries the numbers that do not fit the instruction, and the kernel
            // leaves 0 for one that it does not know.
            normal = Target::To(program.branch(Condition::Equal, 0, Target::Answer(answer()), normal));
        }
        if token == Architecture::X86_64 {
            program.branch(Condition::GreaterOrEqual, X32_BIT, x32, normal);
        } else {
            program.go_to(normal);
        }
        sections.push((token, Target::To(program.load(NUMBER))));
    }
    let mut next = rest;
    for (token, section) in sections {
        next = Target::To(program.branch(Condition::Equal, token, section, next));
    }
    program.go_to(next);
    program.load(ARCHITECTURE);
    program.into_bytes()
}
