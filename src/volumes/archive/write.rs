//! Writing members: a header each, before it a pax header where the fields do not hold what is to be said.

use super::{BLOCK, Content, Kind, Member, XATTR, escape, padding, record, sparse};
use anyhow::{Context, Result, bail};
use nix::sys::time::TimeSpec;
use std::io::Write;
use tar::{EntryType, Header};

/// The largest number in a field of eight or twelve octal digits, one of which ends it.
const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;

pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Writer<W> {
        Writer { out }
    }

    /// Writes a member that is no file with data.
    pub fn member(&mut self, member: &Member) -> Result<()> {
        self.header(member, 0)
    }

    /// Writes a file: its data is read from `data`, the extents one after the other. Returns how many bytes were missing:
    /// zeroes stand for them, since its size has been written already.
    pub fn file(&mut self, member: &Member, data: &mut dyn FnMut(u64, &mut [u8]) -> Result<usize>) -> Result<u64> {
        let Kind::File(Content { size, extents }) = &member.kind else { bail!("no file") };
        let map = extents.as_ref().map(|extents| sparse::to_text(extents, *size)).unwrap_or_default();
        let whole = [(0, *size)];
        let extents = extents.as_deref().unwrap_or(&whole);
        let stored = map.len() as u64 + extents.iter().map(|(_, length)| length).sum::<u64>();
        self.header(member, stored)?;
        self.write(&map)?;
        let mut missing = 0;
        let mut buffer = vec![0; 128 << 10];
        for (offset, length) in extents {
            let mut done = 0;
            while done < *length {
                let wanted = buffer.len().min((length - done).try_into().unwrap_or(usize::MAX));
                let mut got = data(offset + done, &mut buffer[..wanted])?;
                if got == 0 {
                    missing += wanted as u64;
                    buffer[..wanted].fill(0);
                    got = wanted;
                }
                self.write(&buffer[..got])?;
                done += got as u64;
            }
        }
        self.pad(stored)?;
        Ok(missing)
    }

    /// Writes the end of the archive and what is buffered.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().context("write the archive")?;
        Ok(self.out)
    }

    fn header(&mut self, member: &Member, stored: u64) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(match member.kind {
            Kind::File(_) => EntryType::Regular,
            Kind::Directory => EntryType::Directory,
            Kind::Symlink(_) => EntryType::Symlink,
            Kind::HardLink(_) => EntryType::Link,
            Kind::Fifo => EntryType::Fifo,
            Kind::Character(_) => EntryType::Char,
            Kind::Block(_) => EntryType::Block,
        });
        let records = fill(&mut header, member, stored)?;
        if !records.is_empty() {
            self.extension(&records)?;
        }
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn extension(&mut self, records: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        // A name for programs that take it for a file.
        put(&mut header.as_old_mut().name, b"PaxHeaders/member");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        self.write(&[0; BLOCK][..padding(size)])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context("write the archive")
    }
}

/// Fills the fields of a header; what they cannot hold is returned as pax records.
fn fill(header: &mut Header, member: &Member, stored: u64) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    let mut number = |key: &str, value: u64, limit: u64| {
        if value > limit {
            records.extend(record(key.as_bytes(), value.to_string().as_bytes()));
        }
        value.min(limit)
    };
    header.set_mode(member.mode & 0o7777);
    header.set_uid(number("uid", member.uid.into(), OCTAL_7));
    header.set_gid(number("gid", member.gid.into(), OCTAL_7));
    header.set_size(number("size", stored, OCTAL_11));
    let (seconds, nanoseconds) = (member.mtime.tv_sec(), member.mtime.tv_nsec());
    let fits = u64::try_from(seconds).is_ok_and(|seconds| seconds <= OCTAL_11);
    header.set_mtime(if fits { seconds as u64 } else { 0 });
    if !fits || nanoseconds != 0 {
        records.extend(record(b"mtime", time(&member.mtime).as_bytes()));
    }
    match &member.kind {
        Kind::Symlink(target) | Kind::HardLink(target) => {
            if !put(&mut header.as_old_mut().linkname, target) {
                records.extend(record(b"linkpath", target));
            }
        }
        Kind::Character(device) | Kind::Block(device) => {
            header.set_device_major(device.major).context("write a device's number")?;
            header.set_device_minor(device.minor).context("write a device's number")?;
        }
        Kind::File(_) | Kind::Directory | Kind::Fifo => {}
    }
    for (name, value) in &member.xattrs {
        records.extend(record(&[XATTR.as_bytes(), &escape(name.to_bytes())].concat(), value));
    }
    let path = match &member.kind {
        Kind::File(Content { size, extents: Some(_) }) => {
            records.extend(sparse::to_records(&member.path, *size));
            sparse::stand_in(&member.path)
        }
        _ => member.path.clone(),
    };
    if !put(&mut header.as_old_mut().name, &path) {
        records.extend(record(b"path", &path));
    }
    Ok(records)
}

/// Whether the whole text has room in a field. (A field that is full needs no zero at its end.)
fn put(field: &mut [u8], text: &[u8]) -> bool {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
    fits == text.len()
}

/// Seconds as a decimal number; of a time before 1970 the fraction counts forwards in a `TimeSpec`, and back here.
fn time(time: &TimeSpec) -> String {
    let (seconds, nanoseconds) = (time.tv_sec(), time.tv_nsec());
    if seconds < 0 && nanoseconds > 0 {
        let whole = -(seconds + 1);
        return format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}
