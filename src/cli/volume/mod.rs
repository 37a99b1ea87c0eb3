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
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::rc::Rc;
use template::{Object, Template, Value, without_html};

pub const CREATE: Command = Command {
    name: "volume create",
    about: "Create a volume",
    details: "\
Without a name it gets a random one of 64 digits. It succeeds if an identical volume
exists; one with another driver, other options or labels is an error.",
    flags: &[&[LABEL, DRIVER, OPT, NAME]],
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
const NAME: Flag =
    Flag { name: "name", short: None, value: Some("VOLUME"), help: "Its name, as old versions of Docker take it" };
const FORMAT: Flag = Flag {
    name: "format",
    short: Some('f'),
    value: Some("FORMAT"),
    help: "json, or a template such as {{.Mountpoint}}",
};

fn create(globals: &Globals, matches: &Matches) -> Result<i32> {
    let (operands, flag) = (matches.operands()?, matches.text(&NAME)?.filter(|name| !name.is_empty()));
    ensure!(
        operands.is_empty() || flag.is_none(),
        "conflicting options: either specify --name or provide positional arg, not both"
    );
    let new = NewVolume {
        name: operands.first().copied().or(flag).filter(|name| !name.is_empty()).map(str::to_owned),
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

/// A template that cannot be parsed; Docker exits with 64 for it.
const BAD_TEMPLATE: i32 = 64;

/// The volumes that exist are shown, even if one is missing.
fn inspect(globals: &Globals, matches: &Matches) -> Result<i32> {
    let format = matches.text(&FORMAT)?.filter(|format| !format.is_empty() && *format != "json");
    let template = match format.map(Template::parse).transpose() {
        Ok(template) => template,
        Err(message) => {
            log::error(format_args!("volume inspect: {message}"));
            return Ok(BAD_TEMPLATE);
        }
    };
    let (mut found, mut lines, mut errors) = (Vec::new(), String::new(), Vec::new());
    for name in matches.operands()? {
        match volume::inspect(&globals.volume_context(), name) {
            Ok(volume) => match template.as_ref().map(|template| template.render(&shown(&volume))) {
                Some(Ok(line)) => lines.push_str(&(line + "\n")),
                Some(Err(message)) => errors.push(anyhow::Error::msg(message)),
                None => found.push(shown(&volume)),
            },
            // Docker's client does not ask its daemon for it.
            Err(_) if name.is_empty() => errors.push(anyhow::anyhow!("No such volume: ")),
            Err(error) => errors.push(error),
        }
    }
    let text = match &template {
        // Where there is no line, Docker prints an empty one.
        Some(_) if lines.is_empty() => "\n".into(),
        Some(_) => lines,
        None => {
            let json: Vec<serde_json::Value> = found.iter().map(Value::json).collect();
            let compact = matches.text(&FORMAT)? == Some("json");
            without_html(&if compact { serde_json::to_string(&json)? } else { pretty(&json)? }) + "\n"
        }
    };
    print(&text)?;
    Ok(failures("volume inspect", &errors))
}

/// Reports the errors of several volumes, each on a line of its own. Returns the exit code.
fn failures(command: &str, errors: &[anyhow::Error]) -> i32 {
    for error in errors {
        log::error(format_args!("{command}: {error:#}"));
    }
    i32::from(!errors.is_empty())
}

/// The fields of `docker volume inspect`, in Go's order. `ClusterVolume` and `UsageData` are never there.
fn shown(volume: &Listed) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    Value::Object(Rc::new(Object {
        kind: "volume.Volume",
        fields: vec![
            ("ClusterVolume", Value::Nil("*volume.ClusterVolume")),
            ("CreatedAt", text(&to_seconds(&volume.metadata.created))),
            ("Driver", text(&volume.metadata.driver)),
            ("Labels", Value::text_map(&volume.metadata.labels)),
            ("Mountpoint", text(&volume.mountpoint.to_string_lossy())),
            ("Name", text(&volume.name)),
            ("Options", Value::text_map(&volume.metadata.options)),
            ("Scope", text(&volume.scope)),
            ("Status", Value::any_map(&volume.status)),
            ("UsageData", Value::Nil("*volume.UsageData")),
        ],
        methods: false,
        labels: BTreeMap::new(),
        omitted: &["ClusterVolume", "CreatedAt", "Status", "UsageData"],
        printed: None,
    }))
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
