//! The mount API of Linux 5.2 to 5.12: detached trees, filesystem contexts, attributes by fd.

use super::check;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

pub const OPEN_TREE_CLONE: u32 = 1;
pub const AT_RECURSIVE: u32 = libc::AT_RECURSIVE as u32;
pub const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
pub const AT_SYMLINK_NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;

pub const MOUNT_ATTR_RDONLY: u64 = 0x01;
pub const MOUNT_ATTR_NOSUID: u64 = 0x02;
pub const MOUNT_ATTR_NODEV: u64 = 0x04;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x08;
/// Mask of the mutually exclusive access-time modes (0 is relatime).
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// The argument of `mount_setattr(2)`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr {
    pub attr_set: u64,
    pub attr_clr: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0 for no change.
    pub propagation: u64,
    /// The user namespace for `MOUNT_ATTR_IDMAP`, else 0.
    pub userns_fd: u64,
}

fn cstring(s: &[u8]) -> nix::Result<CString> {
    CString::new(s).map_err(|_| Errno::EINVAL)
}

fn owned(ret: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = check(ret)?;
    // SAFETY: the kernel has just returned this fd to us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `open_tree(2)`. With [`OPEN_TREE_CLONE`] the result is a detached mount (recursive with [`AT_RECURSIVE`]),
/// which disappears with its fd unless it is attached. The fd is always close-on-exec.
pub fn open_tree(dir: BorrowedFd, path: &[u8], flags: u32) -> nix::Result<OwnedFd> {
    let path = cstring(path)?;
    let flags = flags | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a NUL-terminated string that lives through the call; the kernel writes no memory of ours.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// `open_tree(2)` of the host path, resolved from the working directory.
pub fn open_tree_at_cwd(path: &[u8], flags: u32) -> nix::Result<OwnedFd> {
    // SAFETY: AT_FDCWD is valid for the lifetime of the process.
    open_tree(unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }, path, flags)
}

/// `open_tree_attr(2)` (Linux 6.15): [`open_tree`] with [`OPEN_TREE_CLONE`], and what [`mount_setattr`] does, in one call.
/// ENOSYS where the kernel does not know it, from the second time on without asking.
pub fn clone_tree_with(dir: BorrowedFd, path: &[u8], flags: u32, attr: &MountAttr) -> nix::Result<OwnedFd> {
    /// The same number on every architecture; the crate `libc` does not have it yet.
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Ordering::Relaxed) {
        return Err(Errno::ENOSYS);
    }
    let path = cstring(path)?;
    let flags = flags | OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a NUL-terminated string that lives through the call, `attr` a repr(C) struct of the size given; the
    // kernel only reads them.
    let tree = owned(unsafe {
        libc::syscall(
            SYS_OPEN_TREE_ATTR,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            attr as *const MountAttr,
            size_of::<MountAttr>(),
        )
    });
    if matches!(tree, Err(Errno::ENOSYS)) {
        UNKNOWN.store(true, Ordering::Relaxed);
    }
    tree
}

/// `move_mount(2)` of the mount `tree` onto what `target` refers to (both by fd, no path).
pub fn move_mount(tree: BorrowedFd, target: BorrowedFd) -> nix::Result<()> {
    const F_EMPTY_PATH: u32 = 0x04;
    const T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: both paths are static NUL-terminated strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            F_EMPTY_PATH | T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// `mount_setattr(2)` on the mount that `mount` refers to; `flags` may be [`AT_RECURSIVE`].
pub fn mount_setattr(mount: BorrowedFd, flags: u32, attr: &MountAttr) -> nix::Result<()> {
    // SAFETY: `attr` is a repr(C) struct of the size given; the kernel only reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | flags,
            attr as *const MountAttr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// A filesystem context (`fsopen(2)`) under configuration.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// `fsopen(2)`: ENODEV if the kernel does not know the filesystem type.
    pub fn open(fstype: &str) -> nix::Result<FsContext> {
        let name = cstring(fstype.as_bytes())?;
        // SAFETY: `name` is NUL-terminated and outlives the call. FSOPEN_CLOEXEC is 1.
        let fd = owned(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1u32) })?;
        Ok(FsContext { fd })
    }

    /// `fspick(2)`: the context of the filesystem that is mounted at `mount`, for [`FsContext::reconfigure`].
    pub fn pick(mount: BorrowedFd) -> nix::Result<FsContext> {
        const FSPICK_CLOEXEC: u32 = 0x1;
        const FSPICK_EMPTY_PATH: u32 = 0x8;
        // SAFETY: the path is a static NUL-terminated string.
        let fd = owned(unsafe {
            libc::syscall(libc::SYS_fspick, mount.as_raw_fd(), c"".as_ptr(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)
        })?;
        Ok(FsContext { fd })
    }

    fn config(&self, command: u32, key: Option<&str>, value: Option<&[u8]>) -> nix::Result<()> {
        let key = key.map(|k| cstring(k.as_bytes())).transpose()?;
        let value = value.map(cstring).transpose()?;
        let pointer = |s: &Option<CString>| s.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
        // SAFETY: both pointers are null or NUL-terminated strings that outlive the call.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, self.fd.as_raw_fd(), command, pointer(&key), pointer(&value), 0)
        })
        .map(drop)
    }

    /// `fsconfig(FSCONFIG_SET_FLAG)`.
    pub fn set_flag(&self, key: &str) -> nix::Result<()> {
        self.config(0, Some(key), None)
    }

    /// `fsconfig(FSCONFIG_SET_STRING)`. The kernel takes values of at most 255 bytes.
    pub fn set_string(&self, key: &str, value: &[u8]) -> nix::Result<()> {
        self.config(1, Some(key), Some(value))
    }

    /// `fsconfig(FSCONFIG_CMD_CREATE)`.
    pub fn create(&self) -> nix::Result<()> {
        self.config(6, None, None)
    }

    /// `fsconfig(FSCONFIG_CMD_RECONFIGURE)`: applies the parameters to the filesystem of [`FsContext::pick`].
    pub fn reconfigure(&self) -> nix::Result<()> {
        self.config(7, None, None)
    }

    /// `fsmount(2)`: the new, detached mount with the `MOUNT_ATTR_*` given.
    pub fn mount(&self, attr: u64) -> nix::Result<OwnedFd> {
        // SAFETY: no pointers are passed. FSMOUNT_CLOEXEC is 1.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, self.fd.as_raw_fd(), 1u32, attr as u32) })
    }

    /// The kernel's own messages about this context, without their level prefix (`e `, `w `, `i `), joined by `; `.
    pub fn messages(&self) -> String {
        let mut lines = Vec::new();
        let mut buffer = [0u8; 512];
        while let Ok(n) = nix::unistd::read(self.fd.as_fd(), &mut buffer) {
            if n == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&buffer[..n]);
            let text = text.trim_end();
            lines.push(text.get(2..).unwrap_or(text).to_owned());
        }
        lines.join("; ")
    }
}
