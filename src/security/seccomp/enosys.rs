//! ENOSYS for system calls that are newer than the profile.
//!
//! A profile that answers EPERM to whatever it does not name also answers so to a system call of a later kernel, and a
//! libc that would fall back on ENOSYS gives up instead. So a call whose number is above every number that the profile
//! names for its architecture gets ENOSYS, as runc does since 1.0.0-rc93. A profile whose default lets calls through
//! or says ENOSYS itself needs none of this.

use super::bpf::{ARCHITECTURE, Condition, NUMBER, Program};
use super::compile::{Architecture, errno};
use crate::plan::seccomp::{Action, Filter};
use libseccomp::{ScmpArch, ScmpSyscall};

/// Bit of a system call number that marks the x32 mode of x86_64.
pub const X32_BIT: u32 = 0x4000_0000;

/// Whether the default action of a profile calls for it. A tracer is expected to deal with new calls itself.
pub fn applies_to(filter: &Filter) -> bool {
    const ENOSYS: u16 = libc::ENOSYS as u16;
    !matches!(filter.default_action, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS))
}

/// The largest number that the profile names for an architecture; `None` if it names none.
pub fn largest(filter: &Filter, architecture: ScmpArch) -> Option<u32> {
    let names = filter.rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, architecture).ok());
    // Negative numbers are libseccomp's own, for calls that the architecture does not have.
    numbers.filter_map(|number| u32::try_from(i32::from(number)).ok()).max().filter(|&n| n > 0)
}

/// Puts the check in front of a compiled filter.
pub fn prepend(filter: &Filter, architectures: &[Architecture], compiled: &[u8]) -> Vec<u8> {
    let mut program = Program::ending_in(compiled);
    let rest = program.front();
    let enosys = program.returns(errno(libc::ENOSYS as u16));
    let limits: Vec<(&Architecture, u32)> =
        architectures.iter().filter_map(|a| largest(filter, a.scmp).map(|n| (a, n))).collect();
    // x86_64 and x32 are one architecture to the kernel.
    let mut tokens: Vec<u32> = limits.iter().map(|(a, _)| a.audit).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut sections = Vec::new();
    for token in tokens {
        let limit = |x32: bool| {
            limits.iter().find(|(a, _)| a.audit == token && (a.scmp == ScmpArch::X32) == x32).map(|(_, n)| *n)
        };
        let mut check = |limit: Option<u32>| match limit {
            Some(limit) => program.branch(Condition::Greater, limit, enosys, rest),
            None => rest,
        };
        let (mut normal, x32) = (check(limit(false)), check(limit(true)));
        if is_s390(limits.iter().find(|(a, _)| a.audit == token).map(|(a, _)| a.scmp)) {
            normal = program.branch(Condition::Equal, 0, enosys, normal);
        }
        if token == Architecture::X86_64 {
            program.branch(Condition::AnyBit, X32_BIT, x32, normal);
        } else {
            program.go_to(normal);
        }
        sections.push((token, program.load(NUMBER)));
    }
    let mut next = rest;
    for (token, section) in sections {
        next = program.branch(Condition::Equal, token, section, next);
    }
    program.go_to(next);
    program.load(ARCHITECTURE);
    program.into_bytes()
}

/// On s390 number 0 (setup, long gone) carries the numbers that do not fit the instruction; the kernel leaves 0 there
/// for a number that it does not know.
fn is_s390(architecture: Option<ScmpArch>) -> bool {
    matches!(architecture, Some(ScmpArch::S390 | ScmpArch::S390X))
}
