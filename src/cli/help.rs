//! Help and hints: clap's commands made from the table, only where somebody reads what comes of them.

use super::args::{Flag, Matches, UsageError};
use super::global::GLOBAL_FLAGS;
use super::{COMMANDS, Command, Globals, Operand};
use anyhow::{Result, bail};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction};
use std::ffi::{OsStr, OsString};

pub const COMMAND: Command = Command {
    name: "help",
    about: "Show help, of one command or of all",
    details: "",
    flags: &[],
    operands: &[Operand {
        name: "COMMAND...",
        required: false,
        verbatim: false,
        help: "The command, in one word or two",
    }],
    run,
};

const NAME: &str = "rvol-runc";

const ABOUT: &str = "\
Runs containers as the OCI runtime-spec describes them: a bundle, that is a directory
with a config.json and a root filesystem, goes in; a process with namespaces and mounts
of its own comes out.

    rvol-runc spec                  # writes a config.json to start from
    rvol-runc plan                  # shows what will be done
    rvol-runc run my-container      # does it";

fn run(_: &Globals, matches: &Matches) -> Result<i32> {
    let name = matches.operands()?.join(" ");
    if name.is_empty() {
        print(None)?;
    } else if let Some(command) = COMMANDS.iter().find(|command| name == command.name) {
        print(Some(command))?;
    } else if groups().any(|group| group == name) {
        print_group(&name)?;
    } else {
        bail!("there is no such command");
    }
    Ok(0)
}

/// The first words of commands that have two.
fn groups() -> impl Iterator<Item = &'static str> {
    let mut groups: Vec<_> = COMMANDS.iter().filter_map(|command| Some(command.name.split_once(' ')?.0)).collect();
    groups.dedup();
    groups.into_iter()
}

/// Prints the help of all commands that begin with this word.
pub fn print_group(group: &str) -> Result<()> {
    let mut program = program();
    program.build();
    let shown = program.find_subcommand_mut(group).expect("made from the same table");
    super::print(&shown.render_help().to_string())
}

/// Prints the help of a command, or of the program, to stdout.
pub fn print(command: Option<&Command>) -> Result<()> {
    let mut program = program();
    program.build();
    let shown = match command {
        Some(command) => command
            .name
            .split(' ')
            .fold(&mut program, |found, word| found.find_subcommand_mut(word).expect("made from the same table")),
        None => &mut program,
    };
    super::print(&shown.render_help().to_string())
}

/// What to add to a usage error: a word of the table that looks like the wrong one, and where help is.
pub fn hint(error: &UsageError, argv: &[OsString]) -> String {
    let similar = similar(argv).map(|word| format!(", perhaps {word}?")).unwrap_or_default();
    let command = error.command.map(|command| format!(" {}", command.name)).unwrap_or_default();
    format!("{similar}; see {NAME}{command} --help")
}

fn similar(argv: &[OsString]) -> Option<String> {
    let line = std::iter::once(OsStr::new(NAME)).chain(argv.iter().map(OsString::as_os_str));
    let error = program().try_get_matches_from(line).err()?;
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    match suggested.into_iter().find_map(|kind| error.get(kind))? {
        ContextValue::String(word) => Some(word.clone()),
        // The most similar one comes last.
        ContextValue::Strings(words) => words.last().cloned(),
        _ => None,
    }
}

/// The whole table as clap sees it; completions and man pages come from here too.
pub fn program() -> clap::Command {
    clap::Command::new(NAME)
        .about(ABOUT)
        .override_usage(format!("{NAME} [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]"))
        .args(GLOBAL_FLAGS.iter().map(flag))
        .subcommands(COMMANDS.iter().filter(|command| !command.name.contains(' ')).map(command))
        .subcommands(groups().map(group))
        .disable_help_subcommand(true)
        .subcommand_required(true)
}

fn group(name: &'static str) -> clap::Command {
    let mine =
        COMMANDS.iter().filter(move |command| command.name.split_once(' ').is_some_and(|(group, _)| group == name));
    let about = if name == "volume" { "Manage volumes" } else { "" };
    clap::Command::new(name)
        .about(about)
        .subcommands(mine.map(command))
        .disable_help_subcommand(true)
        .subcommand_required(true)
}

fn command(command: &'static Command) -> clap::Command {
    let operands = command.operands.iter().map(|operand| {
        let name = operand.name.trim_end_matches("...");
        let arg = Arg::new(name).value_name(name).required(operand.required).help(operand.help);
        if name == operand.name {
            return arg;
        }
        let arg = arg.num_args(if operand.required { 1.. } else { 0.. });
        if operand.verbatim { arg.trailing_var_arg(true).allow_hyphen_values(true) } else { arg }
    });
    clap::Command::new(command.name.split_once(' ').map_or(command.name, |(_, word)| word))
        .about(command.about)
        .after_help(command.details)
        .args(command.flags.iter().copied().flatten().map(flag))
        .args(operands)
}

fn flag(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).short(flag.short).help(flag.help);
    match flag.value {
        Some(value) => arg.value_name(value).action(ArgAction::Append),
        None => arg.action(ArgAction::SetTrue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_fault_with_the_table() {
        program().debug_assert();
    }
}
