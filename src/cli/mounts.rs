//! The flags that ask for mounts, which `create`, `run` and `plan` share, and `mounts`, which shows a container's.

use super::args::{Flag, Matches};
use super::{CONTAINER_ID, Command, Globals, print};
use crate::runtime::mounts::mounts;
use crate::runtime::storage::MountFlags;
use anyhow::{Context as _, Result};
use serde::Serialize as _;

pub const COMMAND: Command = Command {
    name: "mounts",
    about: "Show a container's binds, volumes and tmpfs as JSON",
    details: "Keys and values are those of Mounts in docker inspect.",
    flags: &[],
    operands: &[CONTAINER_ID],
    run,
};

const VOLUME: Flag = Flag {
    name: "volume",
    short: Some('v'),
    value: Some("[SRC:]DST[:OPTS]"),
    help: "Mount a volume, or a directory of the host if SRC is a path (/… or ./…)",
};
const MOUNT: Flag = Flag {
    name: "mount",
    short: None,
    value: Some("type=…,src=…,dst=…"),
    help: "Mount a volume, a directory (type=bind) or a tmpfs",
};
const TMPFS: Flag = Flag { name: "tmpfs", short: None, value: Some("DST[:OPTS]"), help: "Mount a tmpfs" };
const VOLUMES_FROM: Flag = Flag {
    name: "volumes-from",
    short: None,
    value: Some("ID[:ro|rw]"),
    help: "Mount what another container has, in the same places",
};
const IMAGE_VOLUME: Flag = Flag {
    name: "image-volume",
    short: None,
    value: Some("DST"),
    help: "Mount an anonymous volume if nothing else is mounted there (VOLUME of an image)",
};

/// Each may be given several times.
pub const FLAGS: &[Flag] = &[VOLUME, MOUNT, TMPFS, VOLUMES_FROM, IMAGE_VOLUME];

/// What was given of them.
pub fn flags(matches: &Matches) -> Result<MountFlags> {
    let all = |flag| -> Result<Vec<String>> { Ok(matches.texts(flag)?.into_iter().map(str::to_owned).collect()) };
    Ok(MountFlags {
        volumes: all(&VOLUME)?,
        mounts: all(&MOUNT)?,
        tmpfs: all(&TMPFS)?,
        volumes_from: all(&VOLUMES_FROM)?,
        image_volumes: all(&IMAGE_VOLUME)?,
    })
}

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let mounts = mounts(&globals.context()?, matches.id()?)?;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    mounts
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        .context("write mounts as JSON")?;
    print(&(String::from_utf8(out).context("write mounts as JSON")? + "\n"))?;
    Ok(0)
}
