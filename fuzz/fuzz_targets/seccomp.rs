#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rvol_runc::fuzzing::run("seccomp", input));
