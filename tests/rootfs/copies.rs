//! Copies of file trees, between the filesystems that copy-up meets.

use crate::kit::*;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use rvol_runc::rootfs::copy::{Copied, Top, copy_tree};
use rvol_runc::sys::file::Inode;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    ("copy_everything_on_one_filesystem", same_filesystem),
    ("copy_everything_between_filesystems", other_filesystem),
    ("copy_keeps_the_top_where_asked", keeps_top),
    ("copy_of_a_deep_tree", deep),
    ("copy_of_many_files", many),
    ("copy_of_sparse_files", sparse),
    ("copy_never_follows_links", links),
    ("copy_errors_name_the_path", errors),
    ("copy_with_few_descriptors", few_descriptors),
];

fn copy(from: &Path, to: &Path, top: Top) -> anyhow::Result<Copied> {
    copy_tree(File::open(from).unwrap().as_fd(), File::open(to).unwrap().as_fd(), top)
}

/// A directory below the case's tmpfs on the machine's own filesystem, removed by the caller.
fn on_disk(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn set_times(path: &Path, seconds: i64) {
    let (atime, mtime) = (TimeSpec::new(seconds, 123_456_789), TimeSpec::new(seconds - 7, 987_654_321));
    utimensat(nix::fcntl::AT_FDCWD, path, &atime, &mtime, UtimensatFlags::NoFollowSymlink).unwrap();
}

fn path_c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    Inode::Path(path_c(path)).set_xattr(&CString::new(name).unwrap(), value).unwrap();
}

/// One of each kind of file.
fn fill(dir: &Path) {
    let odd = dir.join(OsStr::from_bytes(b"not \xff utf-8\n"));
    std::fs::create_dir_all(odd.join("sub")).unwrap();
    std::fs::write(odd.join("sub/file"), "text").unwrap();
    std::fs::write(dir.join("suid"), vec![7u8; 300_000]).unwrap();
    std::os::unix::fs::chown(dir.join("suid"), Some(12), Some(34)).unwrap();
    std::fs::set_permissions(dir.join("suid"), PermissionsExt::from_mode(0o6711)).unwrap();
    std::fs::write(dir.join("capable"), "x").unwrap();
    // cap_net_raw+ep, version 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&dir.join("capable"), "security.capability", &capability);
    set_xattr(&dir.join("capable"), "trusted.note", b"kept\0as it is");
    set_xattr(&dir.join("capable"), "user.note", b"");
    std::fs::hard_link(dir.join("suid"), odd.join("sub/again")).unwrap();
    std::fs::hard_link(dir.join("suid"), odd.join("once more")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at all", dir.join("link")).unwrap();
    set_xattr(&dir.join("link"), "trusted.link", b"of the link");
    std::os::unix::fs::lchown(dir.join("link"), Some(56), Some(78)).unwrap();
    std::fs::hard_link(dir.join("link"), dir.join("link2")).unwrap();
    let all = Mode::from_bits_truncate(0o7642);
    nix::sys::stat::umask(Mode::empty());
    mknod(&dir.join("fifo"), SFlag::S_IFIFO, all, 0).unwrap();
    mknod(&dir.join("char"), SFlag::S_IFCHR, all, libc::makedev(1, 3)).unwrap();
    mknod(&dir.join("block"), SFlag::S_IFBLK, all, libc::makedev(7, 1000)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
    std::fs::write(dir.join("empty"), "").unwrap();
    std::fs::create_dir(dir.join("closed")).unwrap();
    std::fs::write(dir.join("closed/file"), "x").unwrap();
    // A default ACL: user::rwx user:9:r-x group::--- mask::r-x other::---
    let acl: Vec<u8> = [(1u16, 7u16, u32::MAX), (2, 5, 9), (4, 0, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)]
        .iter()
        .fold(vec![2, 0, 0, 0], |mut acl, (tag, permissions, id)| {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(id.to_le_bytes());
            acl
        });
    set_xattr(&dir.join("closed"), "system.posix_acl_default", &acl);
    set_xattr(&dir.join("closed"), "system.posix_acl_access", &acl);
    let file = File::create(dir.join("sparse")).unwrap();
    file.set_len(10 << 20).unwrap();
    file.write_all_at(b"in the middle", 5 << 20).unwrap();
    file.write_all_at(b"at the end", (10 << 20) - 10).unwrap();
    std::fs::set_permissions(dir.join("closed"), PermissionsExt::from_mode(0o2500)).unwrap();
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o1735)).unwrap();
    std::os::unix::fs::chown(dir, Some(90), Some(91)).unwrap();
    for (i, path) in tree(dir).keys().rev().enumerate() {
        set_times(&dir.join(path), 1_000_000_000 + i as i64);
    }
    set_times(dir, 999_999_999);
}

/// All that can be known of each file.
type Facts = (Vec<i64>, Vec<u8>, BTreeMap<CString, Vec<u8>>, Vec<PathBuf>);

fn tree(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = top.join(&path);
        let meta = full.symlink_metadata().unwrap();
        names.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
        let kind = meta.file_type();
        let data = if kind.is_symlink() {
            std::fs::read_link(&full).unwrap().into_os_string().as_bytes().to_vec()
        } else if kind.is_file() {
            std::fs::read(&full).unwrap()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            todo.extend(std::fs::read_dir(&full).unwrap().map(|e| path.join(e.unwrap().file_name())));
        }
        let inode = Inode::Path(path_c(&full));
        let names = inode.xattr_names().unwrap_or_default();
        let xattrs = names.into_iter().map(|n| (n.clone(), inode.xattr(&n).unwrap())).collect();
        let size = if kind.is_dir() { 0 } else { meta.len() as i64 };
        let links = if kind.is_dir() { 0 } else { meta.nlink() as i64 };
        let numbers = vec![
            meta.mode().into(),
            meta.uid().into(),
            meta.gid().into(),
            meta.rdev() as i64,
            size,
            links,
            meta.mtime(),
            meta.mtime_nsec(),
        ];
        found.insert(path, (numbers, data, xattrs, Vec::new()));
    }
    for group in names.values().filter(|group| group.len() > 1) {
        let mut group = group.clone();
        group.sort();
        for path in group.clone() {
            found.get_mut(&path).unwrap().3.clone_from(&group);
        }
    }
    found
}

fn assert_same(from: &Path, to: &Path) {
    let (from, to) = (tree(from), tree(to));
    assert_eq!(from.keys().collect::<Vec<_>>(), to.keys().collect::<Vec<_>>());
    for (path, facts) in &from {
        assert!(
            facts == &to[path],
            "{path:?}:\n{:?}\n{:?}",
            (&facts.0, &facts.2, &facts.3),
            (&to[path].0, &to[path].2, &to[path].3)
        );
    }
}

fn blocks(path: &Path) -> u64 {
    path.metadata().unwrap().blocks()
}

fn same_filesystem(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    fill(&from);
    let done = copy(&from, &to, Top::Copy).unwrap();
    assert_eq!(done.left_out, Vec::<String>::new());
    assert_eq!(done.files, tree(&from).len() as u64 - 1);
    assert_same(&from, &to);
    assert_eq!(blocks(&from.join("sparse")), blocks(&to.join("sparse")));
}

fn other_filesystem(host: &Host) {
    let (disk, there, back) = (on_disk("copy-test"), host.mkdir("there"), on_disk("copy-test-back"));
    fill(&disk);
    copy(&disk, &there, Top::Copy).unwrap();
    assert_same(&disk, &there);
    assert!(blocks(&there.join("sparse")) < 100);
    copy(&there, &back, Top::Copy).unwrap();
    assert_same(&disk, &back);
    assert!(blocks(&back.join("sparse")) < 100);
    std::fs::remove_dir_all(disk).unwrap();
    std::fs::remove_dir_all(back).unwrap();
}

fn keeps_top(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    fill(&from);
    copy(&from, &to, Top::Keep).unwrap();
    let meta = to.metadata().unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o755));
    assert_eq!(std::fs::read(to.join("suid")).unwrap().len(), 300_000);
}

/// Deeper than fds and path names reach.
fn deep(host: &Host) {
    const DEPTH: usize = 700;
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    let name = "directory";
    let enter = || {
        for level in 0..DEPTH {
            std::fs::create_dir(name).unwrap();
            std::env::set_current_dir(name).unwrap();
            std::fs::write("file", level.to_string()).unwrap();
        }
    };
    std::env::set_current_dir(&from).unwrap();
    enter();
    std::fs::hard_link("file", "linked").unwrap();
    std::fs::create_dir("last").unwrap();
    std::fs::hard_link("file", "last/linked").unwrap();
    std::env::set_current_dir("/").unwrap();
    let done = copy(&from, &to, Top::Copy).unwrap();
    assert_eq!(done.files as usize, DEPTH * 2 + 3);
    std::env::set_current_dir(&to).unwrap();
    for level in 0..DEPTH {
        std::env::set_current_dir(name).unwrap();
        assert_eq!(std::fs::read_to_string("file").unwrap(), level.to_string());
    }
    assert_eq!(std::fs::metadata("last/linked").unwrap().nlink(), 3);
}

fn many(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    for dir in 0..20 {
        host.mkdir(&format!("from/{dir}"));
        for file in 0..100 {
            host.write(&format!("from/{dir}/{file}"), "some text");
        }
    }
    let done = copy(&from, &to, Top::Copy).unwrap();
    assert_eq!((done.files, done.bytes), (2020, 18_000));
    assert_same(&from, &to);
}

fn sparse(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    let file = File::create(from.join("holes")).unwrap();
    file.set_len(1 << 40).unwrap();
    for at in [1u64 << 20, 1 << 30, (1 << 40) - 5] {
        file.write_all_at(b"data.", at).unwrap();
    }
    let done = copy(&from, &to, Top::Copy).unwrap();
    assert_eq!(done.bytes, 1 << 40);
    let copied = File::open(to.join("holes")).unwrap();
    let mut data = [0; 5];
    copied.read_exact_at(&mut data, (1 << 40) - 5).unwrap();
    assert_eq!((&data, copied.metadata().unwrap().len()), (b"data.", 1 << 40));
    assert!(copied.metadata().unwrap().blocks() < 1000);
}

fn links(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    let decoy = host.mkdir("decoy");
    std::os::unix::fs::symlink(&decoy, from.join("dir")).unwrap();
    std::os::unix::fs::symlink(decoy.join("file"), from.join("file")).unwrap();
    copy(&from, &to, Top::Copy).unwrap();
    assert_eq!(std::fs::read_link(to.join("dir")).unwrap(), decoy);
    assert_eq!(std::fs::read_dir(&decoy).unwrap().count(), 0);
    // A link that waits where something is to be written.
    let (from, to) = (host.mkdir("from2"), host.mkdir("to2"));
    host.write("from2/file", "x");
    host.mkdir("from2/dir");
    std::os::unix::fs::symlink(decoy.join("written"), to.join("file")).unwrap();
    assert!(copy(&from, &to, Top::Copy).is_err());
    std::fs::remove_file(to.join("file")).unwrap();
    std::os::unix::fs::symlink(&decoy, to.join("dir")).unwrap();
    assert!(copy(&from, &to, Top::Copy).is_err());
    assert_eq!(std::fs::read_dir(&decoy).unwrap().count(), 0);
}

fn errors(host: &Host) {
    let (from, to) = (host.mkdir("from/deep"), host.mkdir("to"));
    host.write("from/deep/file", "x");
    host.mkdir("to/deep");
    let error = copy(from.parent().unwrap(), &to, Top::Copy).unwrap_err();
    assert_eq!(format!("{error:#}"), "copy deep: mkdirat: file exists (EEXIST)");
    let error = copy(&from, &host.mkdir("readonly"), Top::Copy).map(drop);
    assert!(error.is_ok());
    // A full filesystem.
    let small = host.mkdir("small");
    nix::mount::mount(Some("t"), &small, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=64k")).unwrap();
    std::fs::write(from.join("file"), vec![1; 1 << 20]).unwrap();
    let error = format!("{:#}", copy(from.parent().unwrap(), &small, Top::Copy).unwrap_err());
    assert_eq!(error, "copy deep/file: copy data: no space left on device (ENOSPC)");
}

fn few_descriptors(host: &Host) {
    let (from, to) = (host.mkdir("from"), host.mkdir("to"));
    let path: PathBuf = std::iter::repeat_n("d", 300).collect();
    for dir in path.ancestors().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(from.join(dir).join("beside")).unwrap();
    }
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    nix::sys::resource::setrlimit(limit, 256, 256).unwrap();
    copy(&from, &to, Top::Copy).unwrap();
    assert_same(&from, &to);
}
