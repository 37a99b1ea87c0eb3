//! The words of a command line: what a command and its flags are, and the parser that reads argv by that description.
//!
//! The parser makes nothing but the matches of one command (building clap costs more than all the rest of a short
//! command). [`super::help`] makes clap's commands from the same descriptions where somebody reads the result.

use super::global::{GLOBAL_FLAGS, Globals, HELP, VERSION};
use super::{Command, pflag};
use anyhow::Result;
use lexopt::Arg;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// A flag: `--name`, perhaps with a short form, perhaps with a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    /// What the value is, for the help (`DIR`), or all values that are accepted (`text|json`); `None`: a switch.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

impl Flag {
    /// The values of a closed list; none where the value is free. In `json|TEMPLATE` only `json` is literal.
    pub fn choices(&self) -> impl Iterator<Item = &'static str> {
        let list = self.value.unwrap_or_default();
        let is_literal = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        // `ID[:ro|rw]` has parts, and is no list.
        list.split('|').filter(move |_| !list.contains('[') && !list.contains('=')).filter(is_literal)
    }
}

/// A word of a command that is no flag. Of the last one there may be several if its name ends in `...`.
#[derive(Debug, PartialEq, Eq)]
pub struct Operand {
    pub name: &'static str,
    pub required: bool,
    /// From this word on nothing is a flag: the words are another program's.
    pub verbatim: bool,
    pub help: &'static str,
}

/// What the command line gives to one command (or, before the command's name, to all).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matches {
    flags: Vec<(&'static str, OsString)>,
    operands: Vec<OsString>,
}

impl Matches {
    /// Adds a flag, as if it came last on the command line.
    pub fn give(&mut self, flag: &Flag, value: OsString) {
        self.flags.push((flag.name, value));
    }

    /// The value of a flag; of several the last, as in runc.
    pub fn value(&self, flag: &Flag) -> Option<&OsStr> {
        self.flags.iter().rev().find(|(name, _)| *name == flag.name).map(|(_, value)| value.as_os_str())
    }

    /// All values of a flag, in their order.
    pub fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsStr> {
        self.flags.iter().filter(|(name, _)| *name == flag.name).map(|(_, value)| value.as_os_str())
    }

    /// All values of a flag that is text.
    pub fn texts(&self, flag: &Flag) -> Result<Vec<&str>> {
        self.values(flag).map(|value| value.to_str().ok_or_else(|| wrong_value(flag, value, "is not UTF-8"))).collect()
    }

    /// The words that are no flags, as text.
    pub fn operands(&self) -> Result<Vec<&str>> {
        let text = |word: &'_ OsString| anyhow::anyhow!("{} is not UTF-8", word.display());
        self.operands.iter().map(|word| word.to_str().ok_or_else(|| text(word))).collect()
    }

    /// The value of a flag that is text.
    pub fn text(&self, flag: &Flag) -> Result<Option<&str>> {
        let Some(value) = self.value(flag) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| wrong_value(flag, value, "is not UTF-8"))?;
        Ok(Some(text))
    }

    /// Whether a switch is given and is not `--name=false`.
    pub fn is_set(&self, flag: &Flag) -> bool {
        self.value(flag).is_some_and(|value| value != "false")
    }

    /// All words that are no flags.
    pub fn all_operands(&self) -> impl Iterator<Item = &OsStr> {
        self.operands.iter().map(OsString::as_os_str)
    }

    /// The nth word that is no flag.
    pub fn operand(&self, index: usize) -> Option<&OsStr> {
        self.operands.get(index).map(OsString::as_os_str)
    }

    /// The container's id, which every command that calls this requires as its first word.
    pub fn id(&self) -> Result<&str> {
        let id = self.operand(0).unwrap_or_default();
        id.to_str().ok_or_else(|| anyhow::anyhow!("container id {} is not UTF-8", id.display()))
    }
}

/// A value that a flag does not take: `--format xml: is not one of text, json`.
pub fn wrong_value(flag: &Flag, value: &OsStr, why: &str) -> anyhow::Error {
    anyhow::anyhow!("--{} {}: {why}", flag.name, value.display())
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Action {
    Run(&'static Command, Matches),
    Help(Option<&'static Command>),
    /// Help of all commands that begin with this word.
    GroupHelp(String),
    Version,
}

/// A command line that is not understood.
#[derive(Debug)]
pub struct UsageError {
    pub command: Option<&'static Command>,
    pub message: String,
    pub code: i32,
}

/// Docker's exit code for a flag that is wrong. Ours for commands that runc has is runc's: 1.
const WRONG_FLAG: i32 = 125;

impl UsageError {
    fn new(command: Option<&'static Command>, message: String) -> UsageError {
        UsageError { command, message, code: 1 }
    }

    /// A flag that is wrong.
    fn flag(command: Option<&'static Command>, message: String) -> UsageError {
        let code = if command.is_some_and(Command::is_dockers) { WRONG_FLAG } else { 1 };
        UsageError { command, message, code }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command {
            Some(command) => write!(f, "{}: {}", command.name, self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for UsageError {}

/// A command line, read from left to right: first [`Words::globals`], then [`Words::action`].
pub struct Words {
    parser: lexopt::Parser,
    /// Whose flags are looked for; `None`: the global ones.
    command: Option<&'static Command>,
    commands: &'static [Command],
    /// `--` has come.
    flags_ended: bool,
    /// The argument that is being read, with all its short flags.
    word: String,
}

/// What ended the global flags.
pub enum First {
    Command(OsString),
    Help,
    Version,
}

enum Word {
    Operand(OsString),
    Flag(&'static Flag, OsString),
}

impl Words {
    /// A line of words (without the program's name) to be understood by a table of commands.
    pub fn new(argv: impl IntoIterator<Item = OsString>, commands: &'static [Command]) -> Words {
        Words {
            parser: lexopt::Parser::from_args(argv),
            command: None,
            commands,
            flags_ended: false,
            word: String::new(),
        }
    }

    /// The flags before the command, and what comes after them.
    ///
    /// # Errors
    /// [`UsageError`] for an unknown flag; an error for a value that makes no sense.
    pub fn globals(&mut self) -> Result<(Globals, First)> {
        let mut given = Matches::default();
        let mut first = First::Help;
        while let Some(word) = self.next()? {
            match word {
                Word::Flag(flag, _) if *flag == HELP => break,
                Word::Flag(flag, value) => given.flags.push((flag.name, value)),
                Word::Operand(name) => {
                    first = First::Command(name);
                    break;
                }
            }
        }
        if given.is_set(&VERSION) {
            first = First::Version;
        }
        Ok((Globals::new(&given)?, first))
    }

    /// The command and its words; flags and operands in any order.
    ///
    /// # Errors
    /// What the table does not have.
    pub fn action(mut self, first: First) -> Result<Action, UsageError> {
        let name = match first {
            First::Help => return Ok(Action::Help(None)),
            First::Version => return Ok(Action::Version),
            First::Command(name) => name,
        };
        let command = match self.commands.iter().find(|command| name == command.name) {
            Some(command) => command,
            None => match self.second(&name)? {
                Some(command) => command,
                None => return Ok(Action::GroupHelp(name.to_string_lossy().into_owned())),
            },
        };
        self.command = Some(command);
        let mut matches = Matches::default();
        let verbatim_from = command.operands.iter().position(|operand| operand.verbatim);
        while let Some(word) = self.next()? {
            match word {
                Word::Flag(flag, _) if *flag == HELP => return Ok(Action::Help(Some(command))),
                Word::Flag(flag, value) => {
                    if command.is_dockers() {
                        let checked = pflag::check_value(flag, &value.to_string_lossy());
                        checked.map_err(|message| UsageError::flag(Some(command), message))?;
                    }
                    matches.flags.push((flag.name, value));
                }
                Word::Operand(operand) => matches.operands.push(operand),
            }
            if verbatim_from == Some(matches.operands.len()) {
                // Nothing is joined to the word that was just read.
                matches.operands.extend(self.parser.raw_args().into_iter().flatten());
                break;
            }
        }
        if command.is_dockers() {
            pflag::check_count(command, matches.operands.len()).map_err(|message| self.error(message))?;
        }
        let required = command.operands.iter().filter(|operand| operand.required).count();
        if let Some(missing) = command.operands[..required].get(matches.operands.len()) {
            return Err(self.error(format!("{} is missing", missing.name)));
        }
        let several = command.operands.last().is_some_and(|operand| operand.name.ends_with("..."));
        if let Some(surplus) = matches.operands.get(command.operands.len()).filter(|_| !several) {
            return Err(self.error(format!("unexpected argument {}", surplus.display())));
        }
        Ok(Action::Run(command, matches))
    }

    /// The command whose name is `first` and the next word; `None` where help is asked for.
    fn second(&mut self, first: &OsStr) -> Result<Option<&'static Command>, UsageError> {
        let in_group = |command: &&Command| command.name.split_once(' ').is_some_and(|(group, _)| first == group);
        if !self.commands.iter().any(|command| in_group(&command)) {
            return Err(self.error(format!("unknown command {}", first.display())));
        }
        let word = self.parser.next().map_err(|e| UsageError::new(None, e.to_string()))?;
        let second = match word {
            None | Some(Arg::Short('h') | Arg::Long("help")) => return Ok(None),
            Some(Arg::Value(word)) => word,
            Some(Arg::Short(short)) => {
                let message = format!("{}: unknown shorthand flag: '{short}' in -{short}", first.display());
                return Err(UsageError { code: WRONG_FLAG, ..self.error(message) });
            }
            Some(Arg::Long(long)) => {
                let message = format!("{}: unknown flag: --{long}", first.display());
                return Err(UsageError { code: WRONG_FLAG, ..self.error(message) });
            }
        };
        let name = format!("{} {}", first.display(), second.display());
        let name = super::ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, name)| name);
        match self.commands.iter().find(|command| command.name == name) {
            Some(command) => Ok(Some(command)),
            None => Err(self.error(format!("unknown command {name}"))),
        }
    }

    fn next(&mut self) -> Result<Option<Word>, UsageError> {
        if let Some((flag, value)) = self.after_one_dash()? {
            return Ok(Some(Word::Flag(flag, value)));
        }
        let command = self.command;
        // The one thing that lexopt refuses by itself is a value joined to a short switch.
        let arg = self.parser.next().map_err(|e| UsageError::flag(command, e.to_string()))?;
        let (flag, value) = match arg {
            None => return Ok(None),
            Some(Arg::Value(word)) => return Ok(Some(Word::Operand(word))),
            Some(Arg::Short(short)) => {
                // The short form of most other programs; -v is runc's.
                let wanted = if short == 'V' && command.is_none() { 'v' } else { short };
                let flag = find(command, |flag| flag.short == Some(wanted));
                let flag = flag.ok_or_else(|| unknown(command, &short, &self.word))?;
                let value = match flag.value {
                    _ if command.is_some_and(Command::is_dockers) && self.word.ends_with(&format!("{short}=")) => {
                        Some(self.empty_after_short(flag)?)
                    }
                    None if self.word.contains('=') && command.is_some_and(Command::is_dockers) => {
                        Some(self.switch(flag)?)
                    }
                    // Nothing is joined to a short switch: what follows in `-ab` is the next flag.
                    None => Some("true".into()),
                    Some(_) => None,
                };
                (flag, value)
            }
            Some(Arg::Long(long)) => {
                let flag = find(command, |flag| flag.name == long).ok_or_else(|| unknown(command, &long, ""))?;
                (flag, if flag.value.is_none() { Some(self.switch(flag)?) } else { None })
            }
        };
        let value = match value {
            Some(value) => value,
            None => self.parser.value().map_err(|_| self.needs_value(flag))?,
        };
        Ok(Some(Word::Flag(flag, value)))
    }

    /// A flag's long name behind one dash, as Go's flags may be written: containerd restores with `-no-subreaper`.
    fn after_one_dash(&mut self) -> Result<Option<(&'static Flag, OsString)>, UsageError> {
        let command = self.command;
        let error = |message: String| UsageError::new(command, message);
        // Not in the middle of `-ab`.
        let Some(mut rest) = self.parser.try_raw_args().filter(|_| !self.flags_ended) else { return Ok(None) };
        let Some(word) = rest.peek().and_then(OsStr::to_str) else { return Ok(None) };
        self.flags_ended = word == "--";
        self.word = word.to_owned();
        if command.is_some_and(Command::is_dockers) {
            return Ok(None);
        }
        let Some(text) = word.strip_prefix('-').filter(|text| text.len() > 1 && !text.starts_with('-')) else {
            return Ok(None);
        };
        let (name, given) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        let Some(flag) = find(command, |flag| name.len() > 1 && flag.name == name) else { return Ok(None) };
        rest.next();
        let value = match (flag.value, given) {
            (None, Some(value)) if value != "true" && value != "false" => {
                return Err(error(format!("--{} is true or false, not {}", flag.name, value.display())));
            }
            (None, given) => given.unwrap_or_else(|| "true".into()),
            (Some(_), given) => {
                given.or_else(|| rest.next()).ok_or_else(|| error(format!("--{} needs a value", flag.name)))?
            }
        };
        Ok(Some((flag, value)))
    }

    /// The value of a long switch: `--switch=true` is good in runc too.
    fn switch(&mut self, flag: &Flag) -> Result<OsString, UsageError> {
        match self.parser.optional_value() {
            None => Ok("true".into()),
            Some(value) if value == "true" || value == "false" => Ok(value),
            Some(value) if self.command.is_some_and(Command::is_dockers) => {
                let read = pflag::switch(flag, &value.to_string_lossy());
                read.map(|value| value.to_string().into()).map_err(|message| UsageError::flag(self.command, message))
            }
            Some(value) => Err(self.error(format!("--{} is true or false, not {}", flag.name, value.display()))),
        }
    }

    /// pflag takes the `=` that ends `-f=` for the value, and for a flag where none can be.
    fn empty_after_short(&mut self, flag: &Flag) -> Result<OsString, UsageError> {
        let _ = self.parser.optional_value();
        match flag.value {
            Some(_) => Ok("=".into()),
            None => Err(UsageError::flag(self.command, pflag::unknown_short('=', &self.word))),
        }
    }

    fn needs_value(&self, flag: &Flag) -> UsageError {
        let message = match flag.short {
            _ if !self.command.is_some_and(Command::is_dockers) => format!("--{} needs a value", flag.name),
            Some(short) if !self.word.starts_with("--") => pflag::short_needs_value(short, &self.word),
            _ => format!("flag needs an argument: --{}", flag.name),
        };
        UsageError::flag(self.command, message)
    }

    fn error(&self, message: String) -> UsageError {
        UsageError::new(self.command, message)
    }
}

fn find(command: Option<&'static Command>, is: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
    const GLOBAL: &[&[Flag]] = &[GLOBAL_FLAGS];
    command.map_or(GLOBAL, |command| command.flags).iter().copied().flatten().chain([&HELP]).find(|flag| is(flag))
}

/// `word` is the argument that a short flag stands in.
fn unknown(command: Option<&'static Command>, given: &dyn fmt::Display, word: &str) -> UsageError {
    let given = given.to_string();
    let short = given.chars().next().filter(|_| given.chars().count() == 1);
    let message = match (command.is_some_and(Command::is_dockers), short) {
        (true, Some(short)) => pflag::unknown_short(short, word),
        (true, None) => format!("unknown flag: --{given}"),
        (false, short) => format!("unknown flag {}{given}", if short.is_some() { "-" } else { "--" }),
    };
    let is_global = command.is_some() && find(None, |flag| flag.name == given).is_some();
    let hint = if is_global { "; it is a global flag and stands before the command" } else { "" };
    UsageError::flag(command, format!("{message}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use super::*;
    use crate::log::Format;
    use crate::plan::resources::Manager;
    use std::path::Path;

    fn parse(line: &str) -> Result<(Globals, Action)> {
        let mut words = Words::new(line.split_whitespace().map(OsString::from), COMMANDS);
        let (globals, first) = words.globals()?;
        Ok((globals, words.action(first)?))
    }

    fn matches(line: &str) -> Matches {
        match parse(line).unwrap().1 {
            Action::Run(_, matches) => matches,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn message(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    /// As the table has it, so that a test names a flag that exists.
    fn flag(command: &str, name: &str) -> &'static Flag {
        let command = COMMANDS.iter().find(|c| c.name == command).unwrap();
        find(Some(command), |flag| flag.name == name).unwrap()
    }

    #[test]
    fn one_dash_will_do() {
        let line = "restore -no-subreaper -no-pivot=false -image-path /i -bundle=/b -d demo";
        let given = matches(line);
        let value = |name| given.value(flag("restore", name)).map(OsStr::to_owned);
        assert!(given.is_set(flag("restore", "no-subreaper")) && !given.is_set(flag("restore", "no-pivot")));
        assert_eq!((value("image-path"), value("bundle")), (Some("/i".into()), Some("/b".into())));
        assert!(given.is_set(flag("restore", "detach")));
        assert_eq!(given.id().unwrap(), "demo");
        // Short ones stay what they are, and nothing is a flag behind `--`.
        assert!(message("restore -dx demo").contains("unknown flag -x"));
        assert!(message("restore -no-pivot=maybe demo").contains("true or false"));
        assert!(message("restore -image-path").contains("needs a value"));
        assert_eq!(matches("state -- -no-pivot").operand(0), Some(OsStr::new("-no-pivot")));
    }

    #[test]
    fn the_calls_that_engines_make() {
        let line = "--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /b/init.pid \
                    --console-socket /s --preserve-fds 2 demo";
        let (globals, Action::Run(command, matches)) = parse(line).unwrap() else { panic!("no command") };
        assert_eq!(command.name, "create");
        assert_eq!(globals.root.as_deref(), Some(Path::new("/r")));
        assert_eq!(globals.log.as_deref(), Some(Path::new("/l")));
        assert_eq!(globals.log_format, Format::Json);
        assert_eq!(globals.cgroup_manager, Manager::Systemd);
        let value = |name| matches.value(flag("create", name)).and_then(OsStr::to_str);
        assert_eq!(value("bundle"), Some("/b"));
        assert_eq!(value("pid-file"), Some("/b/init.pid"));
        assert_eq!(value("console-socket"), Some("/s"));
        assert_eq!(value("preserve-fds"), Some("2"));
        assert_eq!(matches.id().unwrap(), "demo");

        let kill = self::matches("--log-format=json kill --all demo 9");
        assert!(kill.is_set(flag("kill", "all")));
        assert_eq!(kill.operand(1), Some(OsStr::new("9")));
        assert!(self::matches("--debug delete --force demo").is_set(flag("delete", "force")));
        assert_eq!(self::matches("run -b /b -d demo").value(flag("run", "bundle")), Some(OsStr::new("/b")));
    }

    #[test]
    fn forms_of_flags() {
        for line in ["list --format json", "list --format=json", "list -f json", "list -fjson", "list -f=json"] {
            assert_eq!(matches(line).value(flag("list", "format")), Some(OsStr::new("json")), "{line}");
        }
        for line in ["list -qf json", "list -q -f json", "list --quiet=true -f json", "list --format=json --quiet"] {
            assert!(matches(line).is_set(flag("list", "quiet")), "{line}");
            assert_eq!(matches(line).value(flag("list", "format")), Some(OsStr::new("json")), "{line}");
        }
        assert!(!matches("list --quiet=false").is_set(flag("list", "quiet")));
        assert_eq!(matches("list -f table -f json").value(flag("list", "format")), Some(OsStr::new("json")));
        assert_eq!(matches("create --bundle --odd x").value(flag("create", "bundle")), Some(OsStr::new("--odd")));
    }

    #[test]
    fn what_follows_the_container_is_the_programs() {
        let exec = matches("exec -t --env A=1 -e B=2 demo ls --env C=3 -- -t");
        assert_eq!(exec.operands().unwrap(), ["demo", "ls", "--env", "C=3", "--", "-t"]);
        assert_eq!(exec.texts(flag("exec", "env")).unwrap(), ["A=1", "B=2"]);
        assert_eq!(matches("exec --process /p --detach demo").operands().unwrap(), ["demo"]);
        assert_eq!(message("exec -t"), "exec: CONTAINER-ID is missing");
    }

    #[test]
    fn flags_may_follow_the_container() {
        let kill = matches("kill demo TERM --all");
        assert!(kill.is_set(flag("kill", "all")));
        assert_eq!((kill.operand(0), kill.operand(1)), (Some(OsStr::new("demo")), Some(OsStr::new("TERM"))));
        assert_eq!(matches("delete -- --force").id().unwrap(), "--force");
    }

    #[test]
    fn what_is_for_another_program_is_not_looked_at() {
        let ps = matches("ps -f table demo -f --format json -- -x --help");
        assert_eq!(ps.value(flag("ps", "format")), Some(OsStr::new("table")));
        let words: Vec<&OsStr> = ps.all_operands().collect();
        assert_eq!(words, ["demo", "-f", "--format", "json", "--", "-x", "--help"]);
        assert_eq!(message("ps -x demo"), "ps: unknown flag -x");
        assert!(matches!(parse("ps --help demo").unwrap().1, Action::Help(Some(c)) if c.name == "ps"));
    }

    #[test]
    fn help_and_version() {
        assert!(matches!(parse("").unwrap().1, Action::Help(None)));
        assert!(matches!(parse("--debug --help create").unwrap().1, Action::Help(None)));
        assert!(matches!(parse("create --help").unwrap().1, Action::Help(Some(c)) if c.name == "create"));
        assert!(matches!(parse("kill demo -h").unwrap().1, Action::Help(Some(c)) if c.name == "kill"));
        for line in ["--version", "-v", "--debug -v", "-v list"] {
            assert!(matches!(parse(line).unwrap().1, Action::Version), "{line}");
        }
    }

    #[test]
    fn what_the_table_does_not_have_is_an_error() {
        let cases = [
            ("frobnicate", "unknown command frobnicate"),
            ("--frob list", "unknown flag --frob"),
            ("-x list", "unknown flag -x"),
            ("create --frob demo", "create: unknown flag --frob"),
            ("create -f demo", "create: unknown flag -f"),
            ("create --root /r demo", "create: unknown flag --root; it is a global flag and stands before the command"),
            ("create", "create: CONTAINER-ID is missing"),
            ("create --bundle", "create: --bundle needs a value"),
            ("create one two", "create: unexpected argument two"),
            ("kill demo TERM now", "kill: unexpected argument now"),
            ("list --quiet=maybe", "list: --quiet is true or false, not maybe"),
            ("list all", "list: unexpected argument all"),
            ("--log-format xml list", "--log-format xml: is neither text nor json"),
            ("--rootless maybe list", "--rootless maybe: is none of true, false, auto"),
            ("--cgroup-manager v3 list", "--cgroup-manager v3: is none of cgroupfs, systemd, disabled"),
            ("--systemd-cgroup --cgroup-manager=disabled list", "--systemd-cgroup contradicts --cgroup-manager"),
            ("--root / list", "--root /: / cannot hold the state of containers"),
        ];
        for (line, expected) in cases {
            assert_eq!(message(line), expected, "{line}");
        }
        assert!(message("list -q=yes").starts_with("list: unexpected argument for option '-q'"));
    }

    #[test]
    fn the_table_is_sound() {
        for command in COMMANDS {
            let flags: Vec<&Flag> = command.flags.iter().copied().flatten().chain([&HELP]).collect();
            for (i, flag) in flags.iter().enumerate() {
                let twice =
                    |other: &&Flag| other.name == flag.name || flag.short.is_some() && other.short == flag.short;
                assert!(!flags[..i].iter().any(twice), "{} --{}", command.name, flag.name);
                assert!(!flag.help.ends_with('.') && !flag.help.is_empty(), "--{}", flag.name);
            }
            let optional_from = command.operands.iter().position(|operand| !operand.required);
            let rest = &command.operands[optional_from.unwrap_or(command.operands.len())..];
            assert!(rest.iter().all(|operand| !operand.required), "{}", command.name);
        }
    }

    #[test]
    fn the_manual_names_every_command_and_flag() {
        let manual = include_str!("../../docs/cli.md");
        for command in COMMANDS {
            assert!(manual.contains(&format!("`{}", command.name)), "{}", command.name);
            for flag in command.flags.iter().copied().flatten().chain(GLOBAL_FLAGS) {
                assert!(manual.contains(&format!("`--{}", flag.name)), "--{}", flag.name);
            }
        }
    }
}
