use super::read::Reader;
use super::write::Writer;
use super::*;

fn member(path: &str, kind: Kind) -> Member {
    let mtime = TimeSpec::new(1_700_000_000, 0);
    Member { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
}

fn archived(members: &[(Member, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (member, data) in members {
        match &member.kind {
            Kind::File(_) => {
                let mut read = |offset: u64, buffer: &mut [u8]| {
                    let data = data.get(offset as usize..).unwrap_or_default();
                    let length = data.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&data[..length]);
                    Ok(length)
                };
                writer.file(member, &mut read).unwrap();
            }
            _ => writer.member(member).unwrap(),
        }
    }
    writer.finish().unwrap()
}

fn error(archive: &[u8]) -> String {
    let mut reader = Reader::new(archive);
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => return format!("{error:#}"),
        }
    }
}

#[test]
fn records_count_themselves() {
    assert_eq!(record(b"a", b"b"), b"6 a=b\n");
    assert_eq!(record(b"k", b"vv"), b"7 k=vv\n");
    assert_eq!(record(b"abc", b"de"), b"9 abc=de\n");
    assert_eq!(record(b"abc", b"def"), b"11 abc=def\n");
    let long = record(b"SCHILY.xattr.user.x", &[b'='; 1000]);
    assert!(long.starts_with(b"1026 "), "{}", String::from_utf8_lossy(&long[..8]));
    let both = [record(b"a", b"x\ny=z\0"), long].concat();
    let read = records(&both).unwrap();
    assert_eq!(read[0], (b"a".to_vec(), b"x\ny=z\0".to_vec()));
    assert_eq!(read[1].1.len(), 1000);
    for bad in ["x", "6 a=b", "5 a=b\n", "7 a=b\n", "-6 a=b\n", "6 ab\n ", "99999999999999999999999 a=b\n"] {
        assert_eq!(records(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn names_of_attributes_may_hold_anything() {
    for name in ["user.plain", "user.a=b", "user.100%", "user.%3D", "user.%", "user.%2"] {
        let escaped = escape(name.as_bytes());
        assert!(!escaped.contains(&b'='));
        assert_eq!(unescape(&escaped), name.as_bytes());
    }
}

#[test]
fn what_is_written_is_read() {
    let long = "directory/".repeat(200);
    let file = |size| Kind::File(Content { size, extents: None });
    let sparse = Kind::File(Content { size: 1 << 40, extents: Some(vec![(4096, 3), ((1 << 30) - 1, 1)]) });
    let mut odd = member("odd \u{fe} name\n", file(5));
    odd.path[4] = 0xff;
    odd.mtime = TimeSpec::new(-2, 500_000_000);
    odd.xattrs = vec![(c"user.a=b".into(), b"\0\n=".to_vec()), (c"user.empty".into(), Vec::new())];
    odd.uid = 4_000_000_000;
    odd.mode = 0o6755;
    let mut far = member("far", Kind::Fifo);
    far.mtime = TimeSpec::new(1 << 35, 1);
    let members = vec![
        (member("./", Kind::Directory), b"".as_slice()),
        (odd, b"12345"),
        (far, b""),
        (member(&format!("{long}deep"), file(0)), b""),
        (member("link", Kind::Symlink(long.clone().into())), b""),
        (member("hard", Kind::HardLink(b"far".to_vec())), b""),
        (member("null", Kind::Character(Device { major: 1, minor: 3 })), b""),
        (member("disk", Kind::Block(Device { major: 4095, minor: 1_048_575 })), b""),
        (member("holes/sparse", sparse), b""),
        (member(&"x".repeat(100), file(512)), &[7; 512]),
    ];
    let archive = archived(&members);
    let mut reader = Reader::new(archive.as_slice());
    for (member, data) in &members {
        let read = reader.next().unwrap().unwrap();
        assert_eq!(&read, member);
        let mut rest = vec![0; 1000];
        let length = reader.data(&mut rest).unwrap();
        if !matches!(&member.kind, Kind::File(Content { extents: Some(_), .. })) {
            assert_eq!(&rest[..length], *data);
        }
    }
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn every_cut_is_an_error() {
    let file = Kind::File(Content { size: 700, extents: None });
    let mut first = member("some/file", file.clone());
    first.xattrs = vec![(c"user.a".into(), b"b".to_vec())];
    let archive = archived(&[(first, &[1; 700]), (member("other", file), &[2; 700])]);
    let whole = archive.len() - 1024;
    for length in (0..whole).step_by(64).chain([whole - 1, whole]) {
        let error = error(&archive[..length]);
        assert!(error.contains("cut off") || error.contains("not a tar archive"), "{length}: {error}");
    }
}

#[test]
fn damage_is_named() {
    let archive = archived(&[(member("file", Kind::Fifo), b"")]);
    let mut damaged = archive.clone();
    damaged[0] ^= 1;
    assert_eq!(error(&damaged), "this is not a tar archive: the checksum of a header is wrong");
    assert_eq!(error(&[b'x'; 512]), "this is not a tar archive: the checksum of a header is wrong");
    assert_eq!(error(b"hello"), "this is not a tar archive: it has 5 bytes");
    assert!(error(&[0x1f, 0x8b, 8, 0]).contains("compressed with gzip: decompress it first (gunzip -c FILE"));
    let changed = |change: &dyn Fn(&mut tar::Header)| {
        let mut header = tar::Header::from_byte_slice(&archive[..BLOCK]).clone();
        change(&mut header);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    let size = changed(&|header| {
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(1 << 40);
    });
    assert!(error(&size).contains("a header of 1099511627776 bytes"));
    assert!(error(&changed(&|header| header.as_old_mut().size = *b"99999999999\0")).contains("damaged"));
    assert!(error(&changed(&|header| header.set_uid(1 << 33))).contains("8589934592 is no id"));
    let unknown = changed(&|header| header.set_entry_type(tar::EntryType::new(b'M')));
    assert!(error(&unknown).contains("type 'M', which is not known"));
    let dangling = changed(&|header| header.set_entry_type(tar::EntryType::XHeader));
    assert!(error(&dangling).contains("ends where a member should be"));
}

#[test]
fn maps_are_not_believed() {
    assert!(sparse::is_sound(&[(0, 5), (10, 5)], 15, 10));
    for (extents, size, stored) in [
        (vec![(0u64, 5u64), (4, 5)], 20u64, 10u64),
        (vec![(10, 5)], 14, 5),
        (vec![(0, 5)], 20, 4),
        (vec![(u64::MAX, 5)], u64::MAX, 5),
    ] {
        assert!(!sparse::is_sound(&extents, size, stored), "{extents:?}");
    }
}

#[test]
fn acls_as_text() {
    let entry =
        |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let expected = [
        vec![2, 0, 0, 0],
        entry(1, 7, none),
        entry(2, 5, 9),
        entry(4, 0, none),
        entry(16, 5, none),
        entry(32, 0, none),
    ]
    .concat();
    for text in [
        "user::rwx\nuser:9:r-x\ngroup::---\nmask::r-x\nother::---\n",
        "user:man:r-x:9,user::rwx,group::---,mask::r-x,other::---",
        "u::rwx # me\nu:9:r-x\ng::---\nm::r-x\no::---",
    ] {
        assert_eq!(acl::to_xattr(text).unwrap(), expected, "{text}");
    }
    for bad in ["user:man:r-x", "user::rwxx", "user::xwr", "nobody::rwx", "user"] {
        assert_eq!(acl::to_xattr(bad), None, "{bad}");
    }
}
