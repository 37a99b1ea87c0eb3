//! The differential test: our programs against libseccomp's, both through an interpreter.

use super::*;
use crate::plan::seccomp::{Arg, Compare, Rule};
use crate::security::seccomp::architecture::architectures;
use crate::security::seccomp::bpf::interpreter::{Call, program, run};
use crate::security::seccomp::bpf::{Instruction, LOAD, RETURN};
use crate::security::seccomp::compile::through_libseccomp;

#[path = "../../../../tests/profiles/mod.rs"]
mod profiles;

const X86: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;
const AARCH64: u32 = 0xc000_00b7;

/// libseccomp's answers. Each architecture has a program of its own: in one program for several, 2.5.4 shares blocks
/// between architectures and then can miss to load the number.
struct Theirs(Vec<(u32, Vec<Instruction>)>);

impl Theirs {
    fn of(filter: &Filter) -> Result<Theirs> {
        let all = architectures(filter)?;
        let mut tokens: Vec<u32> = all.iter().map(|a| a.audit).collect();
        tokens.dedup();
        let compile = |token: u32| {
            let some: Vec<_> = all.iter().copied().filter(|a| a.audit == token).collect();
            Ok((token, program(&through_libseccomp(filter, &some)?)))
        };
        tokens.into_iter().map(compile).collect::<Result<_>>().map(Theirs)
    }

    fn run(&self, call: &Call) -> u32 {
        let programs = || self.0.iter();
        let own = programs().find(|(token, _)| *token == call.architecture).or(programs().next());
        run(&own.unwrap().1, call)
    }
}

struct Both {
    ours: Vec<Instruction>,
    theirs: Theirs,
}

impl Both {
    fn of(filter: &Filter) -> Result<Both> {
        let ours = program(&generate(filter, &architectures(filter)?)?);
        Ok(Both { ours, theirs: Theirs::of(filter)? })
    }

    fn compare(&self, call: &Call) {
        let (ours, theirs) = (run(&self.ours, call), self.theirs.run(call));
        assert_eq!(ours, theirs, "{ours:#x} {theirs:#x} {call:x?}");
    }
}

/// Numbers around everything that a table of system calls holds, in all modes.
fn numbers() -> impl Iterator<Item = u32> {
    let low = (0..600).chain([u32::MAX >> 1, X32_BIT - 1]);
    let x32 = X32_BIT..X32_BIT + 600;
    low.chain(x32).chain([0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX])
}

/// Values on each side of every value in the rules that could apply to an argument.
fn interesting(filter: &Filter, index: u8) -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX, u32::MAX.into(), 1 << 32];
    let args = filter.rules.iter().flat_map(|rule| &rule.args).filter(|arg| arg.index == index);
    for v in args.flat_map(|arg| [arg.value, arg.value_two, arg.value & arg.value_two, !arg.value | arg.value_two]) {
        values.extend([v, v.wrapping_add(1), v.wrapping_sub(1), v ^ 1 << 32, v | 0xffff_ffff << 32, v & 0xffff_ffff]);
    }
    if index == 0 {
        // Calls of socketcall and ipc.
        values.extend(2..25);
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Compares over every number and architecture and the product of values of the arguments that rules look at.
fn compare_everywhere(filter: &Filter) {
    let both = Both::of(filter).unwrap();
    let used: Vec<u8> = (0..6).filter(|i| filter.rules.iter().any(|r| r.args.iter().any(|a| a.index == *i))).collect();
    let mut products = vec![[0u64; 6], [u64::MAX; 6]];
    for &index in used.iter().take(3) {
        let values = interesting(filter, index);
        let vary = |args: &[u64; 6]| {
            let args = *args;
            values.clone().into_iter().map(move |value| {
                let mut args = args;
                args[usize::from(index)] = value;
                args
            })
        };
        products = products.iter().flat_map(vary).collect();
    }
    let with_args: Vec<u32> = conditional_numbers(&both);
    for architecture in [Architecture::X86_64, X86, ARM, AARCH64, 0] {
        for number in numbers() {
            let all = with_args.contains(&number);
            for args in products.iter().take(if all { usize::MAX } else { 2 }) {
                both.compare(&Call { number, architecture, args: *args });
            }
        }
    }
}

/// Numbers for which our program or one of theirs looks at arguments.
fn conditional_numbers(both: &Both) -> Vec<u32> {
    const MARK: u32 = 0xdead_beef;
    // Answers the mark at the first load of an argument.
    let probe = |p: &[Instruction]| {
        let mark = Instruction { code: RETURN, jump_true: 0, jump_false: 0, k: MARK };
        p.iter().map(|i| if i.code == LOAD && i.k >= 16 { mark } else { *i }).collect::<Vec<_>>()
    };
    let programs = both.theirs.0.iter().map(|(_, p)| p).chain([&both.ours]);
    let mut found: Vec<u32> = programs
        .map(|p| probe(p))
        .flat_map(|p| {
            let calls = [Architecture::X86_64, X86, ARM, AARCH64]
                .into_iter()
                .flat_map(|architecture| numbers().map(move |number| Call { number, architecture, args: [0; 6] }));
            calls.filter(move |call| run(&p, call) == MARK).map(|call| call.number)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn real_profiles_get_the_same_answers() {
    for path in profiles::all() {
        let filter = profiles::read(&path);
        compare_everywhere(&filter);
        // The profile for one architecture, and with another default.
        compare_everywhere(&Filter { architectures: vec![], ..filter.clone() });
        compare_everywhere(&Filter { default_action: Action::Log, ..filter.clone() });
        let ours = generate(&filter, &architectures(&filter).unwrap()).unwrap().len() / 8;
        // As a container gets it: all architectures in one program.
        let theirs = program(&through_libseccomp(&filter, &architectures(&filter).unwrap()).unwrap());
        println!("{}: {ours} instructions, libseccomp {}", path.display(), theirs.len());
        assert!(ours * 2 < theirs.len());
        let both = Both { ours: theirs, theirs: Theirs::of(&filter).unwrap() };
        for call in [Architecture::X86_64, X86].into_iter().flat_map(|architecture| {
            numbers().map(move |number| Call { number, architecture, args: [1, 2, 3, 0, 0, 0] })
        }) {
            both.compare(&call);
        }
    }
}

/// A small generator of random numbers (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

const NAMES: [&str; 24] = [
    "read",
    "write",
    "openat2",
    "clone3",
    "socket",
    "socketcall",
    "sendmsg",
    "accept",
    "accept4",
    "semop",
    "shmat",
    "ipc",
    "_llseek",
    "mmap",
    "mmap2",
    "personality",
    "clone",
    "futex_waitv",
    "no_such_call",
    "recvmmsg",
    "time",
    "stat",
    "arch_prctl",
    "set_thread_area",
];
const ACTIONS: [Action; 9] = [
    Action::Allow,
    Action::Errno(1),
    Action::Errno(38),
    Action::KillProcess,
    Action::KillThread,
    Action::Trap,
    Action::Trace(7),
    Action::Log,
    Action::Notify,
];
const OPERATORS: [Compare; 7] = [
    Compare::NotEqual,
    Compare::Less,
    Compare::LessOrEqual,
    Compare::Equal,
    Compare::GreaterOrEqual,
    Compare::Greater,
    Compare::MaskedEqual,
];
const VALUES: [u64; 9] = [0, 1, 2, 9, 0xffff_ffff, 1 << 32, (1 << 32) + 2, u64::MAX, 0x7e02_0000];

fn random_arg(random: &mut Random) -> Arg {
    let (op, value) = (random.of(&OPERATORS), random.of(&VALUES));
    Arg { index: random.below(3) as u8, op, value, value_two: random.of(&VALUES) }
}

fn random_filter(random: &mut Random, conditions: usize) -> Filter {
    // One action for each name: then the order of the rules does not matter.
    let actions: Vec<Action> = NAMES.iter().map(|_| random.of(&ACTIONS)).collect();
    let rule = |random: &mut Random| {
        let index = random.below(NAMES.len());
        let args = (0..random.below(conditions + 1)).map(|_| random_arg(random)).collect();
        Rule { names: vec![NAMES[index].into()], action: actions[index], args }
    };
    let rules = (0..random.below(30)).map(|_| rule(random)).collect();
    let architectures: Vec<String> =
        ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"]
            .iter()
            .filter(|_| random.below(2) == 0)
            .map(|a| a.to_string())
            .collect();
    let default = random.of(&ACTIONS[..8]);
    Filter { default_action: default, architectures, rules }
}

/// What a profile means: of a number's rules the first without conditions, else whichever holds.
fn meaning(filter: &Filter, call: &Call) -> u32 {
    let all = architectures(filter).unwrap();
    let x32 = call.architecture == Architecture::X86_64 && call.number >= X32_BIT;
    let mode = all.iter().find(|a| a.audit == call.architecture && (a.scmp == ScmpArch::X32) == x32);
    let default = filter.default_action.answer();
    let Some(mode) = mode else {
        let skipped = call.number == u32::MAX && call.architecture == Architecture::X86_64;
        return if skipped { default } else { BAD_ARCHITECTURE };
    };
    let bits = if matches!(mode.scmp, ScmpArch::X8664 | ScmpArch::Aarch64) { u64::MAX } else { u32::MAX.into() };
    // Each rule as conditions on the arguments, for the names that this call can be.
    let mut rules = Vec::new();
    for rule in filter.rules.iter().filter(|rule| rule.action != filter.default_action) {
        for name in &rule.names {
            let (matches, first) = match number(name, mode.scmp) {
                Some(Number::Plain(n)) => (n == call.number, None),
                Some(Number::Multiplexed { direct, .. }) if direct == Some(call.number) => (true, None),
                Some(Number::Multiplexed { through, call: number, .. }) => (through == call.number, Some(number)),
                _ => (false, None),
            };
            if matches {
                rules.extend(rule.alternatives(&rule.args).iter().map(|args| (rule.action, *args, first)));
            }
        }
    }
    let holds = |arg: &Arg| {
        let (is, value) = (call.args[usize::from(arg.index)] & bits, arg.value & bits);
        match arg.op {
            Compare::NotEqual => is != value,
            Compare::Less => is < value,
            Compare::LessOrEqual => is <= value,
            Compare::Equal => is == value,
            Compare::GreaterOrEqual => is >= value,
            Compare::Greater => is > value,
            Compare::MaskedEqual => is & value == arg.value_two & value,
        }
    };
    let vacuous = |arg: &Arg| arg.op == Compare::MaskedEqual && arg.value & bits == 0;
    let relevant = |args: &[Arg], first: Option<u32>| -> Vec<Arg> {
        args.iter().filter(|a| !vacuous(a) && (first.is_none() || a.index != 0)).copied().collect()
    };
    let always = rules.iter().find(|(_, args, first)| first.is_none() && relevant(args, *first).is_empty());
    if let Some((action, ..)) = always {
        return action.answer();
    }
    let held = rules.iter().find(|(_, args, first)| {
        first.is_none_or(|n| call.args[0] as u32 == n) && relevant(args, *first).iter().all(holds)
    });
    let beyond = enosys::applies_to(filter) && enosys::newer(filter, mode.scmp).is_some_and(|n| call.number >= n);
    held.map_or(if beyond && rules.is_empty() { enosys::answer() } else { default }, |(action, ..)| action.answer())
}

/// The numbers of the names that random profiles have, in every mode, with their neighbours.
fn numbers_of_names() -> Vec<u32> {
    let modes = [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32, ScmpArch::Arm, ScmpArch::Aarch64];
    let named = modes.into_iter().flat_map(|mode| NAMES.iter().filter_map(move |name| number(name, mode)));
    let named = named.filter_map(Number::plain).flat_map(|n| [n.saturating_sub(1), n, n + 1]);
    let mut numbers: Vec<u32> = named.chain([600, X32_BIT - 1, X32_BIT, 0x8000_0000, u32::MAX - 1, u32::MAX]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Runs `compare` on calls that lie on the edges of random profiles.
fn on_random_calls(seed: u64, choose: impl Fn(&mut Random) -> Filter, compare: impl Fn(&Filter, &Both, &Call)) {
    let mut random = Random(seed);
    let mut compared = 0;
    let numbers = numbers_of_names();
    for _ in 0..200 {
        let filter = choose(&mut random);
        // A refusal, of ours or of theirs.
        let Ok(both) = Both::of(&filter) else { continue };
        let values: Vec<Vec<u64>> = (0..3).map(|i| interesting(&filter, i)).collect();
        for architecture in [Architecture::X86_64, X86, ARM, AARCH64] {
            for number in numbers.iter().flat_map(|n| [*n; 6]) {
                let mut args = [0; 6];
                for (arg, values) in args.iter_mut().zip(&values) {
                    *arg = random.of(values);
                }
                compare(&filter, &both, &Call { number, architecture, args });
            }
        }
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn random_profiles_mean_what_they_say() {
    on_random_calls(
        0x9e37_79b9_7f4a_7c15,
        |r| random_filter(r, 3),
        |filter, both, call| {
            let (ours, meant) = (run(&both.ours, call), meaning(filter, call));
            assert_eq!(ours, meant, "{ours:#x} {meant:#x} {call:x?}\n{filter:?}");
        },
    );
}

#[test]
fn random_profiles_get_the_same_answers() {
    // Within what libseccomp 2.5.4 itself gets right: it mixes up several comparisons of one argument, and blocks that
    // two modes of one architecture share.
    let choose = |random: &mut Random| {
        let mut filter = Filter { architectures: vec![], ..random_filter(random, 3) };
        let mut seen = Vec::new();
        filter.rules.retain(|rule| {
            !seen.contains(&rule.names) && {
                seen.push(rule.names.clone());
                true
            }
        });
        filter.rules.retain(|rule| rule.alternatives(&rule.args).len() == 1);
        filter
    };
    on_random_calls(0x2545_f491_4f6c_dd1d, choose, |filter, both, call| {
        let (ours, theirs) = (run(&both.ours, call), both.theirs.run(call));
        assert_eq!(ours, theirs, "{ours:#x} {theirs:#x} {call:x?}\n{filter:?}");
    });
}
