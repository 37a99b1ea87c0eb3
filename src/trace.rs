//! `--trace`: where the time of a command goes, in the runtime and in the init that it makes.
//!
//! A process notes when it begins a phase; the phase lasts until its next note. Off, a note is one look at a static. The
//! notes are in memory that is shared with init, which is a fork; nothing is written before the end.

use crate::sys::Call;
use crate::sys::shared::{Notes, Who};
use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use std::fmt::Write;
use std::sync::OnceLock;

static TRACE: OnceLock<Trace> = OnceLock::new();

#[derive(Debug)]
struct Trace {
    /// Nanoseconds of the monotonic clock, as all times here.
    began: u64,
    notes: Notes,
}

/// How a runtime that executes itself hands on when it began; in the environment of that one execve.
const BEGAN: &str = "RVOL_RUNC_TRACE_BEGAN";

/// Begins to note; called once, by the command line.
pub fn begin() -> Result<()> {
    let now = monotonic().call(|| "clock_gettime".into())?;
    let began = std::env::var(BEGAN).ok().and_then(|text| text.parse().ok());
    let trace = Trace { began: began.unwrap_or(now), notes: Notes::new().call(|| "mmap shared memory".into())? };
    trace.notes.add(Who::Runtime, trace.began, "begin");
    if began.is_some() {
        trace.notes.add(Who::Runtime, now, "begin again, sealed");
    }
    TRACE.get_or_init(|| trace);
    Ok(())
}

/// The runtime begins a phase.
pub fn phase(name: &'static str) {
    note(Who::Runtime, name);
}

/// Init begins a step.
pub fn step(name: &'static str) {
    note(Who::Init, name);
}

fn note(who: Who, name: &'static str) {
    if let Some(trace) = TRACE.get() {
        // A clock that does not exist has been reported by `begin`.
        trace.notes.add(who, monotonic().unwrap_or(trace.began), name);
    }
}

/// For an execve of oneself.
pub fn variable() -> Option<String> {
    TRACE.get().map(|trace| format!("{BEGAN}={}", trace.began))
}

/// The table of all phases up to now; `None` without `--trace`.
pub fn report() -> Option<String> {
    let trace = TRACE.get()?;
    trace.notes.add(Who::Runtime, monotonic().ok()?, "end");
    let mut notes: Vec<_> = trace.notes.iter().collect();
    notes.sort_by_key(|note| note.time);
    let mut table = format!("{:>9} {:>9}  {:8} phase\n", "at/µs", "took/µs", "process");
    for (index, note) in notes.iter().enumerate() {
        let next = notes[index + 1..].iter().find(|later| later.who == note.who);
        let took = next.map_or(String::new(), |next| micros(next.time - note.time));
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{:>9} {took:>9}  {:8} {}",
            micros(note.time.saturating_sub(trace.began)),
            match note.who {
                Who::Runtime => "runtime",
                Who::Init => "init",
            },
            note.text
        );
    }
    Some(table)
}

fn monotonic() -> nix::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}

fn micros(nanoseconds: u64) -> String {
    (nanoseconds / 1000).to_string()
}
