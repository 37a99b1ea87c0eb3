//! `resume`: lets the processes of a paused container run again.

use super::args::Matches;
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "resume",
    about: "Let the processes of a paused container run again",
    details: "",
    flags: &[],
    operands: &[CONTAINER_ID],
    run,
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    runtime::resume(&globals.context()?, matches.id()?)?;
    Ok(0)
}
