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
pub use load::{load, load_with_listener};
