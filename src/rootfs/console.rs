//! The container's terminal: its own `ptmx`, and a pty slave as `/dev/console`.

use super::{Root, Umask, target};
use crate::plan::mounts::Symlinks;
use crate::sys::mount::{AT_EMPTY_PATH, OPEN_TREE_CLONE, move_mount, open_tree};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::fstatfs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where a terminal stands in the container.
pub(super) const CONSOLE: &str = "/dev/console";

/// `f_type` of devpts.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Opens `/dev/pts/ptmx` below the container's root, which has to be on a devpts: a pty made from it has its slave there.
pub fn open_ptmx(root: BorrowedFd) -> Result<OwnedFd> {
    let pts = target::open(root, Path::new("/dev/pts"), Symlinks::Refuse).call(|| "openat2 /dev/pts".into())?;
    let kind = fstatfs(&pts).call(|| "fstatfs /dev/pts".into())?.filesystem_type().0;
    ensure!(kind == DEVPTS_SUPER_MAGIC, "/dev/pts is not a devpts, so there can be no terminal");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let ptmx = openat(&pts, "ptmx", flags, Mode::empty()).call(|| "openat /dev/pts/ptmx".into())?;
    let stat = fstat(&ptmx).call(|| "fstat /dev/pts/ptmx".into())?;
    ensure!(
        stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(5, 2),
        "/dev/pts/ptmx is not the pty multiplexer"
    );
    Ok(ptmx)
}

impl Root {
    /// As [`open_ptmx`].
    pub fn open_ptmx(&self) -> Result<OwnedFd> {
        open_ptmx(self.dir.as_fd())
    }

    /// Binds the pty slave onto `/dev/console`, by fd on both sides: `/dev/pts/<n>` may be a trap (CVE-2025-52565), and
    /// so may be a link at `/dev/console` (CVE-2026-88264).
    pub fn bind_console(&self, slave: BorrowedFd) -> Result<()> {
        let _umask = Umask::none();
        let (parent, name) = target::open_parent(self.dir.as_fd(), Path::new(CONSOLE), Symlinks::Follow)
            .context("make /dev for the console")?;
        let make = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        match openat(&parent, name, make, Mode::from_bits_truncate(0o620)) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).call(|| "create /dev/console".into()),
        }
        let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let console = openat(&parent, name, look, Mode::empty()).call(|| "openat /dev/console".into())?;
        let kind = fstat(&console).call(|| "fstat /dev/console".into())?.st_mode & libc::S_IFMT;
        ensure!(matches!(kind, libc::S_IFREG | libc::S_IFCHR), "/dev/console is neither a file nor a device");
        let tree = open_tree(slave, b"", OPEN_TREE_CLONE | AT_EMPTY_PATH).call(|| "open_tree the pty".into())?;
        move_mount(tree.as_fd(), console.as_fd()).call(|| "move_mount onto /dev/console".into())
    }
}
