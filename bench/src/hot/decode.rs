//! Which addresses of the program an instruction reads or writes.

use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Mnemonic, Register, UsedMemory};
use nix::libc::user_regs_struct;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const LONGEST_INSTRUCTION: usize = 15;

struct Instruction {
    memory: Vec<UsedMemory>,
    is_syscall: bool,
}

pub struct Decode {
    image: Range<u64>,
    factory: InstructionInfoFactory,
    /// By its address.
    known: HashMap<u64, Instruction>,
}

impl Decode {
    pub fn new(image: Range<u64>) -> Decode {
        Decode { image, factory: InstructionInfoFactory::new(), known: HashMap::new() }
    }

    /// What the instruction that is next touches of the image. `memory`: of the process.
    pub fn touched(&mut self, registers: &user_regs_struct, memory: &File) -> Result<Vec<u64>> {
        let at = registers.rip;
        if !self.image.contains(&at) {
            return Ok(Vec::new());
        }
        if !self.known.contains_key(&at) {
            let mut code = [0; LONGEST_INSTRUCTION];
            let length = memory.read_at(&mut code, at).with_context(|| format!("read the instruction at {at:#x}"))?;
            let instruction = Decoder::with_ip(64, &code[..length], at, DecoderOptions::NONE).decode();
            let memory = self.factory.info(&instruction).used_memory().to_vec();
            self.known.insert(at, Instruction { memory, is_syscall: instruction.mnemonic() == Mnemonic::Syscall });
        }
        let Instruction { memory, is_syscall } = &self.known[&at];
        let value = |register: Register| match register {
            // Of the thread's own block, which is not in the image.
            Register::FS | Register::GS => None,
            register => general(register, registers),
        };
        let addresses = memory.iter().filter_map(|used| used.virtual_address(0, |r, _, _| value(r)));
        // What the kernel reads and writes.
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        let arguments = arguments.into_iter().filter(|_| *is_syscall);
        Ok(addresses.chain(arguments).filter(|address| self.image.contains(address)).collect())
    }
}

/// The value of a register that an address can be made of.
fn general(register: Register, of: &user_regs_struct) -> Option<u64> {
    let value = match register.full_register() {
        Register::RAX => of.rax,
        Register::RBX => of.rbx,
        Register::RCX => of.rcx,
        Register::RDX => of.rdx,
        Register::RSI => of.rsi,
        Register::RDI => of.rdi,
        Register::RBP => of.rbp,
        Register::RSP => of.rsp,
        Register::R8 => of.r8,
        Register::R9 => of.r9,
        Register::R10 => of.r10,
        Register::R11 => of.r11,
        Register::R12 => of.r12,
        Register::R13 => of.r13,
        Register::R14 => of.r14,
        Register::R15 => of.r15,
        Register::RIP => of.rip,
        Register::ES | Register::CS | Register::SS | Register::DS => 0,
        _ => return None,
    };
    Some(if register.size() == 4 { value & 0xffff_ffff } else { value })
}
