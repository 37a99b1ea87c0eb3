//! Command lines of a test, what is expected of them, and the record of what came of them.

use crate::sandbox::HOME;
use runtime_tests::Outcome;
use runtime_tests::command::{self, Running};
use runtime_tests::waiting;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// What a test returns: what went wrong, if anything.
pub type Check<T = ()> = Result<T, String>;

/// How long a command may take. Eight daemons may share two processors.
const LIMIT: Duration = Duration::from_secs(90);

/// One side's commands. They are shell command lines, since that is what users type.
#[derive(Debug, Default)]
pub struct Session {
    steps: RefCell<Vec<Step>>,
    daemons: RefCell<Vec<(String, Child)>>,
    commands: Cell<u32>,
}

/// One command line and what is compared of it.
#[derive(Debug)]
pub struct Step {
    line: String,
    code: i32,
    stdout: String,
}

impl Step {
    pub fn json(&self) -> Value {
        json!({ "line": self.line, "code": self.code, "stdout": self.stdout })
    }
}

impl Session {
    pub fn new() -> Session {
        Session::default()
    }

    pub(crate) fn take_steps(&self) -> Vec<Step> {
        self.steps.take()
    }

    /// Runs the line, whatever comes of it, and records nothing.
    pub fn sh(&self, line: &str) -> Check<Outcome> {
        let number = self.commands.get();
        self.commands.set(number + 1);
        let mut shell = self.command("sh");
        shell.args(["-c", line]);
        let name = format!("c{number}");
        let outcome = Running::start(shell, Path::new(HOME).join("log").as_path(), &name).wait_within(LIMIT);
        outcome.ok_or_else(|| {
            let said = fs::read_to_string(format!("{HOME}/log/{name}.err")).unwrap_or_default();
            format!("hangs: {line}\n{said}")
        })
    }

    /// A program with the environment of the session.
    fn command(&self, program: &str) -> Command {
        let mut command = command::quiet(Path::new(program));
        command.env_clear().envs([
            ("PATH", format!("{HOME}/bin:/usr/sbin:/usr/bin:/sbin:/bin").as_str()),
            ("HOME", "/root"),
            ("TERM", "xterm"),
            ("LC_ALL", "C"),
        ]);
        command.current_dir(format!("{HOME}/work"));
        command
    }

    fn record(&self, outcome: &Outcome, stdout: &str) {
        let line = outcome.line.strip_prefix("sh -c ").unwrap_or(&outcome.line).to_owned();
        self.steps.borrow_mut().push(Step {
            line: without_ids(&line),
            code: outcome.code(),
            stdout: without_ids(stdout),
        });
    }

    /// Records a fact that must be the same with runc.
    pub fn note(&self, name: &str, value: &str) {
        self.steps.borrow_mut().push(Step { line: name.to_owned(), code: 0, stdout: without_ids(value) });
    }

    /// Must exit with 0; output is compared with runc's. Returns stdout.
    pub fn ok(&self, line: &str) -> Check<String> {
        let outcome = self.sh(line)?;
        self.record(&outcome, &outcome.stdout);
        succeeded(outcome)
    }

    /// As [`Session::ok`], but its output is not compared: it has times, sizes or process ids.
    pub fn aside(&self, line: &str) -> Check<String> {
        succeeded(self.sh(line)?)
    }

    /// Must print exactly this, but for white space at both ends.
    pub fn is(&self, line: &str, expected: &str) -> Check {
        let stdout = self.ok(line)?;
        if stdout.trim().replace('\r', "") == expected.trim() {
            return Ok(());
        }
        Err(format!("{line}\nshould print {expected:?}\nbut prints   {:?}", stdout.trim()))
    }

    /// Must print this somewhere, on stdout or stderr; output is not compared.
    pub fn has(&self, line: &str, expected: &str) -> Check<String> {
        let outcome = self.sh(line)?;
        let both = format!("{}{}", outcome.stdout, outcome.stderr);
        succeeded(outcome)?;
        if both.contains(expected) {
            return Ok(both);
        }
        Err(format!("{line}\nshould print {expected:?}\nbut prints\n{both}"))
    }

    /// Must exit with this code, and say this somewhere.
    pub fn fails(&self, line: &str, code: i32, expected: &str) -> Check<String> {
        let outcome = self.sh(line)?;
        // Each runtime has words of its own around those that count.
        self.record(&outcome, "");
        let both = format!("{}{}", outcome.stdout, outcome.stderr);
        if outcome.code() != code {
            return Err(format!("should exit with {code}: {outcome}"));
        }
        if both.contains(expected) {
            return Ok(both);
        }
        Err(format!("{line}\nshould say {expected:?}\nbut says\n{both}"))
    }

    /// Repeats the line until it prints exactly this.
    pub fn becomes(&self, line: &str, expected: &str) -> Check {
        let mut last = String::new();
        let reached = waiting::until(LIMIT / 3, || {
            last = self.sh(line).map_or_else(|e| e, |o| o.stdout);
            (last.trim() == expected).then_some(())
        });
        reached.ok_or_else(|| format!("{line}\nshould in the end print {expected:?}\nbut prints {last:?}"))
    }

    /// Starts a daemon, whose output goes to `<name>.log`, and waits until the line exits with 0.
    pub fn daemon(&self, name: &str, line: &str, ready: &str) -> Check {
        let log = format!("{HOME}/log/{name}.log");
        let file = File::create(&log).map_err(|e| format!("make {log}: {e}"))?;
        let copy = file.try_clone().map_err(|e| format!("{log}: {e}"))?;
        let mut shell = self.command("sh");
        shell.args(["-c", &format!("exec {line}")]).stdout(file).stderr(copy);
        let child = shell.spawn().map_err(|e| format!("start {line}: {e}"))?;
        self.daemons.borrow_mut().push((name.to_owned(), child));
        let reached = waiting::until(LIMIT / 2, || self.sh(ready).ok()?.succeeded().then_some(()));
        reached.ok_or_else(|| format!("{name} is not ready: {}", tail(&log)))
    }

    /// Stops the daemons, the last first, each by its pid.
    pub(crate) fn stop_daemons(&self) -> Check {
        for (name, mut child) in self.daemons.take().into_iter().rev() {
            self.sh(&format!("kill {}", child.id()))?;
            let ended = waiting::until(LIMIT / 3, || child.try_wait().ok().flatten());
            if ended.is_none() {
                return Err(format!("{name} does not stop: {}", tail(&format!("{HOME}/log/{name}.log"))));
            }
        }
        Ok(())
    }

    /// Writes a file below the working directory of the session.
    pub fn write(&self, name: &str, text: &str) -> Check {
        let path = format!("{HOME}/work/{name}");
        let parent = Path::new(&path).parent().expect("a directory");
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|e| format!("write {path}: {e}"))
    }
}

fn succeeded(outcome: Outcome) -> Check<String> {
    if outcome.succeeded() { Ok(outcome.stdout) } else { Err(format!("should have succeeded: {outcome}")) }
}

fn tail(log: &str) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let from = text.lines().count().saturating_sub(40);
    text.lines().skip(from).collect::<Vec<_>>().join("\n")
}

/// The text with `<id>` for every container's or image's id.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        // Those of 16 digits are sets of capabilities and signals.
        out.push_str(if end == 12 || end > 16 { "<id>" } else { &rest[..end] });
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::without_ids;

    #[test]
    fn sets_of_capabilities_are() {
        assert_eq!(without_ids("CapEff:\t00000000a80425fb"), "CapEff:\t00000000a80425fb");
    }

    #[test]
    fn ids_are_no_difference() {
        assert_eq!(without_ids("a 0123456789ab\nbeef sha256:00112233445566778899aabb!"), "a <id>\nbeef sha256:<id>!");
    }
}
