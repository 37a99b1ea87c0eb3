//! The payload of the test containers: a static binary that says what it finds around itself.
//!
//! `probe facts [QUESTION…]` prints one JSON object: the fixed facts and, under `answers`, one entry for each question
//! (`op:argument`, see `questions.rs`). The other subcommands are processes with a known behaviour.
//! It must work in any container: without /proc, without /dev, with a read-only root, under a seccomp filter.

mod attack;
mod facts;
mod grab;
mod questions;
mod raw;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use std::io::Write;
use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let rest = args.get(2..).unwrap_or_default();
    match args.get(1).map(String::as_str) {
        Some("facts") => facts::print(rest),
        Some("exit") => exit(number(rest.first())),
        Some("pause") => pause(),
        Some("write") => write(rest),
        Some("echo") => print_out(&rest.join(" ")),
        Some(attack @ ("spy" | "overwrite")) => {
            let attack = if attack == "spy" { attack::spy } else { attack::overwrite };
            attack(number(rest.first()) as u64);
            // Its neighbours may live on in its pid namespace.
            loop {
                nix::unistd::pause();
            }
        }
        Some("grab") => grab::grab(rest),
        Some("notify") => notify(rest),
        Some("touch-memory") => touch_memory(number(rest.first())),
        other => {
            eprintln!("probe: no such subcommand: {other:?}");
            exit(64);
        }
    }
}

fn number(text: Option<&String>) -> i32 {
    text.and_then(|t| t.parse().ok()).unwrap_or_else(|| {
        eprintln!("probe: not a number: {text:?}");
        exit(64)
    })
}

/// Prints a line and flushes it, so that a reader sees it while this process lives.
fn print_out(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// From now on no signal is lost: the first process of a pid namespace does not get those that it neither handles nor
/// blocks.
fn hold_signals() {
    let all = SigSet::all();
    if let Err(e) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None) {
        eprintln!("probe: sigprocmask: {e}");
        exit(70);
    }
}

/// Prints `ready`, then the number of each signal that comes in; exits 0 after SIGTERM and 3 after SIGINT.
fn pause() {
    hold_signals();
    print_out("ready");
    loop {
        let signal = raw::wait_for_signal();
        if signal == libc::SIGCHLD {
            continue;
        }
        print_out(&format!("signal {signal}"));
        match Signal::try_from(signal) {
            Ok(Signal::SIGTERM) => exit(0),
            Ok(Signal::SIGINT) => exit(3),
            _ => {}
        }
    }
}

/// `write PATH TEXT`: replaces the file's content.
fn write(args: &[String]) {
    let [path, text] = args else {
        eprintln!("probe: write PATH TEXT");
        exit(64);
    };
    if let Err(e) = std::fs::write(path, text) {
        eprintln!("probe: write {path}: {e}");
        exit(1);
    }
}

/// Touches that many MiB of memory, then prints `touched` and waits.
fn touch_memory(mib: i32) {
    let mut memory = vec![0u8; mib as usize * 1024 * 1024];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    hold_signals();
    print_out("touched");
    pause();
    drop(memory);
}

/// Tells `NOTIFY_SOCKET` that it is ready when the file is there, then waits.
fn notify(args: &[String]) {
    let [file] = args else {
        eprintln!("probe: notify FILE");
        exit(64);
    };
    while !std::path::Path::new(file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    hold_signals();
    let socket = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|s| s.send_to(b"STATUS=fine\nREADY=1\n", &socket));
    if let Err(e) = sent {
        eprintln!("probe: notify {socket}: {e}");
        exit(1);
    }
    pause();
}
