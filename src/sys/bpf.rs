//! bpf(2), as far as device programs of cgroups need it.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// One instruction in the kernel's layout (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// `union bpf_attr`, larger than any kernel's: Linux 6.17 and later write to fields of `BPF_PROG_QUERY` that older
/// headers do not have, whatever size they are told.
#[repr(C, align(8))]
struct Attr([u32; 64]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 64])
    }

    fn with(mut self, index: usize, value: u32) -> Attr {
        self.0[index] = value;
        self
    }

    fn with_pointer<T>(mut self, index: usize, pointer: *const T) -> Attr {
        let address = pointer as u64;
        (self.0[index], self.0[index + 1]) = if cfg!(target_endian = "little") {
            (address as u32, (address >> 32) as u32)
        } else {
            ((address >> 32) as u32, address as u32)
        };
        self
    }
}

/// # Safety
/// Every pointer in `attr` must be valid for what `command` reads and writes there.
unsafe fn bpf(command: libc::c_long, attr: &mut Attr) -> nix::Result<libc::c_long> {
    // SAFETY: the size is that of `attr`; the kernel accepts a larger one if the rest is zero. The caller vouches for
    // the pointers in it.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<Attr>()) })
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`. EINVAL or EACCES: the verifier refuses it.
pub fn load_device_program(program: &[Instruction]) -> nix::Result<OwnedFd> {
    let length = u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let mut attr = Attr::new()
        .with(0, TYPE_CGROUP_DEVICE)
        .with(1, length)
        .with_pointer(2, program.as_ptr())
        .with_pointer(4, c"Apache-2.0".as_ptr());
    // SAFETY: the instructions are `length` long and the licence is NUL-terminated; both are only read.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: a new fd that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches beside the programs of others (`BPF_F_ALLOW_MULTI`): an access needs the consent of all. With `old`, that
/// program, which must be attached, is replaced in the same step.
pub fn attach_device_program(cgroup: BorrowedFd, program: BorrowedFd, old: Option<BorrowedFd>) -> nix::Result<()> {
    let flags = ALLOW_MULTI | old.map_or(0, |_| REPLACE);
    let mut attr = Attr::new()
        .with(0, cgroup.as_raw_fd() as u32)
        .with(1, program.as_raw_fd() as u32)
        .with(2, ATTACH_CGROUP_DEVICE)
        .with(3, flags)
        .with(4, old.map_or(0, |fd| fd.as_raw_fd() as u32));
    // SAFETY: no pointers are passed.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

pub fn detach_device_program(cgroup: BorrowedFd, program: BorrowedFd) -> nix::Result<()> {
    let mut attr = Attr::new()
        .with(0, cgroup.as_raw_fd() as u32)
        .with(1, program.as_raw_fd() as u32)
        .with(2, ATTACH_CGROUP_DEVICE);
    // SAFETY: no pointers are passed.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The device programs attached to this cgroup itself, in order.
pub fn device_programs(cgroup: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    let mut ids = vec![0u32; 64];
    let count = loop {
        let mut attr = Attr::new()
            .with(0, cgroup.as_raw_fd() as u32)
            .with(1, ATTACH_CGROUP_DEVICE)
            .with_pointer(4, ids.as_mut_ptr())
            .with(6, ids.len() as u32);
        // SAFETY: the kernel writes at most the given number of ids.
        match unsafe { bpf(PROG_QUERY, &mut attr) } {
            Ok(_) => break attr.0[6] as usize,
            Err(Errno::ENOSPC) => ids.resize(ids.len() * 2, 0),
            Err(e) => return Err(e),
        }
    };
    ids[..count].iter().map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> nix::Result<OwnedFd> {
    let mut attr = Attr::new().with(0, id);
    // SAFETY: no pointers are passed.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: a new fd that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
