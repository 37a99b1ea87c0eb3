//! `gc`: removes what killed commands and reboots have left.

use super::args::Matches;
use super::{Command, Globals, print};
use crate::runtime;
use anyhow::Result;

pub const COMMAND: Command = Command {
    name: "gc",
    about: "Remove what killed commands and reboots have left",
    details: "\
Deletes containers whose create was killed, and prints their ids. Of volumes it takes
away the users that are gone, what is still mounted for nobody, and what was half made
or half removed. Containers that were created stay, and so do all volumes.",
    flags: &[],
    operands: &[],
    run,
};

fn run(globals: &Globals, _: &Matches) -> Result<i32> {
    let deleted = runtime::gc(&globals.context()?)?;
    print(&deleted.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    Ok(0)
}
