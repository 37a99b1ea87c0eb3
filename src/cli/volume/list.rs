//! `volume ls`, and rows of a list in a format that the user gives.

use super::template::{Map, Object, Template, Value};
use super::{Listed, filter, shown};
use crate::cli::args::{Flag, Matches};
use crate::cli::{Command, Globals, print};
use crate::log;
use crate::runtime::volume;
use anyhow::Result;
use std::collections::BTreeMap;
use std::rc::Rc;

pub const LIST: Command = Command {
    name: "volume ls",
    about: "List volumes",
    details: "\
Filters: dangling=true|false, driver=NAME, label=KEY or KEY=VALUE, name=PATTERN
(a part of the name, or a regular expression).",
    flags: &[&[QUIET, FILTER, FORMAT]],
    operands: &[],
    run,
};

const QUIET: Flag = Flag { name: "quiet", short: Some('q'), value: None, help: "Show the names only" };
pub const FILTER: Flag =
    Flag { name: "filter", short: Some('f'), value: Some("KEY=VALUE"), help: "Only those that this is true of" };
const FORMAT: Flag = Flag {
    name: "format",
    short: None,
    value: Some("FORMAT"),
    help: "table, json, raw, or a template such as {{.Name}} or 'table {{.Name}}\\t{{.Driver}}'",
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let filters = filter::parse(matches, &FILTER)?;
    filter::check_keys(&filters, &["dangling", "driver", "label", "name"])?;
    let dangling = filter::dangling(&filters)?;
    let mut rows = Vec::new();
    let listed = volume::list_all(&globals.volume_context(), &mut |text| log::warn(format_args!("{text}")))?;
    for volume in listed {
        if dangling.is_none_or(|wanted| wanted == volume.users.is_empty()) && filter::selects(&filters, &volume) {
            rows.push(row(&volume));
        }
    }
    let quiet = matches.is_set(&QUIET);
    let format = match matches.text(&FORMAT)?.filter(|format| !format.is_empty()) {
        None | Some("table") if quiet => "{{.Name}}",
        None | Some("table") => "table {{.Driver}}\\t{{.Name}}",
        Some("raw") if quiet => "name: {{.Name}}",
        Some("raw") => "name: {{.Name}}\\ndriver: {{.Driver}}\\n",
        Some(format) => format,
    };
    print(&show(format, &HEADER, &rows)?)?;
    Ok(0)
}

/// The columns that a table can have, and their headers.
pub type Header = [(&'static str, &'static str)];

const HEADER: [(&str, &str); 11] = [
    ("Availability", "AVAILABILITY"),
    ("Driver", "DRIVER"),
    ("Group", "GROUP"),
    ("ID", "ID"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

/// Rows in a format: `json`, a template, or a table of one (`table {{.A}}\t{{.B}}`) with a header.
///
/// # Errors
/// Docker's message for a template that cannot be parsed or carried out.
pub fn show(format: &str, header: &Header, rows: &[Value]) -> Result<String> {
    let (table, format) = match format.strip_prefix("table") {
        Some(rest) => (true, rest),
        None if format == "json" => (false, "{{json .}}"),
        None => (false, format),
    };
    let text = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse(&text).map_err(anyhow::Error::msg)?;
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&template.render(row).map_err(anyhow::Error::msg)?);
        lines.push('\n');
    }
    if !table {
        return Ok(lines);
    }
    let entries = header.iter().map(|(name, title)| ((*name).to_owned(), Value::Text((*title).to_owned()))).collect();
    let header = Value::Map(Map { kind: "formatter.SubHeaderContext", entries: Some(entries), is_header: true });
    Ok(align(&format!("{}\n{lines}", template.render_header(&header))))
}

/// A row whose fields are texts, as Docker's formatter has them.
pub fn texts(fields: Vec<(&'static str, Value)>, labels: BTreeMap<String, String>, printed: Option<String>) -> Value {
    let kind = "*formatter.volumeContext";
    Value::Object(Rc::new(Object { kind, fields, methods: true, labels, omitted: &[], printed }))
}

/// The keys of Docker's lines. Those that only Swarm's volumes have are `N/A`.
fn row(volume: &Listed) -> Value {
    let labels: Vec<String> = volume.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = |text: &str| Value::Text(text.to_owned());
    let fields = vec![
        ("Availability", text("N/A")),
        ("Driver", text(&volume.metadata.driver)),
        ("Group", text("N/A")),
        ("Labels", text(&labels.join(","))),
        ("Links", text("N/A")),
        ("Mountpoint", text(&volume.mountpoint.to_string_lossy())),
        ("Name", text(&volume.name)),
        ("Scope", text(&volume.scope)),
        ("Size", text("N/A")),
        ("Status", text("N/A")),
    ];
    let printed = format!("{{{{<nil>}} {}}}", shown(volume).printed());
    texts(fields, volume.metadata.labels.clone(), Some(printed))
}

/// Go's text/tabwriter as Docker sets it: a column is made of the cells of consecutive lines that a tab ends, at least
/// ten wide, with three blanks behind the longest.
fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::new();
    block(&lines, &mut Vec::new(), &mut out);
    out.pop();
    out
}

/// Writes lines whose first columns have these widths.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let has_cell = |line: &Vec<&str>| column + 1 < line.len();
    let mut rest = lines;
    while let Some(start) = rest.iter().position(has_cell) {
        let length = rest[start..].iter().position(|line| !has_cell(line)).unwrap_or(rest.len() - start);
        write(&rest[..start], widths, out);
        let cells = &rest[start..start + length];
        let width = cells.iter().map(|line| line[column].chars().count() + 3).max().unwrap_or(0).max(10);
        widths.push(width);
        block(cells, widths, out);
        widths.pop();
        rest = &rest[start + length..];
    }
    write(rest, widths, out);
}

fn write(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (index, cell) in line.iter().enumerate() {
            match widths.get(index) {
                Some(width) => out.push_str(&format!("{cell:width$}")),
                None => out.push_str(cell),
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(driver: &str, name: &str) -> Value {
        let fields = vec![("Driver", Value::Text(driver.into())), ("Name", Value::Text(name.into()))];
        texts(fields, BTreeMap::from([("env".into(), "prod".into())]), None)
    }

    #[test]
    fn tables_look_like_dockers() {
        let rows = [row("local", "data"), row("vieux/sshfs:latest", "x2")];
        let expected = "DRIVER               VOLUME NAME\nlocal                data\nvieux/sshfs:latest   x2\n";
        assert_eq!(show("table {{.Driver}}\\t{{.Name}}", &HEADER, &rows).unwrap(), expected);
        assert_eq!(show("table {{.Driver}}\t{{.Name}}", &HEADER, &[]).unwrap(), "DRIVER    VOLUME NAME\n");
        assert_eq!(show("{{.Name}}: {{.Driver}}", &HEADER, &rows[..1]).unwrap(), "data: local\n");
        assert_eq!(show("json", &HEADER, &rows[..1]).unwrap(), "{\"Driver\":\"local\",\"Name\":\"data\"}\n");
        assert_eq!(show("table {{.Label \"env\"}}", &HEADER, &rows[..1]).unwrap(), "env\nprod\n");
    }

    #[test]
    fn columns_are_those_of_consecutive_lines() {
        assert_eq!(
            align("a\tb\nlonger than ten\tc\n\nd\te\n"),
            "a                 b\nlonger than ten   c\n\nd         e\n"
        );
        assert_eq!(align("a\tb\tc\nd\te\n"), "a         b         c\nd         e\n");
        assert_eq!(align("\tb\n"), "          b\n");
    }
}
