//! System calls without the C library: before it is set up, and beside a process whose errno it would write.

/// A system call on x86-64: its result, or an errno as a negative number. Inlined, for the program's own start may call
/// nothing before its first relocations.
///
/// # Safety
/// What the call reads and writes is the caller's affair.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let result;
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
