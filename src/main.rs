//! The program: hands the command line to `cli`.
#![no_main]
#![allow(unsafe_code)] // for the names of the symbols that the C library and the linker look for

#[path = "sys/entry.rs"]
mod entry;
#[cfg(own_start)]
#[path = "sys/start.rs"]
mod start;

#[global_allocator]
static HEAP: rvol_runc::sys::heap::Blocks = rvol_runc::sys::heap::Blocks;
