//! The flags that `checkpoint` and `restore` share. Each has them at its own places among others, as runc does.

use super::args::{Flag, Matches, wrong_value};
use super::create::path;
use crate::runtime::images::{CgroupsMode, ImageArgs};
use anyhow::{Result, bail};

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
    value: Some("soft|full|strict|ignore"),
    help: "What criu does with cgroups (soft)",
};
pub const EMPTY_NS: Flag = Flag {
    name: "empty-ns",
    short: None,
    value: Some("network"),
    help: "Make the namespace without what is in it, which is always so",
};
pub const AUTO_DEDUP: Flag =
    Flag { name: "auto-dedup", short: None, value: None, help: "Keep each page in one of several images only" };
pub const LAZY_PAGES: Flag =
    Flag { name: "lazy-pages", short: None, value: None, help: "Let memory follow when it is touched (userfaultfd)" };

/// What the flags say.
pub fn image_args(matches: &Matches) -> Result<ImageArgs> {
    check_empty_namespaces(matches)?;
    Ok(ImageArgs {
        directory: path(matches, &IMAGE_PATH).unwrap_or_else(|| "checkpoint".into()),
        work: path(matches, &WORK_PATH),
        tcp_established: matches.is_set(&TCP_ESTABLISHED),
        external_sockets: matches.is_set(&EXT_UNIX_SK),
        shell_job: matches.is_set(&SHELL_JOB),
        file_locks: matches.is_set(&FILE_LOCKS),
        cgroups: cgroups_mode(matches)?,
        auto_dedup: matches.is_set(&AUTO_DEDUP),
        lazy_pages: matches.is_set(&LAZY_PAGES),
    })
}

fn cgroups_mode(matches: &Matches) -> Result<CgroupsMode> {
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
fn check_empty_namespaces(matches: &Matches) -> Result<()> {
    match matches.texts(&EMPTY_NS)?.into_iter().find(|kind| *kind != "network") {
        Some(kind) => bail!("namespace {kind:?} is not supported by --{}", EMPTY_NS.name),
        None => Ok(()),
    }
}
