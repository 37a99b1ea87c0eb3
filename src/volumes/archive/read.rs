//! Reading members, from a stream that may be cut off, damaged, or made to do harm.
//!
//! Knows the formats that there are: v7, ustar, pax, GNU with its long names and sparse files. The fields of a header are
//! the `tar` crate's affair; the order of headers, and what may be believed of them, is ours.

use super::{ACLS, BLOCK, Content, Device, Kind, Member, XATTR, acl, padding, sparse, unescape};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::time::TimeSpec;
use std::ffi::CString;
use std::io::{ErrorKind, Read};
use tar::{EntryType, Header};

/// The longest pax header or long name that is believed.
const LONGEST: u64 = 16 << 20;
const LONGEST_PATH: usize = 1 << 20;

/// How compressed files begin, and what undoes that.
const COMPRESSED: [(&[u8], &str, &str); 5] = [
    (&[0x1f, 0x8b], "gzip", "gunzip -c"),
    (b"BZh", "bzip2", "bunzip2 -c"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", "xz -dc"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -dc"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -dc"),
];

type Records = Vec<(Vec<u8>, Vec<u8>)>;

pub struct Reader<R: Read> {
    input: R,
    /// Bytes of the present member that have not been read, and what fills its last block.
    left: u64,
    padding: u64,
    /// Of all members that follow.
    global: Records,
    begun: bool,
}

/// What stands before a member and is about it.
#[derive(Default)]
struct Before {
    any: bool,
    records: Records,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Reader<R> {
        Reader { input, left: 0, padding: 0, global: Records::new(), begun: false }
    }

    /// The next member; what was not read of the one before is passed over. `None` at the end.
    pub fn next(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut before = Before { records: self.global.clone(), ..Before::default() };
        loop {
            let Some(header) = self.header()? else {
                ensure!(!before.any, "the archive is damaged: it ends where a member should be");
                self.drain()?;
                return Ok(None);
            };
            before.any |= header.entry_type() != EntryType::XGlobalHeader;
            match header.entry_type() {
                EntryType::XHeader => before.records.extend(self.records(&header)?),
                EntryType::XGlobalHeader => {
                    let records = self.records(&header)?;
                    // Here too: a member of its own comes after it.
                    before.records.splice(0..0, records.iter().cloned());
                    self.global.extend(records);
                }
                EntryType::GNULongName => before.path = Some(self.long_text(&header)?),
                EntryType::GNULongLink => before.link = Some(self.long_text(&header)?),
                // The name of the whole archive.
                name if name.as_byte() == b'V' => self.body(&header).map(drop)?,
                _ => return self.member(&header, before).map(Some),
            }
        }
    }

    /// Reads data of the present member; 0 at its end.
    pub fn data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wanted = buffer.len().min(self.left.try_into().unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let got = loop {
            match self.input.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                got => break got.context("read the archive")?,
            }
        };
        ensure!(got > 0, "the archive ends in the middle of a file: it was cut off");
        self.left -= got as u64;
        Ok(got)
    }

    /// The next header; `None` at the block of zeroes that ends an archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let first = !std::mem::replace(&mut self.begun, true);
        let got = fill(&mut self.input, header.as_mut_bytes())?;
        if first {
            check_start(&header.as_bytes()[..got])?;
        }
        ensure!(got == BLOCK, "the archive has no end: it was cut off");
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let field = 148..156;
        let sum = |sum: u32, (at, byte): (usize, &u8)| sum + u32::from(if field.contains(&at) { b' ' } else { *byte });
        let sum = header.as_bytes().iter().enumerate().fold(0, sum);
        let damaged = if first { "this is not a tar archive" } else { "the archive is damaged" };
        ensure!(header.cksum().is_ok_and(|noted| noted == sum), "{damaged}: the checksum of a header is wrong");
        Ok(Some(header))
    }

    fn records(&mut self, header: &Header) -> Result<Records> {
        super::records(&self.body(header)?).context("the archive is damaged: a pax header cannot be read")
    }

    fn long_text(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut text = self.body(header)?;
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    /// The whole of what comes after a header that is not a file's.
    fn body(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.entry_size().context("the archive is damaged")?;
        ensure!(size <= LONGEST, "the archive is damaged: a header of {size} bytes");
        self.expect(size);
        let mut body = vec![0; size as usize];
        let mut at = 0;
        while at < body.len() {
            at += self.data(&mut body[at..])?;
        }
        self.pass_over()?;
        Ok(body)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = padding(size) as u64;
    }

    fn pass_over(&mut self) -> Result<()> {
        self.left += std::mem::take(&mut self.padding);
        let mut buffer = [0; 8 * BLOCK];
        while self.left > 0 {
            self.data(&mut buffer)?;
        }
        Ok(())
    }

    /// Reads what fills the last record, lest whoever writes it be killed by SIGPIPE.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 8 * BLOCK];
        for _ in 0..256 {
            if fill(&mut self.input, &mut buffer)? < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn member(&mut self, header: &Header, before: Before) -> Result<Member> {
        let Before { records, path, link, .. } = before;
        let stored = match last(&records, b"size") {
            Some(size) => sparse::decimal(size).context("the archive is damaged: a size that is no number")?,
            None => header.entry_size().context("the archive is damaged")?,
        };
        let path = match last(&records, b"path") {
            Some(path) => path.to_vec(),
            None => path.unwrap_or_else(|| header.path_bytes().into_owned()),
        };
        ensure!(path.len() <= LONGEST_PATH, "the archive is damaged: a name of {} bytes", path.len());
        self.described(header, &records, path, link, stored)
    }

    fn described(
        &mut self,
        header: &Header,
        records: &Records,
        path: Vec<u8>,
        link: Option<Vec<u8>>,
        stored: u64,
    ) -> Result<Member> {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let damaged = || format!("the archive is damaged at {shown}");
        self.expect(stored);
        let (mut path, mut kind) = (path, self.kind(header, records, link).with_context(damaged)?);
        if let Kind::File(content) = &mut kind {
            if let Some((name, described)) = self.content(header, records, stored).with_context(damaged)? {
                path = name.unwrap_or(path);
                *content = described;
            } else if path.ends_with(b"/") {
                // Of the time when there was no type for it.
                kind = Kind::Directory;
            }
        }
        let id = |key: &[u8], field: std::io::Result<u64>| -> Result<u32> {
            let id = match last(records, key) {
                Some(text) => sparse::decimal(text).context("an id that is no number")?,
                None => field?,
            };
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).with_context(|| format!("{id} is no id"))
        };
        Ok(Member {
            kind,
            mode: header.mode().with_context(damaged)? & 0o7777,
            uid: id(b"uid", header.uid()).with_context(damaged)?,
            gid: id(b"gid", header.gid()).with_context(damaged)?,
            mtime: match last(records, b"mtime") {
                Some(text) => time(text).context("a time that is no number").with_context(damaged)?,
                None => TimeSpec::new(header.mtime().with_context(damaged)? as i64, 0),
            },
            xattrs: xattrs(records).with_context(|| shown.clone())?,
            path,
        })
    }

    fn kind(&self, header: &Header, records: &Records, link: Option<Vec<u8>>) -> Result<Kind> {
        let target = || -> Vec<u8> {
            let field = || header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
            last(records, b"linkpath").map(<[u8]>::to_vec).or_else(|| link.clone()).unwrap_or_else(field)
        };
        let device = || -> Result<Device> {
            let (major, minor) = (header.device_major()?, header.device_minor()?);
            Ok(Device { major: major.unwrap_or(0), minor: minor.unwrap_or(0) })
        };
        Ok(match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                Kind::File(Content { size: self.left, extents: None })
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(target()),
            EntryType::Link => Kind::HardLink(target()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => Kind::Character(device()?),
            EntryType::Block => Kind::Block(device()?),
            other => bail!("a member of type {:?}, which is not known", char::from(other.as_byte())),
        })
    }

    /// What a sparse file is called and is like; `None` of another one.
    fn content(
        &mut self,
        header: &Header,
        records: &Records,
        stored: u64,
    ) -> Result<Option<(Option<Vec<u8>>, Content)>> {
        let (name, size, mut extents) = match sparse::from_records(records).map_err(|wrong| anyhow!(wrong))? {
            Some(sparse::Sparse { name, size, map: sparse::Map::Here(extents) }) => (name, size, extents),
            Some(sparse::Sparse { name, size, map: sparse::Map::InData }) => {
                let map = sparse::read_text(&mut Data(self)).context("read the map of a sparse file")?;
                let extents = map.context("a sparse file with a damaged map")?;
                (name, size, extents)
            }
            None if header.entry_type().is_gnu_sparse() => {
                let gnu = header.as_gnu().context("a sparse file in a format that has none")?;
                // These blocks are no part of the size.
                let extents = sparse::read_gnu(gnu, &mut self.input).context("read the map of a sparse file")?;
                (None, gnu.real_size()?, extents)
            }
            None => return Ok(None),
        };
        let sound = sparse::is_sound(&extents, size, self.left);
        ensure!(sound && self.left <= stored, "a sparse file whose pieces do not fit");
        extents.retain(|(_, length)| *length > 0);
        Ok(Some((name, Content { size, extents: Some(extents) })))
    }
}

/// The present member's data as a stream.
struct Data<'a, R: Read>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.data(buffer).map_err(std::io::Error::other)
    }
}

/// The last of the records with this key; an empty one stands for none.
fn last<'r>(records: &'r Records, key: &[u8]) -> Option<&'r [u8]> {
    let value = records.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_slice());
    value.filter(|value| !value.is_empty())
}

fn xattrs(records: &Records) -> Result<Vec<(CString, Vec<u8>)>> {
    let mut found: Vec<(CString, Vec<u8>)> = Vec::new();
    for (key, value) in records {
        let Some(name) = key.strip_prefix(XATTR.as_bytes()) else { continue };
        let name = CString::new(unescape(name)).context("the name of an extended attribute")?;
        found.retain(|(other, _)| *other != name);
        found.push((name, value.clone()));
    }
    for (record, attribute) in ACLS {
        let Some(text) = last(records, record.as_bytes()) else { continue };
        let attribute = CString::new(attribute)?;
        if found.iter().any(|(name, _)| *name == attribute) {
            // The same, as the kernel has it.
            continue;
        }
        let value = std::str::from_utf8(text).ok().and_then(acl::to_xattr).with_context(|| {
            let text = String::from_utf8_lossy(text).replace('\n', ",");
            format!("{record} {text:?} cannot be read: names have no numbers (use tar --xattrs --xattrs-include='*')")
        })?;
        found.push((attribute, value));
    }
    Ok(found)
}

/// A decimal number of seconds, perhaps with a sign and a fraction.
fn time(text: &[u8]) -> Option<TimeSpec> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = sparse::decimal(seconds.as_bytes())?.try_into().ok()?;
    let digits = format!("{:0<9.9}", fraction);
    let nanoseconds: i64 = sparse::decimal(digits.as_bytes())?.try_into().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => TimeSpec::new(seconds, nanoseconds),
        (true, 0) => TimeSpec::new(-seconds, 0),
        (true, _) => TimeSpec::new(-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Refuses what is nothing or compressed, with the way out.
fn check_start(start: &[u8]) -> Result<()> {
    ensure!(!start.is_empty(), "this is not a tar archive: it is empty");
    if let Some((_, format, command)) = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) {
        bail!("the archive is compressed with {format}: decompress it first ({command} FILE | … volume import NAME -)");
    }
    ensure!(start.len() == BLOCK, "this is not a tar archive: it has {} bytes", start.len());
    Ok(())
}

/// Reads until the buffer is full or nothing more comes.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match input.read(&mut buffer[at..]) {
            Ok(0) => break,
            Ok(got) => at += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read the archive"),
        }
    }
    Ok(at)
}
