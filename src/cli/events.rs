//! `events`: statistics and out-of-memory events, one JSON object a line.

use super::args::{Flag, Matches, wrong_value};
use super::{CONTAINER_ID, Command, Globals, duration};
use crate::runtime::{self, Event};
use anyhow::{Context as _, Result, bail};
use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::time::Duration;

pub const COMMAND: Command = Command {
    name: "events",
    about: "Show what a container uses, and when it runs out of memory",
    details: "\
One JSON object a line, until the container ends: of type 'stats' at every interval,
of type 'oom' at the moment when the kernel has to kill for want of memory.",
    flags: &[&[INTERVAL, STATS]],
    operands: &[CONTAINER_ID],
    run,
};

const INTERVAL: Flag = Flag {
    name: "interval",
    short: None,
    value: Some("DURATION"),
    help: "Time between statistics, such as 5s or 1m30s (5s)",
};
const STATS: Flag = Flag { name: "stats", short: None, value: None, help: "Show statistics once and end" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let interval = match matches.text(&INTERVAL)? {
        None => Duration::from_secs(5),
        Some(text) => match duration::parse(text) {
            Some(interval) if !interval.is_zero() => interval,
            _ if text.starts_with('-') || duration::parse(text).is_some() => {
                bail!("duration interval must be greater than 0")
            }
            _ => return Err(wrong_value(&INTERVAL, text.as_ref(), "is not a duration such as 5s or 1m30s")),
        },
    };
    let (context, id) = (globals.context()?, matches.id()?);
    if matches.is_set(&STATS) {
        // There is nothing to break off.
        tell(&runtime::stats(&context, id)?).map(drop)?;
    } else {
        runtime::events(&context, id, interval, &mut tell)?;
    }
    Ok(0)
}

/// Prints one line; breaks off when nobody reads any more.
fn tell(event: &Event) -> Result<ControlFlow<()>> {
    let line = serde_json::to_string(event).context("write event as JSON")? + "\n";
    let mut out = std::io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        result => result.context("write to standard output").map(|()| ControlFlow::Continue(())),
    }
}
