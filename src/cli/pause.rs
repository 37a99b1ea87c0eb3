//! `pause`: stops all processes of a container.

use super::args::Matches;
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "pause",
    about: "Stop all processes of a container until 'resume'",
    details: "Returns when every process of the container's cgroup stands still.",
    flags: &[],
    operands: &[CONTAINER_ID],
    run,
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    runtime::pause(&globals.context()?, matches.id()?)?;
    Ok(0)
}
