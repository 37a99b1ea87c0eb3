//! `volume rm` and `volume prune`.

use super::list::FILTER;
use super::{Listed, VOLUMES, all, failures, filter};
use crate::cli::args::{Flag, Matches};
use crate::cli::{Command, Globals, print};
use crate::runtime::volume::{self, Force};
use anyhow::{Context as _, Result, ensure};

pub const REMOVE: Command = Command {
    name: "volume rm",
    about: "Remove volumes that no container uses",
    details: "\
A container that has stopped and is not deleted uses its volumes still. --force does
not change that; it makes light of volumes that are missing, whose volume.json is
damaged, or whose plugin is no more.",
    flags: &[&[FORCE]],
    operands: &[VOLUMES],
    run: remove,
};

pub const PRUNE: Command = Command {
    name: "volume prune",
    about: "Remove local volumes that no container uses",
    details: "\
Anonymous volumes only, unless --all is given; never one with a driver or driver
options. Filters: label=KEY, label=KEY=VALUE, label!=…, all=true.",
    flags: &[&[ALL, PRUNE_FORCE, PRUNE_FILTER, DRY_RUN]],
    operands: &[],
    run: prune,
};

const FORCE: Flag =
    Flag { name: "force", short: Some('f'), value: None, help: "A missing or damaged volume is no error" };
const ALL: Flag = Flag { name: "all", short: Some('a'), value: None, help: "Volumes with a name too" };
const PRUNE_FILTER: Flag = Flag { short: None, ..FILTER };
const PRUNE_FORCE: Flag = Flag { name: "force", short: Some('f'), value: None, help: "Do not ask" };
const DRY_RUN: Flag = Flag {
    name: "dry-run",
    short: None,
    value: None,
    help: "Show what would be removed and what kept, and remove nothing",
};

fn remove(globals: &Globals, matches: &Matches) -> Result<i32> {
    let force = if matches.is_set(&FORCE) { Force::Yes } else { Force::No };
    let mut errors = Vec::new();
    for name in matches.operands()? {
        match volume::remove(&globals.volume_context(), name, force) {
            Ok(()) => print(&format!("{name}\n"))?,
            Err(error) => errors.push(error),
        }
    }
    Ok(failures(REMOVE.name, &errors))
}

fn prune(globals: &Globals, matches: &Matches) -> Result<i32> {
    let filters = filter::parse(matches, &PRUNE_FILTER)?;
    let flag = matches.is_set(&ALL);
    ensure!(
        !flag || filters.iter().all(|filter| filter.key != "all"),
        "conflicting options: cannot specify both --all and --filter all=1"
    );
    let dry_run = matches.is_set(&DRY_RUN);
    // As with Docker, only the flag changes the question, and filters are looked at after it.
    if !dry_run && !matches.is_set(&PRUNE_FORCE) && !confirmed(flag)? {
        return Ok(0);
    }
    filter::check_keys(&filters, &["label", "label!", "all"])?;
    let named = flag || filter::all(&filters)?;
    let context = globals.volume_context();
    if !dry_run {
        volume::sweep(&context)?;
    }
    let (mut removed, mut kept, mut errors, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for volume in all(globals)? {
        match reason_to_keep(&volume, named, &filters) {
            Some(reason) => kept.push(format!("{}: {reason}", volume.name)),
            None if dry_run => {
                size += volume::size(&context, &volume.name)?.unwrap_or(0);
                removed.push(volume.name);
            }
            None => match volume::prune_one(&context, &volume.name) {
                Ok(Some(freed)) => {
                    size += freed;
                    removed.push(volume.name);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            },
        }
    }
    let mut text = String::new();
    let mut section = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{}\n\n", lines.join("\n")));
        }
    };
    section(if dry_run { "Would delete Volumes" } else { "Deleted Volumes" }, &removed);
    if dry_run {
        section("Would keep Volumes", &kept);
    }
    text.push_str(&format!(
        "Total {}: {}\n",
        if dry_run { "reclaimable space" } else { "reclaimed space" },
        human(size)
    ));
    print(&text)?;
    Ok(failures(PRUNE.name, &errors))
}

/// Why a volume is none of prune's business.
fn reason_to_keep(volume: &Listed, named: bool, filters: &[filter::Filter]) -> Option<String> {
    if !volume.users.is_empty() {
        return Some(format!("in use - [{}]", volume.users.join(", ")));
    }
    if !volume.metadata.is_plain() {
        return Some("has a driver or driver options".into());
    }
    if !named && !volume.metadata.anonymous {
        return Some("has a name (--all removes it)".into());
    }
    (!filter::labels_match(filters, volume)).then(|| "its labels".into())
}

/// Asks, as Docker does: everything but yes is no.
fn confirmed(named: bool) -> Result<bool> {
    let what = if named { "all" } else { "anonymous" };
    print(&format!(
        "WARNING! This will remove {what} local volumes not used by at least one container.\n\
         Are you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// As Docker shows sizes: four digits and decimal units, `1.234MB`.
pub fn human(size: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (size as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // %.4g: as many digits after the point as there is room for, none that say nothing.
    let decimals = if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{}", if text.is_empty() { "0" } else { text }, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        let cases = [
            (0, "0B"),
            (36, "36B"),
            (100, "100B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.235MB"),
            (12_345_678, "12.35MB"),
            (500_000_000_000, "500GB"),
        ];
        for (size, text) in cases {
            assert_eq!(human(size), text);
        }
    }
}
