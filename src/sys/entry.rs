//! The entry point of the binary, which the C library calls. Compiled into the binary alone (`main.rs`), not into the
//! library, where it would stand in the way of every test program.
//!
//! Rust's own entry point would first read /proc/self/maps and make a signal stack, to tell a stack overflow from
//! another fault: 17 system calls and 40 µs, a tenth of a short command.

#[cfg(not(target_env = "gnu"))]
compile_error!("std::env::args works without Rust's entry point with glibc only");

use std::io::Write;

// SAFETY: the one symbol of this name in the program, with the type that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: std::ffi::c_int, _argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
    if let Err(errno) = rvol_runc::sys::process::take_over_stdio() {
        eprintln!("rvol-runc: take over the standard streams: {errno}");
        rvol_runc::sys::process::exit_now(1);
    }
    let code = rvol_runc::cli::main();
    // As Rust's own exit does. The C library's would look after its streams as well, which nobody has used.
    let _ = std::io::stdout().flush();
    rvol_runc::sys::process::exit_now(code)
}
