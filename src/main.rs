//! The program: hands the command line to `cli`.
#![no_main]
#![allow(unsafe_code)] // for the names of the symbols that the C library and the linker look for

#[path = "sys/entry.rs"]
mod entry;

#[cfg(early_seal)]
#[path = "sys/early_seal.rs"]
mod early_seal;
