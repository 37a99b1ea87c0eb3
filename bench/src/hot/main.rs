//! Writes `link/hot-text.ld`: which functions the usual commands execute, in the order in which they first do, as a
//! script for the linker that puts them side by side.
//!
//! ```text
//! rvol-hot-text BINARY MAP > link/hot-text.ld
//! ```
//!
//! BINARY is a release build of rvol-runc with symbols, MAP what the linker wrote when it was linked; see
//! docs/performance.md. Each command is run step by step, instruction for instruction. Names lose what changes with the
//! compiler (hashes); a pattern that matches nothing does no harm.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ID: &str = "rvol-hot-text";

fn main() -> Result<()> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [binary, map] = &words[..] else { bail!("usage: rvol-hot-text BINARY MAP") };
    let symbols = Symbols::of(binary)?;
    let map = fs::read_to_string(map).with_context(|| format!("read {}", map.display()))?;
    let members = members(&map);
    let dir = std::env::temp_dir().join(format!("{ID}.{}", std::process::id()));
    let executed = traces(&binary.canonicalize()?, &dir);
    fs::remove_dir_all(&dir)?;
    println!("/* Written by rvol-hot-text (docs/performance.md). */\nSECTIONS\n{{\n  .text.hot :\n  {{");
    let mut seen = HashSet::new();
    for symbol in executed?.into_iter().filter_map(|address| symbols.at(address)) {
        if let Some(pattern) = pattern(symbol, &members).filter(|p| !seen.contains(p)) {
            println!("    {pattern}");
            seen.insert(pattern);
        }
    }
    println!("  }}\n}}\nINSERT BEFORE .text;");
    Ok(())
}

/// The functions of a program, by address.
struct Symbols(Vec<(u64, u64, String)>);

impl Symbols {
    fn of(binary: &Path) -> Result<Symbols> {
        let output = Command::new("nm").args(["-nS", "--defined-only"]).arg(binary).output().context("run nm")?;
        let text = String::from_utf8(output.stdout)?;
        let symbol = |line: &str| {
            let [address, size, kind, name] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            "tTwWi".contains(kind).then_some((number(address)?, number(size)?, name.to_owned()))
        };
        let all: Vec<_> = text.lines().filter_map(symbol).collect();
        if all.is_empty() {
            bail!("{} has no symbols", binary.display());
        }
        Ok(Symbols(all))
    }

    fn at(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.0.get(after.checked_sub(1)?)?;
        (address < start + size).then_some(name)
    }
}

/// Of a symbol the archive's member and its section, from the linker's map: `malloc` in `libc.a:malloc.o(.text)`.
fn members(map: &str) -> HashMap<&str, String> {
    let (mut found, mut section) = (HashMap::new(), None);
    for line in map.lines() {
        // Four numbers, then with eight spaces more each: an output section, an input section, a symbol of it.
        let Some((_, rest)) = line.split_at_checked(49) else { continue };
        let text = rest.trim_start();
        let depth = (rest.len() - text.len()) / 8;
        if let Some((file, name)) = text.strip_suffix(')').and_then(|t| t.rsplit_once(":(")) {
            let member = file.rsplit_once('/').and_then(|(_, file)| file.strip_suffix(')')?.split_once('('));
            section = member.map(|(archive, member)| format!("*{archive}:{member}({name})"));
        } else if let Some(section) = section.as_ref().filter(|_| depth == 2) {
            found.entry(text).or_insert_with(|| section.clone());
        }
    }
    found
}

/// What matches the section of a function, with whatever compiler it is made.
fn pattern(symbol: &str, members: &HashMap<&str, String>) -> Option<String> {
    // Made by this compiler: `_ZN…17h` and 16 digits. Of the standard library: `_R…`, with `Cs…_` before a crate's name.
    if let Some((name, _)) = symbol.rsplit_once("17h").filter(|_| symbol.starts_with("_ZN")) {
        return Some(format!("*(.text.{name}17h*)"));
    }
    if !symbol.starts_with("_R") {
        return members.get(symbol).cloned();
    }
    let symbol = symbol.split(".llvm.").next().unwrap_or(symbol);
    let mut pattern = String::new();
    for (index, part) in symbol.split("Cs").enumerate() {
        let rest =
            part.find('_').map(|end| &part[end + 1..]).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        match rest {
            Some(rest) if index > 0 => pattern.extend(["Cs*_", rest]),
            _ if index > 0 => pattern.extend(["Cs", part]),
            _ => pattern.push_str(part),
        }
    }
    Some(format!("*(.text.{pattern}*)"))
}

/// The addresses that the commands execute, in order, each for the first time; the shortest commands first.
fn traces(binary: &Path, dir: &Path) -> Result<Vec<u64>> {
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
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let config = |args: &str| -> Result<()> {
        let text = include_str!("../../configs/docker.json").replace(r#"["/bin/true"]"#, args);
        Ok(fs::write(dir.join("bundle/config.json"), text)?)
    };
    config(r#"["/bin/sleep", "1000"]"#)?;
    let mut long = Tracer::default();
    long.trace(command(&["create", "--bundle", &bundle, ID]), false)?;
    let mut short = Tracer::default();
    short.trace(command(&["start", ID]), false)?;
    short.trace(command(&["state", ID]), false)?;
    short.trace(command(&["exec", ID, "/bin/true"]), true)?;
    short.trace(command(&["kill", ID, "KILL"]), false)?;
    short.trace(command(&["delete", "--force", ID]), false)?;
    config(r#"["/bin/true"]"#)?;
    long.trace(command(&["run", "--bundle", &bundle, ID]), true)?;
    Ok([short.order, long.order].concat())
}

#[derive(Default)]
struct Tracer {
    /// Sixteen bytes a time.
    seen: HashSet<u64>,
    order: Vec<u64>,
}

impl Tracer {
    /// `children`: also those that the command makes, up to their own execve.
    fn trace(&mut self, mut command: Command, children: bool) -> Result<()> {
        let child = command.spawn().context("run sh")?;
        let main = Pid::from_raw(child.id().cast_signed());
        waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
        let mut options = Options::PTRACE_O_TRACEEXEC;
        if children {
            options |= Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
        }
        ptrace::seize(main, options)?;
        kill(main, Signal::SIGCONT)?;
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
                    begun |= event == libc::PTRACE_EVENT_EXEC;
                    (pid, None)
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGCONT) => (pid, None),
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            if let Some(address) = instruction(pid).filter(|address| begun && self.seen.insert(address >> 4)) {
                self.order.push(address);
            }
            let on = if begun { ptrace::step(pid, signal) } else { ptrace::cont(pid, signal) };
            match on {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).context("continue a traced process"),
            }
        }
    }
}

/// Where a stopped process is; `None` where it has just died.
#[cfg(target_arch = "x86_64")]
fn instruction(pid: Pid) -> Option<u64> {
    ptrace::getregs(pid).ok().map(|registers| registers.rip)
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction(_: Pid) -> Option<u64> {
    None
}
