//! The command line.

/// Runs the command that the arguments name; returns the exit code.
pub fn main() -> i32 {
    1
}
