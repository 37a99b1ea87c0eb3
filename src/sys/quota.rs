//! Project quotas: the project that a directory belongs to (ioctl_fsxattr; linux/fs.h) and the limits of a project
//! (quotactl_fd(2), Linux 5.14; linux/dqblk_xfs.h, whose commands every filesystem takes).

use super::check;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// New files and directories belong to the project of the directory that they are made in.
const FS_XFLAG_PROJINHERIT: u32 = 0x0000_0200;

mod ioctl {
    use super::FsXattr;
    nix::ioctl_read!(fs_get_xattr, b'X', 31, FsXattr);
    nix::ioctl_write_ptr!(fs_set_xattr, b'X', 32, FsXattr);
}

/// `struct fs_disk_quota`. Blocks have 512 bytes.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fieldmask: u16,
    id: u32,
    blk_hardlimit: u64,
    blk_softlimit: u64,
    ino_hardlimit: u64,
    ino_softlimit: u64,
    bcount: u64,
    icount: u64,
    itimer: i32,
    btimer: i32,
    warns: [u16; 2],
    timers_high: [i8; 4],
    rtb: [u64; 3],
    rtbtimer: i32,
    rtbwarns: u16,
    padding3: i16,
    padding4: [u8; 8],
}

const FS_DQUOT_VERSION: i8 = 1;
const FS_PROJ_QUOTA: i8 = 1 << 1;
const FS_DQ_BSOFT: u16 = 1 << 2;
const FS_DQ_BHARD: u16 = 1 << 3;
const BLOCK: u64 = 512;

/// `QCMD(XQM_CMD(number), PRJQUOTA)`.
const fn project_command(number: u32) -> u32 {
    const PRJQUOTA: u32 = 2;
    ((((b'X' as u32) << 8) + number) << 8) | PRJQUOTA
}

const Q_XGETQUOTA: u32 = project_command(3);
const Q_XSETQLIM: u32 = project_command(4);

/// What a project has, in all directories of the filesystem together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub files: u64,
}

/// Puts a directory, and whatever is made in it from now on, into a project.
pub fn set_project(dir: BorrowedFd, project: u32) -> nix::Result<()> {
    let mut attributes = FsXattr::default();
    // SAFETY: the kernel fills a struct of this size and layout.
    unsafe { ioctl::fs_get_xattr(dir.as_raw_fd(), &mut attributes) }?;
    attributes.projid = project;
    attributes.xflags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the kernel reads a struct of this size and layout.
    unsafe { ioctl::fs_set_xattr(dir.as_raw_fd(), &attributes) }.map(drop)
}

/// The project that a directory belongs to.
pub fn project(dir: BorrowedFd) -> nix::Result<u32> {
    let mut attributes = FsXattr::default();
    // SAFETY: the kernel fills a struct of this size and layout.
    unsafe { ioctl::fs_get_xattr(dir.as_raw_fd(), &mut attributes) }?;
    Ok(attributes.projid)
}

/// The project's usage of the filesystem that `fd` is on; ENOENT where there is no such project, ESRCH or ENOSYS without
/// project quotas.
pub fn usage(fd: BorrowedFd, project: u32) -> nix::Result<Usage> {
    let mut quota = DiskQuota::default();
    quotactl(fd, Q_XGETQUOTA, project, &mut quota)?;
    Ok(Usage { bytes: quota.bcount * BLOCK, files: quota.icount })
}

/// Limits what a project may have on the filesystem that `fd` is on; 0 is no limit. Needs CAP_SYS_ADMIN.
pub fn set_limit(fd: BorrowedFd, project: u32, bytes: u64) -> nix::Result<()> {
    let mut quota = DiskQuota {
        version: FS_DQUOT_VERSION,
        flags: FS_PROJ_QUOTA,
        fieldmask: FS_DQ_BHARD | FS_DQ_BSOFT,
        id: project,
        blk_hardlimit: bytes / BLOCK,
        blk_softlimit: bytes / BLOCK,
        ..DiskQuota::default()
    };
    quotactl(fd, Q_XSETQLIM, project, &mut quota)
}

fn quotactl(fd: BorrowedFd, command: u32, project: u32, quota: &mut DiskQuota) -> nix::Result<()> {
    // SAFETY: both commands take a struct of this layout, which the kernel reads or fills.
    check(unsafe { libc::syscall(libc::SYS_quotactl_fd, fd.as_raw_fd(), command, project, std::ptr::from_mut(quota)) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_have_the_kernels_size() {
        assert_eq!((size_of::<FsXattr>(), size_of::<DiskQuota>()), (28, 112));
        assert_eq!((Q_XGETQUOTA, Q_XSETQLIM), (0x58_0302, 0x58_0402));
    }
}
