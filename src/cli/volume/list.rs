//! `volume ls`.

use super::template::Template;
use super::{Listed, filter};
use crate::cli::args::{Flag, Matches};
use crate::cli::{Command, Globals, print};
use crate::log;
use crate::runtime::volume;
use anyhow::Result;
use serde_json::{Value, json};

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
    help: "table, json, or a template such as {{.Name}} or 'table {{.Name}}\\t{{.Driver}}'",
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let texts = matches.texts(&FILTER)?;
    let filters = filter::parse(&texts, &["dangling", "driver", "label", "name"])?;
    let mut rows = Vec::new();
    let listed = volume::list_all(&globals.volume_context(), &mut |text| log::warn(format_args!("{text}")))?;
    for volume in listed {
        if filter::selects(&filters, &volume)? {
            rows.push(row(&volume));
        }
    }
    let quiet = matches.is_set(&QUIET);
    let format = match matches.text(&FORMAT)?.filter(|format| !format.is_empty()) {
        None | Some("table") if quiet => "{{.Name}}",
        None | Some("table") => "table {{.Driver}}\\t{{.Name}}",
        Some("json") => "{{json .}}",
        Some(format) => format,
    };
    print(&show(format, &header(), &rows)?)?;
    Ok(0)
}

/// Rows in a format: a template, or a table of one (`table {{.A}}\t{{.B}}`) with a header.
pub fn show(format: &str, header: &Value, rows: &[Value]) -> Result<String> {
    let (table, format) = match format.strip_prefix("table ") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let template = Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))?;
    let header = table.then(|| template.render(header));
    let lines: Result<Vec<String>> = header.into_iter().chain(rows.iter().map(|row| template.render(row))).collect();
    let lines = lines?;
    Ok(if table { align(&lines) } else { lines.iter().map(|line| format!("{line}\n")).collect() })
}

/// The keys of Docker's lines.
fn row(volume: &Listed) -> Value {
    let labels: Vec<String> = volume.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": volume.metadata.driver,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint.to_string_lossy(),
        "Name": volume.name,
        "Scope": volume.scope,
        "Size": "N/A",
        "Status": "N/A",
    })
}

fn header() -> Value {
    json!({
        "Availability": "AVAILABILITY",
        "Driver": "DRIVER",
        "Group": "GROUP",
        "Labels": "LABELS",
        "Links": "LINKS",
        "Mountpoint": "MOUNTPOINT",
        "Name": "VOLUME NAME",
        "Scope": "SCOPE",
        "Size": "SIZE",
        "Status": "STATUS",
    })
}

/// Columns at tabs: at least ten wide, three apart, the last as it is.
fn align(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter(move |row| row.len() > column + 1).map(move |row| row[column]);
    let width = |column| cells(column).map(|cell| cell.chars().count() + 3).max().unwrap_or(0).max(10);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (index, cell) in row.iter().enumerate() {
            match index + 1 < row.len() {
                true => text.push_str(&format!("{cell:width$}", width = widths[index])),
                false => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_look_like_dockers() {
        let rows = [json!({"Driver": "local", "Name": "data"}), json!({"Driver": "vieux/sshfs:latest", "Name": "x2"})];
        let expected = "DRIVER               VOLUME NAME\nlocal                data\nvieux/sshfs:latest   x2\n";
        assert_eq!(show("table {{.Driver}}\\t{{.Name}}", &header(), &rows).unwrap(), expected);
        assert_eq!(show("table {{.Driver}}\t{{.Name}}", &header(), &[]).unwrap(), "DRIVER    VOLUME NAME\n");
        assert_eq!(show("{{.Name}}: {{.Driver}}", &header(), &rows[..1]).unwrap(), "data: local\n");
        assert_eq!(show("{{json .}}", &header(), &rows[..1]).unwrap(), "{\"Driver\":\"local\",\"Name\":\"data\"}\n");
    }
}
