//! Unpacking an archive into an empty directory that nobody else can see.
//!
//! Every name is resolved beneath that directory by fd and through no link, whatever the archive says: a member that is
//! absolute, that goes up, or in whose way a link stands is an error.

use super::read::Reader;
use super::{Content, Device, Kind, Member, Watch};
use crate::rootfs::copy::Attributes;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, makedev, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, ftruncate, geteuid, linkat, symlinkat, unlinkat};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Unpacks everything. What could not be kept is told to `watch`. After an error the directory holds a part.
pub fn import(input: &mut dyn Read, data: BorrowedFd, watch: &mut dyn Watch) -> Result<()> {
    let mut reader = Reader::new(std::io::BufReader::with_capacity(256 << 10, input));
    let mut import = Import {
        data,
        near: None,
        directories: BTreeMap::new(),
        owners: geteuid().is_root(),
        foreign: 0,
        buffer: vec![0; 128 << 10],
        watch,
        files: 0,
        bytes: 0,
    };
    while let Some(member) = reader.next()? {
        let name = || format!("unpack {}", String::from_utf8_lossy(&member.path));
        import.add(&member, &mut reader).with_context(name)?;
    }
    import.finish()
}

struct Import<'a> {
    data: BorrowedFd<'a>,
    /// The directory of the last member, which mostly is that of the next.
    near: Option<(Vec<u8>, OwnedFd)>,
    /// Attributes of directories, which come last: what is made in one changes its times.
    directories: BTreeMap<Vec<u8>, Attributes>,
    /// Whether owners can be kept.
    owners: bool,
    foreign: u64,
    buffer: Vec<u8>,
    watch: &'a mut dyn Watch,
    files: u64,
    bytes: u64,
}

impl Import<'_> {
    fn add<R: Read>(&mut self, member: &Member, reader: &mut Reader<R>) -> Result<()> {
        let path = inside(&member.path)?;
        self.files += u64::from(!path.is_empty());
        self.watch.progress(self.files, self.bytes);
        let attributes = self.attributes(member);
        if member.kind == Kind::Directory {
            if !path.is_empty() {
                self.make_directory(&path)?;
            }
            self.directories.insert(path, attributes);
            return Ok(());
        }
        let (parent, name) = split(&path);
        let name = CString::new(name).context("a name with a zero byte")?;
        ensure!(!name.is_empty(), "the top of a volume is a directory");
        // A copy of the fd, so that the rest of us stays usable.
        let dir = self.parent(parent)?.try_clone_to_owned().call(|| "dup a directory".into())?;
        let dir = dir.as_fd();
        let left_out = match &member.kind {
            Kind::Directory => return Ok(()),
            Kind::File(content) => {
                let file = make(dir, &name, || {
                    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    openat(dir, name.as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
                })?;
                let file = std::fs::File::from(file);
                self.write(&file, content, reader)?;
                attributes.apply(file.as_fd())?
            }
            Kind::HardLink(target) => return self.link(target, dir, &name),
            Kind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                make(dir, &name, || symlinkat(target, dir, name.as_c_str()))?;
                attributes.apply_to_entry(dir, &name, true)?
            }
            Kind::Fifo => self.node(dir, &name, SFlag::S_IFIFO, 0, &attributes)?,
            Kind::Character(Device { major, minor }) => {
                self.node(dir, &name, SFlag::S_IFCHR, makedev((*major).into(), (*minor).into()), &attributes)?
            }
            Kind::Block(Device { major, minor }) => {
                self.node(dir, &name, SFlag::S_IFBLK, makedev((*major).into(), (*minor).into()), &attributes)?
            }
        };
        self.note(&path, left_out);
        Ok(())
    }

    /// An archive has no time of last access that is worth keeping: it becomes that of the last change.
    fn attributes(&mut self, member: &Member) -> Attributes {
        let owner = self.owners.then_some((member.uid, member.gid));
        let own = (geteuid().as_raw(), nix::unistd::getegid().as_raw());
        self.foreign += u64::from(!self.owners && own != (member.uid, member.gid));
        let (mode, time, xattrs) = (member.mode, member.mtime, member.xattrs.clone());
        Attributes { owner, mode, atime: time, mtime: time, xattrs, unreadable: Vec::new() }
    }

    fn write<R: Read>(&mut self, file: &std::fs::File, content: &Content, reader: &mut Reader<R>) -> Result<()> {
        let whole = [(0, content.size)];
        let extents = content.extents.as_deref().unwrap_or(&whole);
        for (offset, length) in extents {
            let mut done = 0;
            while done < *length {
                let wanted = self.buffer.len().min((length - done).try_into().unwrap_or(usize::MAX));
                let got = reader.data(&mut self.buffer[..wanted])?;
                ensure!(got > 0, "the archive is damaged: a file is shorter than it should be");
                file.write_all_at(&self.buffer[..got], offset + done).call(|| "write".into())?;
                done += got as u64;
                self.bytes += got as u64;
                self.watch.progress(self.files, self.bytes);
            }
        }
        if content.extents.is_some() {
            let size = content.size.try_into().context("a size that no file can have")?;
            ftruncate(file, size).call(|| "ftruncate".into())?;
        }
        Ok(())
    }

    fn node(
        &self,
        dir: BorrowedFd,
        name: &CStr,
        kind: SFlag,
        device: libc::dev_t,
        attributes: &Attributes,
    ) -> Result<Vec<CString>> {
        make(dir, name, || mknodat(dir, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device))?;
        attributes.apply_to_entry(dir, name, false)
    }

    fn link(&mut self, target: &[u8], dir: BorrowedFd, name: &CStr) -> Result<()> {
        let shown = String::from_utf8_lossy(target).into_owned();
        let target = inside(target).with_context(|| format!("link to {shown}"))?;
        let (parent, first) = split(&target);
        let first = CString::new(first).context("a name with a zero byte")?;
        let from = open_dir_beneath(self.data, parent);
        let linked =
            from.and_then(|from| make(dir, name, || linkat(&from, first.as_c_str(), dir, name, AtFlags::empty())));
        linked.with_context(|| format!("link to {shown}, which has to come before it in the archive"))
    }

    /// The directory of a path, made where the archive does not say how.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if !matches!(&self.near, Some((near, _)) if near == path) {
            let dir = match open_dir_beneath(self.data, path) {
                Err(error) if crate::sys::errno_of(&error) == Some(Errno::ENOENT) => self.make_directory(path)?,
                dir => dir?,
            };
            self.near = Some((path.to_vec(), dir));
        }
        self.near.as_ref().map(|(_, dir)| dir.as_fd()).context("no directory")
    }

    /// Makes a directory and those above it, as far as they are missing. Only we can enter it for now.
    fn make_directory(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let mut here = self.data.try_clone_to_owned().call(|| "dup a directory".into())?;
        let mut at = 0;
        for part in path.split(|b| *b == b'/') {
            at += part.len() + usize::from(at > 0);
            let name = CString::new(part).context("a name with a zero byte")?;
            let opened = match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Err(Errno::ENOENT) => None,
                // A later member takes the place of an earlier one, unless that is in its way.
                Err(Errno::ELOOP | Errno::ENOTDIR) if at == path.len() => {
                    unlinkat(&here, name.as_c_str(), UnlinkatFlags::NoRemoveDir).call(|| "unlink".into())?;
                    None
                }
                Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(in_the_way(path)),
                opened => Some(opened.call(|| "openat".into())?),
            };
            here = match opened {
                Some(opened) => opened,
                None => {
                    mkdirat(&here, name.as_c_str(), Mode::S_IRWXU).call(|| "mkdirat".into())?;
                    let made = openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()).call(|| "openat".into())?;
                    // Until the archive says something else, or for good.
                    fchmod(&made, Mode::from_bits_truncate(0o755)).call(|| "fchmod".into())?;
                    made
                }
            };
        }
        Ok(here)
    }

    fn finish(&mut self) -> Result<()> {
        // Those below first: their parents may lose the permission to enter.
        while let Some((path, attributes)) = self.directories.pop_last() {
            let shown = || format!("unpack {}", crate::volumes::walk::shown(&path));
            let dir = open_dir_beneath(self.data, &path).with_context(shown)?;
            let left_out = attributes.apply(dir.as_fd()).with_context(shown)?;
            self.note(&path, left_out);
        }
        if self.foreign > 0 {
            self.watch.warn(format!("{} files belong to you now: only root can keep other owners", self.foreign));
        }
        Ok(())
    }

    fn note(&mut self, path: &[u8], left_out: Vec<CString>) {
        for attribute in left_out {
            let path = crate::volumes::walk::shown(path);
            self.watch.warn(format!("{path}: {}: the attribute was left out", attribute.to_string_lossy()));
        }
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The path of a member below the top, without what says nothing.
fn inside(path: &[u8]) -> Result<Vec<u8>> {
    ensure!(!path.starts_with(b"/"), "an absolute path leads out of the volume");
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    ensure!(!parts.contains(&b"..".as_slice()), "a path with .. leads out of the volume");
    Ok(parts.join(b"/".as_slice()))
}

/// Directory and last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn in_the_way(path: &[u8]) -> anyhow::Error {
    let path = String::from_utf8_lossy(path);
    anyhow::anyhow!("a symbolic link or file of the archive stands where the directory {path} is to be")
}

/// Opens a directory below `top`, through no link; a path longer than the kernel takes is gone in steps.
fn open_dir_beneath(top: BorrowedFd, path: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(DIRECTORY).resolve(resolve);
    let mut here: Option<OwnedFd> = None;
    let mut rest = path;
    loop {
        let cut = if rest.len() > 3000 { rest[..3000].iter().rposition(|b| *b == b'/') } else { None };
        let (step, after) = cut.map_or((rest, None), |cut| (&rest[..cut], Some(&rest[cut + 1..])));
        let step = Path::new(OsStr::from_bytes(if step.is_empty() { b"." } else { step }));
        let at = here.as_ref().map_or(top, |here| here.as_fd());
        here = Some(match openat2(at, step, how) {
            Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(in_the_way(path)),
            opened => opened.call(|| format!("openat2 {}", step.display()))?,
        });
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    here.context("no directory")
}

/// Makes an entry; an earlier one of that name gives way, as in tar, unless it is a directory with something in it.
fn make<T>(dir: BorrowedFd, name: &CStr, make: impl Fn() -> nix::Result<T>) -> Result<T> {
    match make() {
        Err(Errno::EEXIST) => {}
        made => return made.call(|| "make it".into()),
    }
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(Errno::EISDIR | Errno::EPERM) => match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => bail!("a directory with something in it has this name"),
            removed => removed.call(|| "rmdir".into())?,
        },
        Err(errno) => return Err(errno).call(|| "unlink".into()),
    }
    make().call(|| "make it".into())
}
