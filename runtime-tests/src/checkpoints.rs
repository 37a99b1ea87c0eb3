//! A container that counts, its checkpoints and what comes of them.

use crate::{Case, Outcome, criu, waiting};
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// For criu in a virtual machine.
pub const LONG: Duration = Duration::from_secs(120);

/// Counts in memory, and shows the number to the host.
pub const COUNT: &str =
    "i=0; while :; do i=$((i+1)); echo $i > /shared/new; mv /shared/new /shared/count; sleep 0.05; done";

/// A command of the runtime with this `PATH`.
pub fn command(case: &Case, path: &OsStr, words: &[&str]) -> Command {
    let mut command = case.command();
    command.args(words).env("PATH", path).envs(criu::environment());
    command
}

/// Runs a command of the runtime to its end.
#[track_caller]
pub fn invoke(case: &Case, path: &OsStr, words: &[&str]) -> Outcome {
    case.start_command(command(case, path, words)).finish_within(LONG)
}

/// `checkpoint` to `image` in the case's directory.
#[track_caller]
pub fn checkpoint(case: &Case, path: &OsStr, flags: &[&str]) -> Outcome {
    let image = case.path("image");
    invoke(case, path, &[&["checkpoint", "--image-path", &image], flags, &[&case.id]].concat())
}

/// `restore` from `image` in the case's directory, with the config as it is now.
pub fn restore_command(case: &Case, path: &OsStr, flags: &[&str]) -> Command {
    case.write_config();
    let (image, bundle) = (case.path("image"), case.bundle());
    let bundle = bundle.to_str().expect("UTF-8");
    command(case, path, &[&["restore", "--image-path", &image, "--bundle", bundle], flags, &[&case.id]].concat())
}

/// A detached `restore`.
#[track_caller]
pub fn restore(case: &Case, path: &OsStr, flags: &[&str]) -> Outcome {
    case.start_command(restore_command(case, path, &[&["--detach"], flags].concat())).finish_within(LONG)
}

/// Runs the container with nothing of ours open: its streams are its own null device.
#[track_caller]
pub fn start(case: &Case, flags: &[&str]) {
    let mut create = case.bundle_command("create", flags);
    let made = create.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("call the runtime");
    assert!(made.success(), "create failed");
    case.start().ok();
}

/// Runs a container of [`counting`] until it has begun to count.
#[track_caller]
pub fn start_counting(case: &Case, flags: &[&str]) {
    start(case, flags);
    counts_beyond(case, 0);
}

/// A container that counts.
#[track_caller]
pub fn running() -> Case {
    let case = counting();
    start_counting(&case, &[]);
    case
}

/// A case whose container will count in `/shared`, a directory of the host.
pub fn counting() -> Case {
    let mut case = Case::new();
    let shared = case.make_dir("shared");
    case.bind(&shared, "/shared", &["rw"]).script(COUNT);
    case
}

/// The number that the host sees.
pub fn count(case: &Case) -> u32 {
    case.read("shared/count").trim().parse().unwrap_or(0)
}

/// Waits until it counts beyond this number.
#[track_caller]
pub fn counts_beyond(case: &Case, before: u32) {
    let reached = waiting::until(LONG, || (count(case) > before).then_some(()));
    assert!(reached.is_some(), "stands at {} and was at {before}", count(case));
}
