//! Paths inside the container, as far as they can be judged without looking at the root filesystem.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The path as the container sees it: absolute, without `.`, `..` and double slashes. A relative path starts at `/`;
/// `..` at `/` stays there.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The path as it is to be resolved inside the root filesystem: absolute, without `.` and double slashes, but with every
/// `..` that follows a name. Where such a `..` leads depends on whether that name is a symbolic link, which the plan does
/// not see: only the kernel (`RESOLVE_IN_ROOT`) may take it away.
pub(super) fn resolvable(path: &Path) -> PathBuf {
    let mut kept = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => kept.push(name),
            // At the root it stays there.
            Component::ParentDir if kept.parent().is_some() => kept.push(".."),
            Component::ParentDir | Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    kept
}

/// Whether a `..` follows a name in the path.
pub(crate) fn climbs(path: &Path) -> bool {
    resolvable(path).components().any(|component| component == Component::ParentDir)
}

/// Whether `path` is strictly below `dir`. Both are clean, so that their bytes tell, which is much quicker.
pub(crate) fn is_beneath(path: &Path, dir: &Path) -> bool {
    let (path, dir) = (path.as_os_str().as_bytes(), dir.as_os_str().as_bytes());
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    path.strip_prefix(dir).is_some_and(|rest| rest.len() > 1 && rest[0] == b'/')
}

/// Whether a string holds a NUL byte, which no path or option can.
pub(crate) fn has_nul(text: &OsStr) -> bool {
    text.as_encoded_bytes().contains(&0)
}

/// What lxcfs and its like put over files of procfs.
const INSIDE_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
];

/// What is to be mounted, as far as `/proc` cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnProc {
    Procfs,
    /// May be procfs: that is seen when the source is open.
    Bind,
    Remount,
    Other,
}

/// Whether a clean path is `/proc` or below it.
pub(super) fn is_in_proc(target: &Path) -> bool {
    target.as_os_str() == "/proc" || is_beneath(target, Path::new("/proc"))
}

/// Keeps `/proc` what the runtime and the container take it for: a process that finds something else there writes its
/// LSM label nowhere (CVE-2019-16884, CVE-2025-52881). Paths only; whoever mounts checks what they resolve to.
pub(super) fn check_proc(target: &Path, what: OnProc) -> Result<(), &'static str> {
    let proc = Path::new("/proc");
    if target.as_os_str() == proc.as_os_str() {
        return match what {
            OnProc::Other => Err("only procfs may be mounted on /proc"),
            OnProc::Procfs | OnProc::Bind | OnProc::Remount => Ok(()),
        };
    }
    if is_beneath(target, proc) && !INSIDE_PROC.iter().any(|path| target == Path::new(path)) {
        return Err("nothing may be mounted inside /proc, except over the files that lxcfs replaces");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, wanted) in [
            ("/", "/"),
            ("", "/"),
            ("data", "/data"),
            ("./data//x/", "/data/x"),
            ("/a/../b", "/b"),
            ("/../../etc", "/etc"),
            ("a/../../etc/.", "/etc"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(wanted), "{path}");
        }
    }

    #[test]
    fn only_the_kernel_takes_away_what_may_follow_a_link() {
        for (path, wanted, climbs_up) in [
            ("/", "/", false),
            ("", "/", false),
            ("./data//x/", "/data/x", false),
            ("/../../up", "/up", false),
            ("/a/../b", "/a/../b", true),
            ("/a/..", "/a/..", true),
            ("/../a/./../..", "/a/../..", true),
        ] {
            assert_eq!(resolvable(Path::new(path)), Path::new(wanted), "{path}");
            assert_eq!(climbs(Path::new(path)), climbs_up, "{path}");
        }
    }

    #[test]
    fn beneath_goes_by_components() {
        assert!(is_beneath(Path::new("/a/b"), Path::new("/a")));
        assert!(is_beneath(Path::new("/a"), Path::new("/")));
        assert!(!is_beneath(Path::new("/a"), Path::new("/a")));
        assert!(!is_beneath(Path::new("/ab"), Path::new("/a")));
        assert!(!is_beneath(Path::new("/"), Path::new("/")));
        assert!(!is_beneath(Path::new("/a"), Path::new("/a/b")));
    }

    #[test]
    fn proc_is_kept() {
        use OnProc::*;
        for (target, what, allowed) in [
            ("/proc", Procfs, true),
            ("/proc", Bind, true),
            ("/proc", Remount, true),
            ("/proc", Other, false),
            ("/proc/sys", Bind, false),
            ("/proc/sys", Procfs, false),
            ("/proc/self/attr/exec", Bind, false),
            ("/proc/cpuinfo", Bind, true),
            ("/proc/cpuinfo/x", Bind, false),
            ("/proc/sys/kernel/ns_last_pid", Other, true),
            ("/procfs", Other, true),
            ("/", Other, true),
        ] {
            assert_eq!(check_proc(Path::new(target), what).is_ok(), allowed, "{target} {what:?}");
        }
    }
}
