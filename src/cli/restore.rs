//! `restore`: a container from its bundle and an image.

use super::args::{Flag, Matches};
use super::create::{BUNDLE, CONSOLE_SOCKET, NO_PIVOT, PID_FILE, path};
use super::images::{
    AUTO_DEDUP, EMPTY_NS, EXT_UNIX_SK, FILE_LOCKS, IMAGE_PATH, LAZY_PAGES, MANAGE_CGROUPS_MODE, SHELL_JOB,
    TCP_ESTABLISHED, WORK_PATH, image_args,
};
use super::run::{DETACH, NO_SUBREAPER};
use super::{CONTAINER_ID, Command, Globals, mounts};
use crate::runtime::restore::RestoreArgs;
use crate::runtime::{self, CreateArgs};
use anyhow::{Result, bail};

pub const COMMAND: Command = Command {
    name: "restore",
    about: "Go on with a container from an image of 'checkpoint'",
    details: "\
The processes are made by criu(8), which has to be installed. Mounts, volumes and the
cgroup are made anew from the bundle, which has to be the container's own or like it.
In the foreground it is as with 'run'.",
    flags: &[FLAGS, mounts::FLAGS],
    operands: &[CONTAINER_ID],
    run,
};

const LSM_PROFILE: Flag = Flag {
    name: "lsm-profile",
    short: None,
    value: Some("TYPE:NAME"),
    help: "Restore with this LSM profile instead of the one in the image",
};
const LSM_MOUNT_CONTEXT: Flag = Flag {
    name: "lsm-mount-context",
    short: None,
    value: Some("CONTEXT"),
    help: "Restore with this SELinux context of the mounts instead of the one in the image",
};

const FLAGS: &[Flag] = &[
    BUNDLE,
    CONSOLE_SOCKET,
    PID_FILE,
    DETACH,
    NO_SUBREAPER,
    NO_PIVOT,
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    EXT_UNIX_SK,
    SHELL_JOB,
    FILE_LOCKS,
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
    LAZY_PAGES,
    LSM_PROFILE,
    LSM_MOUNT_CONTEXT,
];

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let text = |flag| Ok::<_, anyhow::Error>(matches.text(flag)?.filter(|text| !text.is_empty()).map(String::from));
    let args = RestoreArgs {
        create: CreateArgs {
            id: matches.id()?.to_owned(),
            bundle: path(matches, &BUNDLE).unwrap_or_else(|| ".".into()),
            console_socket: path(matches, &CONSOLE_SOCKET),
            pid_file: path(matches, &PID_FILE),
            no_pivot: matches.is_set(&NO_PIVOT),
            mounts: mounts::flags(matches)?,
            ..CreateArgs::default()
        },
        image: image_args(matches)?,
        detach: matches.is_set(&DETACH),
        no_subreaper: matches.is_set(&NO_SUBREAPER),
        lsm_profile: text(&LSM_PROFILE)?,
        lsm_mount_context: text(&LSM_MOUNT_CONTEXT)?,
    };
    if args.create.console_socket.is_some() && !args.detach {
        bail!("--{} needs --detach: in the foreground the terminal is this one", CONSOLE_SOCKET.name);
    }
    runtime::restore::restore(&globals.context()?, &args)
}
