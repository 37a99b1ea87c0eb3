//! `delete`: removes what is left of a container.

use super::args::{Flag, Matches};
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use crate::volumes::Remove;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "delete",
    about: "Delete a container that is stopped or was never started",
    details: "\
With --force also a running one; a missing container is no error then. Volumes stay,
except those without a name that an annotation asked for. With --volumes, all of its
volumes without a name are removed that no other container uses.",
    flags: &[&[FORCE, VOLUMES]],
    operands: &[CONTAINER_ID],
    run,
};

const FORCE: Flag = Flag { name: "force", short: Some('f'), value: None, help: "Kill it first (SIGKILL) if it runs" };
const VOLUMES: Flag = Flag { name: "volumes", short: Some('v'), value: None, help: "Remove its anonymous volumes too" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let volumes = if matches.is_set(&VOLUMES) { Remove::Yes } else { Remove::WithContainer };
    runtime::delete(&globals.context()?, matches.id()?, matches.is_set(&FORCE), volumes)?;
    Ok(0)
}
