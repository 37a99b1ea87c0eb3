//! `checkpoint`: writes an image of a running container.

use super::args::{Flag, Matches, wrong_value};
use super::create::path;
use super::images::{
    AUTO_DEDUP, EMPTY_NS, EXT_UNIX_SK, FILE_LOCKS, IMAGE_PATH, LAZY_PAGES, MANAGE_CGROUPS_MODE, SHELL_JOB,
    TCP_ESTABLISHED, WORK_PATH, image_args,
};
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use crate::runtime::checkpoint::CheckpointArgs;
use anyhow::{Context as _, Result, bail};

pub const COMMAND: Command = Command {
    name: "checkpoint",
    about: "Write an image of a running container, for 'restore'",
    details: "\
The processes are written to a directory by criu(8), which has to be installed, and
the container is deleted, unless it is left running. What its volumes and binds
hold is not in the image.",
    flags: &[FLAGS],
    operands: &[CONTAINER_ID],
    run,
};

const PARENT_PATH: Flag = Flag {
    name: "parent-path",
    short: None,
    value: Some("DIR"),
    help: "Earlier image, of --pre-dump, by its path from --image-path",
};
const LEAVE_RUNNING: Flag =
    Flag { name: "leave-running", short: None, value: None, help: "Let the container go on afterwards" };
const TCP_SKIP_IN_FLIGHT: Flag = Flag {
    name: "tcp-skip-in-flight",
    short: None,
    value: None,
    help: "Leave out TCP connections that are being made",
};
const LINK_REMAP: Flag = Flag {
    name: "link-remap",
    short: None,
    value: None,
    help: "Link open files that are unlinked back into the filesystem",
};
const STATUS_FD: Flag = Flag {
    name: "status-fd",
    short: None,
    value: Some("FD"),
    help: "Descriptor that gets a zero byte when --lazy-pages is ready",
};
const PAGE_SERVER: Flag =
    Flag { name: "page-server", short: None, value: Some("ADDRESS:PORT"), help: "Send the memory to this page server" };
const PRE_DUMP: Flag =
    Flag { name: "pre-dump", short: None, value: None, help: "Write the memory only, and let the container go on" };

const FLAGS: &[Flag] = &[
    IMAGE_PATH,
    WORK_PATH,
    PARENT_PATH,
    LEAVE_RUNNING,
    TCP_ESTABLISHED,
    TCP_SKIP_IN_FLIGHT,
    LINK_REMAP,
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    STATUS_FD,
    PAGE_SERVER,
    FILE_LOCKS,
    PRE_DUMP,
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
];

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let args = CheckpointArgs {
        id: matches.id()?.to_owned(),
        image: image_args(matches)?,
        parent: path(matches, &PARENT_PATH),
        leave_running: matches.is_set(&LEAVE_RUNNING),
        tcp_skip_in_flight: matches.is_set(&TCP_SKIP_IN_FLIGHT),
        link_remap: matches.is_set(&LINK_REMAP),
        status_fd: status_fd(matches)?,
        page_server: matches.text(&PAGE_SERVER)?.filter(|text| !text.is_empty()).map(page_server).transpose()?,
        pre_dump: matches.is_set(&PRE_DUMP),
    };
    runtime::checkpoint::checkpoint(&globals.context()?, &args)?;
    Ok(0)
}

/// -1 is runc's default, and none.
fn status_fd(matches: &Matches) -> Result<Option<i32>> {
    let Some(text) = matches.text(&STATUS_FD)? else { return Ok(None) };
    let number: i32 =
        text.parse().map_err(|_| wrong_value(&STATUS_FD, text.as_ref(), "is not the number of a descriptor"))?;
    if number != -1 && !matches.is_set(&LAZY_PAGES) {
        bail!("--{} needs --{}", STATUS_FD.name, LAZY_PAGES.name);
    }
    Ok((number != -1).then_some(number))
}

fn page_server(text: &str) -> Result<(String, u16)> {
    let (address, port) = text
        .rsplit_once(':')
        .filter(|(address, port)| !address.is_empty() && !port.is_empty())
        .context("Use --page-server ADDRESS:PORT to specify page server")?;
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let port = port.parse().ok().filter(|port| *port != 0).context("Invalid port number")?;
    Ok((address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        assert_eq!(page_server("10.0.0.1:77").unwrap(), ("10.0.0.1".into(), 77));
        assert_eq!(page_server("[::1]:77").unwrap(), ("::1".into(), 77));
        for bad in ["10.0.0.1", ":77", "host:", "host:0", "host:99999", "host:x"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }
}
