//! The way from the kernel to `main`: what glibc's own `__libc_start_main` does in a static program, but for finding out
//! what the processor can do. Compiled into the binary alone, and only where `build.rs` finds the glibc that it is
//! written for; elsewhere glibc's own is linked in, with the same result later.
//!
//! glibc asks the processor 43 times (`cpuid`), and under virtualisation each question is a trap into the hypervisor: 5
//! to 15 µs here, together more than everything else that `state` does. The answers choose between variants of `memcpy`
//! and its like; without them those for any x86-64 are taken. The variables with their thresholds, which glibc keeps
//! beside the function, have its defaults here. `GLIBC_TUNABLES` is not read.
//!
//! Nothing here may call `memcpy` or another function with variants, not even by an assignment of a large value, before
//! [`choose_variants`]; nor use a thread-local variable before `__libc_setup_tls`.

use rvol_runc::sys::raw::call;
use std::arch::asm;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

type Main = extern "C" fn(c_int, *const *const c_char, *const *const c_char) -> c_int;
type Initialiser = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// `Elf64_Rela` of `<elf.h>`.
#[repr(C)]
struct Relocation {
    place: *mut usize,
    info: u64,
    resolver: extern "C" fn() -> usize,
}

// Of glibc 2.36 (csu/libc-start.c), and what the linker defines.
unsafe extern "C" {
    static mut __environ: *const *const c_char;
    static mut __libc_stack_end: *const c_void;
    /// 16 bytes, not aligned.
    static _dl_random: *const [usize; 2];
    static _dl_phdr: *const libc::Elf64_Phdr;
    static _dl_phnum: usize;
    /// Whether the program has more rights than its caller, as a set-user-id one.
    static __libc_enable_secure: c_int;
    fn _dl_aux_init(auxv: *const c_void);
    fn __libc_setup_tls();
    fn __libc_early_init(initial: bool);
    fn __libc_init_first(argc: c_int, argv: *const *const c_char, envp: *const *const c_char);
    fn _init();
    fn exit(code: c_int) -> !;
    static __rela_iplt_start: [Relocation; 0];
    static __rela_iplt_end: [Relocation; 0];
    static __preinit_array_start: [Initialiser; 0];
    static __preinit_array_end: [Initialiser; 0];
    static __init_array_start: [Initialiser; 0];
    static __init_array_end: [Initialiser; 0];
}

/// The defaults of sysdeps/x86/cacheinfo.h, in bytes.
macro_rules! thresholds {
    ($($name:ident = $value:expr,)*) => {
        $(#[unsafe(no_mangle)] static mut $name: c_long = $value;)*
    };
}

thresholds! {
    __x86_data_cache_size_half = 32 * 1024 / 2,
    __x86_data_cache_size = 32 * 1024,
    __x86_shared_cache_size_half = 1024 * 1024 / 2,
    __x86_shared_cache_size = 1024 * 1024,
    __x86_shared_non_temporal_threshold = 1024 * 1024 * 3 / 4,
    __x86_rep_movsb_threshold = 2048,
    __x86_rep_stosb_threshold = 2048,
    __x86_rep_movsb_stop_threshold = 1024 * 1024 * 3 / 4,
}

#[unsafe(no_mangle)]
static mut __x86_string_control: c_int = 0;

/// Where the program is, for `$ORIGIN` in the names of libraries: unknown, which glibc takes. Its own function asks the
/// kernel, and there are no libraries.
#[unsafe(no_mangle)]
extern "C" fn _dl_get_origin() -> *const c_char {
    std::ptr::without_provenance(usize::MAX)
}

/// Called by the start code that the linker puts at the program's entry.
///
/// # Safety
/// `argv` is as the kernel has laid it out: `argc` strings, NULL, the environment, NULL, the auxiliary vector.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *const *const c_char,
    _init_unused: *const c_void,
    _fini_unused: *const c_void,
    _end_of_loader: *const c_void,
    stack_end: *const c_void,
) -> c_int {
    // SAFETY: as the caller says of `argv`; the order of the calls is glibc's, which has no other thread yet. Nothing
    // registers destructors by `.fini_array`, which is therefore left out.
    unsafe {
        let envp = argv.add(argc as usize + 1);
        execute_sealed(argv, envp);
        __environ = envp;
        __libc_stack_end = stack_end;
        _dl_aux_init(auxiliary_vector(envp));
        choose_variants();
        __libc_setup_tls();
        set_guards();
        __libc_early_init(true);
        if __libc_enable_secure != 0 || is_to_show_backtraces(envp) {
            __libc_init_first(argc, argv, envp);
        } else {
            protect_relocated();
        }
        call_all((&raw const __preinit_array_start).cast(), (&raw const __preinit_array_end).cast(), argc, argv, envp);
        _init();
        call_all((&raw const __init_array_start).cast(), (&raw const __init_array_end).cast(), argc, argv, envp);
        exit(main(argc, argv, envp))
    }
}

/// Fills in the addresses of the functions that have variants. The resolvers see a processor of which nothing is known.
unsafe fn choose_variants() {
    let mut relocation: *const Relocation = (&raw const __rela_iplt_start).cast();
    // SAFETY: the linker has put an array of relocations of one kind (R_X86_64_IRELATIVE) between the two symbols.
    unsafe {
        while relocation < (&raw const __rela_iplt_end).cast() {
            *(*relocation).place = ((*relocation).resolver)();
            relocation = relocation.add(1);
        }
    }
}

/// The stack protector's canary and the key that glibc hides function pointers with, from the kernel's random bytes;
/// at their places in the thread's control block (`tcbhead_t`).
unsafe fn set_guards() {
    // SAFETY: `_dl_aux_init` has found the 16 bytes, and FS is the control block since `__libc_setup_tls`.
    unsafe {
        let [canary, key] = _dl_random.read_unaligned();
        // Its first byte is a NUL, so that no string can carry it.
        asm!("mov fs:[0x28], {}", in(reg) canary & !0xff, options(nostack, preserves_flags));
        asm!("mov fs:[0x30], {}", in(reg) key, options(nostack, preserves_flags));
    }
}

/// Whether Rust may be asked for backtraces, which need to know what `__libc_init_first` finds out about the program. All
/// else that it does is for libraries to be loaded, which are none, and for the clock to be read without a system call:
/// 40 KiB of code and data, and 30 µs.
unsafe fn is_to_show_backtraces(envp: *const *const c_char) -> bool {
    let mut entry = envp;
    // SAFETY: `envp` is an array of NUL-terminated strings that ends with NULL; nothing is read behind the first byte
    // that differs.
    unsafe {
        while !(*entry).is_null() {
            let begins = |with: &[u8]| with.iter().enumerate().all(|(i, byte)| *(*entry).add(i) == byte.cast_signed());
            if begins(b"RUST_BACKTRACE=") || begins(b"RUST_LIB_BACKTRACE=") {
                return true;
            }
            entry = entry.add(1);
        }
    }
    false
}

/// Makes what only the start writes to read-only, as `__libc_init_first` does.
unsafe fn protect_relocated() {
    const PAGE: usize = 4096;
    // SAFETY: `_dl_aux_init` has found the program's headers; what one of them gives as read-only after the start is the
    // program's own and is not written to from here on.
    unsafe {
        let headers = std::slice::from_raw_parts(_dl_phdr, _dl_phnum);
        for header in headers.iter().filter(|header| header.p_type == libc::PT_GNU_RELRO) {
            let (from, to) = (header.p_vaddr as usize, (header.p_vaddr + header.p_memsz) as usize);
            let (from, to) = (from / PAGE * PAGE, to / PAGE * PAGE);
            if call(libc::SYS_mprotect, [from, to - from, libc::PROT_READ as usize, 0, 0]) < 0 {
                libc::abort();
            }
        }
    }
}

unsafe fn call_all(
    mut from: *const Initialiser,
    to: *const Initialiser,
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
) {
    // SAFETY: the linker has put an array of functions of this type between the two symbols.
    unsafe {
        while from < to {
            (*from)(argc, argv, envp);
            from = from.add(1);
        }
    }
}

/// What `security::seal` does, before anything is set up, so that the start that is thrown away costs next to nothing:
/// where a word of the command line is the name of a command that makes a process in a container (for any other word
/// that reads the same it does no harm), executes the program from a read-only mount. Whatever fails here, or is unusual,
/// is left to `security::seal`, which looks again in any case.
unsafe fn execute_sealed(argv: *const *const c_char, envp: *const *const c_char) {
    const SELF: *const c_char = c"/proc/self/exe".as_ptr();
    /// `struct mount_attr` with `MOUNT_ATTR_RDONLY` to be set.
    static READ_ONLY: [u64; 4] = [1, 0, 0, 0];
    const AT_FDCWD: usize = libc::AT_FDCWD as usize;
    const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
    /// `f_flags` among the words of `struct statfs`.
    const FLAGS: usize = 10;
    let mut about = MaybeUninit::<[u64; size_of::<libc::statfs>() / 8]>::uninit();
    // SAFETY: `argv` is an array of strings that ends with NULL; the kernel reads NUL-terminated strings, the static
    // struct and the two arrays, and writes a `struct statfs`.
    unsafe {
        if !is_for_sealed(argv) {
            return;
        }
        if call(libc::SYS_statfs, [SELF as usize, about.as_mut_ptr() as usize, 0, 0, 0]) < 0 {
            return;
        }
        if *about.as_ptr().cast::<u64>().add(FLAGS) & libc::ST_RDONLY != 0 {
            rvol_runc::sys::exec::FROM_READ_ONLY.store(true, Ordering::Relaxed);
            // `security::seal` leaves none open.
            if let Some(tree) = executed_fd(envp)
                && call(libc::SYS_fcntl, [tree as usize, libc::F_SETFD as usize, libc::FD_CLOEXEC as usize, 0, 0]) == 0
            {
                rvol_runc::sys::exec::SEALED_MOUNT.store(tree, Ordering::Relaxed);
            }
            return;
        }
        // OPEN_TREE_CLONE. It stays open in the program that is executed: where a detached mount is closed last, the
        // kernel waits for an RCU grace period, 10 µs to a millisecond.
        let tree = call(libc::SYS_open_tree, [AT_FDCWD, SELF as usize, 1, 0, 0]);
        if tree < 0 {
            return;
        }
        let (tree, empty) = (tree as usize, c"".as_ptr() as usize);
        let attributes = &raw const READ_ONLY as usize;
        if call(libc::SYS_mount_setattr, [tree, empty, EMPTY_PATH, attributes, size_of_val(&READ_ONLY)]) == 0 {
            call(libc::SYS_execveat, [tree, empty, argv as usize, envp as usize, EMPTY_PATH]);
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

/// What the kernel has put behind the environment.
unsafe fn auxiliary_vector(envp: *const *const c_char) -> *const c_void {
    let mut end = envp;
    // SAFETY: the environment ends with NULL.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        end.add(1).cast()
    }
}

/// The fd that the program was executed from, as [`execute_sealed`] does it: the kernel gives its name then as
/// `/dev/fd/N` (execveat(2), "Notes").
unsafe fn executed_fd(envp: *const *const c_char) -> Option<c_int> {
    // SAFETY: the vector is of pairs of words of which the last is AT_NULL; that of AT_EXECFN is a NUL-terminated string, of
    // which nothing is read behind the first byte that differs.
    unsafe {
        let mut entry = auxiliary_vector(envp).cast::<[usize; 2]>();
        while (*entry)[0] != libc::AT_EXECFN as usize {
            if (*entry)[0] == libc::AT_NULL as usize {
                return None;
            }
            entry = entry.add(1);
        }
        let mut name = (*entry)[1] as *const u8;
        for expected in b"/dev/fd/" {
            if *name != *expected {
                return None;
            }
            name = name.add(1);
        }
        let mut number: c_int = 0;
        while *name != 0 {
            let digit = (*name).wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number.checked_mul(10)?.checked_add(c_int::from(digit))?;
            name = name.add(1);
        }
        Some(number)
    }
}

/// Whether the command line has such a word; not with `--trace`, which counts from the first start on.
unsafe fn is_for_sealed(argv: *const *const c_char) -> bool {
    let mut found = false;
    let mut word = argv;
    // SAFETY: `argv` is an array of NUL-terminated strings that ends with NULL.
    unsafe {
        while !(*word).is_null() {
            if is(*word, c"--trace".as_ptr()) {
                return false;
            }
            found |= is(*word, c"create".as_ptr()) || is(*word, c"run".as_ptr()) || is(*word, c"exec".as_ptr());
            word = word.add(1);
        }
    }
    found
}

/// `strcmp(3)`, which is a function with variants.
unsafe fn is(mut one: *const c_char, mut other: *const c_char) -> bool {
    // SAFETY: both are NUL-terminated strings, and nothing is read behind the first NUL.
    unsafe {
        while *one == *other {
            if *one == 0 {
                return true;
            }
            (one, other) = (one.add(1), other.add(1));
        }
    }
    false
}
