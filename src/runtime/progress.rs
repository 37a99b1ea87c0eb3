//! How far something long is, where a person is looking.

use crate::log;
use std::cell::Cell;
use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// One line on a terminal, written over and over, from the second second on. Elsewhere nothing, and at the end a line of
/// the debug log.
#[derive(Debug)]
pub struct Progress {
    /// `copying into volume data`.
    doing: String,
    start: Instant,
    shown: Cell<Option<Instant>>,
    terminal: bool,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(200);

    pub fn new(doing: String) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress { doing, start: Instant::now(), shown: Cell::new(None), terminal }
    }

    /// So much has been done by now. May be called often.
    pub fn show(&self, files: u64, bytes: u64) {
        let due = match self.shown.get() {
            None => self.terminal && self.start.elapsed() > Progress::PATIENCE,
            Some(last) => last.elapsed() > Progress::PAUSE,
        };
        if due {
            self.shown.set(Some(Instant::now()));
            write(format_args!("\r{}: {files} files, {} MB\x1b[K", self.doing, bytes / 1_000_000));
        }
    }

    /// A line of its own for something else.
    pub fn interrupt(&self) {
        if self.shown.get().is_some() {
            write(format_args!("\r\x1b[K"));
        }
    }

    /// So much was done in all.
    pub fn end(self, files: u64, bytes: u64) {
        if self.shown.take().is_some() {
            write(format_args!("\r{}: {files} files, {bytes} bytes\x1b[K\n", self.doing));
        }
        log::debug(format_args!("{}: {files} files, {bytes} bytes", self.doing));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // After an error, which is not to stand in the same line.
        if self.shown.take().is_some() {
            write(format_args!("\n"));
        }
    }
}

fn write(text: Arguments) {
    // That nobody can be told is no reason to stop.
    let _ = std::io::stderr().write_fmt(text);
}
