//! `list`: the containers below the root directory.

use super::args::{Flag, Matches, wrong_value};
use super::{Command, Globals, print};
use crate::runtime;
use crate::state::State;
use crate::sys::Call;
use anyhow::{Context as _, Result};

pub const COMMAND: Command = Command {
    name: "list",
    about: "List the containers below --root",
    details: "",
    flags: &[&[QUIET, FORMAT]],
    operands: &[],
    run,
};

const QUIET: Flag = Flag { name: "quiet", short: Some('q'), value: None, help: "Show the ids only" };
const FORMAT: Flag = Flag { name: "format", short: Some('f'), value: Some("table|json"), help: "How to show them" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let format = matches.text(&FORMAT)?.unwrap_or("table");
    if !["table", "json"].contains(&format) {
        return Err(wrong_value(&FORMAT, format.as_ref(), "is neither table nor json"));
    }
    // The default directory is made by the first container; another one that is missing is a mistake.
    if let Some(root) = &globals.root {
        std::fs::metadata(root).call(|| format!("open {}", root.display()))?;
    }
    let states = runtime::list(&globals.context()?)?;
    let text = match format {
        _ if matches.is_set(&QUIET) => states.iter().map(|state| format!("{}\n", state.id)).collect(),
        "json" if states.is_empty() => "null\n".to_owned(),
        "json" => serde_json::to_string(&states).context("write states as JSON")? + "\n",
        _ => table(&states),
    };
    print(&text)?;
    Ok(0)
}

/// The columns of runc: at least 12 wide and 3 apart, the last one as it is.
fn table(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(states.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Status;

    fn state(id: &str, pid: i32, bundle: &str) -> State {
        State {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid,
            status: Status::Running,
            bundle: bundle.into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-21T12:09:08.25Z".into(),
            annotations: Default::default(),
            owner: "root".into(),
        }
    }

    #[test]
    fn an_empty_table_is_as_runc_prints_it() {
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn columns_grow_with_what_is_in_them() {
        let states = [state("a", 7, "/b"), state("a-rather-long-name", 123_456, "/var/lib/bundles/b")];
        let expected = "\
ID                   PID         STATUS      BUNDLE               CREATED                   OWNER
a                    7           running     /b                   2026-11-21T12:09:08.25Z   root
a-rather-long-name   123456      running     /var/lib/bundles/b   2026-11-21T12:09:08.25Z   root
";
        assert_eq!(table(&states), expected);
    }
}
