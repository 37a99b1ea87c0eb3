//! Runs the hooks of config.json (config.md, "POSIX-platform Hooks").
//!
//! The state goes to a hook's stdin and its stdout and stderr are kept, both in memory files: a hook can neither block
//! on a full pipe nor make its caller poll.

use crate::plan::Hook;
use crate::sys::{Call, pidfd, process};
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A hook that could not be run, ended with an error, or took too long.
#[derive(Debug)]
pub struct HookFailed {
    place: String,
    path: String,
    why: String,
    output: String,
}

impl fmt::Display for HookFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.place, self.path, self.why)?;
        if !self.output.is_empty() {
            write!(f, "; its output: {}", self.output)?;
        }
        Ok(())
    }
}

impl std::error::Error for HookFailed {}

/// Whether it was a hook that failed.
pub fn has_failed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<HookFailed>().is_some()
}

/// Runs the hooks in order with `state` (JSON) on their stdin; stops at the first that fails.
///
/// A hook without `env` in the config gets `env`, or if that is `None` the environment of the caller.
pub fn run_all(hooks: &[Hook], state: &[u8], env: Option<&[String]>) -> Result<()> {
    hooks.iter().try_for_each(|hook| run(hook, state, env))
}

/// Runs the hooks in order; each failure goes to `warn` and the next one runs all the same.
pub fn run_each(hooks: &[Hook], state: &[u8], warn: &mut dyn FnMut(String)) {
    for hook in hooks {
        if let Err(error) = run(hook, state, None) {
            warn(format!("{error:#}"));
        }
    }
}

fn run(hook: &Hook, state: &[u8], inherited: Option<&[String]>) -> Result<()> {
    let mut input = memory_file("hook-stdin")?;
    input.write_all(state).and_then(|()| input.seek(SeekFrom::Start(0))).context("write the state for a hook")?;
    let mut output = memory_file("hook-output")?;
    let failed = |why: String, output: String| HookFailed {
        place: hook.place.clone(),
        path: hook.path.display().to_string(),
        why,
        output,
    };

    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(name).args(arguments);
    }
    let env = if hook.inherits_env { inherited } else { Some(hook.env.as_slice()) };
    if let Some(env) = env {
        command.env_clear().envs(env.iter().filter_map(|e| e.split_once('=')));
    }
    let shared = || output.try_clone().context("share the hook's output file");
    command.stdin(Stdio::from(input)).stdout(Stdio::from(shared()?)).stderr(Stdio::from(shared()?));

    // A foreground `run` blocks all of them, to read them from a signalfd.
    process::with_default_signals(&mut command);

    let mut child = match command.spawn().call(|| "exec".into()) {
        Ok(child) => child,
        Err(error) => return Err(failed(format!("{error:#}"), String::new()).into()),
    };
    let why = match wait(&mut child, hook.timeout)? {
        Some(status) if status.success() => return Ok(()),
        Some(status) => describe(status),
        None => format!("not done within its timeout of {} s", hook.timeout.unwrap_or(0)),
    };
    Err(failed(why, tail(&mut output)?).into())
}

fn memory_file(name: &str) -> Result<std::fs::File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC).call(|| "memfd_create".into())?.into())
}

/// Waits for the child; `None` if `timeout` seconds pass first: it is then killed and reaped.
fn wait(child: &mut Child, timeout: Option<u32>) -> Result<Option<ExitStatus>> {
    if let Some(seconds) = timeout {
        let fd = pidfd::open(child.id().cast_signed()).call(|| "pidfd_open of a hook".into())?;
        let deadline = Instant::now() + Duration::from_secs(seconds.into());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) if Instant::now() >= deadline => {
                    child.kill().context("kill a hook that is too slow")?;
                    child.wait().context("reap a hook")?;
                    return Ok(None);
                }
                Ok(0) => {}
                result => {
                    result.call(|| "poll".into())?;
                    break;
                }
            }
        }
    }
    Ok(Some(child.wait().context("wait for a hook")?))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last KiB of what the hook wrote, on one line.
fn tail(output: &mut std::fs::File) -> Result<String> {
    const KEEP: u64 = 1024;
    let length = output.seek(SeekFrom::End(0)).context("seek in the hook's output")?;
    output.seek(SeekFrom::Start(length.saturating_sub(KEEP))).context("seek in the hook's output")?;
    let mut bytes = Vec::new();
    output.take(KEEP).read_to_end(&mut bytes).context("read the hook's output")?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim().lines().collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn shell(script: &str, timeout: Option<u32>) -> Hook {
        Hook {
            place: "hooks.prestart[0]".into(),
            path: PathBuf::from("/bin/sh"),
            args: vec!["hook".into(), "-c".into(), script.into()],
            env: vec!["A=b=c".into()],
            inherits_env: false,
            timeout,
        }
    }

    #[test]
    fn state_and_environment_arrive() {
        run(
            &shell("read -r line; test \"$line\" = '{\"id\":\"x\"}' && test \"$A\" = b=c", Some(5)),
            b"{\"id\":\"x\"}\n",
            None,
        )
        .unwrap();
    }

    #[test]
    fn the_output_of_a_failing_hook_is_in_the_error() {
        let error = run(&shell("echo out; echo err >&2; exit 3", None), b"", None).unwrap_err();
        assert_eq!(error.to_string(), "hooks.prestart[0] /bin/sh: exit status 3; its output: out | err");
    }

    #[test]
    fn a_slow_hook_is_killed() {
        let error = run(&shell("exec sleep 60", Some(1)), b"", None).unwrap_err();
        assert!(error.to_string().contains("timeout of 1 s"), "{error}");
    }

    #[test]
    fn a_missing_hook_is_named() {
        let mut hook = shell("", None);
        hook.path = "/does/not/exist".into();
        let error = run(&hook, b"", None).unwrap_err();
        assert!(error.to_string().contains("/does/not/exist: exec: no such file or directory"), "{error}");
    }
}
