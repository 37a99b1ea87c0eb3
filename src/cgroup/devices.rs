//! A device policy as an eBPF program, which is how cgroup v2 restricts devices.
//!
//! The verifier's work grows faster than the program, so the program is short: type, access, major and minor are loaded
//! once, rules are grouped by type and major, and a rule for every access is one compare.

use crate::plan::resources::devices::{Access, DeviceRule, DeviceType, Policy};
use crate::sys::bpf::{self, Instruction};
use crate::sys::{Call, Errno};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

/// Loads the policy's program and attaches it to a new cgroup.
pub fn attach(policy: &Policy, cgroup: BorrowedFd) -> Result<()> {
    let program = bpf::load_device_program(&compile(policy)?).call(|| "bpf BPF_PROG_LOAD device program".into())?;
    bpf::attach_device_program(cgroup, program.as_fd(), None).call(|| "bpf BPF_PROG_ATTACH device program".into())
}

/// Puts the policy's program in the place of those that are attached to the cgroup.
pub fn replace(policy: &Policy, cgroup: BorrowedFd) -> Result<()> {
    let program = bpf::load_device_program(&compile(policy)?).call(|| "bpf BPF_PROG_LOAD device program".into())?;
    let old = bpf::device_programs(cgroup).call(|| "bpf BPF_PROG_QUERY device programs".into())?;
    let single = if let [one] = old.as_slice() { Some(one.as_fd()) } else { None };
    bpf::attach_device_program(cgroup, program.as_fd(), single).call(|| "bpf BPF_PROG_ATTACH device program".into())?;
    // With several, the new one is in force before the old ones go: at no time more is allowed than by either.
    for program in old.iter().filter(|_| single.is_none()) {
        match bpf::detach_device_program(cgroup, program.as_fd()) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e).call(|| "bpf BPF_PROG_DETACH device program".into()),
        }
    }
    Ok(())
}

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// The accesses that no rule has decided about yet.
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Opcodes of <linux/bpf.h>: class | operation | source.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_BITS: u8 = 0x46;
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_*`; `None` fits every type.
fn type_number(kind: DeviceType) -> Option<i32> {
    match kind {
        DeviceType::All => None,
        DeviceType::Block => Some(1),
        DeviceType::Char => Some(2),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Jumps and their labels.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, l)| *l == label)
    }

    fn emit(&mut self, code: u8, target: u8, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: target | source << 4, offset, immediate });
    }

    fn jump(&mut self, code: u8, register: u8, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(code, register, 0, 0, value);
    }

    fn finish(mut self) -> Result<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].expect("every label that is used is placed");
            let Ok(offset) = i16::try_from(to - at - 1) else {
                bail!("linux.resources.devices: too many rules for one program");
            };
            self.code[at].offset = offset;
        }
        Ok(self.code)
    }
}

/// Access by minor number (`None`: all), for one major number (`None`: all) of one type.
type Minors = BTreeMap<Option<u32>, u8>;
type Group = BTreeMap<DeviceType, BTreeMap<Option<u32>, Minors>>;

fn compile(policy: &Policy) -> Result<Vec<Instruction>> {
    let mut asm = Assembler::default();
    if !policy.exceptions.is_empty() {
        asm.emit(LOAD_WORD, TYPE, CONTEXT, 0, 0);
        asm.emit(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
        asm.emit(LOAD_WORD, MINOR, CONTEXT, 8, 0);
        asm.emit(MOVE_REGISTER, ACCESS, TYPE, 0, 0);
        asm.emit(AND, TYPE, 0, 0, 0xffff);
        asm.emit(SHIFT_RIGHT, ACCESS, 0, 0, 16);
    }
    let (default, opposite) = (asm.label(), asm.label());
    // The last rule counts first. Neighbours that say the same can change places, so they form a group.
    for rules in policy.exceptions.chunk_by(|a, b| a.allow == b.allow).rev() {
        let verdict = if rules[0].allow == policy.allow { default } else { opposite };
        emit_group(&mut asm, &group(rules), rules[0].allow, verdict);
    }
    asm.place(default);
    asm.emit(MOVE, RESULT, 0, 0, i32::from(policy.allow));
    asm.emit(EXIT, 0, 0, 0, 0);
    // The verifier refuses code that nothing leads to.
    if asm.is_used(opposite) {
        asm.place(opposite);
        asm.emit(MOVE, RESULT, 0, 0, i32::from(!policy.allow));
        asm.emit(EXIT, 0, 0, 0, 0);
    }
    asm.finish()
}

fn group(rules: &[DeviceRule]) -> Group {
    let mut group = Group::new();
    for rule in rules {
        let minors = group.entry(rule.kind).or_default().entry(rule.major).or_default();
        *minors.entry(rule.minor).or_default() |= rule.access.bits();
    }
    group
}

/// Code that jumps to `verdict` when these rules decide about all that is asked, or forbid a part of it.
fn emit_group(asm: &mut Assembler, group: &Group, allow: bool, verdict: Label) {
    let full = |minors: Option<&Minors>| minors.and_then(|m| m.get(&None)) == Some(&Access::ALL.bits());
    for (kind, majors) in group {
        let number = type_number(*kind);
        if full(majors.get(&None)) {
            let types = number.map_or(vec![1, 2], |n| vec![n]);
            types.into_iter().for_each(|n| asm.jump(JUMP_EQUAL, TYPE, n, verdict));
            continue;
        }
        let next_type = asm.label();
        if let Some(number) = number {
            asm.jump(JUMP_NOT_EQUAL, TYPE, number, next_type);
        }
        for (major, minors) in majors {
            let next_major = asm.label();
            match major {
                Some(major) if full(Some(minors)) => {
                    asm.jump(JUMP_EQUAL, MAJOR, *major as i32, verdict);
                    continue;
                }
                Some(major) => asm.jump(JUMP_NOT_EQUAL, MAJOR, *major as i32, next_major),
                None => {}
            }
            for (minor, access) in minors {
                emit_rule(asm, *minor, *access, allow, verdict);
            }
            asm.place(next_major);
        }
        asm.place(next_type);
    }
}

fn emit_rule(asm: &mut Assembler, minor: Option<u32>, access: u8, allow: bool, verdict: Label) {
    let access = i32::from(access);
    let next = asm.label();
    match minor {
        Some(minor) if access == i32::from(Access::ALL.bits()) => {
            return asm.jump(JUMP_EQUAL, MINOR, minor as i32, verdict);
        }
        Some(minor) => asm.jump(JUMP_NOT_EQUAL, MINOR, minor as i32, next),
        None => {}
    }
    if allow {
        asm.emit(AND, ACCESS, 0, 0, !access);
        asm.jump(JUMP_EQUAL, ACCESS, 0, verdict);
    } else {
        asm.jump(JUMP_IF_BITS, ACCESS, access, verdict);
    }
    asm.place(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's interpreter does with these instructions.
    fn run(program: &[Instruction], kind: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [(u32::from(access) << 16) | kind as u32, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (target, source) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let value = i.immediate as u32;
            let mut jump = false;
            match i.code {
                LOAD_WORD => registers[target] = context[i.offset as usize / 4],
                MOVE_REGISTER => registers[target] = registers[source],
                MOVE => registers[target] = value,
                AND => registers[target] &= value,
                SHIFT_RIGHT => registers[target] >>= value,
                JUMP_EQUAL => jump = registers[target] == value,
                JUMP_NOT_EQUAL => jump = registers[target] != value,
                JUMP_IF_BITS => jump = registers[target] & value != 0,
                EXIT => return registers[0] != 0,
                code => panic!("opcode {code:#x}"),
            }
            at = at + 1 + if jump { i.offset as usize } else { 0 };
        }
    }

    fn rule(allow: bool, kind: DeviceType, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: Access::parse(access).unwrap() }
    }

    fn rules() -> Vec<DeviceRule> {
        use DeviceType::*;
        vec![
            rule(true, All, None, None, "rw"),
            rule(true, All, None, None, "m"),
            rule(false, Char, None, None, "m"),
            rule(true, Char, Some(1), None, "r"),
            rule(true, Char, Some(1), Some(3), "rwm"),
            rule(false, Char, Some(1), Some(3), "w"),
            rule(true, Block, None, Some(3), "rwm"),
            rule(false, All, None, None, "rwm"),
            rule(false, Block, Some(8), None, "rwm"),
            rule(true, Block, Some(0xffff_fff0), Some(1), "rm"),
            rule(true, All, None, None, "rwm"),
            rule(true, Char, None, None, "rwm"),
        ]
    }

    fn agree(policy: &Policy) {
        let program = compile(policy).unwrap();
        for (kind, number) in [(DeviceType::Block, 1), (DeviceType::Char, 2)] {
            for (major, minor) in [(1, 3), (1, 4), (8, 3), (8, 4), (0xffff_fff0, 1), (9, 9)] {
                for bits in 1..8u8 {
                    let text: String =
                        [(2, 'r'), (4, 'w'), (1, 'm')].iter().filter(|(b, _)| bits & b != 0).map(|(_, c)| c).collect();
                    let want = policy.decide(kind, major, minor, Access::parse(&text).unwrap());
                    assert_eq!(
                        run(&program, number, bits, major, minor),
                        want,
                        "{policy:?} {kind:?} {major}:{minor} {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn programs_decide_as_their_policies() {
        let rules = rules();
        agree(&Policy::new(&[]));
        for a in &rules {
            for b in &rules {
                for c in &rules {
                    agree(&Policy::new(&[*a, *b, *c]));
                }
            }
        }
    }

    #[test]
    fn the_default_program_is_short() {
        assert_eq!(compile(&Policy::new(&[])).unwrap().len(), 28);
        assert_eq!(compile(&Policy::new(&[rule(true, DeviceType::All, None, None, "rwm")])).unwrap().len(), 2);
    }

    #[test]
    fn the_kernel_takes_them() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let rules = rules();
        for a in &rules {
            for b in &rules {
                let program = compile(&Policy::new(&[*a, *b])).unwrap();
                bpf::load_device_program(&program).unwrap_or_else(|e| panic!("{e}: {a:?} {b:?} {program:?}"));
            }
        }
    }
}
