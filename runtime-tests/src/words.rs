//! `docker volume` to the letter: command lines with what Docker 26 makes of them (`tests/data/volume-words.txt`), and how
//! they are carried out with another program.
//!
//! The file is a record, written by the engine lane (`RVOL_WORDS_RECORD`) with Docker 26. Its lines:
//!
//! | begins with | |
//! |---|---|
//! | `# ` | a section, which begins with no volume and no container |
//! | `$ ` | a command line for a shell |
//! | `> `, `! ` | a line of its stdout, of its stderr |
//! | `~` | stdout does not end with a newline |
//! | `= ` | its exit code, if that is not 0 |
//! | `@ 20.10` | Docker 20.10 answers in another way |
//! | `% ` | what is different on purpose: a row of the table in docs/volumes.md |
//!
//! Command lines use `volume …`, `container NAME [FLAGS]`, `remove NAME`, `mounts NAME`: scripts that each side has of its own.

use crate::command::{self, Running};
use crate::{Case, Value, runtime};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the file has, and where it is.
pub const RECORD: &str = include_str!("../tests/data/volume-words.txt");
pub const RECORD_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/volume-words.txt");

/// A command line and what comes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Begins a section of this title.
    pub section: Option<String>,
    pub line: String,
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
    /// Docker 20.10 answers in another way.
    pub since: bool,
    /// The row of the table of differences.
    pub on_purpose: Option<String>,
}

impl Words {
    /// What is compared.
    pub fn answer(&self) -> (&str, &str, i32) {
        (&self.stdout, &self.stderr, self.code)
    }
}

/// Reads a record.
pub fn parse(text: &str) -> Vec<Words> {
    let mut all: Vec<Words> = Vec::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (mark, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "#" {
            section = Some(rest.to_owned());
            continue;
        }
        if mark == "$" {
            all.push(Words { section: section.take(), line: rest.to_owned(), ..Words::default() });
            continue;
        }
        let last = all.last_mut().unwrap_or_else(|| panic!("no command line before {line:?}"));
        match mark {
            ">" => last.stdout += &format!("{rest}\n"),
            "!" => last.stderr += &format!("{rest}\n"),
            "~" => drop(last.stdout.pop()),
            "=" => last.code = rest.parse().unwrap_or_else(|e| panic!("exit code {rest}: {e}")),
            "@" => last.since = true,
            "%" => last.on_purpose = Some(rest.to_owned()),
            _ => panic!("no such mark: {line:?}"),
        }
    }
    all
}

/// The record as text.
pub fn print(all: &[Words]) -> String {
    let mut text = String::new();
    for words in all {
        if let Some(section) = &words.section {
            text += &format!("{}# {section}\n", if text.is_empty() { "" } else { "\n" });
        }
        text += &format!("$ {}\n", words.line);
        text.extend(words.stdout.lines().map(|line| format!("> {line}\n")));
        if !words.stdout.is_empty() && !words.stdout.ends_with('\n') {
            text += "~\n";
        }
        text.extend(words.stderr.lines().map(|line| format!("! {line}\n")));
        if words.code != 0 {
            text += &format!("= {}\n", words.code);
        }
        if words.since {
            text += "@ 20.10\n";
        }
        if let Some(row) = &words.on_purpose {
            text += &format!("% {row}\n");
        }
    }
    text
}

/// Carries command lines out with the scripts of one side.
#[derive(Debug)]
pub struct Player {
    pub directory: PathBuf,
    /// Program of the messages: `docker` or `rvol-runc`.
    pub program: &'static str,
    pub volume_root: String,
}

/// The player of the runtime under test, with the bundle of a case for its containers.
pub fn ours(case: &Case) -> Player {
    let directory = case.bundle().join("words");
    let (state, store) = (case.state_root().display().to_string(), case.volume_root().display().to_string());
    let ours = format!("{} --root {state} --volume-root {store}", runtime().path.display());
    let bundle = format!("{}/bundle-", directory.display());
    // Each container has a cgroup of its own.
    let container = format!(
        "name=$1; shift\nmkdir -p {bundle}$name\n\
         sed \"s|\\(\\\"cgroupsPath\\\": \\\"[^\\\"]*\\)|\\1-$name|\" {config} >{bundle}$name/config.json\n\
         ln -sfn {rootfs} {bundle}$name/rootfs\n\
         exec {ours} create --bundle {bundle}$name \"$@\" $name >/dev/null",
        config = case.bundle().join("config.json").display(),
        rootfs = case.rootfs().display(),
    );
    let scripts = [
        ("volume", format!("exec {ours} volume \"$@\"")),
        ("container", container),
        ("remove", format!("exec {ours} delete --force --volumes \"$@\"")),
        ("mounts", format!("exec {ours} mounts \"$@\"")),
    ];
    Player::new(&directory, "rvol-runc", &store, &scripts)
}

/// Removes our player's containers and volumes.
pub fn clean(case: &Case, player: &Player) {
    for id in fs::read_dir(case.state_root()).into_iter().flatten().flatten() {
        player.run(&format!("remove {}", id.file_name().display()));
    }
    let _ = fs::remove_dir_all(case.volume_root());
}

/// How long a command line may take.
const LIMIT: Duration = Duration::from_secs(40);

impl Player {
    /// Makes the scripts: their names and bodies.
    pub fn new(directory: &Path, program: &'static str, volume_root: &str, scripts: &[(&str, String)]) -> Player {
        for name in ["bin", "work", "out"] {
            fs::create_dir_all(directory.join(name)).expect("make a directory of the player");
        }
        for (name, body) in scripts {
            let path = directory.join("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("write a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod a script");
        }
        Player { directory: directory.to_owned(), program, volume_root: volume_root.to_owned() }
    }

    /// Runs one line.
    pub fn run(&self, line: &str) -> (String, String, i32) {
        let mut shell = command::quiet(Path::new("/bin/bash"));
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.join("bin").display());
        let path = match std::env::var("RVOL_DOCKER_BIN") {
            Ok(docker) if self.program == "docker" => format!("{docker}:{path}"),
            _ => path,
        };
        shell.args(["-c", line]).env("PATH", path).env("LC_ALL", "C").current_dir(self.directory.join("work"));
        let outcome = Running::start(shell, &self.directory.join("out"), "line").finish_within(LIMIT);
        let code = outcome.code();
        let stdout = match line.starts_with("mounts ") {
            true => by_destination(&outcome.stdout),
            false => outcome.stdout,
        };
        (self.normal(&stdout), self.message(&outcome.stderr), code)
    }

    /// Text without ids, times and places.
    fn normal(&self, text: &str) -> String {
        let mut text = text.replace(&self.volume_root, "/var/lib/docker/volumes");
        text = text.replace(&self.directory.join("work").display().to_string(), "/work");
        for line in fs::read_to_string(self.directory.join("ids")).unwrap_or_default().lines() {
            if let Some((id, name)) = line.split_once(' ') {
                text = text.replace(id, name);
            }
        }
        sorted_users(&sorted_deletions(&without_ids(&without_times(&text))))
    }

    /// What a message says behind the prefix, without the place where help is to be found.
    fn message(&self, text: &str) -> String {
        let text = self.normal(text);
        if self.program == "docker" {
            let help = text.find("\nSee 'docker").map_or(text.as_str(), |at| &text[..=at]);
            let lines = help.lines().map(|line| {
                let line = line.strip_prefix("Error response from daemon: ").or(line.strip_prefix("Error: "));
                line.unwrap_or_default()
            });
            let bare = help.lines();
            let lines = lines.zip(bare).map(|(line, bare)| if line.is_empty() { bare } else { line });
            return lines.map(|line| format!("{}\n", line.replace("\"docker ", "\"rvol-runc "))).collect();
        }
        let mut lines = String::new();
        for line in text.lines() {
            let line = line.strip_prefix("rvol-runc: ").unwrap_or(line);
            // `volume create: `
            let line = match line.split_once(": ") {
                Some((command, rest)) if command.starts_with("volume ") || command == "volume" => rest,
                _ => line,
            };
            let line = line.find("; see rvol-runc").map_or(line, |at| &line[..at]);
            let line = line.find(", perhaps ").map_or(line, |at| &line[..at]);
            lines += &format!("{line}\n");
        }
        lines
    }
}

/// Docker's Mounts are in the order of a Go map. One on each line here.
fn by_destination(json: &str) -> String {
    let Ok(Value::Array(mut mounts)) = serde_json::from_str(json) else { return json.to_owned() };
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    mounts.iter().map(|mount| format!("{mount}\n")).collect()
}

/// `<id>` for each name of 64 digits.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        out.push_str(if end == 64 { "<id>" } else { &rest[..end] });
        rest = &rest[end..];
    }
    out + rest
}

/// `<time>` for each `2026-12-01T02:37:08Z`.
fn without_times(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = rest.as_bytes().get(..FORM.len()).is_some_and(|bytes| {
            bytes.iter().zip(FORM).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form })
        });
        if found {
            out.push_str("<time>");
            let after = &rest[FORM.len()..];
            let zone = after.strip_prefix('Z').or_else(|| after.strip_prefix("+00:00"));
            rest = zone.unwrap_or(after);
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Docker's prune names what it removed in the order of a Go map.
fn sorted_deletions(text: &str) -> String {
    let Some((before, rest)) = text.split_once("Deleted Volumes:\n") else { return text.to_owned() };
    let (names, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    format!("{before}Deleted Volumes:\n{}\n\n{after}", names.join("\n"))
}

/// Docker names the users of a volume in the order of a Go map.
fn sorted_users(text: &str) -> String {
    let Some((before, rest)) = text.split_once("volume is in use - [") else { return text.to_owned() };
    let (users, after) = rest.split_once(']').unwrap_or((rest, ""));
    let mut users: Vec<&str> = users.split(", ").collect();
    users.sort_unstable();
    format!("{before}volume is in use - [{}]{after}", users.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let all = parse(RECORD);
        assert_eq!(print(&all), RECORD);
        assert!(all.len() > 150, "{}", all.len());
    }

    #[test]
    fn what_changes_from_run_to_run_is_left_out() {
        assert_eq!(without_times("at 2026-12-01T02:37:08Z, x"), "at <time>, x");
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(without_ids(&format!("a {id}!")), "a <id>!");
        assert_eq!(sorted_users("x: volume is in use - [c2, c1]\n"), "x: volume is in use - [c1, c2]\n");
        assert_eq!(sorted_deletions("Deleted Volumes:\nb\na\n\nTotal\n"), "Deleted Volumes:\na\nb\n\nTotal\n");
    }
}
