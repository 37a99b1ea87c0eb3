//! What the last word of an unfinished command line may become.
//!
//! Reads the words as [`super::super::args`] does, but forgives: a line that is being typed is rarely valid.

use super::values;
use crate::cli::args::{Flag, Matches, Operand};
use crate::cli::global::{GLOBAL_FLAGS, HELP};
use crate::cli::{COMMANDS, Command, help};
use std::collections::BTreeMap;
use std::fmt;

/// The candidates for one word, and whether the shell is to add paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Candidate and description, sorted.
    words: BTreeMap<String, String>,
    pub paths: Paths,
}

/// The paths of the host that the shell adds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    #[default]
    None,
    Directories,
    Files,
}

impl Candidates {
    pub fn add(&mut self, word: impl Into<String>, description: impl Into<String>) {
        self.words.insert(word.into(), description.into());
    }

    /// Only those that begin with `typed`; each with `before` in front.
    fn matching(self, typed: &str, before: &str) -> Candidates {
        let words = self.words.into_iter().filter(|(word, _)| word.starts_with(typed));
        Candidates { words: words.map(|(word, about)| (format!("{before}{word}"), about)).collect(), ..self }
    }
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, description) in &self.words {
            match description.as_str() {
                "" => writeln!(f, "{word}")?,
                text => writeln!(f, "{word}\t{text}")?,
            }
        }
        match self.paths {
            Paths::None => Ok(()),
            Paths::Directories => writeln!(f, ":directories"),
            Paths::Files => writeln!(f, ":files"),
        }
    }
}

/// The complete words of a line, as far as they are understood.
#[derive(Default)]
struct Line {
    globals: Matches,
    /// The first word of a command that has two, until the second has come.
    group: Option<String>,
    command: Option<&'static Command>,
    /// How many operands the command has so far.
    operands: usize,
    /// The flag whose value is the next word.
    waiting: Option<&'static Flag>,
    flags_ended: bool,
    /// A command that does not exist, or words of another program: there is nothing to offer.
    lost: bool,
}

/// The candidates for the last of `words`, which are those after the program's name.
pub fn of(words: &[String]) -> Candidates {
    let (typed, complete) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let mut line = Line::default();
    complete.iter().for_each(|word| line.take(word));
    line.candidates(typed)
}

impl Line {
    fn take(&mut self, word: &str) {
        if let Some(flag) = self.waiting.take() {
            return self.give(flag, word);
        }
        if self.flags_ended || self.lost || !word.starts_with('-') || word == "-" {
            return self.take_operand(word);
        }
        if word == "--" {
            self.flags_ended = true;
            return;
        }
        let (name, value) = match word.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.trim_start_matches('-'), None),
        };
        match (self.flags().find(|flag| flag.name == name), value) {
            (Some(flag), Some(value)) => self.give(flag, value),
            (Some(flag), None) => self.waiting = flag.value.map(|_| flag),
            (None, _) if !word.starts_with("--") => self.take_short(&word[1..]),
            (None, _) => {}
        }
    }

    /// `-ab`, `-bVALUE`, `-b` whose value is the next word.
    fn take_short(&mut self, letters: &str) {
        for (at, letter) in letters.char_indices() {
            let Some(flag) = self.flags().find(|flag| flag.short == Some(letter)) else { return };
            if flag.value.is_some() {
                self.waiting = letters[at + letter.len_utf8()..].is_empty().then_some(flag);
                return;
            }
        }
    }

    fn take_operand(&mut self, word: &str) {
        let full = self.group.take().map_or_else(|| word.to_owned(), |group| format!("{group} {word}"));
        match self.command {
            Some(command) => {
                self.operands += 1;
                self.lost |= command.operands.iter().take(self.operands + 1).any(|operand| operand.verbatim);
            }
            None if full == word && help::groups().any(|group| group == word) => self.group = Some(full),
            None => {
                self.command = COMMANDS.iter().find(|command| command.name == full);
                self.lost |= self.command.is_none();
            }
        }
    }

    /// Only the values of global flags change what is offered.
    fn give(&mut self, flag: &'static Flag, value: &str) {
        if self.command.is_none() {
            self.globals.give(flag, value.into());
        }
    }

    fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        const GLOBAL: &[&[Flag]] = &[GLOBAL_FLAGS];
        let none = self.group.is_some() || self.lost;
        let groups = self.command.map_or(GLOBAL, |command| command.flags);
        groups.iter().copied().flatten().filter(move |_| !none).chain([&HELP])
    }

    fn candidates(&self, typed: &str) -> Candidates {
        let mut found = Candidates::default();
        if let Some(flag) = self.waiting {
            values::of_flag(flag, &self.globals, &mut found);
            return found.matching(typed, "");
        }
        if self.lost {
            found.paths = Paths::Files;
            return found;
        }
        if typed.starts_with('-') && !self.flags_ended {
            return self.flag_candidates(typed);
        }
        match self.command {
            None => self.add_commands(&mut found),
            Some(command) => self.add_operand(command, &mut found),
        }
        found.matching(typed, "")
    }

    fn flag_candidates(&self, typed: &str) -> Candidates {
        let mut found = Candidates::default();
        if let Some((name, value)) = typed.split_once('=') {
            if let Some(flag) = self.flags().find(|flag| flag.name == name.trim_start_matches('-')) {
                values::of_flag(flag, &self.globals, &mut found);
            }
            return found.matching(value, &format!("{name}="));
        }
        for flag in self.flags() {
            found.add(format!("--{}", flag.name), flag.help);
            if let Some(short) = flag.short.filter(|_| !typed.starts_with("--")) {
                found.add(format!("-{short}"), flag.help);
            }
        }
        found.matching(typed, "")
    }

    fn add_commands(&self, found: &mut Candidates) {
        for command in COMMANDS {
            match (command.name.split_once(' '), &self.group) {
                (None, None) => found.add(command.name, command.about),
                (Some((group, _)), None) => found.add(group, help::group_about(group)),
                (Some((group, word)), Some(given)) if group == given => found.add(word, command.about),
                _ => {}
            }
        }
    }

    fn add_operand(&self, command: &Command, found: &mut Candidates) {
        let several = command.operands.last().filter(|operand| operand.name.ends_with("..."));
        let operand: Option<&Operand> = command.operands.get(self.operands).or(several);
        if let Some(operand) = operand {
            values::of_operand(command, operand, &self.globals, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn offers(line: &str, expected: &[&str]) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = of(&words);
        assert_eq!(found.words.keys().collect::<Vec<_>>(), expected, "{line:?}");
    }

    #[test]
    fn commands_and_nested_commands() {
        offers("cr", &["create"]);
        offers("vol", &["volume"]);
        offers("volume cr", &["create"]);
        offers("--debug --root /nonexistent res", &["restore", "resume"]);
        offers("help volu", &["volume"]);
        offers("nonsense cr", &[]);
    }

    #[test]
    fn flags_long_short_and_of_the_right_command() {
        offers("create --bu", &["--bundle"]);
        offers("--volume", &["--volume-annotations", "--volume-root"]);
        offers("volume rm -", &["--force", "--help", "-f", "-h"]);
        offers("volume -", &["--help", "-h"]);
        offers("create -- --bu", &[]);
    }

    #[test]
    fn values_of_closed_lists() {
        offers("--log-format ", &["json", "text"]);
        offers("--log-format=j", &["--log-format=json"]);
        offers("--cgroup-manager s", &["systemd"]);
        offers("list -f t", &["table"]);
        offers("update --cpu-idle ", &["0", "1"]);
        offers("checkpoint --manage-cgroups-mode s", &["soft", "strict"]);
        offers("completion z", &["zsh"]);
        offers("exec --cap CAP_CHO", &["CAP_CHOWN"]);
    }

    #[test]
    fn signals_follow_a_container_id() {
        offers("kill x KIL", &["KILL"]);
        offers("kill --all x TER", &["TERM"]);
        offers("kill x TERM ", &[]);
    }

    #[test]
    fn paths_are_left_to_the_shell() {
        for (line, paths) in [
            ("create --bundle ", Paths::Directories),
            ("create -b ", Paths::Directories),
            ("--log=", Paths::Files),
            ("plan ", Paths::Directories),
            ("volume export -o ", Paths::Files),
            ("exec x program ", Paths::Files),
            ("create ", Paths::None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(of(&words).paths, paths, "{line}");
        }
    }

    #[test]
    fn what_is_a_value_is_no_command() {
        offers("--root create cr", &["create"]);
        offers("-vd", &[]);
        offers("create -b create --pid-f", &["--pid-file"]);
    }
}
