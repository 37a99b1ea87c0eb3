//! `volume …`: the commands for volumes, with the output of `docker volume`.

mod archive;
mod filter;
mod label;
mod list;
mod remove;
mod template;
mod whole;

pub use archive::{EXPORT, IMPORT};
pub use label::LABEL as LABEL_COMMAND;
pub use list::LIST;
pub use remove::{PRUNE, REMOVE};
pub use whole::{CLONE, RENAME, USAGE};

use super::args::{Flag, Matches, Operand};
use super::{Command, Globals, print};
use crate::log;
use crate::runtime::volume::{self, Listed, NewVolume};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const CREATE: Command = Command {
    name: "volume create",
    about: "Make a volume",
    details: "\
Without a name it gets one of 64 digits. A volume that exists and is just like this
one is as good; one with another driver, options or labels is an error.",
    flags: &[&[LABEL, DRIVER, OPT]],
    operands: &[Operand { name: "VOLUME", required: false, verbatim: false, help: "Its name" }],
    run: create,
};

pub const INSPECT: Command = Command {
    name: "volume inspect",
    about: "Show volumes as JSON",
    details: "",
    flags: &[&[FORMAT]],
    operands: &[VOLUMES],
    run: inspect,
};

const VOLUMES: Operand = Operand { name: "VOLUME...", required: true, verbatim: false, help: "Names of volumes" };

const LABEL: Flag =
    Flag { name: "label", short: None, value: Some("KEY=VALUE"), help: "Give it a label; may be repeated" };
const DRIVER: Flag =
    Flag { name: "driver", short: Some('d'), value: Some("NAME"), help: "Who keeps its data: local, or a plugin" };
const OPT: Flag =
    Flag { name: "opt", short: Some('o'), value: Some("KEY=VALUE"), help: "An option of the driver; may be repeated" };
const FORMAT: Flag = Flag {
    name: "format",
    short: Some('f'),
    value: Some("FORMAT"),
    help: "json, or a template such as {{.Mountpoint}}",
};

fn create(globals: &Globals, matches: &Matches) -> Result<i32> {
    let new = NewVolume {
        name: matches.operands()?.first().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()),
        driver: matches.text(&DRIVER)?.filter(|name| !name.is_empty()).map(str::to_owned),
        labels: pairs(matches, &LABEL)?,
        options: pairs(matches, &OPT)?,
    };
    print(&format!("{}\n", volume::create(&globals.volume_context(), new)?))?;
    Ok(0)
}

/// The values of a flag that takes KEY=VALUE.
fn pairs(matches: &Matches, flag: &Flag) -> Result<BTreeMap<String, String>> {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    Ok(matches.texts(flag)?.into_iter().map(pair).collect())
}

/// What there is of the volumes is shown, even if one is missing.
fn inspect(globals: &Globals, matches: &Matches) -> Result<i32> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in matches.operands()? {
        match volume::inspect(&globals.volume_context(), name) {
            Ok(volume) => found.push(inspected(&volume)),
            Err(error) => errors.push(error),
        }
    }
    let text = match matches.text(&FORMAT)?.filter(|format| !format.is_empty()) {
        None | Some("json") => pretty(&found)? + "\n",
        Some(format) => {
            let template = template::Template::parse(format)?;
            let lines: Result<Vec<String>> = found.iter().map(|volume| Ok(template.render(volume)? + "\n")).collect();
            lines?.concat()
        }
    };
    print(&text)?;
    all_or(errors)
}

/// The errors of several volumes as one.
fn all_or(mut errors: Vec<anyhow::Error>) -> Result<i32> {
    match errors.len() {
        0 => Ok(0),
        1 => Err(errors.remove(0)),
        _ => bail!("{}", errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ")),
    }
}

/// The keys of `docker volume inspect`.
fn inspected(volume: &Listed) -> Value {
    let map = |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    let mut shown = json!({
        "CreatedAt": to_seconds(&volume.metadata.created),
        "Driver": volume.metadata.driver,
        "Labels": map(&volume.metadata.labels),
        "Mountpoint": volume.mountpoint.to_string_lossy(),
        "Name": volume.name,
        "Options": map(&volume.metadata.options),
        "Scope": volume.scope,
    });
    if !volume.status.is_empty() {
        shown["Status"] = volume.status.clone().into();
    }
    shown
}

/// As Docker shows times: without the fraction.
fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// JSON with Docker's four spaces.
fn pretty(value: &impl Serialize) -> Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        .context("write volumes as JSON")?;
    String::from_utf8(out).context("write volumes as JSON")
}

/// All volumes; what is wrong with one is a warning.
fn all(globals: &Globals) -> Result<Vec<Listed>> {
    volume::list(&globals.volume_context(), &mut |text| log::warn(format_args!("{text}")))
}
