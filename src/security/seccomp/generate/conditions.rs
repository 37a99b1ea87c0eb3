//! Conditions on the arguments of a system call, compared in two halves as BPF has 32 bits.

use crate::plan::seccomp::{Action, Arg, Compare};
use crate::security::seccomp::bpf::{self, Program, Target};
use anyhow::{Result, bail, ensure};
use libseccomp::ScmpArch;

/// How much of an argument libseccomp compares: on 32-bit architectures the low half of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Bits32,
    Bits64,
}

impl Width {
    pub fn of(architecture: ScmpArch) -> Result<Width> {
        match architecture {
            ScmpArch::X8664 | ScmpArch::Aarch64 | ScmpArch::Riscv64 => Ok(Width::Bits64),
            ScmpArch::X86 | ScmpArch::X32 | ScmpArch::Arm => Ok(Width::Bits32),
            other => bail!("architecture {other:?} is left to libseccomp"),
        }
    }

    /// A condition of the plan; `None` for one that libseccomp takes to hold always, a mask of nothing.
    pub fn condition(self, arg: &Arg) -> Result<Option<One>> {
        ensure!(arg.index < 6, "system calls have no argument {}", arg.index);
        let bits = match self {
            Width::Bits32 => u32::MAX.into(),
            Width::Bits64 => u64::MAX,
        };
        let (test, mask, value) = match arg.op {
            Compare::Equal => (Test::Equal, bits, arg.value),
            Compare::NotEqual => (Test::NotEqual, bits, arg.value),
            Compare::Less => (Test::Less, bits, arg.value),
            Compare::LessOrEqual => (Test::LessOrEqual, bits, arg.value),
            Compare::Greater => (Test::Greater, bits, arg.value),
            Compare::GreaterOrEqual => (Test::GreaterOrEqual, bits, arg.value),
            Compare::MaskedEqual => (Test::Equal, bits & arg.value, arg.value_two),
        };
        let one = One { index: arg.index, test, mask, value: value & mask, width: self };
        Ok((mask != 0).then_some(one))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One condition: argument `index`, masked, against a value. Only `Equal` has a mask with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct One {
    index: u8,
    test: Test,
    mask: u64,
    value: u64,
    width: Width,
}

impl One {
    /// The call behind a multiplexing system call, its first argument.
    fn call(number: u32) -> One {
        let mask = u32::MAX.into();
        One { index: 0, test: Test::Equal, mask, value: number.into(), width: Width::Bits32 }
    }

    /// The least and the greatest value for which it holds, if these are all between them; `None` for an empty set too.
    fn interval(&self) -> Option<(u64, u64)> {
        let most = if self.width == Width::Bits32 { u32::MAX.into() } else { u64::MAX };
        match self.test {
            Test::Equal if self.mask == most => Some((self.value, self.value)),
            Test::Equal | Test::NotEqual => None,
            Test::Less => Some((0, self.value.checked_sub(1)?)),
            Test::LessOrEqual => Some((0, self.value)),
            Test::Greater => Some((self.value.checked_add(1).filter(|v| *v <= most)?, most)),
            Test::GreaterOrEqual => Some((self.value, most)),
        }
    }

    /// True only if no value can meet both.
    fn excludes(&self, other: &One) -> bool {
        if self.index != other.index {
            return false;
        }
        if let (Some((a, b)), Some((c, d))) = (self.interval(), other.interval()) {
            return b < c || d < a;
        }
        let opposite = |one: &One, two: &One| {
            one.test == Test::NotEqual && two.interval().is_some_and(|(a, b)| a == b && a == one.value)
        };
        let masks = || {
            let both = self.mask & other.mask;
            self.test == Test::Equal && other.test == Test::Equal && (self.value ^ other.value) & both != 0
        };
        opposite(self, other) || opposite(other, self) || masks()
    }

    /// Writes the comparison and returns where it begins.
    fn write(&self, program: &mut Program, yes: Target, no: Target) -> Target {
        use bpf::Condition::{Greater, GreaterOrEqual};
        match self.test {
            Test::Equal => self.write_equal(program, yes, no),
            Test::NotEqual => self.write_equal(program, no, yes),
            Test::Greater => self.write_order(program, Greater, yes, no),
            Test::LessOrEqual => self.write_order(program, Greater, no, yes),
            Test::GreaterOrEqual => self.write_order(program, GreaterOrEqual, yes, no),
            Test::Less => self.write_order(program, GreaterOrEqual, no, yes),
        }
    }

    fn write_equal(&self, program: &mut Program, yes: Target, no: Target) -> Target {
        let (low, high) = halves(self.value);
        let (low_mask, high_mask) = halves(self.mask);
        let mut front = yes;
        for (offset, value, mask) in [(self.low(), low, low_mask), (self.high(), high, high_mask)] {
            if mask == 0 {
                continue;
            }
            if value == 0 && mask != u32::MAX {
                program.branch(bpf::Condition::AnyBit, mask, no, front);
            } else {
                program.branch(bpf::Condition::Equal, value, front, no);
                if mask != u32::MAX {
                    program.and(mask);
                }
            }
            front = Target::To(program.load(offset));
        }
        front
    }

    fn write_order(&self, program: &mut Program, low_half: bpf::Condition, yes: Target, no: Target) -> Target {
        let (low, high) = halves(self.value);
        program.branch(low_half, low, yes, no);
        let low_half = Target::To(program.load(self.low()));
        if self.width == Width::Bits32 {
            return low_half;
        }
        let equal = Target::To(program.branch(bpf::Condition::Equal, high, low_half, no));
        program.branch(bpf::Condition::Greater, high, yes, equal);
        Target::To(program.load(self.high()))
    }

    /// Offset of the low half in `struct seccomp_data`, on a little-endian machine.
    fn low(&self) -> u32 {
        16 + 8 * u32::from(self.index)
    }

    fn high(&self) -> u32 {
        self.low() + 4
    }
}

fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

/// Conditions that must all hold, and the action if they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct All {
    pub conditions: Vec<One>,
    pub action: Action,
}

impl All {
    pub fn new(conditions: &[Option<One>], action: Action) -> All {
        All { conditions: conditions.iter().flatten().copied().collect(), action }
    }

    /// For a call behind a multiplexing system call. Its own first argument takes the place of what the rule says of
    /// the first one; the others stay, although they are not those of the call behind it: so does libseccomp.
    pub fn of_call(call: u32, conditions: &[Option<One>], action: Action) -> All {
        let others = conditions.iter().flatten().copied().filter(|one| one.index != 0);
        All { conditions: std::iter::once(One::call(call)).chain(others).collect(), action }
    }

    /// True only if no call can meet both.
    pub fn excludes(&self, other: &All) -> bool {
        self.conditions.iter().any(|one| other.conditions.iter().any(|two| one.excludes(two)))
    }

    /// Writes all comparisons, going to `next` if one fails, and returns where they begin.
    pub fn write(&self, program: &mut Program, next: Target) -> Target {
        let mut yes = Target::Answer(self.action.answer());
        for one in self.conditions.iter().rev() {
            yes = one.write(program, yes, next);
        }
        yes
    }
}
