//! Fields of `/proc/<pid>/stat` (proc_pid_stat(5)).

use std::io::Read;

pub struct Stat {
    /// `b'R'`, `b'S'`, `b'D'`, `b'T'`, `b'Z'` …
    pub state: u8,
    /// `PF_*` of `<linux/sched.h>`.
    pub flags: u64,
    /// In clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    /// The process is a zombie, or about to be none.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The start time of a process in clock ticks after boot; `None` when it is gone.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// The state of a process (`b'T'`: stopped); `None` when it is gone.
pub fn state(pid: i32) -> Option<u8> {
    stat(pid).map(|stat| stat.state)
}

/// `None` when the process is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    let mut buffer = [0u8; 1024];
    // 52 numbers and a short name: one read takes it whole.
    let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut buffer).ok()?;
    let text = &buffer[..length];
    // The command's name, in parentheses, may itself hold spaces and parentheses.
    let rest = &text[text.iter().rposition(|b| *b == b')')? + 2..];
    let mut fields = rest.split(|b| *b == b' ');
    let state = *fields.next()?.first()?;
    let mut number = |skipped| std::str::from_utf8(fields.nth(skipped)?).ok()?.parse().ok();
    Some(Stat { state, flags: number(5)?, start_time: number(12)? })
}
