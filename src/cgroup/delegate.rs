//! The cgroup in the hands of the container's user (cgroup v2, cgroups(7) "delegation").

use crate::sys::{Call, Errno};
use anyhow::Result;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};
use std::os::fd::BorrowedFd;

const LIST: &str = "/sys/kernel/cgroup/delegate";
/// For kernels without the list (runtime-spec, "Cgroup ownership").
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Makes the host user `owner` the owner of the directory, and of the files that the kernel names for delegation.
pub fn give(cgroup: BorrowedFd, owner: u32) -> Result<()> {
    let list = match std::fs::read_to_string(LIST) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => FALLBACK.to_string(),
        text => text.call(|| format!("read {LIST}"))?,
    };
    let owner = Some(Uid::from_raw(owner));
    fchownat(cgroup, "", owner, None, AtFlags::AT_EMPTY_PATH).call(|| "fchownat the cgroup".into())?;
    for file in list.lines().filter(|name| !name.contains('/')) {
        match fchownat(cgroup, file, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e).call(|| format!("fchownat {file}")),
        }
    }
    Ok(())
}
