//! File trees with one of everything that a copy may lose, and a description of a tree to compare.

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Makes files of every kind in a directory: names, modes, owners, times, holes, links, attributes.
pub fn fill(dir: &Path) {
    let write = |name: &OsStr, mode: u32, uid: u32| {
        fs::write(dir.join(name), name.as_bytes()).expect("write");
        lchown(dir.join(name), Some(uid), Some(uid + 1)).expect("chown");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    write("plain".as_ref(), 0o644, 0);
    write("setuid".as_ref(), 0o4755, 33);
    write("sticky".as_ref(), 0o1600, 4_000_000_000);
    write(OsStr::from_bytes(b"not \xff utf-8\n?"), 0o400, 7);
    write("long".repeat(60).as_ref(), 0o600, 0);
    fs::create_dir_all(dir.join("deep/er/and/deeper")).expect("mkdir");
    fs::create_dir_all(dir.join(format!("{}/end", ["name"; 200].join("/")))).expect("mkdir");
    fs::set_permissions(dir.join("deep/er"), fs::Permissions::from_mode(0o2500)).expect("chmod");
    fs::hard_link(dir.join("plain"), dir.join("deep/linked")).expect("link");
    let sparse = |name: &str, data: &[(u64, &[u8])], size: u64| {
        let file = fs::File::create(dir.join(name)).expect("create");
        file.set_len(size).expect("grow");
        data.iter().for_each(|(at, data)| file.write_all_at(data, *at).expect("write"));
    };
    sparse("sparse", &[(32 << 20, b"middle"), ((64 << 20) - 3, b"end")], 64 << 20);
    sparse("hole at the end", &[(0, b"begin")], 1 << 20);
    sparse("nothing but a hole", &[], 1 << 20);
    symlink("/etc/passwd", dir.join("absolute")).expect("link");
    symlink("nowhere", dir.join("deep/dangling")).expect("link");
    symlink("x".repeat(1000), dir.join("to a long name")).expect("link");
    lchown(dir.join("absolute"), Some(12), Some(13)).expect("chown");
    mkfifo(&dir.join("fifo"), Mode::from_bits_truncate(0o622)).expect("mkfifo");
    for (name, kind, device) in
        [("device", SFlag::S_IFCHR, makedev(1, 3)), ("disk", SFlag::S_IFBLK, makedev(259, 70_000))]
    {
        mknod(&dir.join(name), kind, Mode::from_bits_truncate(0o666), device).expect("mknod");
    }
    attributes(dir);
    for (name, time) in [
        ("plain", "2001-02-03 04:05:06.123456789"),
        ("deep", "2001-02-03 04:05:06.123456789"),
        ("absolute", "1971-02-03 04:05:06.000000001"),
        ("fifo", "2030-02-03 04:05:06.999999999"),
    ] {
        tool(Command::new("touch").args(["-h", "-d", time]).arg(dir.join(name)));
    }
    lchown(dir, Some(101), Some(102)).expect("chown");
    tool(Command::new("touch").args(["-d", "1999-01-01 00:00:00.987654321"]).arg(dir));
}

/// Extended attributes, a file capability, and ACLs.
fn attributes(dir: &Path) {
    let set = |name: &str, value: &str, file: &str| {
        tool(Command::new("setfattr").args(["-h", "-n", name, "-v", value]).arg(dir.join(file)));
    };
    // cap_net_raw+ep, version 2.
    set("security.capability", "0x0100000200200000000000000000000000000000", "long".repeat(60).as_str());
    set("trusted.binary", "0x000aff3d", "setuid");
    set("trusted.of=the%link", "0x31", "absolute");
    for (words, file) in [
        (["-m", "u:40009:r,g:40010:rwx"], "plain"),
        (["-m", "u:4294967290:r"], "deep"),
        (["-m", "d:u:40011:rx,d:m::rwx"], "deep/er"),
    ] {
        tool(Command::new("setfacl").args(words).arg(dir.join(file)));
    }
}

/// A socket, which copies keep and archives cannot.
pub fn add_socket(dir: &Path) {
    // Its path is longer than an address; the working directory belongs to all threads.
    let at = fs::File::open(dir).expect("open");
    let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&at));
    drop(UnixListener::bind(path).expect("socket"));
}

fn tool(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Everything that is to be said of a tree: what find(1) knows of each file, sums of the data, extended attributes.
pub fn described(root: &Path) -> String {
    let (directory, file) = ("%P %y %m %U %G %T@\\n", "%P %y %m %U %G %T@ %n %s %l\\n");
    let mut found =
        lines(Command::new("find").arg(root).args(["-type", "d", "-printf", directory, "-o", "-printf", file]));
    found.sort();
    let mut sums = lines(
        Command::new("find")
            .current_dir(root)
            .args([".", "-type", "f", "-size", "-100k", "-exec", "md5sum", "{}", "+"]),
    );
    sums.sort();
    found.append(&mut sums);
    let dump =
        lines(Command::new("getfattr").current_dir(root).args(["-R", "-h", "-P", "-d", "-m", "-", "-e", "hex", "."]));
    let mut attributes: Vec<Vec<String>> = dump.split(|line| line.is_empty()).map(<[String]>::to_vec).collect();
    attributes.iter_mut().for_each(|file| file.sort());
    attributes.sort();
    found.extend(attributes.into_iter().flatten());
    found.join("\n")
}

/// Panics with the first line that is different.
#[track_caller]
pub fn assert_same(expected: &str, found: &str, what: &str) {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    for (index, line) in expected.iter().enumerate() {
        assert_eq!(Some(line), found.get(index), "{what}: line {index}");
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}
