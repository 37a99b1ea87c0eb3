//! Owner, mode, extended attributes and times of a copied file, in the order in which none undoes another.

use crate::sys::file::Inode;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// What belongs to a file besides its data and its names.
#[derive(Debug, Clone)]
pub struct Attributes {
    /// Uid and gid; `None`: whatever a new file gets.
    pub owner: Option<(u32, u32)>,
    /// The twelve bits.
    pub mode: u32,
    pub atime: TimeSpec,
    pub mtime: TimeSpec,
    pub xattrs: Vec<(CString, Vec<u8>)>,
    /// Extended attributes that could not be read.
    pub unreadable: Vec<CString>,
}

/// Root's powers that a program is given when it is executed (capabilities(7)), with the id of that root.
pub const FILE_CAPABILITY: &CStr = c"security.capability";

impl Attributes {
    /// Those of `stat`, with the extended attributes of the file.
    pub fn of(stat: &FileStat, file: &Inode) -> Result<Attributes> {
        let mut unreadable = Vec::new();
        Ok(Attributes {
            owner: Some((stat.st_uid, stat.st_gid)),
            mode: stat.st_mode & 0o7777,
            atime: TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
            mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            xattrs: xattrs(file, &mut unreadable)?,
            unreadable,
        })
    }

    /// Gives them to a file or directory that is open. Returns the extended attributes that were left out.
    pub fn apply(&self, to: BorrowedFd) -> Result<Vec<CString>> {
        // chown clears set-id bits and file capabilities; chmod changes the mask of an ACL.
        if let Some((uid, gid)) = self.owner {
            fchown(to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).call(|| format!("fchown {uid}:{gid}"))?;
        }
        fchmod(to, self.mode()).call(|| "fchmod".into())?;
        let left_out = self.set_xattrs(&Inode::Open(to))?;
        futimens(to, &self.atime, &self.mtime).call(|| "futimens".into())?;
        Ok(left_out)
    }

    /// As [`Attributes::apply`], for a link, device, FIFO or socket, by name.
    pub fn apply_to_entry(&self, to: BorrowedFd, name: &CStr, link: bool) -> Result<Vec<CString>> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
                .call(|| format!("fchownat {uid}:{gid}"))?;
        }
        if !link {
            // We have just made it, in a directory that only we can enter; with the bit, no link is followed all the same.
            fchmodat(to, name, self.mode(), FchmodatFlags::NoFollowSymlink).call(|| "fchmodat".into())?;
        }
        let left_out = match self.xattrs.is_empty() {
            true => self.unreadable.clone(),
            false => self.set_xattrs(&Inode::entry(to, name).call(|| "name an entry".into())?)?,
        };
        utimensat(to, name, &self.atime, &self.mtime, UtimensatFlags::NoFollowSymlink).call(|| "utimensat".into())?;
        Ok(left_out)
    }

    fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.mode)
    }

    fn set_xattrs(&self, to: &Inode) -> Result<Vec<CString>> {
        let mut left_out = self.unreadable.clone();
        for (name, value) in &self.xattrs {
            match to.set_xattr(name, value) {
                Ok(()) => {}
                Err(Errno::EOPNOTSUPP) => left_out.push(name.clone()),
                // trusted.* and security.* belong to the host's administrator; a label is given by the destination.
                Err(Errno::EPERM) if !name.to_bytes().starts_with(b"user.") => left_out.push(name.clone()),
                // A file capability of a root that our user namespace does not have.
                Err(Errno::EINVAL) if name.as_c_str() == FILE_CAPABILITY => left_out.push(name.clone()),
                Err(errno) => {
                    return Err(errno).call(|| "setxattr".into()).with_context(|| name.to_string_lossy().into_owned());
                }
            }
        }
        Ok(left_out)
    }
}

/// How many bytes the extended attributes of one file may have, names and values together. The kernel allows 64 KiB of
/// names, each with 64 KiB: some hundred megabytes.
pub const LARGEST_XATTRS: usize = 1 << 20;

/// All extended attributes of a file, ACLs among them. The names of those that can only be read in another user namespace
/// are added to `unreadable`.
pub fn xattrs(file: &Inode, unreadable: &mut Vec<CString>) -> Result<Vec<(CString, Vec<u8>)>> {
    let names = match file.xattr_names() {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        names => names.call(|| "listxattr".into())?,
    };
    let mut found = Vec::new();
    let mut total = 0;
    for name in names {
        match file.xattr(&name) {
            // Removed meanwhile.
            Err(Errno::ENODATA) => {}
            Err(Errno::EOVERFLOW) if name.as_c_str() == FILE_CAPABILITY => unreadable.push(name),
            value => {
                let value = value.call(|| "getxattr".into()).with_context(|| name.to_string_lossy().into_owned())?;
                total += name.count_bytes() + value.len();
                ensure!(total <= LARGEST_XATTRS, "the extended attributes have more than {LARGEST_XATTRS} bytes");
                found.push((name, value));
            }
        }
    }
    Ok(found)
}

/// Changes the ids of the users and groups that an ACL names (`linux/posix_acl_xattr.h`: a version of four bytes, then
/// entries of tag, permissions and id, little-endian).
pub fn map_acl(value: &mut [u8], uid: impl Fn(u32) -> u32, gid: impl Fn(u32) -> u32) {
    const USER: [u8; 2] = 0x02u16.to_le_bytes();
    const GROUP: [u8; 2] = 0x08u16.to_le_bytes();
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let mapped = match [entry[0], entry[1]] {
            USER => uid(id),
            GROUP => gid(id),
            _ => continue,
        };
        entry[4..].copy_from_slice(&mapped.to_le_bytes());
    }
}

/// Changes the id of the root that a file capability is for (`linux/capability.h`: a word with the revision, two words of
/// sets each, and from revision 3 on the id; before, it is 0). All words are little-endian.
pub fn map_capability(value: &mut Vec<u8>, uid: impl Fn(u32) -> u32) {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    let root = match (value.get(3), value.len()) {
        (Some(&REVISION_2), 20) => 0,
        (Some(&REVISION_3), 24) => u32::from_le_bytes([value[20], value[21], value[22], value[23]]),
        _ => return,
    };
    let mapped = uid(root);
    if mapped == root {
        return;
    }
    value.truncate(20);
    value[3] = REVISION_2;
    if mapped != 0 {
        value[3] = REVISION_3;
        value.extend(mapped.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_capabilities_follow_their_root() {
        let with = |revision: u8, root: Option<u32>| {
            let sets = [1, 0, 0, revision, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            [sets.to_vec(), root.map(|root| root.to_le_bytes().to_vec()).unwrap_or_default()].concat()
        };
        let cases = [
            (with(3, Some(200_000)), with(2, None)),
            (with(3, Some(200_005)), with(3, Some(5))),
            (with(3, Some(7)), with(3, Some(7))),
            (with(2, None), with(2, None)),
            (vec![1, 2], vec![1, 2]),
        ];
        for (mut value, expected) in cases {
            map_capability(&mut value, |id| id.checked_sub(200_000).unwrap_or(id));
            assert_eq!(value, expected);
        }
        let mut value = with(2, None);
        map_capability(&mut value, |_| 1000);
        assert_eq!(value, with(3, Some(1000)));
    }
}
