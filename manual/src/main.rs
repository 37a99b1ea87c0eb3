//! Writes the man pages and the completions for bash, zsh and fish. The pages are made from the same table as `--help`.
//!
//! `rvol-manual DIR` makes below DIR the tree that an installation has below its prefix: `share/man/man8` and the places
//! where the shells look for completions. `SOURCE_DATE_EPOCH` is the date of the pages; without it they have none, so
//! that the same source always gives the same pages. `rvol-manual DIR TARGET` adds the licences of what is linked in for
//! this target, in `share/doc/rvol-runc`.

mod notices;
mod sections;

use anyhow::{Context, Result, bail};
use clap::Command;
use clap_mangen::Man;
use rvol_runc::cli;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(prefix), target, None) = (args.next(), args.next(), args.next()) else {
        bail!("usage: rvol-manual DIR [TARGET]");
    };
    let prefix = PathBuf::from(prefix);
    let date = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => date(seconds.parse().context("SOURCE_DATE_EPOCH is not a number of seconds")?),
        Err(_) => String::new(),
    };
    write(&prefix, &date)?;
    match target {
        Some(target) => write_licences(&prefix, target.to_str().context("the target is not UTF-8")?),
        None => Ok(()),
    }
}

fn write_licences(prefix: &Path, target: &str) -> Result<()> {
    let dir = prefix.join("share/doc/rvol-runc");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(dir.join("LICENSE"), include_str!("../../LICENSE")).context("write LICENSE")?;
    fs::write(dir.join("NOTICES"), notices::text(target)?).context("write NOTICES")
}

fn write(prefix: &Path, date: &str) -> Result<()> {
    let program = cli::program().version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
    // What names a page is one line.
    let described = program.get_about().cloned().unwrap_or_default();
    let mut program = program.about("run containers with native volumes").long_about(described);
    program.build();
    let dir = prefix.join("share/man/man8");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    pages(&program, program.get_name(), &dir, date)?;
    for (shell, script, place) in cli::COMPLETIONS {
        let path = prefix.join(place);
        let dir = path.parent().context("completions without a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        fs::write(&path, script).with_context(|| format!("write the completions for {shell}"))?;
    }
    Ok(())
}

/// A page for the command called `name`, and one for each below it: `rvol-runc-volume-create.8`.
fn pages(command: &Command, name: &str, dir: &Path, date: &str) -> Result<()> {
    let path = dir.join(format!("{name}.8"));
    let page = page(command, name, date).with_context(|| format!("make {}", path.display()))?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    command.get_subcommands().try_for_each(|sub| pages(sub, &format!("{name}-{}", sub.get_name()), dir, date))
}

fn page(command: &Command, name: &str, date: &str) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let source = concat!("rvol-runc ", env!("CARGO_PKG_VERSION"));
    // What follows the options in --help belongs to the description here.
    let details = command.get_after_help().map(|text| text.to_string()).unwrap_or_default();
    let man = Man::new(command.clone()).title(name).section("8").manual("rvol-runc").source(source).date(date);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    sections::details(&details, &mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    sections::examples(name, &mut page)?;
    sections::common(name, &mut page)?;
    Ok(page)
}

/// A day in UTC, as man pages show it: the algorithm is "civil from days" (Howard Hinnant, chrono-compatible low-level
/// date algorithms), for days from 1970 on.
fn date(seconds: u64) -> String {
    let days = seconds / 86400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of all commands, as pages have them.
    fn names(command: &Command, name: String) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|sub| names(sub, format!("{name}-{}", sub.get_name())));
        std::iter::once(name.clone()).chain(below).collect()
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "2026-12-01").unwrap();
        let read = |path: String| fs::read_to_string(dir.path().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let all = names(&cli::program(), "rvol-runc".into());
        for page in ["rvol-runc-create", "rvol-runc-volume-prune"] {
            assert!(all.iter().any(|name| name == page), "{all:?}");
        }
        for name in &all {
            let page = read(format!("share/man/man8/{name}.8"));
            assert!(page.contains(&format!(".TH {name} 8 2026-12-01 ")), "{name}: {page}");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "FILES", "ENVIRONMENT"] {
                assert!(
                    page.contains(&format!(".SH \"{section}\"")) || page.contains(&format!(".SH {section}\n")),
                    "{name}: {section}: {page}"
                );
            }
        }
        let create = read("share/man/man8/rvol-runc-create.8".into());
        for part in ["pid\\-file", "CONTAINER\\-ID", "volumes\\-from"] {
            assert!(create.contains(part), "{part}: {create}");
        }
        for file in [
            "bash-completion/completions/rvol-runc",
            "zsh/site-functions/_rvol-runc",
            "fish/vendor_completions.d/rvol-runc.fish",
        ] {
            let text = read(format!("share/{file}"));
            assert!(text.contains("completion candidates"), "{file}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, day) in [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_798_761_599, "2026-12-31")] {
            assert_eq!(date(seconds), day);
        }
    }

    /// man(1) itself finds nothing to complain about.
    #[test]
    fn pages_are_good_roff() {
        if std::process::Command::new("groff").arg("--version").output().is_err() {
            return eprintln!("skipped: there is no groff here");
        }
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "2026-12-01").unwrap();
        for entry in fs::read_dir(dir.path().join("share/man/man8")).unwrap() {
            let path = entry.unwrap().path();
            let mut groff = std::process::Command::new("groff");
            let output = groff.args(["-man", "-Tutf8", "-K", "utf8", "-ww", "-z"]).arg(&path).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", path.display());
        }
    }
}
