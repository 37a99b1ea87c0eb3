//! `checkpoint`: writes an image of a running container.

use super::args::{Flag, Matches, wrong_value};
use super::create::path;
use super::{CONTAINER_ID, Command, Globals};
use crate::runtime;
use crate::runtime::checkpoint::CheckpointArgs;
use crate::runtime::images::CgroupsMode;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

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

pub const IMAGE_PATH: Flag = Flag {
    name: "image-path",
    short: None,
    value: Some("DIR"),
    help: "Directory of the image (checkpoint in the current directory)",
};
pub const WORK_PATH: Flag =
    Flag { name: "work-path", short: None, value: Some("DIR"), help: "Directory for criu's log (that of the image)" };
pub const TCP_ESTABLISHED: Flag =
    Flag { name: "tcp-established", short: None, value: None, help: "Allow open TCP connections" };
pub const EXT_UNIX_SK: Flag =
    Flag { name: "ext-unix-sk", short: None, value: None, help: "Allow unix sockets with an end outside" };
pub const SHELL_JOB: Flag =
    Flag { name: "shell-job", short: None, value: None, help: "Allow a session or a terminal that is the caller's" };
pub const FILE_LOCKS: Flag =
    Flag { name: "file-locks", short: None, value: None, help: "Keep file locks, also those on files that others use" };
pub const MANAGE_CGROUPS_MODE: Flag = Flag {
    name: "manage-cgroups-mode",
    short: None,
    value: Some("MODE"),
    help: "What criu does with cgroups: soft (default), full, strict or ignore",
};
pub const EMPTY_NS: Flag = Flag {
    name: "empty-ns",
    short: None,
    value: Some("NAMESPACE"),
    help: "Make the namespace without what is in it: network, which is always so",
};
pub const AUTO_DEDUP: Flag =
    Flag { name: "auto-dedup", short: None, value: None, help: "Keep each page in one of several images only" };
pub const LAZY_PAGES: Flag =
    Flag { name: "lazy-pages", short: None, value: None, help: "Let memory follow when it is touched (userfaultfd)" };

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
    check_empty_namespaces(matches)?;
    let args = CheckpointArgs {
        id: matches.id()?.to_owned(),
        images: image_path(matches),
        work: path(matches, &WORK_PATH),
        parent: path(matches, &PARENT_PATH),
        leave_running: matches.is_set(&LEAVE_RUNNING),
        tcp_established: matches.is_set(&TCP_ESTABLISHED),
        tcp_skip_in_flight: matches.is_set(&TCP_SKIP_IN_FLIGHT),
        link_remap: matches.is_set(&LINK_REMAP),
        external_sockets: matches.is_set(&EXT_UNIX_SK),
        shell_job: matches.is_set(&SHELL_JOB),
        lazy_pages: matches.is_set(&LAZY_PAGES),
        status_fd: status_fd(matches)?,
        page_server: matches.text(&PAGE_SERVER)?.filter(|text| !text.is_empty()).map(page_server).transpose()?,
        file_locks: matches.is_set(&FILE_LOCKS),
        pre_dump: matches.is_set(&PRE_DUMP),
        cgroups: cgroups_mode(matches)?,
        auto_dedup: matches.is_set(&AUTO_DEDUP),
    };
    runtime::checkpoint::checkpoint(&globals.context()?, &args)?;
    Ok(0)
}

pub fn image_path(matches: &Matches) -> PathBuf {
    path(matches, &IMAGE_PATH).unwrap_or_else(|| "checkpoint".into())
}

pub fn cgroups_mode(matches: &Matches) -> Result<CgroupsMode> {
    Ok(match matches.text(&MANAGE_CGROUPS_MODE)? {
        None | Some("") => CgroupsMode::Default,
        Some("soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some("ignore") => CgroupsMode::Ignore,
        Some(mode) => {
            return Err(wrong_value(&MANAGE_CGROUPS_MODE, mode.as_ref(), "is not one of soft, full, strict, ignore"));
        }
    })
}

/// The network is the only one that criu leaves empty, and no image has more of it.
pub fn check_empty_namespaces(matches: &Matches) -> Result<()> {
    match matches.texts(&EMPTY_NS)?.into_iter().find(|kind| *kind != "network") {
        Some(kind) => bail!("namespace {kind:?} is not supported by --{}", EMPTY_NS.name),
        None => Ok(()),
    }
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
