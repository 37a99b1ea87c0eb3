//! What `docker volume` has not: `volume clone`, `volume rename`, `volume df`.

use super::list::{show, texts};
use super::template::Value;
use super::{Listed, all};
use crate::cli::args::{Flag, Matches, Operand};
use crate::cli::volume::remove::human;
use crate::cli::{Command, Globals, print};
use crate::runtime::volume;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

pub const CLONE: Command = Command {
    name: "volume clone",
    about: "Make a volume with the content of another",
    details: "\
Data is shared with the source where the filesystem can (reflink), else copied. The
new volume appears when it is complete. Containers that write into the source
meanwhile may be seen half.",
    flags: &[],
    operands: &[SOURCE, DESTINATION],
    run: clone,
};

pub const RENAME: Command = Command {
    name: "volume rename",
    about: "Give a volume that no container uses another name",
    details: "\
With --label it gets labels as well. This makes a volume that of a Kubernetes
namespace:

    rvol-runc volume rename --label rvol.namespace=web data web_data",
    flags: &[&[super::LABEL]],
    operands: &[SOURCE, DESTINATION],
    run: rename,
};

pub const USAGE: Command = Command {
    name: "volume df",
    about: "Show how large volumes are and how many use them",
    details: "",
    flags: &[&[FORMAT]],
    operands: &[],
    run: usage,
};

const SOURCE: Operand = Operand { name: "VOLUME", required: true, verbatim: false, help: "The volume" };
const DESTINATION: Operand = Operand { name: "NEW-NAME", required: true, verbatim: false, help: "The new name" };
const FORMAT: Flag = Flag {
    name: "format",
    short: None,
    value: Some("FORMAT"),
    help: "table, json, or a template with {{.Name}}, {{.Links}}, {{.Size}}, {{.Bytes}}",
};

fn names(matches: &Matches) -> Result<(&str, &str)> {
    let [from, to] = matches.operands()?[..] else { anyhow::bail!("two names are needed") };
    Ok((from, to))
}

fn clone(globals: &Globals, matches: &Matches) -> Result<i32> {
    let (from, to) = names(matches)?;
    volume::clone(&globals.volume_context(), from, to)?;
    print(&format!("{to}\n"))?;
    Ok(0)
}

fn rename(globals: &Globals, matches: &Matches) -> Result<i32> {
    let (from, to) = names(matches)?;
    volume::rename(&globals.volume_context(), from, to, &super::pairs(matches, &super::LABEL)?)?;
    print(&format!("{to}\n"))?;
    Ok(0)
}

fn usage(globals: &Globals, matches: &Matches) -> Result<i32> {
    let mut rows = Vec::new();
    for Listed { name, users, .. } in all(globals)? {
        let bytes = volume::size(&globals.volume_context(), &name).with_context(|| name.clone())?;
        // What a driver keeps elsewhere is not measured.
        let size = bytes.map_or_else(|| "N/A".to_owned(), human);
        let bytes = bytes.map_or(Value::Nil("*int64"), |bytes| Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)));
        let links = Value::Int(i64::try_from(users.len()).unwrap_or(i64::MAX));
        let fields = vec![("Bytes", bytes), ("Links", links), ("Name", Value::Text(name)), ("Size", Value::Text(size))];
        rows.push(texts(fields, BTreeMap::new(), None));
    }
    let header = [("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE"), ("Bytes", "BYTES")];
    let format = match matches.text(&FORMAT)?.filter(|format| !format.is_empty()) {
        None | Some("table") => "table {{.Name}}\\t{{.Links}}\\t{{.Size}}",
        Some(format) => format,
    };
    print(&show(format, &header, &rows)?)?;
    Ok(0)
}
