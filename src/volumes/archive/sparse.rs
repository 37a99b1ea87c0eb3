//! Files with holes: the four forms in which GNU tar writes where the data is.
//!
//! Written is version 1.0 of the pax form: the map stands before the data, as decimal lines.

use super::{BLOCK, padding, record};
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// Offset and length of the pieces of data.
type Extents = Vec<(u64, u64)>;

/// More pieces than this are not believed.
const MOST: usize = 1 << 20;

const MAJOR: &[u8] = b"GNU.sparse.major";
const MINOR: &[u8] = b"GNU.sparse.minor";
const NAME: &[u8] = b"GNU.sparse.name";
const REAL_SIZE: &[u8] = b"GNU.sparse.realsize";
/// Of the versions 0.0 and 0.1.
const SIZE: &[u8] = b"GNU.sparse.size";
const MAP: &[u8] = b"GNU.sparse.map";
const OFFSET: &[u8] = b"GNU.sparse.offset";
const LENGTH: &[u8] = b"GNU.sparse.numbytes";

/// The records that say that a file is sparse, what it is called and how large it is.
pub fn to_records(path: &[u8], size: u64) -> Vec<u8> {
    [record(MAJOR, b"1"), record(MINOR, b"0"), record(NAME, path), record(REAL_SIZE, size.to_string().as_bytes())]
        .concat()
}

/// What the file is called for programs that do not know of holes: the name is in the records.
pub fn stand_in(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    [&path[..path.len() - name.len()], b"GNUSparseFile.0/", name].concat()
}

/// The map as it stands before the data, whole blocks. A hole at the end is followed by a piece of no length, as GNU tar
/// has it and wants it.
pub fn to_text(extents: &[(u64, u64)], size: u64) -> Vec<u8> {
    let end = extents.last().map_or(0, |(offset, length)| offset + length);
    let last = (end < size).then_some((size, 0));
    let mut text = format!("{}\n", extents.len() + usize::from(last.is_some())).into_bytes();
    for (offset, length) in extents.iter().chain(&last) {
        text.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    text.resize(text.len() + padding(text.len() as u64), 0);
    text
}

/// What the records of a file say of its holes.
#[derive(Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Its true name, if it is not that of the member.
    pub name: Option<Vec<u8>>,
    pub size: u64,
    pub map: Map,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Map {
    /// Before the data.
    InData,
    Here(Extents),
}

/// `Ok(None)`: not sparse. `Err`: what is wrong.
pub fn from_records(records: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<Sparse>, String> {
    let last = |key: &[u8]| records.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value);
    let name = last(NAME).cloned();
    let size = |key| last(key).and_then(|value| decimal(value)).ok_or("a sparse file without a size");
    match (last(MAJOR), last(MINOR)) {
        (Some(major), Some(minor)) if major == b"1" && minor == b"0" => {
            return Ok(Some(Sparse { name, size: size(REAL_SIZE)?, map: Map::InData }));
        }
        (None, None) => {}
        _ => return Err("a sparse file of a version that is not known".into()),
    }
    if last(SIZE).is_none() {
        return Ok(None);
    }
    let numbers: Option<Vec<u64>> = match last(MAP) {
        Some(map) if map.is_empty() => Some(Vec::new()),
        Some(map) => map.split(|b| *b == b',').map(decimal).collect(),
        None => {
            let pieces = records.iter().filter(|(key, _)| key == OFFSET || key == LENGTH);
            pieces.map(|(_, value)| decimal(value)).collect()
        }
    };
    let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0 && numbers.len() / 2 <= MOST);
    let extents = numbers.ok_or("a sparse file with a damaged map")?;
    let map = Map::Here(extents.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
    Ok(Some(Sparse { name, size: size(SIZE)?, map }))
}

/// Reads the map that stands before the data; `None` if it is damaged.
pub fn read_text(data: &mut dyn Read) -> std::io::Result<Option<Extents>> {
    let mut reader = Lines { data, block: [0; BLOCK], at: BLOCK };
    let Some(count) = reader.number()?.filter(|count| *count <= MOST as u64) else { return Ok(None) };
    let mut extents = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (reader.number()?, reader.number()?) else { return Ok(None) };
        extents.push((offset, length));
    }
    Ok(Some(extents))
}

struct Lines<'a> {
    data: &'a mut dyn Read,
    block: [u8; BLOCK],
    at: usize,
}

impl Lines<'_> {
    fn number(&mut self) -> std::io::Result<Option<u64>> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.data.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return Ok(decimal(&digits));
            }
            // What cannot be a number is one that is not read.
            if digits.len() > 20 {
                return Ok(None);
            }
            digits.push(byte);
        }
    }
}

/// The map of GNU's own format: in the header, and in blocks after it as long as they say that there are more.
pub fn read_gnu(header: &GnuHeader, data: &mut dyn Read) -> std::io::Result<Extents> {
    let mut extents = Vec::new();
    add(&mut extents, &header.sparse)?;
    let mut more = header.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        data.read_exact(block.as_mut_bytes())?;
        add(&mut extents, block.sparse())?;
        more = block.is_extended();
        if extents.len() > MOST {
            return Err(std::io::Error::other("a sparse file with too many pieces"));
        }
    }
    Ok(extents)
}

fn add(extents: &mut Extents, pieces: &[GnuSparseHeader]) -> std::io::Result<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        extents.push((piece.offset()?, piece.length()?));
    }
    Ok(())
}

/// Whether the pieces follow each other inside the file and are as long as what is stored.
pub fn is_sound(extents: &[(u64, u64)], size: u64, stored: u64) -> bool {
    let mut end = 0u64;
    let mut sum = 0u64;
    for (offset, length) in extents {
        let Some(next) = offset.checked_add(*length) else { return false };
        if *offset < end || next > size {
            return false;
        }
        (end, sum) = (next, sum + length);
    }
    sum == stored
}

pub fn decimal(text: &[u8]) -> Option<u64> {
    // No sign, which parse() would take.
    text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}
