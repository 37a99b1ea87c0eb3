//! Help and hints. Both come from the table of commands: help is laid out here, for terminals of 80 columns; clap, made
//! from the table only after a usage error, finds the similar word.

use super::args::{Flag, Matches, UsageError};
use super::global::{GLOBAL_FLAGS, HELP};
use super::{ALIASES, COMMANDS, Command, Globals, NAME, Operand, examples, layout};
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

const USAGE: &str = "rvol-runc [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]";

const ABOUT: &str = "\
Runs containers as the OCI runtime-spec describes them. A bundle is a directory with
a config.json and a root filesystem; the container is a process with namespaces and
mounts of its own.

    rvol-runc spec                  # writes a config.json to start from
    rvol-runc plan                  # shows what will be done
    rvol-runc run my-container      # does it";

fn run(_: &Globals, matches: &Matches) -> Result<i32> {
    let name = matches.operands()?.join(" ");
    if name.is_empty() {
        print(None)?;
    } else if let Some(command) = COMMANDS.iter().find(|command| name == command.name || is_alias(&name, command)) {
        print(Some(command))?;
    } else if groups().any(|group| group == name) {
        print_group(&name)?;
    } else {
        bail!("there is no such command");
    }
    Ok(0)
}

fn is_alias(name: &str, command: &Command) -> bool {
    ALIASES.iter().any(|(alias, of)| *alias == name && *of == command.name)
}

/// The first words of commands that have two.
pub fn groups() -> impl Iterator<Item = &'static str> {
    let mut groups: Vec<_> = COMMANDS.iter().filter_map(|command| Some(command.name.split_once(' ')?.0)).collect();
    groups.dedup();
    groups.into_iter()
}

/// Prints the help of all commands that begin with this word.
pub fn print_group(group: &str) -> Result<()> {
    let rows: Vec<_> = COMMANDS
        .iter()
        .filter_map(|command| Some((command.name.split_once(' ')?, command.about)))
        .filter(|((first, _), _)| *first == group)
        .map(|((_, word), about)| (format!("  {word}"), about))
        .collect();
    let text = format!(
        "{}\n\nUsage: {NAME} {group} COMMAND\n\nCommands:\n{}\nOptions:\n{}",
        group_about(group),
        layout::list(&rows),
        layout::list(&[(spec(&HELP), HELP.help)])
    );
    super::print(&text)
}

/// Prints the help of a command, or of the program, to stdout.
pub fn print(command: Option<&Command>) -> Result<()> {
    super::print(&command.map_or_else(of_program, of_command))
}

fn of_program() -> String {
    let known = COMMANDS.iter().filter(|command| !command.name.contains(' '));
    let mut rows: Vec<_> = known.map(|command| (format!("  {}", command.name), command.about)).collect();
    rows.extend(groups().map(|group| (format!("  {group}"), group_about(group))));
    format!(
        "{}\n\nUsage: {USAGE}\n\nCommands:\n{}\nOptions:\n{}",
        layout::wrap(ABOUT),
        layout::list(&rows),
        options(&[GLOBAL_FLAGS])
    )
}

fn of_command(command: &Command) -> String {
    let mut text = format!("{}\n\nUsage: {}\n", layout::wrap(command.about), usage(command));
    let aliases: Vec<_> = ALIASES.iter().filter(|(_, of)| *of == command.name).map(|(alias, _)| *alias).collect();
    if !aliases.is_empty() {
        text += &format!("\nAliases:\n  {}\n", aliases.join(", "));
    }
    if !command.operands.is_empty() {
        let rows: Vec<_> = command.operands.iter().map(|o| (format!("  {}", operand(o)), o.help)).collect();
        text += &format!("\nArguments:\n{}", layout::list(&rows));
    }
    text += &format!("\nOptions:\n{}", options(command.flags));
    if !command.details.is_empty() {
        text += &format!("\n{}\n", layout::wrap(command.details));
    }
    let lines: Vec<_> = examples::of(command.name).iter().map(|line| format!("    {line}\n")).collect();
    if !lines.is_empty() {
        text += &format!("\nExamples:\n{}", lines.concat());
    }
    text
}

fn usage(command: &Command) -> String {
    let operands: Vec<_> = command.operands.iter().map(operand).collect();
    let name = command.name;
    format!("{NAME} {name} [OPTIONS] {}", operands.join(" ")).trim_end().to_owned()
}

/// `<ID>`, `[ID]`, `<ID>...`
fn operand(operand: &Operand) -> String {
    let name = operand.name.trim_end_matches("...");
    let (open, close) = if operand.required { ('<', '>') } else { ('[', ']') };
    format!("{open}{name}{close}{}", &operand.name[name.len()..])
}

fn options(groups: &[&[Flag]]) -> String {
    let flags = groups.iter().copied().flatten().chain([&HELP]);
    layout::list(&flags.map(|flag| (spec(flag), flag.help)).collect::<Vec<_>>())
}

/// `  -b, --bundle <DIR>`
fn spec(flag: &Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let value = flag.value.map(|value| format!(" <{value}>")).unwrap_or_default();
    format!("  {short}--{}{value}", flag.name)
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
        .override_usage(USAGE)
        .args(GLOBAL_FLAGS.iter().map(flag))
        .subcommands(COMMANDS.iter().filter(|command| !command.name.contains(' ')).map(command))
        .subcommands(groups().map(group))
        .disable_help_subcommand(true)
        .subcommand_required(true)
}

/// One line about the commands that begin with this word.
pub fn group_about(group: &str) -> &'static str {
    if group == "volume" { "Manage volumes" } else { "" }
}

fn group(name: &'static str) -> clap::Command {
    let mine =
        COMMANDS.iter().filter(move |command| command.name.split_once(' ').is_some_and(|(group, _)| group == name));
    clap::Command::new(name)
        .about(group_about(name))
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
    clap::Command::new(last_word(command.name))
        .about(command.about)
        .after_help(command.details)
        .args(command.flags.iter().copied().flatten().map(flag))
        .args(operands)
        .visible_aliases(ALIASES.iter().filter(|(_, of)| *of == command.name).map(|(alias, _)| last_word(alias)))
}

fn last_word(name: &'static str) -> &'static str {
    name.rsplit(' ').next().unwrap_or(name)
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

    #[test]
    fn help_fits_80_columns() {
        for text in COMMANDS.iter().map(of_command).chain([of_program()]) {
            for line in text.lines() {
                assert!(line.chars().count() <= layout::WIDTH, "{line}");
            }
        }
    }

    /// A command whose only argument is an id explains itself.
    #[test]
    fn commands_that_take_more_than_an_id_have_examples() {
        for command in COMMANDS.iter().filter(|command| command.name != COMMAND.name) {
            let simple = command.operands.len() <= 1 && command.flags.iter().copied().flatten().count() == 0;
            let has = !examples::of(command.name).is_empty();
            assert!(simple || has, "{}", command.name);
        }
    }
}
