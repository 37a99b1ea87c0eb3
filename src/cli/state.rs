//! `state`: a container's state as JSON.

use super::args::Matches;
use super::{CONTAINER_ID, Command, Globals, print};
use crate::runtime;
use anyhow::{Context as _, Result};

pub const COMMAND: Command = Command {
    name: "state",
    about: "Show the state of a container as JSON",
    details: "\
The status is one of creating, created, running, paused and stopped.
The pid of a stopped container is 0.",
    flags: &[],
    operands: &[CONTAINER_ID],
    run,
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let state = runtime::state(&globals.context()?, matches.id()?)?;
    let text = serde_json::to_string_pretty(&state).context("write state as JSON")?;
    print(&(text + "\n"))?;
    Ok(0)
}
