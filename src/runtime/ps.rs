//! `ps`: which processes a container has.

use super::Context;
use super::record::Record;
use crate::store::Access;
use crate::sys::Call;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

/// The pids, as the host counts, of all processes in the container's cgroup and below it, sorted.
///
/// An error if the container has no cgroup of its own: nothing else tells whose a process is.
pub fn processes(context: &Context, id: &str) -> Result<Vec<i32>> {
    let entry = context.store().open(id, Access::Read)?;
    let record = Record::of(&entry)?.context("the container's record is missing")?;
    if record.cgroup.is_none() {
        bail!("the container has no cgroup of its own");
    }
    record.cgroup.processes()
}

/// The output of ps(1) with these options, `-ef` if there are none: its header and the container's lines.
pub fn table(context: &Context, id: &str, options: &[OsString]) -> Result<String> {
    let pids: BTreeSet<i32> = processes(context, id)?.into_iter().collect();
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef");
    }
    let output = command.args(options).output().call(|| "execute ps".into())?;
    if !output.status.success() {
        bail!("ps: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    select(&String::from_utf8_lossy(&output.stdout), &pids)
}

/// The header and those lines whose PID is in `pids`.
fn select(table: &str, pids: &BTreeSet<i32>) -> Result<String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|title| title == "PID") else {
        bail!("couldn't find PID field in ps output");
    };
    let mut selected = format!("{header}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().with_context(|| format!("unable to parse pid {field:?} in ps output"))?;
        if pids.contains(&pid) {
            selected += line;
            selected.push('\n');
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_selected_by_their_pid_column() {
        let pids = BTreeSet::from([7, 10]);
        let full = "UID          PID    PPID CMD\nroot           1       7 init\nroot           7       1 sh -c 10\n\n";
        assert_eq!(select(full, &pids).unwrap(), "UID          PID    PPID CMD\nroot           7       1 sh -c 10\n");
        let only = "    PID\n      1\n     10\n";
        assert_eq!(select(only, &pids).unwrap(), "    PID\n     10\n");
        assert_eq!(select("PID\n", &pids).unwrap(), "PID\n");
    }

    #[test]
    fn a_table_without_pids_is_refused() {
        let pids = BTreeSet::from([7]);
        for table in ["", "UID CMD\nroot sh\n", "PPID CMD\n7 sh\n"] {
            assert_eq!(
                select(table, &pids).unwrap_err().to_string(),
                "couldn't find PID field in ps output",
                "{table}"
            );
        }
        assert_eq!(select("PID CMD\nx sh\n", &pids).unwrap_err().to_string(), "unable to parse pid \"x\" in ps output");
    }
}
