//! Device rules on cgroup v2: one small program that decides as the lists of version 1 do, loaded and attached.

use crate::raw::must;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_UNEQUAL: u8 = 0x55;
const JUMP_ABOVE: u8 = 0x25;
const EXIT: u8 = 0x95;

const fn one(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

const ALLOW: i16 = 18;
const DENY: i16 = 20;

/// A jump at index `at` to index `to`.
const fn jump(at: i16, code: u8, register: u8, immediate: i32, to: i16) -> Instruction {
    one(code, register, to - at - 1, immediate)
}

/// Of `struct bpf_cgroup_dev_ctx`: the access in the upper half of the first word (1 is mknod), the type in its lower
/// half (2 is a character device); then major and minor.
static PROGRAM: [Instruction; 22] = [
    one(LOAD_WORD, 0x12, 0, 0),         // r2 = access << 16 | type
    one(MOVE_REGISTER, 0x23, 0, 0),     // r3 = r2
    one(SHIFT_RIGHT, 3, 0, 16),         // r3 = access
    jump(3, JUMP_EQUAL, 3, 1, ALLOW),   // mknod alone
    one(AND, 2, 0, 0xffff),             // r2 = type
    jump(5, JUMP_UNEQUAL, 2, 2, DENY),  // no character device
    one(LOAD_WORD, 0x14, 4, 0),         // r4 = major
    one(LOAD_WORD, 0x15, 8, 0),         // r5 = minor
    jump(8, JUMP_EQUAL, 4, 136, ALLOW), // pts
    jump(9, JUMP_EQUAL, 4, 5, 17),
    jump(10, JUMP_UNEQUAL, 4, 1, DENY),
    jump(11, JUMP_EQUAL, 5, 3, ALLOW), // null
    jump(12, JUMP_EQUAL, 5, 5, ALLOW), // zero
    jump(13, JUMP_EQUAL, 5, 7, ALLOW), // full
    jump(14, JUMP_EQUAL, 5, 8, ALLOW), // random
    jump(15, JUMP_EQUAL, 5, 9, ALLOW), // urandom
    jump(16, JUMP, 0, 0, DENY),
    jump(17, JUMP_ABOVE, 5, 2, DENY), // tty, console and ptmx are allowed
    one(MOVE, 0, 0, 1),
    one(EXIT, 0, 0, 0),
    one(MOVE, 0, 0, 0),
    one(EXIT, 0, 0, 0),
];

pub fn attach(cgroup: libc::c_int) {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    // prog_type and insn_cnt, insns, license, and the rest of the 72 bytes of version 4.17.
    let mut load = [0u64; 9];
    load[0] = u64::from(TYPE_CGROUP_DEVICE) | (PROGRAM.len() as u64) << 32;
    load[1] = PROGRAM.as_ptr() as u64;
    load[2] = c"".as_ptr() as u64;
    let program = must!("bpf load", libc::SYS_bpf, PROG_LOAD, &raw const load, size_of_val(&load));
    // target_fd, attach_bpf_fd, attach_type, attach_flags
    let attach = [cgroup as u32, program as u32, CGROUP_DEVICE, ALLOW_MULTI];
    must!("bpf attach", libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of_val(&attach));
}
