//! The container's system call filter: compiled, cached, loaded, and its notifications handed to an agent.
//!
//! `plan::seccomp::Filter` comes in, a classic BPF program goes to the kernel. libseccomp supplies the names and numbers
//! of the system calls. Whether and when a filter is loaded (before the capabilities go, or last of all with
//! no_new_privs) is init's decision.

mod architecture;
mod bpf;
mod cache;
mod compile;
mod enosys;
mod generate;
mod load;
pub mod notify;

pub use cache::compiled;
pub use compile::{compile, compile_explained};
pub use load::{count, describe, effective_flags, load, load_with_listener};

/// Compiles a filter, if it can be compiled, and runs the program on some calls: it has an answer to each, and nothing in
/// it that the kernel's checker refuses.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_compiled(filter: &crate::plan::seccomp::Filter) {
    use bpf::interpreter::{Call, program, run};
    let Ok(bytes) = compile(filter) else { return };
    let program = program(&bytes);
    for architecture in [architecture::Architecture::X86_64, 0] {
        for (number, arg) in [(0, 0), (1, u64::MAX), (59, 1 << 32), (0x4000_0000, 7), (u32::MAX, 1)] {
            run(&program, &Call { number, architecture, args: [arg; 6] });
        }
    }
}
