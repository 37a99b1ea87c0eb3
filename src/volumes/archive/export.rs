//! Writing a volume's data as an archive: read by directory fd, no link followed.

use super::write::Writer;
use super::{Content, Device, Kind, Member, Watch};
use crate::rootfs::copy::{LINKS, xattrs};
use crate::sys::file::Inode;
use crate::sys::{Call, Errno};
use crate::volumes::walk::{Found, shown, walk};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, major, minor};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, lseek};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Writes all that is in the directory `data`, itself as `./`, to `out`. What the archive cannot hold, or what changed
/// while it was read, is told to `watch`.
pub fn export(data: BorrowedFd, out: &mut dyn Write, watch: &mut dyn Watch) -> Result<()> {
    let stat = fstat(data).call(|| "fstat the data".into())?;
    let out = Writer::new(BufWriter::with_capacity(256 << 10, out));
    let mut export = Export { out, links: HashMap::new(), kept: 0, watch, files: 0, bytes: 0 };
    let top = export.member(b"./".to_vec(), Kind::Directory, &stat, &Inode::Open(data))?;
    export.out.member(&top)?;
    walk(data, &mut |found| export.add(found))?;
    export.out.finish().map(drop)
}

struct Export<'a, W: Write> {
    out: Writer<W>,
    /// Where a file with several names is in the archive.
    links: HashMap<(libc::dev_t, libc::ino_t), Vec<u8>>,
    /// The memory that `links` takes, in bytes.
    kept: usize,
    watch: &'a mut dyn Watch,
    files: u64,
    bytes: u64,
}

impl<W: Write> Export<'_, W> {
    fn add(&mut self, found: &Found) -> Result<()> {
        self.files += 1;
        self.watch.progress(self.files, self.bytes);
        let path = [b"./", found.path].concat();
        if let Some(directory) = found.directory {
            let stat = fstat(directory).call(|| "fstat".into()).with_context(|| shown(found.path))?;
            let path = [path, b"/".to_vec()].concat();
            let member = self.member(path, Kind::Directory, &stat, &Inode::Open(directory))?;
            return self.out.member(&member);
        }
        match self.add_file(found, path).with_context(|| shown(found.path)) {
            Err(error) if crate::sys::errno_of(&error) == Some(Errno::ENOENT) => {
                self.watch.warn(format!("{}: was removed while the volume was read", shown(found.path)));
                Ok(())
            }
            added => added,
        }
    }

    fn add_file(&mut self, found: &Found, path: Vec<u8>) -> Result<()> {
        let named = fstatat(found.parent, found.name, AtFlags::AT_SYMLINK_NOFOLLOW).call(|| "fstatat".into())?;
        let id = (named.st_dev, named.st_ino);
        if named.st_nlink > 1 {
            if let Some(first) = self.links.get(&id) {
                let kind = Kind::HardLink(first.clone());
                return self.out.member(&plain(path, kind, &named));
            }
            self.kept += path.len() + 48;
            ensure!(self.kept <= LINKS, "the paths of files with several names take more than {LINKS} bytes of memory");
            self.links.insert(id, path.clone());
        }
        let device = || Device { major: major(named.st_rdev) as u32, minor: minor(named.st_rdev) as u32 };
        let kind = match named.st_mode & libc::S_IFMT {
            libc::S_IFREG => return self.add_regular(found, path),
            libc::S_IFLNK => {
                let target = readlinkat(found.parent, found.name).call(|| "readlinkat".into())?;
                Kind::Symlink(target.as_bytes().to_vec())
            }
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFCHR => Kind::Character(device()),
            libc::S_IFBLK => Kind::Block(device()),
            libc::S_IFSOCK => {
                self.watch.warn(format!("{}: socket ignored", shown(found.path)));
                return Ok(());
            }
            _ => {
                self.watch.warn(format!("{}: changed while the volume was read, left out", shown(found.path)));
                return Ok(());
            }
        };
        let inode = Inode::entry(found.parent, found.name).call(|| "name an entry".into())?;
        let member = self.member(path, kind, &named, &inode)?;
        self.out.member(&member)
    }

    fn member(&mut self, path: Vec<u8>, kind: Kind, stat: &FileStat, inode: &Inode) -> Result<Member> {
        let mut unreadable = Vec::new();
        let member = Member { xattrs: xattrs(inode, &mut unreadable)?, ..plain(path, kind, stat) };
        for attribute in unreadable {
            let (path, attribute) = (String::from_utf8_lossy(&member.path), attribute.to_string_lossy());
            self.watch.warn(format!("{path}: {attribute}: the attribute was left out"));
        }
        Ok(member)
    }

    fn add_regular(&mut self, found: &Found, path: Vec<u8>) -> Result<()> {
        // O_NONBLOCK: what was a file may be a FIFO by now.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(found.parent, found.name, flags, Mode::empty()).call(|| "openat".into())?;
        let stat = fstat(&file).call(|| "fstat".into())?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            self.watch.warn(format!("{}: changed while the volume was read, left out", shown(found.path)));
            return Ok(());
        }
        let size = stat.st_size.max(0) as u64;
        let kind = Kind::File(Content { size, extents: extents(&file, &stat)? });
        let member = self.member(path, kind, &stat, &Inode::Open(file.as_fd()))?;
        let file = std::fs::File::from(file);
        let mut read = |offset: u64, buffer: &mut [u8]| {
            use std::os::unix::fs::FileExt;
            let got = file.read_at(buffer, offset).call(|| "read".into())?;
            self.bytes += got as u64;
            self.watch.progress(self.files, self.bytes);
            Ok(got)
        };
        let missing = self.out.file(&member, &mut read)?;
        if missing > 0 {
            self.watch.warn(format!(
                "{}: became shorter while it was read: {missing} bytes are zeroes in the archive",
                shown(found.path)
            ));
        }
        Ok(())
    }
}

/// Where the data of a file is; `None` if it has no holes.
fn extents(file: &OwnedFd, stat: &FileStat) -> Result<Option<Vec<(u64, u64)>>> {
    if stat.st_blocks * 512 >= stat.st_size {
        return Ok(None);
    }
    let mut extents = Vec::new();
    let mut end = 0;
    while end < stat.st_size {
        let start = match lseek(file, end, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            // A filesystem that cannot tell.
            Err(Errno::EINVAL) => return Ok(None),
            Err(errno) => return Err(errno).call(|| "lseek SEEK_DATA".into()),
        };
        end = lseek(file, start, Whence::SeekHole).call(|| "lseek SEEK_HOLE".into())?.min(stat.st_size);
        if start < end {
            extents.push((start as u64, (end - start) as u64));
        }
    }
    let whole = [(0, stat.st_size as u64)];
    Ok((extents != whole).then_some(extents))
}

fn plain(path: Vec<u8>, kind: Kind, stat: &FileStat) -> Member {
    Member {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
        xattrs: Vec::new(),
    }
}
