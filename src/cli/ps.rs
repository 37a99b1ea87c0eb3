//! `ps`: the processes of a container.

use super::args::{Flag, Matches, Operand, wrong_value};
use super::{CONTAINER_ID, Command, Globals, print};
use crate::runtime;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;

pub const COMMAND: Command = Command {
    name: "ps",
    about: "Show the processes of a container",
    details: "\
Runs ps(1) with the options that follow the container's id ('-ef' without any) and
shows the lines of those processes that are in the container's cgroup or below it.
Pids are those of the host.",
    flags: &[&[FORMAT]],
    operands: &[CONTAINER_ID, OPTIONS],
    run,
};

const FORMAT: Flag =
    Flag { name: "format", short: Some('f'), value: Some("table|json"), help: "How to show them; json: the pids only" };
const OPTIONS: Operand =
    Operand { name: "PS-OPTION...", required: false, verbatim: true, help: "Options of ps(1) (-ef)" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let format = matches.text(&FORMAT)?.unwrap_or("table");
    let options: Vec<OsString> = matches.all_operands().skip(1).map(OsString::from).collect();
    let context = globals.context()?;
    let text = match format {
        "table" => runtime::table(&context, matches.id()?, &options)?,
        "json" if !options.is_empty() => bail!("--format json: options of ps(1) are for a table"),
        "json" => {
            let pids = runtime::processes(&context, matches.id()?)?;
            serde_json::to_string(&pids).context("write pids as JSON")? + "\n"
        }
        other => return Err(wrong_value(&FORMAT, other.as_ref(), "is neither table nor json")),
    };
    print(&text)?;
    Ok(0)
}
