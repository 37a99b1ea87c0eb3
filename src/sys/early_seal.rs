//! Seals the binary at the program's entry point, before the C library starts. Compiled into the binary alone, with the
//! feature `early-seal`; without it, or where anything here fails, `security::seal` does the same later and slower.
//!
//! `create`, `run` and `exec` execute themselves a second time, from a read-only mount (`security::seal` says why). Up to
//! that execve the first start is thrown away. glibc's part of it is expensive in a virtual machine: it executes
//! `cpuid` some forty times, and each one traps into the hypervisor.
//!
//! The linker makes [`rvol_runc_entry`] the entry point (`build.rs`). It calls [`seal`] and jumps to the C library's own
//! `_start` with the registers and the stack as the kernel left them (ELF psABI, "Process Initialization").
//!
//! [`seal`] runs before relocation and before thread-local storage exists. It must not call `memcpy`, `memcmp`, `strlen` or
//! any other function that glibc selects by an IRELATIVE relocation: not by `==` on slices, nor by copying a large value.

use rvol_runc::cli::NEED_SEAL;
use rvol_runc::sys::raw::call;
use std::ffi::c_char;
use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    // rdx holds a function for atexit, or zero; rbx and r12 survive the call. rsp is a multiple of 16 here.
    ".globl rvol_runc_entry",
    "rvol_runc_entry:",
    "xor ebp, ebp",
    "mov rbx, rsp",
    "mov r12, rdx",
    "mov rdi, rsp",
    "call {seal}",
    "mov rdx, r12",
    "mov rsp, rbx",
    "jmp _start",
    seal = sym seal,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    // x0 holds a function for atexit, or zero; x19 survives the call. sp is a multiple of 16 here.
    ".globl rvol_runc_entry",
    "rvol_runc_entry:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x19, x0",
    "mov x0, sp",
    "bl {seal}",
    "mov x0, x19",
    "mov x30, xzr",
    "b _start",
    seal = sym seal,
);

/// Executes the program from a detached read-only mount, if a command needs it and it is not there yet. Returns otherwise,
/// and after any failure.
///
/// # Safety
/// `stack` is the stack as the kernel has laid it out: argc, the arguments, NULL, the environment, NULL.
unsafe extern "C" fn seal(stack: *const usize) {
    const SELF: *const c_char = c"/proc/self/exe".as_ptr();
    const EMPTY: *const c_char = c"".as_ptr();
    const AT_FDCWD: usize = libc::AT_FDCWD as usize;
    const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
    const OPEN_TREE_CLONE: usize = 1;
    /// `struct mount_attr` with `MOUNT_ATTR_RDONLY` to be set.
    static READ_ONLY: [u64; 4] = [1, 0, 0, 0];
    /// `f_flags` among the words of `struct statfs`, which the crate `libc` does not name.
    const FLAGS: usize = 10;
    let mut about = MaybeUninit::<[u64; size_of::<libc::statfs>() / 8]>::uninit();
    // SAFETY: the arguments and the environment are arrays of NUL-terminated strings that end with NULL; the kernel reads
    // those, the static struct and two literals, and writes a `struct statfs`.
    unsafe {
        let argv = stack.add(1).cast::<*const c_char>();
        let envp = argv.add(*stack + 1);
        if !needs_seal(argv) {
            return;
        }
        // A failed statfs leaves the decision to `security::seal`, which can report it.
        if call(libc::SYS_statfs, [SELF as usize, about.as_mut_ptr() as usize, 0, 0, 0]) < 0
            || *about.as_ptr().cast::<u64>().add(FLAGS) & libc::ST_RDONLY != 0
        {
            return;
        }
        // Not close-on-exec: see `security::seal::Seal`.
        let tree = call(libc::SYS_open_tree, [AT_FDCWD, SELF as usize, OPEN_TREE_CLONE, 0, 0]);
        if tree < 0 {
            return;
        }
        let (tree, size) = (tree as usize, size_of_val(&READ_ONLY));
        if call(libc::SYS_mount_setattr, [tree, EMPTY as usize, EMPTY_PATH, &raw const READ_ONLY as usize, size]) == 0 {
            call(libc::SYS_execveat, [tree, EMPTY as usize, argv as usize, envp as usize, EMPTY_PATH]);
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

/// Whether an argument equals the name of a command that needs the seal. Where it is something else, a container's id
/// for instance, the seal does no harm. With `--trace` it is left to `security::seal`, so that the first start is counted.
///
/// # Safety
/// `argv` is an array of NUL-terminated strings that ends with NULL.
unsafe fn needs_seal(mut argv: *const *const c_char) -> bool {
    let mut found = false;
    // SAFETY: nothing is read behind the NULL.
    unsafe {
        while !(*argv).is_null() {
            if is(*argv, "--trace") {
                return false;
            }
            for name in &NEED_SEAL {
                found |= is(*argv, name);
            }
            argv = argv.add(1);
        }
    }
    found
}

/// Compares byte by byte: `memcmp` cannot be called yet.
///
/// # Safety
/// `argument` is a NUL-terminated string.
unsafe fn is(mut argument: *const c_char, name: &str) -> bool {
    // SAFETY: nothing is read behind the first byte that differs, of which the NUL is one.
    unsafe {
        for byte in name.as_bytes() {
            if *argument as u8 != *byte {
                return false;
            }
            argument = argument.add(1);
        }
        *argument == 0
    }
}
