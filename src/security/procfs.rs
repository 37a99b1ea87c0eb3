//! A procfs that nobody but us can mount over (defence D3).
//!
//! Owns how files of `/proc` are reached from inside the container: through the root fd of a procfs mounted for this
//! purpose and attached nowhere, with openat2 beneath it and no links and no mounts crossed. So neither an image's
//! `/proc` nor a mount raced over `/proc/self/attr/exec` (CVE-2019-16884, CVE-2025-52881) can turn a write into one to
//! another file. Knows nothing of what the files mean.
//!
//! A handle shows the pid namespace that its maker is in, so it is made after that namespace is entered. Nothing is
//! opened before the first use.

use crate::sys::mount::{self, FsContext};
use crate::sys::path::open_beneath;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where a handle comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A mount of our own, else what `/proc` shows.
    Private,
    /// The `/proc` of the runtime's own mount namespace.
    Host,
}

/// Handles on procfs, opened when first needed. One belongs to one process: it is not carried over a fork.
#[derive(Debug)]
pub struct Procfs {
    source: Source,
    /// Processes only (`subset=pid`).
    processes: OnceCell<OwnedFd>,
    /// Everything, `/proc/sys` included.
    full: OnceCell<OwnedFd>,
    /// What the links `self` and `thread-self` say.
    own: OnceCell<(String, String)>,
}

impl Procfs {
    /// For a process in the container's namespaces: a private procfs, or where the kernel refuses one (rootless,
    /// nested) the `/proc` that is there, checked. No syscall is made yet.
    pub fn open() -> Result<Procfs> {
        Ok(Procfs::from(Source::Private))
    }

    /// For the runtime in the host's mount namespace, where `/proc` is trusted. No syscall is made yet.
    pub fn host() -> Procfs {
        Procfs::from(Source::Host)
    }

    fn from(source: Source) -> Procfs {
        Procfs { source, processes: OnceCell::new(), full: OnceCell::new(), own: OnceCell::new() }
    }

    /// Opens a file given by its path below `/proc`, such as `thread-self/attr/exec` or `sys/kernel/hostname`.
    /// `self` and `thread-self` are the only links that may stand in it, and only at its front.
    pub fn open_file(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        let root = self.root(path)?;
        let real = self.resolve(root, path)?;
        open_beneath(root, &real, flags).call(|| format!("open /proc/{path}"))
    }

    /// Writes `value` with one write(2), as the attribute files of procfs want it.
    pub fn write(&self, path: &str, value: &[u8]) -> Result<()> {
        let file = self.open_file(path, OFlag::O_WRONLY)?;
        let shown = || String::from_utf8_lossy(value).trim_end().to_owned();
        let count = nix::unistd::write(&file, value).call(|| format!("write {:?} to /proc/{path}", shown()))?;
        ensure!(count == value.len(), "write {:?} to /proc/{path}: only {count} bytes were taken", shown());
        Ok(())
    }

    /// Reads a whole file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.open_file(path, OFlag::O_RDONLY)?;
        let mut content = Vec::new();
        let mut buffer = [0u8; 1024];
        loop {
            match nix::unistd::read(&file, &mut buffer) {
                Ok(0) => return Ok(content),
                Ok(n) => content.extend_from_slice(&buffer[..n]),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e).call(|| format!("read /proc/{path}")),
            }
        }
    }

    /// Writes a sysctl; `key` is the file's path below `/proc/sys`, with slashes.
    pub fn write_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.write(&format!("sys/{key}"), value.as_bytes()).with_context(|| format!("set sysctl {key}"))
    }

    fn root(&self, path: &str) -> Result<BorrowedFd<'_>> {
        // The full handle shows processes too.
        let cell = if path.starts_with("sys/") || self.full.get().is_some() { &self.full } else { &self.processes };
        if let Some(fd) = cell.get() {
            return Ok(fd.as_fd());
        }
        let fd = match self.source {
            Source::Private => private(std::ptr::eq(cell, &self.processes))?,
            Source::Host => checked(open_path().call(|| "open /proc".into())?)?,
        };
        Ok(cell.get_or_init(|| fd).as_fd())
    }

    /// `path` with the numbers for a leading `self` or `thread-self`. The links are read from this procfs and not
    /// computed from getpid(2): it may show another pid namespace than the one we are in.
    fn resolve(&self, root: BorrowedFd, path: &str) -> Result<PathBuf> {
        let (link, rest) = path.split_once('/').unwrap_or((path, ""));
        if link != "self" && link != "thread-self" {
            return Ok(PathBuf::from(path));
        }
        if self.own.get().is_none() {
            let read = |name: &str| -> Result<String> {
                let link = nix::fcntl::readlinkat(root, name).call(|| format!("readlink /proc/{name}"))?;
                link.into_string().ok().with_context(|| format!("readlink /proc/{name}: not a number"))
            };
            // Cannot be set already.
            let _ = self.own.set((read("self")?, read("thread-self")?));
        }
        let (process, thread) = self.own.get().context("read /proc/self")?;
        Ok(Path::new(if link == "self" { process } else { thread }).join(rest))
    }
}

/// A procfs of our own, else the `/proc` that is there.
fn private(processes_only: bool) -> Result<OwnedFd> {
    match mount_detached(processes_only) {
        Ok(fd) => Ok(fd),
        // Without privileges, or where parts of the host's /proc are hidden from us (mount_too_revealing).
        Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::ENODEV) => checked(existing()?),
        Err(e) => Err(e).call(|| "mount a private procfs: fsopen proc".into()),
    }
}

fn mount_detached(processes_only: bool) -> nix::Result<OwnedFd> {
    let context = FsContext::open("proc")?;
    if processes_only {
        context.set_string("hidepid", b"ptraceable")?;
        context.set_string("subset", b"pid")?;
    }
    context.create()?;
    context.mount(mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC)
}

/// A clone of the mount at `/proc` without what is mounted on it. Where cloning is refused (no privileges, or locked
/// mounts on it) the mount itself: a file that is covered is then an error (EXDEV), never the wrong file.
fn existing() -> Result<OwnedFd> {
    match mount::open_tree_at_cwd(b"/proc", mount::OPEN_TREE_CLONE | mount::AT_SYMLINK_NOFOLLOW) {
        Ok(fd) => Ok(fd),
        Err(Errno::EPERM | Errno::EINVAL | Errno::ENOSYS) => open_path().call(|| "open /proc".into()),
        Err(e) => Err(e).call(|| "open_tree /proc".into()),
    }
}

fn open_path() -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open("/proc", flags, Mode::empty())
}

/// Refuses a `/proc` that is not the root of a procfs.
fn checked(fd: OwnedFd) -> Result<OwnedFd> {
    const PROC_ROOT_INODE: libc::ino_t = 1;
    let kind = fstatfs(&fd).call(|| "fstatfs /proc".into())?.filesystem_type();
    let inode = nix::sys::stat::fstat(&fd).call(|| "fstat /proc".into())?.st_ino;
    ensure!(kind == PROC_SUPER_MAGIC && inode == PROC_ROOT_INODE, "/proc is not the root of a procfs");
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::errno_of;

    fn comm(procfs: &Procfs, path: &str) -> String {
        String::from_utf8(procfs.read(path).unwrap()).unwrap()
    }

    #[test]
    fn reads_and_writes_through_every_source() {
        // The fallback is what `private` uses when fsopen is refused.
        let fallback = Procfs::host();
        fallback.processes.set(checked(existing().unwrap()).unwrap()).unwrap();
        for procfs in [Procfs::open().unwrap(), Procfs::host(), fallback] {
            procfs.write("thread-self/comm", b"renamed").unwrap();
            assert_eq!(comm(&procfs, "thread-self/comm"), "renamed\n");
            assert!(comm(&procfs, "self/status").contains(&format!("Tgid:\t{}\n", std::process::id())));
            assert!(!comm(&procfs, "sys/kernel/ostype").is_empty());
            // The full handle now serves processes as well.
            assert_eq!(comm(&procfs, "thread-self/comm"), "renamed\n");
        }
    }

    #[test]
    fn leaves_neither_the_mount_nor_the_directory() {
        let procfs = Procfs::open().unwrap();
        let refused = |path: &str| errno_of(&procfs.open_file(path, OFlag::O_PATH).unwrap_err());
        assert_eq!(refused("../etc/passwd"), Some(Errno::EXDEV));
        assert_eq!(refused("self/root/etc/passwd"), Some(Errno::ELOOP));
        assert_eq!(refused("self/exe"), Some(Errno::ELOOP));
        assert_eq!(refused("/etc/passwd"), Some(Errno::EXDEV));
        // Only processes are visible without a sysctl.
        assert_eq!(refused("version"), Some(Errno::ENOENT));
    }

    #[test]
    fn errors_name_the_file_and_the_value() {
        let procfs = Procfs::open().unwrap();
        let error = procfs.write("self/oom_score_adj", b"banana").unwrap_err();
        assert_eq!(format!("{error:#}"), "write \"banana\" to /proc/self/oom_score_adj: invalid argument (EINVAL)");
        let error = procfs.write_sysctl("net/nope", "1").unwrap_err();
        let text = "set sysctl net/nope: open /proc/sys/net/nope: no such file or directory (ENOENT)";
        assert_eq!(format!("{error:#}"), text);
    }

    #[test]
    fn a_directory_that_is_no_procfs_is_refused() {
        let root = nix::fcntl::open("/", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(checked(root).unwrap_err().to_string(), "/proc is not the root of a procfs");
        let inside = nix::fcntl::open("/proc/sys", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        assert!(checked(inside).is_err());
    }
}
