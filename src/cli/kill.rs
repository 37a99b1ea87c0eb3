//! `kill`: sends a signal to a container.

use super::args::{Flag, Matches, Operand};
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use anyhow::{Result, bail};
use nix::sys::signal::Signal;

pub const COMMAND: Command = Command {
    name: "kill",
    about: "Send a signal to a container's process",
    details: "A signal is a number or a name, with or without SIG, in any case: 15, TERM, sigkill, RTMIN+3.",
    flags: &[&[ALL]],
    operands: &[CONTAINER_ID, SIGNAL],
    run,
};

const ALL: Flag =
    Flag { name: "all", short: Some('a'), value: None, help: "Send it to every process of the container" };
const SIGNAL: Operand = Operand { name: "SIGNAL", required: false, verbatim: false, help: "The signal (SIGTERM)" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let signal = match matches.operand(1) {
        None => libc::SIGTERM,
        Some(text) => parse_signal(&text.to_string_lossy())?,
    };
    runtime::kill(&globals.context()?, matches.id()?, signal, matches.is_set(&ALL))?;
    Ok(0)
}

/// The number of a signal. 0 is good: it sends nothing and tells whether the process is there (kill(2)).
fn parse_signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if !(0..=libc::SIGRTMAX()).contains(&number) {
            bail!("unknown signal {text}: numbers go from 0 to {}", libc::SIGRTMAX());
        }
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name {
        // Second names of signal(7), which the table below does not have.
        "CLD" => Some(libc::SIGCHLD),
        "IOT" => Some(libc::SIGABRT),
        "POLL" => Some(libc::SIGIO),
        _ => realtime(name).or_else(|| format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)),
    };
    match number {
        Some(number) => Ok(number),
        None => bail!("unknown signal {text}"),
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX-n` and `RTMAX`, counted as the C library does.
fn realtime(name: &str) -> Option<i32> {
    let (min, max) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let offset = |text: &str, sign: char| match text.strip_prefix(sign) {
        None => text.is_empty().then_some(0),
        Some(digits) => digits.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => min + offset(rest, '+')?,
        None => max - offset(name.strip_prefix("RTMAX")?, '-')?,
    };
    (min..=max).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        let good = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("Hup", 1),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("SIGCLD", libc::SIGCHLD),
            ("IOT", libc::SIGABRT),
            ("sigpoll", libc::SIGIO),
            ("STKFLT", libc::SIGSTKFLT),
            ("PWR", libc::SIGPWR),
            ("WINCH", libc::SIGWINCH),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("RTMAX", 64),
            ("RTMIN+30", 64),
        ];
        for (text, number) in good {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_named() {
        for text in ["", "SIG", "65", "-9", "-1", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN+", "FOO", "SIGSIGTERM", "9x"]
        {
            let error = parse_signal(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("unknown signal {text}")), "{error}");
        }
    }
}
