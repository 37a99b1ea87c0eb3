//! `run`: create and start in one, and wait for the end unless detached.

use super::args::{Flag, Matches};
use super::create::{self, CONSOLE_SOCKET, create_args};
use super::{CONTAINER_ID, Command, Globals, mounts};
use crate::runtime::{self, RunArgs};
use anyhow::{Result, bail};

pub const COMMAND: Command = Command {
    name: "run",
    about: "Create and start a container, and wait for its end",
    details: "\
In the foreground, signals are passed on to the container's process, the exit code
is that of the process (128 and the signal's number when a signal ended it), and
the container is deleted at its end.",
    flags: &[RUN_FLAGS, create::FLAGS, mounts::FLAGS],
    operands: &[CONTAINER_ID],
    run,
};

pub const DETACH: Flag =
    Flag { name: "detach", short: Some('d'), value: None, help: "Return when the container has started" };
const KEEP: Flag = Flag { name: "keep", short: None, value: None, help: "Do not delete the container at its end" };
pub const NO_SUBREAPER: Flag = Flag {
    name: "no-subreaper",
    short: None,
    value: None,
    help: "Do not adopt the processes that the container leaves behind",
};

const RUN_FLAGS: &[Flag] = &[DETACH, KEEP, NO_SUBREAPER];

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let run = RunArgs {
        detach: matches.is_set(&DETACH),
        keep: matches.is_set(&KEEP),
        no_subreaper: matches.is_set(&NO_SUBREAPER),
    };
    let create = create_args(matches)?;
    if create.console_socket.is_some() && !run.detach {
        bail!("--{} needs --detach: in the foreground the terminal is this one", CONSOLE_SOCKET.name);
    }
    runtime::run(&globals.context()?, &create, &run)
}
