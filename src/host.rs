//! Facts about the machine and about ourselves, as a plain struct that tests construct.

use crate::sys::{self, Call, Errno};
use anyhow::Context;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where every distribution mounts its cgroups.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// `PROC_USER_INIT_INO` of `<linux/proc_ns.h>`: the inode number of the initial user namespace, a constant of the ABI.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What planning may depend on.
#[derive(Debug, Clone)]
pub struct Host {
    /// Major and minor version of the running kernel.
    pub kernel: (u32, u32),
    pub uid: u32,
    pub gid: u32,
    /// The runtime's own user namespace is not the initial one.
    pub in_user_namespace: bool,
    /// The systemd to ask is the user's own and not the machine's.
    pub has_user_systemd: bool,
    pub cgroup: CgroupMode,
    /// Where cgroups are mounted.
    pub cgroup_root: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMode {
    /// One cgroup2 tree at the root.
    Unified,
    /// v1 hierarchies (names of the directories below the root), possibly with a cgroup2 at `unified`.
    Legacy {
        hierarchies: Vec<String>,
        hybrid: bool,
    },
    None,
}

impl Host {
    /// Asks the kernel.
    pub fn probe() -> anyhow::Result<Host> {
        let release = sys::kernel::release().call(|| "uname".into())?;
        let cgroup_root = PathBuf::from(CGROUP_ROOT);
        let uid = nix::unistd::geteuid().as_raw();
        let in_user_namespace = in_user_namespace()?;
        Ok(Host {
            kernel: version(&release).with_context(|| format!("read kernel version {release:?}"))?,
            uid,
            gid: nix::unistd::getegid().as_raw(),
            in_user_namespace,
            has_user_systemd: uid != 0 || in_user_namespace && acts_for_user()?,
            cgroup: CgroupMode::probe(&cgroup_root)?,
            cgroup_root,
        })
    }
}

/// `6.1` of `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Compares the namespace itself and not its mappings: root's own nested namespace may map all ids to themselves.
fn in_user_namespace() -> anyhow::Result<bool> {
    match nix::sys::stat::stat("/proc/self/ns/user") {
        Ok(stat) => Ok(stat.st_ino != INITIAL_USER_NAMESPACE),
        // A kernel without user namespaces.
        Err(Errno::ENOENT) if Path::new("/proc/self/ns").exists() => Ok(false),
        Err(errno) => Err(errno).call(|| "stat /proc/self/ns/user".into()),
    }
}

/// Root only in a user namespace that a user made: /run is then the user's of the host. As in runc, `USER=root` says
/// that it is not.
pub fn acts_for_user() -> anyhow::Result<bool> {
    const INITIAL: [&str; 3] = ["0", "0", "4294967295"];
    if std::env::var_os("USER").is_some_and(|user| user == "root") {
        return Ok(false);
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    Ok(!map.split_ascii_whitespace().eq(INITIAL))
}

impl CgroupMode {
    fn probe(root: &Path) -> anyhow::Result<CgroupMode> {
        match statfs(root) {
            Ok(fs) if fs.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(CgroupMode::Unified),
            Ok(_) => CgroupMode::list(root),
            Err(Errno::ENOENT) => Ok(CgroupMode::None),
            Err(errno) => Err(errno).call(|| format!("statfs {}", root.display())),
        }
    }

    /// The hierarchies by their mount points. A link such as `cpu` is a second name of one (`cpu,cpuacct`).
    fn list(root: &Path) -> anyhow::Result<CgroupMode> {
        let list = || format!("list {}", root.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::open(root, flags, Mode::empty()).call(list)?;
        let entries = dir.iter().collect::<nix::Result<Vec<_>>>().call(list)?;
        let device = fstat(&dir).call(list)?.st_dev;
        let is_mount = |name: &CStr| -> anyhow::Result<bool> {
            let stat = fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .call(|| format!("stat {}/{}", root.display(), name.to_string_lossy()))?;
            Ok(stat.st_dev != device)
        };
        // Something else may be mounted over a hierarchy, to hide it.
        let kind = |name: &[u8]| statfs(&root.join(OsStr::from_bytes(name))).map(|stat| stat.filesystem_type()).ok();
        let (mut hierarchies, mut hybrid) = (Vec::new(), false);
        for entry in entries {
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                _ if entry.file_type() != Some(nix::dir::Type::Directory) => {}
                // A mount point that nothing is mounted on.
                _ if !is_mount(entry.file_name())? => {}
                b"unified" => hybrid = kind(b"unified") == Some(CGROUP2_SUPER_MAGIC),
                name if kind(name) == Some(TMPFS_MAGIC) => {}
                name => hierarchies.push(String::from_utf8_lossy(name).into_owned()),
            }
        }
        hierarchies.sort();
        let empty = hierarchies.is_empty() && !hybrid;
        Ok(if empty { CgroupMode::None } else { CgroupMode::Legacy { hierarchies, hybrid } })
    }
}

#[cfg(test)]
impl Host {
    /// A machine as most are: root, a recent kernel, cgroup v2.
    pub fn example() -> Host {
        Host {
            kernel: (6, 1),
            uid: 0,
            gid: 0,
            in_user_namespace: false,
            has_user_systemd: false,
            cgroup: CgroupMode::Unified,
            cgroup_root: PathBuf::from(CGROUP_ROOT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.14-rc1"), Some((5, 14)));
        assert_eq!(version("6.18.5+"), Some((6, 18)));
        assert_eq!(version("banana"), None);
    }

    #[test]
    fn probe_agrees_with_proc() {
        let host = Host::probe().unwrap();
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        if !host.in_user_namespace {
            assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
        }
        if let CgroupMode::Legacy { hierarchies, .. } = &host.cgroup {
            assert!(!hierarchies.iter().any(|h| h == "unified"), "{hierarchies:?}");
            assert!(
                hierarchies.iter().all(|h| host.cgroup_root.join(h).join("cgroup.procs").exists()),
                "{hierarchies:?}"
            );
        }
    }

    #[test]
    fn a_missing_cgroup_directory_is_none() {
        assert_eq!(CgroupMode::probe(Path::new("/nonexistent/cgroup")).unwrap(), CgroupMode::None);
    }
}
