//! Keeps the runtime's binary out of the container's reach (CVE-2019-5736).
//!
//! Init is a fork of the runtime, so until it executes the program `/proc/<init>/exe` is the runtime's binary, and a
//! program `#!/proc/self/exe` even executes it. Commands that make a process inside a container therefore run from a
//! file that nobody can open for writing: the binary through a detached read-only mount, or a sealed copy in memory.

use crate::sys::mount::{MOUNT_ATTR_RDONLY, MountAttr, OPEN_TREE_CLONE, mount_setattr, open_tree_at_cwd};
use crate::sys::{Call, Errno, exec};
use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

const SELF: &str = "/proc/self/exe";

/// The detached mount that the running binary was executed from, if it was.
///
/// Whoever closes a detached mount last waits for an RCU grace period of the kernel, 10 µs to a millisecond. So the mount
/// stays open across the execve, the runtime closes it when it waits for something anyhow, and a child closes it before.
#[derive(Debug)]
pub struct Seal(Option<OwnedFd>);

impl Seal {
    /// For a child, which closes it.
    pub fn fd(&self) -> Option<RawFd> {
        self.0.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// Returns when the running binary cannot be written through `/proc/self/exe`; executes itself from such a place first
/// where it can. To be called before anything else is opened.
///
/// `more` is one more variable (`NAME=value`) for the environment of that execution.
pub fn ensure(more: Option<String>) -> Result<Seal> {
    if statvfs(SELF).call(|| format!("statfs {SELF}"))?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(Seal(exec::take_executed_mount()));
    }
    execute_sealed(more)
}

/// Executes the binary from a read-only mount or from a sealed copy, unless it is that copy. With the feature
/// `early-seal`, `sys/early_seal.rs` has mostly done it before `main`.
#[cold]
fn execute_sealed(more: Option<String>) -> Result<Seal> {
    let place = match read_only_mount() {
        // Without CAP_SYS_ADMIN there is no detached mount; nor one of a file in memory.
        Err(Errno::EPERM | Errno::EINVAL) => {
            let binary =
                open(SELF, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).call(|| format!("open {SELF}"))?;
            if is_sealed(&binary) {
                return Ok(Seal(None));
            }
            sealed_copy(binary)?
        }
        result => result.call(|| format!("open_tree {SELF}"))?,
    };
    let strings = |list: Vec<Vec<u8>>| -> Result<Vec<CString>> {
        list.into_iter().map(|s| CString::new(s).context("a NUL in the command line")).collect()
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect())?;
    let variables =
        std::env::vars_os().map(|(name, value)| [name.into_vec(), b"=".to_vec(), value.into_vec()].concat());
    let env = strings(variables.chain(more.map(String::into_bytes)).collect())?;
    let Err(errno) = exec::execve_fd(place.as_fd(), &args, &env);
    bail!("execute the sealed binary: {errno}")
}

/// A detached mount of the binary's file, read-only. It dies with its last fd, but stays read-only for those who have
/// executed it.
fn read_only_mount() -> nix::Result<OwnedFd> {
    let tree = open_tree_at_cwd(SELF.as_bytes(), OPEN_TREE_CLONE)?;
    mount_setattr(tree.as_fd(), 0, &MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() })?;
    // It stays open across the execve: see `Seal`.
    fcntl(&tree, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(tree)
}

const SEALS: SealFlag =
    SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

fn is_sealed(file: &OwnedFd) -> bool {
    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SEALS))
}

fn sealed_copy(binary: OwnedFd) -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = match memfd_create("rvol-runc", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        // Kernels before 6.3 do not know the flag, and make every memfd executable.
        Err(Errno::EINVAL) => memfd_create("rvol-runc", flags),
        result => result,
    };
    let mut copy = std::fs::File::from(copy.call(|| "memfd_create".into())?);
    std::io::copy(&mut std::fs::File::from(binary), &mut copy).call(|| "copy the binary into memory".into())?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS)).call(|| "fcntl F_ADD_SEALS".into())?;
    Ok(copy.into())
}
