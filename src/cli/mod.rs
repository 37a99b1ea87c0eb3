//! The command line: one table of commands, one file for each, and the way from argv to an exit code.
//!
//! Owns flags, output and how errors are shown. What a command does is in `runtime`; nothing below knows of this module.

mod args;
mod checkpoint;
mod completion;
mod create;
mod debug_info;
mod delete;
mod duration;
mod events;
mod examples;
mod exec;
mod features;
mod gc;
mod global;
mod help;
mod images;
mod kill;
mod layout;
mod list;
mod mounts;
mod pause;
mod pflag;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod size;
mod spec;
mod start;
mod state;
mod update;
mod version;
mod volume;

pub use completion::SCRIPTS as COMPLETIONS;
pub use examples::of as examples;
pub use help::program;

use crate::{log, trace};
use anyhow::{Context as _, Result};
use args::{Action, Flag, Matches, Operand, UsageError, Words};
use global::Globals;
use std::ffi::OsString;
use std::io::Write as _;

/// One command of the table.
#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// What follows the flags in the command's own help; may be empty.
    pub details: &'static str,
    /// In groups, since commands share some.
    pub flags: &'static [&'static [Flag]],
    /// Those that are required come first.
    pub operands: &'static [Operand],
    /// Carries it out; returns the exit code.
    pub run: fn(&Globals, &Matches) -> Result<i32>,
}

/// Every command there is, in the order of the help.
static COMMANDS: &[Command] = &[
    create::COMMAND,
    start::COMMAND,
    run::COMMAND,
    exec::COMMAND,
    state::COMMAND,
    kill::COMMAND,
    pause::COMMAND,
    resume::COMMAND,
    update::COMMAND,
    ps::COMMAND,
    events::COMMAND,
    checkpoint::COMMAND,
    restore::COMMAND,
    delete::COMMAND,
    gc::COMMAND,
    list::COMMAND,
    plan::COMMAND,
    mounts::COMMAND,
    volume::CREATE,
    volume::INSPECT,
    volume::LIST,
    volume::REMOVE,
    volume::PRUNE,
    volume::EXPORT,
    volume::IMPORT,
    volume::CLONE,
    volume::RENAME,
    volume::LABEL_COMMAND,
    volume::USAGE,
    spec::COMMAND,
    features::COMMAND,
    debug_info::COMMAND,
    completion::COMMAND,
    version::COMMAND,
    help::COMMAND,
];

/// The commands that make a process inside a container, and call `security::seal` for it.
pub static NEED_SEAL: [&str; 3] = [create::COMMAND.name, run::COMMAND.name, exec::COMMAND.name];

/// Other names of commands, as Docker has them.
static ALIASES: &[(&str, &str)] = &[("volume list", "volume ls"), ("volume remove", "volume rm")];

const NAME: &str = "rvol-runc";

const CONTAINER_ID: Operand = Operand {
    name: "CONTAINER-ID",
    required: true,
    verbatim: false,
    help: "Name of the container, unique on this host",
};

/// Runs the command that the arguments name; returns the exit code.
pub fn main() -> i32 {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = execute(&argv);
    if let Some(table) = trace::report() {
        eprint!("{table}");
    }
    match done {
        Ok(code) => code,
        Err(error) => {
            match error.downcast_ref::<UsageError>() {
                Some(usage) => log::error(format_args!("{usage}{}", help::hint(usage, &argv))),
                None => log::error(format_args!("{error:#}")),
            }
            let usage = error.downcast_ref::<UsageError>().map(|usage| usage.code);
            usage.or_else(|| error.downcast_ref::<Failed>().map(|failed| failed.code)).unwrap_or(1)
        }
    }
}

fn execute(argv: &[OsString]) -> Result<i32> {
    let mut words = Words::new(argv.iter().cloned(), COMMANDS);
    let (globals, first) = words.globals()?;
    if globals.trace {
        trace::begin()?;
    }
    // Opened before the rest is read: engines look into the log for a mistake in the command's own flags too.
    log::open(globals.log.as_deref(), globals.log_format, globals.debug)?;
    match words.action(first)? {
        Action::Help(command) => help::print(command).map(|()| 0),
        Action::GroupHelp(group) => help::print_group(&group).map(|()| 0),
        Action::Version => version::print().map(|()| 0),
        Action::Run(command, matches) => (command.run)(&globals, &matches).with_context(|| {
            let what = match matches.operand(0) {
                Some(subject) if !command.name.contains(' ') => format!("{} {}", command.name, subject.display()),
                _ => command.name.to_owned(),
            };
            Failed { what, code: command.failure_code() }
        }),
    }
}

/// What was to be done, and the exit code for it.
#[derive(Debug)]
struct Failed {
    what: String,
    code: i32,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl Command {
    /// Whether flags and errors are those of `docker volume`: pflag's words, and 125 for a wrong flag.
    fn is_dockers(&self) -> bool {
        self.name.starts_with("volume ")
    }

    /// The exit code when the command fails: not one that the program which it waits for is likely to have.
    fn failure_code(&self) -> i32 {
        if self.name == exec::COMMAND.name { 255 } else { 1 }
    }
}

/// Writes to stdout. That nobody reads (any more) is no fault of the command.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::{Errno, SyscallError};

    #[test]
    fn the_manual_lists_the_words_that_engines_read() {
        let manual = include_str!("../../docs/errors.md");
        for errno in [Errno::ENOENT, Errno::EACCES, Errno::EPERM, Errno::ENOTDIR, Errno::ESRCH] {
            let text = SyscallError { call: "call".into(), errno }.to_string();
            let words = text.trim_start_matches("call: ").split(" (").next().unwrap();
            assert!(manual.contains(&format!("`{words}`")), "{words}");
        }
        for words in ["executable file not found in $PATH", "container does not exist", "container not running"] {
            assert!(manual.contains(&format!("`{words}`")), "{words}");
        }
    }
}
