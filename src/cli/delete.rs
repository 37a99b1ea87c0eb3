//! `delete`: removes what is left of a container.

use super::args::{Flag, Matches};
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "delete",
    about: "Delete a container that is stopped or was never started",
    details: "With --force also a running one; and it is no error if there is none.",
    flags: &[&[FORCE]],
    operands: &[CONTAINER_ID],
    run,
};

const FORCE: Flag = Flag { name: "force", short: Some('f'), value: None, help: "Kill it first (SIGKILL) if it runs" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    runtime::delete(&globals.context()?, matches.id()?, matches.is_set(&FORCE))?;
    Ok(0)
}
