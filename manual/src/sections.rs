//! The sections of a page that the table of commands does not have.

use anyhow::Result;
use clap_mangen::roff::{Roff, bold, roman};
use rvol_runc::cli;
use std::io::Write;

/// Exit codes, as docs/cli.md has them.
const EXIT_STATUS: &[(&str, &str)] = &[("0", "It worked."), ("1", "It did not; standard error says why.")];
const EXIT_STATUS_OF_EXEC: &[(&str, &str)] = &[("255", "The process could not be started; standard error says why.")];
const EXIT_STATUS_OF_PROCESSES: &[(&str, &str)] = &[(
    "other",
    "In the foreground: the exit code of the container's process, or 128 and the number of the signal that ended it.",
)];

const FILES: &[(&str, &str)] = &[
    ("/run/rvol-runc", "State of root's containers. Change it with --root."),
    ("$XDG_RUNTIME_DIR/rvol-runc", "State of another user's containers."),
    ("/var/lib/rvol-runc/volumes", "Volumes of root. Change it with --volume-root."),
    ("$XDG_DATA_HOME/rvol-runc/volumes", "Volumes of another user; ~/.local/share if XDG_DATA_HOME is not set."),
    ("/run/docker/plugins, /etc/docker/plugins, /usr/lib/docker/plugins", "Where volume plugins are looked for."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("RVOL_VOLUME_ROOT", "Directory of the volumes, without --volume-root."),
    ("RVOL_VOLUME_ANNOTATIONS", "false: as --no-volume-annotations."),
    ("RVOL_VOLUME_PLUGIN_TIMEOUT", "Seconds that each call to a volume plugin may take."),
    ("XDG_RUNTIME_DIR, XDG_DATA_HOME", "Directories of a user who is not root; see FILES."),
    ("NOTIFY_SOCKET, LISTEN_FDS, LISTEN_PID", "From a service manager; see sd_notify(3) and sd_listen_fds(3)."),
];

/// Paragraphs after the description.
pub fn details(text: &str, page: &mut Vec<u8>) -> Result<()> {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    Ok(roff.to_writer(page)?)
}

/// The example lines of the command that a page is about.
pub fn examples(page_name: &str, page: &mut Vec<u8>) -> Result<()> {
    let lines = match command_of(page_name).as_str() {
        "" => &["rvol-runc spec", "rvol-runc plan", "rvol-runc run -v data:/data my-container"],
        command => cli::examples(command),
    };
    if lines.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    lines.iter().for_each(|line| _ = roff.text([roman(*line)]));
    roff.control("fi", []);
    Ok(roff.to_writer(page)?)
}

/// What holds for every command; `exec`, `run` and `restore` have exit codes of their own.
pub fn common(page_name: &str, page: &mut Vec<u8>) -> Result<()> {
    let command = command_of(page_name);
    let mut codes = EXIT_STATUS.to_vec();
    if command == "exec" || command.is_empty() {
        codes.extend(EXIT_STATUS_OF_EXEC);
    }
    if ["exec", "run", "restore", ""].contains(&command.as_str()) {
        codes.extend(EXIT_STATUS_OF_PROCESSES);
    }
    let mut roff = Roff::new();
    for (title, rows) in [("EXIT STATUS", &codes[..]), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        roff.control("SH", [title]);
        for (term, meaning) in rows {
            roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    let others = if command.is_empty() { "runc(8), crun(1)" } else { "rvol-runc(8)" };
    roff.control("SH", ["SEE ALSO"]).text([roman(others)]);
    page.flush()?;
    Ok(roff.to_writer(page)?)
}

/// `volume create` for the page `rvol-runc-volume-create`; empty for the program's own page.
fn command_of(page_name: &str) -> String {
    page_name.trim_start_matches("rvol-runc").trim_start_matches('-').replace('-', " ")
}
