//! Our own generator: for each architecture a balanced tree over ranges of system call numbers.
//!
//! A profile's numbers fall into some sixty runs with one answer each, so a program is a third as long as libseccomp's
//! and a call is decided after six or seven comparisons. The kernel runs a filter once for every number when it is
//! loaded (to know which calls are always allowed), so both make a container start faster.
//!
//! The answers are libseccomp's, which a differential test demands, except where libseccomp 2.5 contradicts the rules it
//! was given (several comparisons by order of one argument; blocks that it shares between architectures): there ours
//! are what the rules say. What is not certain to be the same (rules whose order would matter, architectures with
//! peculiarities not known here) is refused with the reason.

mod conditions;

use super::architecture::{Architecture, Number, X32_BIT, number};
use super::bpf::{ARCHITECTURE, Condition, NUMBER, Program, Target};
use super::enosys;
use crate::plan::seccomp::{Action, Filter, Rule};
use anyhow::{Result, bail, ensure};
use conditions::{All, Width};
use libseccomp::ScmpArch;

/// The answer for an architecture that the profile does not have, as libseccomp has it.
const BAD_ARCHITECTURE: u32 = 0;

/// Makes the program of a filter, ENOSYS for newer calls included. An error says what it cannot express.
pub fn generate(filter: &Filter, architectures: &[Architecture]) -> Result<Vec<u8>> {
    ensure!(cfg!(target_endian = "little"), "the machine is big-endian");
    let mut tokens = Vec::new();
    for token in architectures.iter().map(|a| a.audit) {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let profile = Profile::new(filter, architectures[0].scmp);
    let mut program = Program::default();
    let mut sections = Vec::new();
    // Written from the end: the native architecture, which is the first, comes to stand at the front.
    for &token in tokens.iter().rev() {
        let modes: Vec<&Architecture> = architectures.iter().filter(|a| a.audit == token).collect();
        let ranges = ranges(&profile, &modes)?;
        let front = tree(&mut program, &ranges);
        program.go_to(front);
        sections.push((token, Target::To(program.load(NUMBER))));
    }
    let mut next = Target::Answer(BAD_ARCHITECTURE);
    for (token, section) in sections {
        next = Target::To(program.branch(Condition::Equal, token, section, next));
    }
    program.load(ARCHITECTURE);
    Ok(program.into_bytes())
}

/// The rules with the names that libseccomp knows on the native architecture; others it does not translate either.
struct Profile<'a> {
    filter: &'a Filter,
    rules: Vec<(&'a Rule, Vec<&'a str>)>,
}

impl<'a> Profile<'a> {
    fn new(filter: &'a Filter, native: ScmpArch) -> Profile<'a> {
        let known = |rule: &'a Rule| {
            let names = rule.names.iter().map(String::as_str);
            (rule, names.filter(|name| number(name, native).is_some()).collect())
        };
        Profile { filter, rules: filter.rules.iter().map(known).collect() }
    }
}

/// What is answered to one number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Answer(u32),
    /// The action of the first of these whose conditions hold, else the default.
    FirstOf(Vec<All>, u32),
}

/// The number at which a leaf begins to be valid; the next range ends it.
type Range = (u32, Leaf);

/// The ranges of one architecture; of x86_64 and x32 together, which differ by a bit of the number.
fn ranges(profile: &Profile, modes: &[&Architecture]) -> Result<Vec<Range>> {
    let mut ranges = Ranges(Vec::new());
    let is_x86_64 = modes.iter().any(|a| a.audit == Architecture::X86_64);
    for (x32, from) in [(false, 0), (true, X32_BIT)] {
        if x32 && !is_x86_64 {
            continue;
        }
        match modes.iter().find(|a| (a.scmp == ScmpArch::X32) == x32) {
            Some(mode) => ranges.add_mode(profile, mode.scmp, from)?,
            None => ranges.push(from, Leaf::Answer(BAD_ARCHITECTURE)),
        }
    }
    if is_x86_64 && !modes.iter().any(|a| a.scmp == ScmpArch::X32) {
        // A tracer skips a call by setting its number to -1 (seccomp(2)).
        ranges.push(u32::MAX, Leaf::Answer(profile.filter.default_action.answer()));
    }
    Ok(ranges.0)
}

struct Ranges(Vec<Range>);

impl Ranges {
    /// Begins a range, unless it only goes on with the last one.
    fn push(&mut self, from: u32, leaf: Leaf) {
        if self.0.last().is_none_or(|(_, last)| *last != leaf) {
            self.0.push((from, leaf));
        }
    }

    /// The numbers of one architecture from `from` on.
    fn add_mode(&mut self, profile: &Profile, mode: ScmpArch, from: u32) -> Result<()> {
        let default = profile.filter.default_action.answer();
        let (leaves, largest) = leaves(profile, mode)?;
        let mut next = from;
        for (number, leaf) in leaves {
            if number > next {
                self.push(next, Leaf::Answer(default));
            }
            self.push(number, leaf);
            next = number + 1;
        }
        let newer = if enosys::applies_to(profile.filter) { enosys::newer_than(largest) } else { None };
        if newer.is_none_or(|newer| newer > next) {
            self.push(next, Leaf::Answer(default));
        }
        if let Some(newer) = newer {
            self.push(newer.max(next), Leaf::Answer(enosys::answer()));
        }
        Ok(())
    }
}

/// The numbers that the profile has rules for, in ascending order, and the largest that it names.
fn leaves(profile: &Profile, mode: ScmpArch) -> Result<(Vec<Range>, Option<u32>)> {
    let width = Width::of(mode)?;
    let default = profile.filter.default_action;
    let (mut cases, mut largest) = (Vec::new(), None);
    for (rule, names) in &profile.rules {
        let conditions: Vec<_> = rule.args.iter().map(|arg| width.condition(arg)).collect::<Result<_>>()?;
        let alternatives = rule.alternatives(&conditions);
        let action = rule.action;
        for name in names {
            let Some(number) = number(name, mode) else { bail!("{name} has no translation to {mode:?}") };
            largest = largest.max(number.plain());
            // A rule that says what the default says is none.
            if action == default {
                continue;
            }
            if let Some(number) = number.plain() {
                cases.extend(alternatives.iter().map(|all| (number, All::new(all, action))));
            }
            if let Number::Multiplexed { through, call, .. } = number {
                cases.extend(alternatives.iter().map(|all| (through, All::of_call(call, all, action))));
            }
        }
    }
    // Stable: rules of one number stay in the order of the profile.
    cases.sort_by_key(|(number, _)| *number);
    let groups = cases.chunk_by(|a, b| a.0 == b.0);
    let leaves = groups.map(|group| Ok((group[0].0, leaf(group.iter().map(|(_, all)| all), default)?)));
    Ok((leaves.collect::<Result<_>>()?, largest))
}

/// What the rules of one number come to. The first rule without conditions wins over all others, as in libseccomp.
fn leaf<'a>(rules: impl Iterator<Item = &'a All> + Clone, default: Action) -> Result<Leaf> {
    if let Some(always) = rules.clone().find(|all| all.conditions.is_empty()) {
        return Ok(Leaf::Answer(always.action.answer()));
    }
    let mut alternatives: Vec<All> = Vec::new();
    for rule in rules {
        if alternatives.contains(rule) {
            continue;
        }
        let conflict = alternatives.iter().find(|other| other.action != rule.action && !other.excludes(rule));
        if let Some(other) = conflict {
            bail!("the order of {other:?} and {rule:?} is libseccomp's to decide");
        }
        alternatives.push(rule.clone());
    }
    Ok(Leaf::FirstOf(alternatives, default.answer()))
}

/// Writes a search for the number in the accumulator among `ranges`, and returns where it begins.
fn tree(program: &mut Program, ranges: &[Range]) -> Target {
    match ranges {
        [] => Target::Answer(BAD_ARCHITECTURE),
        [(_, Leaf::Answer(value))] => Target::Answer(*value),
        [(_, Leaf::FirstOf(alternatives, default))] => {
            let mut next = Target::Answer(*default);
            for all in alternatives.iter().rev() {
                next = all.write(program, next);
            }
            next
        }
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let from = high[0].0;
            let high = tree(program, high);
            let low = tree(program, low);
            Target::To(program.branch(Condition::GreaterOrEqual, from, high, low))
        }
    }
}

#[cfg(test)]
mod tests;
