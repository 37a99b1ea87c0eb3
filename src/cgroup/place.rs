//! Where a container's cgroup is, for those who own only a part of the tree too.

use crate::host::{CgroupMode, Host};
use crate::plan::resources::{Cgroup, Place};
use crate::sys::Call;
use anyhow::{Context, Result, bail};
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use std::path::{Path, PathBuf};

/// The path below the hierarchies' roots, without a leading slash.
pub fn place(cgroup: &Cgroup, host: &Host, privileged: bool) -> Result<PathBuf> {
    let below_root = cgroup.path.strip_prefix("/").unwrap_or(&cgroup.path).to_path_buf();
    if privileged {
        return Ok(below_root);
    }
    let own = own_cgroup()?;
    let path = if cgroup.place == Place::Absolute {
        below_root
    } else {
        // Beside our own cgroup and not in it: a cgroup with processes can give no controllers to its children.
        own.parent().unwrap_or(Path::new("")).join(below_root)
    };
    may_move(host, &own, &path)?;
    Ok(path)
}

/// Our cgroup v2, without a leading slash.
fn own_cgroup() -> Result<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").call(|| "read /proc/self/cgroup".into())?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
    if path.split('/').any(|c| c == "..") {
        bail!("this process is in a cgroup outside of its cgroup namespace (/{path})");
    }
    Ok(path.into())
}

/// On v2 a process may be moved by who can write `cgroup.procs` of the nearest common parent (cgroups(7), delegation).
fn may_move(host: &Host, own: &Path, path: &Path) -> Result<()> {
    let root = match &host.cgroup {
        CgroupMode::Unified => host.cgroup_root.clone(),
        CgroupMode::Legacy { hybrid: true, .. } => host.cgroup_root.join("unified"),
        _ => return Ok(()),
    };
    let common: PathBuf = own.iter().zip(path.iter()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let file = root.join(common).join("cgroup.procs");
    faccessat(nix::fcntl::AT_FDCWD, &file, AccessFlags::W_OK, AtFlags::AT_EACCESS).call(|| format!("write {}", file.display())).with_context(
        || {
            format!(
                "a process cannot be moved from cgroup /{} to /{}; a delegated cgroup is needed (systemd-run --user --scope -p Delegate=yes)",
                own.display(),
                path.display()
            )
        },
    )
}
