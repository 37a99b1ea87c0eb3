//! One run of the runtime's command line, and what came of it.

use crate::waiting;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a command may take before it counts as hanging.
pub const LIMIT: Duration = Duration::from_secs(40);

/// A command that ended. Its output went through files, because a container that `create` leaves behind keeps the
/// ends of a pipe open.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Exit code; 128+n for a death by signal n.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Panics unless it exited with 0.
    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert!(self.succeeded(), "should have succeeded: {self}");
        self
    }

    /// Panics unless it ended by itself with another code than 0, and with a message.
    #[track_caller]
    pub fn fails(self) -> Outcome {
        assert!(self.status.code().is_some_and(|c| c != 0), "should have failed: {self}");
        assert!(!self.stderr.trim().is_empty(), "failed without a message: {self}");
        self
    }

    /// Panics unless stderr contains the text, small or capital letters.
    #[track_caller]
    pub fn says(self, text: &str) -> Outcome {
        assert!(self.stderr.to_lowercase().contains(&text.to_lowercase()), "should say {text:?}: {self}");
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is not JSON: {e}: {self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { line, status, stdout, stderr } = self;
        let [stdout, stderr] = [stdout, stderr].map(|t| t.chars().take(2000).collect::<String>());
        write!(f, "{line}\n--- {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command` with its output going to `<directory>/<name>.out` and `.err`.
    #[track_caller]
    pub fn start(mut command: Command, directory: &Path, name: &str) -> Running {
        let line = line_of(&command);
        let [stdout, stderr] = ["out", "err"].map(|e| directory.join(format!("{name}.{e}")));
        let make = |path: &Path| File::create(path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
        command.stdout(make(&stdout)).stderr(make(&stderr));
        let child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        Running { line, child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until it has written a line that contains the text to stdout.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let seen = waiting::until(LIMIT, || self.stdout().lines().any(|l| l.contains(text)).then_some(()));
        assert!(seen.is_some(), "no {text:?} from {}: {}{}", self.line, self.stdout(), read(&self.stderr));
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.line));
    }

    /// Waits for its end; kills it and panics when that takes longer than [`LIMIT`].
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.finish_within(LIMIT)
    }

    #[track_caller]
    pub fn finish_within(self, limit: Duration) -> Outcome {
        let (line, stderr) = (self.line.clone(), self.stderr.clone());
        self.wait_within(limit).unwrap_or_else(|| panic!("hangs: {line}\n--- stderr\n{}", read(&stderr)))
    }

    /// As [`Running::finish_within`], but gives nothing when it had to be killed.
    pub fn wait_within(mut self, limit: Duration) -> Option<Outcome> {
        let status = waiting::until(limit, || self.child.try_wait().expect("wait for a child"));
        let Some(status) = status else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return None;
        };
        Some(Outcome { line: self.line, status, stdout: read(&self.stdout), stderr: read(&self.stderr) })
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

fn line_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|a| a.to_string_lossy()));
    words.join(" ")
}

/// A command with nothing on stdin and without what the caller's service manager may have set.
pub fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
}
