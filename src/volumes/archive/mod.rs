//! A volume as a tar archive: what `volume export` writes and `volume import` reads.
//!
//! The format is POSIX pax with the records of GNU tar and star for what pax has not (extended attributes, holes), so
//! that GNU tar, bsdtar and Go's archive/tar read it. Archives come from anywhere: nothing in them is trusted.

mod acl;
mod export;
mod import;
mod read;
mod sparse;
mod volume;
mod write;

pub use volume::{export, import};

use nix::sys::time::TimeSpec;
use std::ffi::CString;

/// The unit of tar.
const BLOCK: usize = 512;

/// Records of extended attributes (star; GNU tar and Go use the same), and of ACLs as text.
const XATTR: &str = "SCHILY.xattr.";
const ACLS: [(&str, &str); 2] =
    [("SCHILY.acl.access", "system.posix_acl_access"), ("SCHILY.acl.default", "system.posix_acl_default")];

/// Who is told of what goes on.
pub trait Watch {
    /// Something was left out, or is not as it was.
    fn warn(&mut self, text: String);
    /// So many files and bytes of files have been read or written. Called often.
    fn progress(&mut self, files: u64, bytes: u64);
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq)]
struct Member {
    /// As in the archive.
    path: Vec<u8>,
    kind: Kind,
    /// The twelve bits.
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: TimeSpec,
    xattrs: Vec<(CString, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    File(Content),
    Directory,
    Symlink(Vec<u8>),
    /// Another name of a file that came before.
    HardLink(Vec<u8>),
    Fifo,
    Character(Device),
    Block(Device),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Device {
    major: u32,
    minor: u32,
}

/// What a file's data is like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    size: u64,
    /// Where the data is, as offset and length, in order, if there are holes between.
    extents: Option<Vec<(u64, u64)>>,
}

/// One record of a pax header: `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The records of a pax header; `None` if that is not what it is.
fn records(mut text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
        let record = text.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        text = &text[length..];
    }
    Some(records)
}

/// The name of an attribute in the key of a record, where `=` would end it: as GNU tar writes it.
fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => escaped.extend_from_slice(b"%25"),
            b'=' => escaped.extend_from_slice(b"%3D"),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match rest.get(..3) {
            Some(b"%25") => (b'%', &rest[3..]),
            Some(b"%3D") => (b'=', &rest[3..]),
            _ => (*first, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

/// How many bytes fill the last block.
fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

#[cfg(test)]
mod tests;
