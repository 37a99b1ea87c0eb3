//! Runs commands instruction for instruction.

use crate::decode::Decode;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

const ID: &str = "rvol-hot";

/// Some names begin like those that are looked for, so that they are compared; with RUST_BACKTRACE more would be executed.
const ENVIRONMENT: [(&str, &str); 5] =
    [("PATH", "/usr/bin:/bin"), ("HOME", "/"), ("LINES", "24"), ("NODE", "one"), ("RUNTIME_DIRECTORY", "/run")];

/// A command, or what a command has made in the container: whose memory is looked at by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// state, start, kill, delete.
    Short,
    Exec,
    /// create and run.
    Create,
    /// The process in the container, up to its execve.
    Init,
}

/// The addresses that were executed, read or written, each for the first time.
#[derive(Default)]
pub struct Touched {
    seen: HashSet<(u8, u64)>,
    pub order: Vec<(Who, u64)>,
}

impl Touched {
    fn note(&mut self, who: Who, address: u64) {
        if self.seen.insert((who as u8, address)) {
            self.order.push((who, address));
        }
    }
}

/// What the usual commands touch of the program at `image`.
pub fn commands(binary: &Path, image: Range<u64>) -> Result<Touched> {
    let dir = std::env::temp_dir().join(format!("{ID}.{}", std::process::id()));
    // On one processor: a step takes a fifth of the time.
    let mut processors = CpuSet::new();
    processors.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &processors).context("stay on one processor")?;
    let mut tracer = Tracer { image, touched: Touched::default() };
    let done = tracer.commands(binary, &dir);
    fs::remove_dir_all(&dir)?;
    done?;
    Ok(tracer.touched)
}

struct Tracer {
    image: Range<u64>,
    touched: Touched,
}

impl Tracer {
    fn commands(&mut self, binary: &Path, dir: &Path) -> Result<()> {
        let (rootfs, root) = (dir.join("bundle/rootfs"), dir.join("state"));
        for name in ["bin", "dev", "proc", "sys"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.context("busybox is not installed")?, rootfs.join("bin/true"))?;
        fs::copy(rootfs.join("bin/true"), rootfs.join("bin/sleep"))?;
        let (root, bundle) = (root.display().to_string(), dir.join("bundle").display().to_string());
        let command = |words: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(binary).args(["--root", &root]).args(words);
            command.stdin(Stdio::null()).stdout(Stdio::null()).env_clear().envs(ENVIRONMENT);
            command
        };
        // As engines have them, in a cgroup for several.
        let parent = format!("/{ID}.{}", std::process::id());
        let config = |text: &str, id: &str| -> Result<()> {
            let mut config: serde_json::Value = serde_json::from_str(text)?;
            config["linux"]["cgroupsPath"] = format!("{parent}/{id}").into();
            Ok(fs::write(dir.join("bundle/config.json"), serde_json::to_vec_pretty(&config)?)?)
        };
        let untraced = |words: &[&str]| -> Result<()> {
            let status = Command::new(binary).args(["--root", &root]).args(words).stdin(Stdio::null()).status()?;
            if !status.success() {
                bail!("{words:?} ended with {status}");
            }
            Ok(())
        };
        const OTHER: &str = "rvol-hot-other";
        config(include_str!("../../configs/docker.json"), OTHER)?;
        untraced(&["create", "--bundle", &bundle, OTHER])?;
        let mut traced = || -> Result<()> {
            let minimal = include_str!("../../configs/minimal.json");
            config(&minimal.replace(r#"["/bin/true"]"#, r#"["/bin/sleep", "1000"]"#), ID)?;
            let (log, pid) = (dir.join("log").display().to_string(), dir.join("pid").display().to_string());
            let create = ["--log", &log, "--log-format", "json", "create", "--bundle", &bundle, "--pid-file", &pid, ID];
            self.trace(command(&create), Who::Create, false)?;
            self.trace(command(&["start", ID]), Who::Short, false)?;
            self.trace(command(&["state", ID]), Who::Short, false)?;
            self.trace(command(&["exec", ID, "/bin/true"]), Who::Exec, true)?;
            self.trace(command(&["kill", ID, "KILL"]), Who::Short, false)?;
            self.trace(command(&["delete", "--force", ID]), Who::Short, false)?;
            // With warnings, and without a log to put them into.
            config(minimal, ID)?;
            self.trace(command(&["run", "--bundle", &bundle, ID]), Who::Create, false)?;
            config(include_str!("../../configs/docker.json"), ID)?;
            // Its filter is in the cache then, for which the first of all finds no directory yet.
            untraced(&["run", "--bundle", &bundle, ID])?;
            self.trace(command(&["run", "-b", &bundle, ID]), Who::Create, true)
        };
        let traced = traced();
        traced.and(untraced(&["delete", "--force", OTHER]))
    }

    /// `children`: also those that the command makes, up to their own execve.
    fn trace(&mut self, mut command: Command, who: Who, children: bool) -> Result<()> {
        let child = command.spawn().context("run sh")?;
        let main = Pid::from_raw(child.id().cast_signed());
        waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
        let mut options = Options::PTRACE_O_TRACEEXEC;
        if children {
            options |= Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
        }
        ptrace::seize(main, options)?;
        kill(main, Signal::SIGCONT)?;
        let mut decode = Decode::new(self.image.clone());
        let mut memories = HashMap::new();
        let mut begun = false;
        loop {
            let (pid, signal) = match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Exited(pid, code) if pid == main => {
                    if code != 0 {
                        bail!("{command:?} ended with {code}");
                    }
                    return Ok(());
                }
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) if pid != main => {
                    ptrace::detach(pid, None)?;
                    continue;
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        begun = true;
                        // The file is of the memory before.
                        memories.remove(&pid);
                    }
                    (pid, None)
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGCONT) => (pid, None),
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            if let Some(registers) = ptrace::getregs(pid).ok().filter(|_| begun) {
                let memory = match memories.entry(pid) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(File::open(format!("/proc/{pid}/mem"))?),
                };
                let who = if pid == main { who } else { Who::Init };
                self.touched.note(who, registers.rip);
                for address in decode.touched(&registers, memory)? {
                    self.touched.note(who, address);
                }
            }
            let on = if begun { ptrace::step(pid, signal) } else { ptrace::cont(pid, signal) };
            match on {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).context("continue a traced process"),
            }
        }
    }
}
