//! Addresses of hosts, as the system's own resolver finds them.
//!
//! This program is one static binary, and glibc's resolver loads libraries of its own version: getent(1), which comes
//! with the libc of the host, asks in our place.

use crate::sys::{Call, process};
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// The first address of a host.
///
/// # Errors
/// A host that nobody knows, or no getent to ask.
pub fn lookup(host: &str) -> Result<IpAddr> {
    ensure!(!host.starts_with('-'), "{host} is not the name of a host");
    let mut command = Command::new("getent");
    command.args(["ahosts", host]).stdin(Stdio::null());
    process::with_default_signals(&mut command);
    let output = command
        .output()
        .call(|| "exec getent".into())
        .with_context(|| format!("look up the host {host} (an address can be given instead)"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().next().and_then(|word| word.parse().ok()).with_context(|| format!("no such host: {host}"))
}
