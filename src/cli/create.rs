//! `create`: makes a container from a bundle; its process waits for `start`.

use super::args::{Flag, Matches, wrong_value};
use super::{CONTAINER_ID, Command, Globals, mounts};
use crate::runtime::{self, CreateArgs};
use anyhow::Result;
use std::path::PathBuf;

pub const COMMAND: Command = Command {
    name: "create",
    about: "Create a container from a bundle",
    details: "\
The bundle is a directory with a config.json and, mostly, a root filesystem.
When this command returns, the container's process is there, confined and ready;
it runs the program of config.json at 'start'.",
    flags: &[FLAGS, mounts::FLAGS],
    operands: &[CONTAINER_ID],
    run,
};

pub const BUNDLE: Flag = Flag {
    name: "bundle",
    short: Some('b'),
    value: Some("DIR"),
    help: "Directory of the bundle (the current directory)",
};
pub const CONSOLE_SOCKET: Flag = Flag {
    name: "console-socket",
    short: None,
    value: Some("PATH"),
    help: "Unix socket that is sent the terminal's master end",
};
pub const PIDFD_SOCKET: Flag = Flag {
    name: "pidfd-socket",
    short: None,
    value: Some("PATH"),
    help: "Unix socket that is sent a pidfd of the container's process",
};
pub const PID_FILE: Flag = Flag {
    name: "pid-file",
    short: None,
    value: Some("FILE"),
    help: "Write the pid of the container's process to this file",
};
pub const NO_PIVOT: Flag = Flag {
    name: "no-pivot",
    short: None,
    value: None,
    help: "Do without pivot_root, for a host whose root is an initramfs",
};
pub const NO_NEW_KEYRING: Flag = Flag {
    name: "no-new-keyring",
    short: None,
    value: None,
    help: "Keep the caller's session keyring instead of making one",
};
pub const PRESERVE_FDS: Flag = Flag {
    name: "preserve-fds",
    short: None,
    value: Some("N"),
    help: "Pass N more file descriptors, from 3 on, to the container's process",
};

/// Shared with `run`.
pub const FLAGS: &[Flag] = &[BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS];

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    runtime::create(&globals.context()?, &create_args(matches)?)?;
    Ok(0)
}

/// The path that a flag has; an empty one is none.
pub fn path(matches: &Matches, flag: &Flag) -> Option<PathBuf> {
    matches.value(flag).filter(|path| !path.is_empty()).map(PathBuf::from)
}

pub fn preserve_fds(matches: &Matches) -> Result<u32> {
    match matches.text(&PRESERVE_FDS)? {
        None => Ok(0),
        Some(n) => n.parse().map_err(|_| wrong_value(&PRESERVE_FDS, n.as_ref(), "is not a number of descriptors")),
    }
}

/// The flags of `create`, with which `run` begins too.
pub fn create_args(matches: &Matches) -> Result<CreateArgs> {
    let path = |flag| path(matches, flag);
    Ok(CreateArgs {
        id: matches.id()?.to_owned(),
        bundle: path(&BUNDLE).unwrap_or_else(|| ".".into()),
        console_socket: path(&CONSOLE_SOCKET),
        pid_file: path(&PID_FILE),
        pidfd_socket: path(&PIDFD_SOCKET),
        no_pivot: matches.is_set(&NO_PIVOT),
        no_new_keyring: matches.is_set(&NO_NEW_KEYRING),
        preserve_fds: preserve_fds(matches)?,
        mounts: mounts::flags(matches)?,
    })
}
