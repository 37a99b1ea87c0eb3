//! Counts what a command costs besides time, by ptrace: processes, threads, execs, syscalls and the peak of resident
//! memory, over the command and all its children up to the execve of the container's payload.
//!
//! The peak is read from /proc rather than from wait4's ru_maxrss: the latter starts, after an exec, at the size of the
//! process that did the exec, which here is the harness.

use crate::place::Place;
use crate::sys::{self, Command};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counts {
    /// New processes (not threads), the command itself left out.
    pub processes: u64,
    pub threads: u64,
    /// The command's own and the payload's included.
    pub execs: u64,
    pub syscalls: u64,
    /// KiB of the largest single process.
    pub peak: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Still the harness's child before its execve.
    Held,
    Counted,
    /// The container's payload.
    Payload,
}

struct Tracer<'a> {
    place: &'a Place,
    main: i32,
    tracees: HashMap<i32, Phase>,
    counts: Counts,
}

/// Runs the command under a tracer until it has ended. Processes that it leaves behind go on untraced.
pub fn trace(place: &Place, command: &Command) -> Result<Counts> {
    let (main, hold) = sys::spawn_held(command, place.streams())?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEEXIT;
    ptrace::seize(Pid::from_raw(main), options).context("ptrace the command")?;
    ptrace::interrupt(Pid::from_raw(main)).context("stop the command")?;
    drop(hold);
    let mut tracer = Tracer { place, main, tracees: HashMap::from([(main, Phase::Held)]), counts: Counts::default() };
    let code = tracer.run()?;
    tracer.let_go()?;
    if code != 0 {
        bail!("{} (exit code {code} when traced)", place.take_stderr());
    }
    Ok(tracer.counts)
}

impl Tracer<'_> {
    /// Returns the exit code of the command.
    fn run(&mut self) -> Result<i32> {
        loop {
            let (pid, status) = sys::wait_traced()?;
            if !libc::WIFSTOPPED(status) {
                self.tracees.remove(&pid);
                if pid == self.main {
                    return Ok(sys::exit_code(status));
                }
                continue;
            }
            let phase = *self.tracees.entry(pid).or_insert(Phase::Counted);
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            let deliver = match (event, signal) {
                (0, s) if s == libc::SIGTRAP | 0x80 => {
                    self.syscall_stop(pid, phase)?;
                    0
                }
                (0, s) => s,
                (e, s) => {
                    self.event(pid, phase, e)?;
                    // A group stop of a seized process would need PTRACE_LISTEN; none of the commands stops itself.
                    debug_assert!(s == libc::SIGTRAP || e == libc::PTRACE_EVENT_STOP);
                    0
                }
            };
            sys::ptrace_continue(libc::PTRACE_SYSCALL, pid, deliver)?;
        }
    }

    fn syscall_stop(&mut self, pid: i32, phase: Phase) -> Result<()> {
        if phase != Phase::Counted {
            return Ok(());
        }
        let Some(number) = sys::syscall_entered(pid)? else { return Ok(()) };
        self.counts.syscalls += 1;
        if number == libc::SYS_execve || number == libc::SYS_execveat {
            self.note_peak(pid);
        }
        Ok(())
    }

    fn event(&mut self, pid: i32, phase: Phase, event: i32) -> Result<()> {
        let counted = phase == Phase::Counted;
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK if counted => self.counts.processes += 1,
            libc::PTRACE_EVENT_CLONE if counted => self.counts.threads += 1,
            libc::PTRACE_EVENT_EXIT if counted => self.note_peak(pid),
            libc::PTRACE_EVENT_EXEC => {
                self.counts.execs += 1;
                let payload = self.place.is_payload(pid);
                self.tracees.insert(pid, if payload { Phase::Payload } else { Phase::Counted });
            }
            _ => {}
        }
        Ok(())
    }

    fn note_peak(&mut self, pid: i32) {
        // Gone between two calls: its peak is then that of an earlier stop.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0);
        self.counts.peak = self.counts.peak.max(kib);
    }

    /// Detaches from what is left, which must be stopped for that.
    fn let_go(&mut self) -> Result<()> {
        for pid in self.tracees.keys() {
            match ptrace::interrupt(Pid::from_raw(*pid)) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("stop a traced process"),
            }
        }
        while !self.tracees.is_empty() {
            let (pid, status) = sys::wait_traced()?;
            self.tracees.remove(&pid);
            if libc::WIFSTOPPED(status) {
                let signal = libc::WSTOPSIG(status);
                let deliver = if status >> 16 == 0 && signal & 0x80 == 0 { signal } else { 0 };
                sys::ptrace_continue(libc::PTRACE_DETACH, pid, deliver)?;
            }
        }
        Ok(())
    }
}
