//! `start`: lets a created container's process run its program.

use super::args::Matches;
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "start",
    about: "Start the program of a created container",
    details: "Returns when the program runs; when it cannot be executed, says why and fails.",
    flags: &[],
    operands: &[CONTAINER_ID],
    run,
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    runtime::start(&globals.context()?, matches.id()?)?;
    Ok(0)
}
