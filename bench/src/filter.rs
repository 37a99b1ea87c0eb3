//! The seccomp filter that the floor loads for Docker's config: what its default profile comes to with these
//! capabilities, as a balanced tree over ranges of syscall numbers for the three architectures. Rules on arguments count
//! as allowed, so that this is slightly less than a runtime has to load.

/// Numbers up to here are decided by the profile; newer ones are refused, as by its default action.
const LAST: u32 = 450;

const DENIED_64: &[u32] = &[
    103, 134, 136, 139, 153, 155, 156, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 174, 175, 176, 177, 178,
    179, 180, 181, 182, 183, 184, 185, 212, 227, 236, 237, 238, 239, 246, 248, 249, 250, 256, 272, 279, 298, 300, 303,
    304, 308, 310, 311, 312, 313, 320, 321, 323, 329, 330, 331, 428, 429, 430, 431, 432, 433, 435, 438, 440, 442, 443,
    450,
];

const DENIED_32: &[u32] = &[
    17, 18, 21, 22, 25, 28, 31, 32, 34, 35, 44, 48, 51, 52, 53, 56, 58, 59, 62, 67, 68, 69, 72, 73, 74, 79, 84, 86, 87,
    88, 89, 98, 101, 103, 109, 110, 111, 112, 113, 115, 121, 127, 128, 129, 130, 131, 134, 135, 137, 149, 166, 167,
    169, 188, 189, 217, 253, 264, 273, 274, 275, 276, 283, 286, 287, 288, 294, 310, 317, 336, 338, 341, 342, 346, 347,
    348, 349, 350, 357, 374, 380, 381, 382, 404, 428, 429, 430, 431, 432, 433, 435, 438, 440, 442, 443, 450,
];

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// The program in the kernel's layout.
pub fn docker() -> Vec<u8> {
    let native = tree(&ranges(DENIED_64, 0));
    let x32 = tree(&ranges(DENIED_64, X32_BIT));
    let i386 = tree(&ranges(DENIED_32, 0));
    let one = |code, jt, jf, k| Instruction { code, jt, jf, k };
    // seccomp_data: nr at 0, arch at 4.
    let mut program = vec![
        one(LOAD, 0, 0, 4),
        one(JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        one(JUMP, 0, 0, (native.len() + x32.len() + 3) as u32),
        one(LOAD, 0, 0, 0),
        one(JUMP_AT_LEAST, 0, 1, X32_BIT),
        one(JUMP, 0, 0, native.len() as u32),
    ];
    program.extend(native);
    program.extend(x32);
    program.extend([one(JUMP_EQUAL, 1, 0, AUDIT_ARCH_I386), one(RETURN, 0, 0, EPERM), one(LOAD, 0, 0, 0)]);
    program.extend(i386);
    program.iter().flat_map(bytes).collect()
}

fn bytes(i: &Instruction) -> [u8; 8] {
    let (code, k) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
    [code[0], code[1], i.jt, i.jf, k[0], k[1], k[2], k[3]]
}

/// Where the answer changes: from this number on, it is allowed or not.
fn ranges(denied: &[u32], base: u32) -> Vec<(u32, bool)> {
    let mut ranges: Vec<(u32, bool)> = Vec::new();
    for number in 0..=LAST + 1 {
        let allowed = number <= LAST && !denied.contains(&number);
        if ranges.last().is_none_or(|(_, last)| *last != allowed) {
            ranges.push((base + number, allowed));
        }
    }
    ranges
}

/// A balanced tree of comparisons whose leaves are two shared returns at its end.
fn tree(ranges: &[(u32, bool)]) -> Vec<Instruction> {
    let nodes = ranges.len() - 1;
    let mut program = Vec::with_capacity(nodes + 2);
    grow(ranges, nodes, &mut program);
    program.push(Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW });
    program.push(Instruction { code: RETURN, jt: 0, jf: 0, k: EPERM });
    program
}

fn grow(ranges: &[(u32, bool)], returns: usize, program: &mut Vec<Instruction>) {
    let middle = ranges.len() / 2;
    let (below, above) = ranges.split_at(middle);
    let at = program.len();
    program.push(Instruction { code: JUMP_AT_LEAST, jt: 0, jf: 0, k: above[0].0 });
    for (half, yes) in [(below, false), (above, true)] {
        let here = match half {
            [(_, allowed)] => returns + usize::from(!*allowed),
            _ => {
                let start = program.len();
                grow(half, returns, program);
                start
            }
        };
        let offset = (here - at - 1) as u8;
        if yes { program[at].jt = offset } else { program[at].jf = offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[u8], arch: u32, number: u32) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = &program[pc * 8..pc * 8 + 8];
            let (code, k) = (u16::from_ne_bytes([i[0], i[1]]), u32::from_ne_bytes([i[4], i[5], i[6], i[7]]));
            pc += 1;
            match code {
                LOAD => a = if k == 4 { arch } else { number },
                JUMP => pc += k as usize,
                JUMP_EQUAL => pc += usize::from(if a == k { i[2] } else { i[3] }),
                JUMP_AT_LEAST => pc += usize::from(if a >= k { i[2] } else { i[3] }),
                _ => return k,
            }
        }
    }

    #[test]
    fn the_tree_answers_as_the_lists() {
        let program = docker();
        for number in 0..600 {
            let expected = |denied: &[u32]| if number <= LAST && !denied.contains(&number) { ALLOW } else { EPERM };
            assert_eq!(run(&program, AUDIT_ARCH_X86_64, number), expected(DENIED_64), "x86_64 {number}");
            assert_eq!(run(&program, AUDIT_ARCH_X86_64, number | X32_BIT), expected(DENIED_64), "x32 {number}");
            assert_eq!(run(&program, AUDIT_ARCH_I386, number), expected(DENIED_32), "i386 {number}");
            assert_eq!(run(&program, 1, number), EPERM);
        }
        assert!(program.len() / 8 < 400, "{} instructions", program.len() / 8);
    }
}
