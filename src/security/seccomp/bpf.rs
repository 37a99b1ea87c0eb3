//! Classic BPF programs as seccomp(2) takes them, written from their end.
//!
//! A jump in classic BPF only goes forward and a conditional one at most 255 instructions far. A program that is built
//! backwards knows every target when it writes a jump, and where one is too far it puts an unconditional jump next to it.

/// One instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub k: u32,
}

pub const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
pub const NUMBER: u32 = 0;
pub const ARCHITECTURE: u32 = 4;

/// Conditions of a jump: the accumulator against a constant, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Condition {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
    AnyBit = 0x45,
}

/// An instruction of a program under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(usize);

/// Where a branch leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    To(Label),
    /// An answer; the instruction for it is written where none is in reach.
    Answer(u32),
}

/// A program that grows at its front.
#[derive(Debug, Default)]
pub struct Program {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// Answers that have an instruction, with the one nearest to the front.
    answers: Vec<(u32, Label)>,
}

impl Program {
    /// A program that ends in the one given (records of 8 bytes in native byte order).
    pub fn ending_in(bytes: &[u8]) -> Program {
        Program { reversed: bytes.chunks_exact(8).rev().map(decode).collect(), answers: Vec::new() }
    }

    /// What is executed first.
    pub fn front(&self) -> Label {
        Label(self.reversed.len())
    }

    /// Loads the word at `offset` of `struct seccomp_data` into the accumulator and goes on to what is at the front now.
    pub fn load(&mut self, offset: u32) -> Label {
        self.push(LOAD, 0, 0, offset)
    }

    /// Masks the accumulator and goes on to what is at the front now.
    pub fn and(&mut self, mask: u32) -> Label {
        self.push(AND, 0, 0, mask)
    }

    /// Makes `target` the front, by a jump if it is not yet.
    pub fn go_to(&mut self, target: Target) -> Label {
        let label = match target {
            Target::To(label) => label,
            Target::Answer(value) => return self.answer(value),
        };
        if label == self.front() {
            return label;
        }
        let distance = self.distance(label);
        self.push(JUMP, 0, 0, distance as u32)
    }

    /// Goes to one of two places by the accumulator.
    pub fn branch(&mut self, condition: Condition, k: u32, then: Target, otherwise: Target) -> Label {
        let otherwise = self.near(otherwise);
        let then = self.near(then);
        let (jump_true, jump_false) = (self.distance(then) as u8, self.distance(otherwise) as u8);
        self.push(condition as u16, jump_true, jump_false, k)
    }

    /// A label for `target` that a conditional jump reaches even after one more instruction.
    fn near(&mut self, target: Target) -> Label {
        const REACH: usize = u8::MAX as usize - 1;
        let known = match target {
            Target::To(label) => Some(label),
            Target::Answer(value) => self.answers.iter().find(|(v, _)| *v == value).map(|(_, label)| *label),
        };
        match known {
            Some(label) if self.distance(label) <= REACH => label,
            _ => self.go_to(target),
        }
    }

    fn answer(&mut self, value: u32) -> Label {
        let label = self.push(RETURN, 0, 0, value);
        match self.answers.iter_mut().find(|(v, _)| *v == value) {
            Some(answer) => answer.1 = label,
            None => self.answers.push((value, label)),
        }
        label
    }

    /// The program in the byte order of this machine.
    pub fn into_bytes(self) -> Vec<u8> {
        self.reversed.iter().rev().flat_map(|i| encode(*i)).collect()
    }

    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jump_true, jump_false, k });
        self.front()
    }
}

fn encode(i: Instruction) -> [u8; 8] {
    let (code, k) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
    [code[0], code[1], i.jump_true, i.jump_false, k[0], k[1], k[2], k[3]]
}

/// `record` has 8 bytes.
pub fn decode(record: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([record[0], record[1]]),
        jump_true: record[2],
        jump_false: record[3],
        k: u32::from_ne_bytes([record[4], record[5], record[6], record[7]]),
    }
}

#[cfg(any(test, fuzzing))]
pub mod interpreter {
    //! What the kernel does with a filter, for tests and fuzz targets.

    use super::*;

    /// One system call as a filter sees it.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Call {
        pub number: u32,
        pub architecture: u32,
        pub args: [u64; 6],
    }

    impl Call {
        /// The word at an offset of `struct seccomp_data` on a little-endian machine.
        fn word(&self, offset: u32) -> u32 {
            match offset {
                NUMBER => self.number,
                ARCHITECTURE => self.architecture,
                // The address of the call, which no filter of ours looks at.
                8 | 12 => 0,
                16..64 => {
                    let arg = self.args[(offset as usize - 16) / 8];
                    if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
                }
                _ => panic!("offset {offset}"),
            }
        }
    }

    /// Runs the program and returns its answer. Panics on anything that the kernel's checker refuses.
    pub fn run(program: &[Instruction], call: &Call) -> u32 {
        let (mut accumulator, mut index) = (0u32, 0u32);
        let (mut memory, mut at) = ([0u32; 16], 0);
        loop {
            let i = program[at];
            at += 1;
            let mut branch = |yes: bool| at += usize::from(if yes { i.jump_true } else { i.jump_false });
            match i.code {
                LOAD => accumulator = call.word(i.k),
                AND => accumulator &= i.k,
                JUMP => at += i.k as usize,
                RETURN => return i.k,
                0x15 => branch(accumulator == i.k),
                0x25 => branch(accumulator > i.k),
                0x35 => branch(accumulator >= i.k),
                0x45 => branch(accumulator & i.k != 0),
                0x60 => accumulator = memory[i.k as usize],
                0x02 => memory[i.k as usize] = accumulator,
                0x07 => index = accumulator,
                0x87 => accumulator = index,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    pub fn program(bytes: &[u8]) -> Vec<Instruction> {
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(8));
        bytes.chunks_exact(8).map(decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::interpreter::{Call, program, run};
    use super::*;

    fn answer(bytes: &[u8], number: u32) -> u32 {
        run(&program(bytes), &Call { number, ..Call::default() })
    }

    #[test]
    fn near_and_far_jumps_reach_their_targets() {
        for filling in [0, 1, 253, 254, 255, 256, 300, 1000] {
            let mut p = Program::default();
            let one = p.go_to(Target::Answer(1));
            p.go_to(Target::Answer(2));
            for _ in 0..filling {
                p.go_to(Target::Answer(3));
            }
            let middle = p.go_to(Target::Answer(4));
            let small = p.branch(Condition::Equal, 5, Target::To(one), Target::Answer(2));
            p.branch(Condition::Greater, 5, Target::To(middle), Target::To(small));
            p.load(NUMBER);
            let bytes = p.into_bytes();
            assert_eq!([answer(&bytes, 4), answer(&bytes, 5), answer(&bytes, 6)], [2, 1, 4], "{filling}");
        }
    }

    #[test]
    fn a_program_can_be_put_in_front_of_another() {
        let mut first = Program::default();
        first.go_to(Target::Answer(9));
        first.load(NUMBER);
        let bytes = first.into_bytes();
        let mut p = Program::ending_in(&bytes);
        let rest = Target::To(p.front());
        p.branch(Condition::AnyBit, 0x6, Target::Answer(7), rest);
        p.load(NUMBER);
        let both = p.into_bytes();
        assert_eq!([answer(&both, 0), answer(&both, 2), answer(&both, 4), answer(&both, 9)], [9, 7, 7, 9]);
        assert!(both.ends_with(&bytes));
    }
}
