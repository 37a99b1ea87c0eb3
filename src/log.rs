//! The log: text or JSON lines in the form that engines read from runc.
//!
//! Owns where messages go, and how a line looks. Without `--log` they go to stderr, as plain lines for people or, with
//! `--log-format json`, as JSON. With `--log FILE` every message is a record in the file, and errors are on stderr too.
//! Knows nothing of commands and containers. The process is single-threaded; the state is set once, before any message.

use crate::clock;
use crate::sys::Call;
use anyhow::Result;
use std::fmt::{Arguments, Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
    Error,
}

#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Says where messages go from now on; without this call they go to stderr as text. Called once, by the command line.
///
/// # Errors
/// The file cannot be opened for appending.
pub fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let append = |path: &Path| {
        // std opens with O_CLOEXEC and mode 0666 less the umask; the container never sees the fd.
        OpenOptions::new().create(true).append(true).open(path).call(|| format!("open log {}", path.display()))
    };
    let log = Log { file: path.map(append).transpose()?, format, debug };
    debug_assert!(LOG.get().is_none(), "the log is opened once");
    LOG.get_or_init(|| log);
    Ok(())
}

/// Something for those who look for a fault; only with `--debug`.
pub fn debug(message: Arguments) {
    if LOG.get().is_some_and(|log| log.debug) {
        emit(Level::Debug, message);
    }
}

/// Something that was left out or done otherwise than asked, and why; the command goes on.
pub fn warn(message: Arguments) {
    emit(Level::Warning, message);
}

/// Why the command failed. Written by `cli` only, once, or once for each volume that a command could not serve: engines
/// show the last record of this level.
pub fn error(message: Arguments) {
    emit(Level::Error, message);
}

fn emit(level: Level, message: Arguments) {
    let unset = Log::default();
    let log = LOG.get().unwrap_or(&unset);
    let message = message.to_string();
    let record = |format| record(format, level, &clock::now(), &message);
    let recorded = match (log.file.as_ref(), log.format) {
        // One write each: lines of several processes in one file stay whole (O_APPEND).
        (Some(mut file), format) => file.write_all(record(format).as_bytes()).is_ok(),
        (None, Format::Json) => to_stderr(&record(Format::Json)),
        (None, Format::Text) => false,
    };
    if !recorded || (level == Level::Error && log.file.is_some()) {
        to_stderr(&plain(level, &message));
    }
}

/// Whether stderr took the line; when it does not, there is nowhere left to say so.
fn to_stderr(line: &str) -> bool {
    std::io::stderr().write_all(line.as_bytes()).is_ok()
}

/// A line for people.
fn plain(level: Level, message: &str) -> String {
    match level {
        Level::Error => format!("rvol-runc: {message}\n"),
        Level::Warning | Level::Debug => format!("rvol-runc: {level}: {message}\n"),
    }
}

/// A line for programs: the formats of the Go library logrus, which engines know.
fn record(format: Format, level: Level, time: &str, message: &str) -> String {
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
        Format::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

/// As Go's `%q`, where the text is more than one plain word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-21T12:09:08.25Z";

    #[test]
    fn text_records_look_like_logrus() {
        assert_eq!(
            record(Format::Text, Level::Error, TIME, "container does not exist"),
            "time=\"2026-11-21T12:09:08.25Z\" level=error msg=\"container does not exist\"\n"
        );
        assert_eq!(
            record(Format::Text, Level::Warning, TIME, "word"),
            format!("time=\"{TIME}\" level=warning msg=word\n")
        );
        assert_eq!(quoted("say \"a\\b\"\n\x1b"), r#""say \"a\\b\"\n\x1b""#);
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("größe"), "\"größe\"");
    }

    #[test]
    fn json_records_are_one_line_with_the_keys_that_containerd_reads() {
        let line = record(Format::Json, Level::Error, TIME, "two\nlines \"quoted\"");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value, serde_json::json!({"level": "error", "msg": "two\nlines \"quoted\"", "time": TIME}));
        assert!(line.starts_with("{\"level\":\"error\",\"msg\":"), "{line}");
    }

    #[test]
    fn people_see_the_program_and_the_level() {
        assert_eq!(plain(Level::Error, "create demo: no"), "rvol-runc: create demo: no\n");
        assert_eq!(plain(Level::Warning, "hm"), "rvol-runc: warning: hm\n");
    }
}
