//! The program: hands the command line to `cli`.
#![no_main]
#![allow(unsafe_code)] // for the name of the symbol that the C library looks for

#[path = "sys/entry.rs"]
mod entry;
