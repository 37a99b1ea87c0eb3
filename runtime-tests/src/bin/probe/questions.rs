//! Questions of a test, `op:argument`, and their answers.
//!
//! | question | answer |
//! |---|---|
//! | `stat:PATH` | object of lstat, or the errno's name |
//! | `read:PATH` | content, or the errno's name with a `!` before it |
//! | `link:PATH` | text of a symbolic link, or errno with `!` |
//! | `list:PATH` | sorted names in a directory, or errno |
//! | `write:PATH` | `ok` or errno of opening an existing file for writing |
//! | `create:PATH` | `ok` or errno of making a new file (removed again) |
//! | `put:PATH=TEXT` | `ok` or errno of writing the text into the file (made if missing) |
//! | `mkdir:PATH`, `rmdir:PATH`, `unlink:PATH` | `ok` or errno |
//! | `exec:PATH` | `ok` or errno of executing it with the argument `true` |
//! | `mknod:PATH` | `ok` or errno of making a 1:3 device (removed again) |
//! | `open:PATH` | `ok` or errno of opening it for reading |
//! | `statfs:PATH` | object: type and flags |
//! | `chdir:PATH` | `ok` or errno |
//! | `mount:PATH` | `ok` or errno of mounting a tmpfs there |
//! | `umount:PATH` | `ok` or errno of a lazy umount |
//! | `remount-rw:PATH` | `ok` or errno of a bind remount without ro |
//! | `bind:PATH` | `ok` or errno of binding it onto itself |
//! | `syscall:N,A,B…` | result or errno of a syscall by number |
//! | `sethostname:NAME`, `chroot:PATH`, `setuid:N` | `ok` or errno (each in a child process) |
//! | `fork:N` | `ok` or errno of N children at a time |

use crate::raw;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statvfs::statvfs;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::{fs, io};

pub fn answer(questions: &[String]) -> Value {
    let mut answers = Map::new();
    for question in questions {
        let (op, argument) = question.split_once(':').unwrap_or((question, ""));
        answers.insert(question.clone(), one(op, argument));
    }
    Value::Object(answers)
}

fn one(op: &str, argument: &str) -> Value {
    match op {
        "stat" => stat(argument),
        "read" => content(fs::read(argument)),
        "link" => content(fs::read_link(argument).map(|p| p.into_os_string().into_encoded_bytes())),
        "list" => list(argument),
        "write" => outcome(fs::OpenOptions::new().write(true).open(argument)),
        "create" => outcome(create(argument)),
        "put" => outcome(put(argument)),
        "mkdir" => outcome(fs::create_dir(argument)),
        "rmdir" => outcome(fs::remove_dir(argument)),
        "unlink" => outcome(fs::remove_file(argument)),
        "exec" => outcome(std::process::Command::new(argument).args(["exit", "0"]).output()),
        "mknod" => outcome(mknod(argument)),
        "open" => outcome(fs::File::open(argument)),
        "statfs" => filesystem(argument),
        "chdir" => outcome(std::env::set_current_dir(argument)),
        "mount" => errno(nix::mount::mount(Some("probe"), argument, Some("tmpfs"), MsFlags::empty(), None::<&str>)),
        "umount" => errno(nix::mount::umount2(argument, MntFlags::MNT_DETACH)),
        "remount-rw" => errno(nix::mount::mount(
            None::<&str>,
            argument,
            None::<&str>,
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND,
            None::<&str>,
        )),
        "bind" => errno(nix::mount::mount(Some(argument), argument, None::<&str>, MsFlags::MS_BIND, None::<&str>)),
        "syscall" => syscall(argument),
        "sethostname" => errno(nix::unistd::sethostname(argument)),
        "chroot" => errno(nix::unistd::chroot(argument)),
        "fork" => outcome(children(argument)),
        _ => json!("no such question"),
    }
}

fn name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |e| format!("{:?}", Errno::from_raw(e)))
}

fn outcome<T>(result: io::Result<T>) -> Value {
    result.map_or_else(|e| name(&e), |_| "ok".into()).into()
}

fn errno<T>(result: nix::Result<T>) -> Value {
    outcome(result.map_err(io::Error::from))
}

fn content(result: io::Result<Vec<u8>>) -> Value {
    match result {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Err(e) => format!("!{}", name(&e)).into(),
    }
}

fn stat(path: &str) -> Value {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(e) => return name(&e).into(),
    };
    let kind = data.file_type();
    let kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    json!({
        "type": kind, "mode": format!("{:04o}", data.mode() & 0o7777), "uid": data.uid(), "gid": data.gid(),
        "major": libc::major(data.rdev()), "minor": libc::minor(data.rdev()), "size": data.size(),
        "inode": data.ino(), "device": data.dev(),
    })
}

fn list(path: &str) -> Value {
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.into()
        }
        Err(e) => name(&e).into(),
    }
}

fn create(path: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    fs::remove_file(path)
}

fn put(argument: &str) -> io::Result<()> {
    let (path, text) = argument.split_once('=').unwrap_or((argument, ""));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn mknod(path: &str) -> io::Result<()> {
    nix::sys::stat::mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), libc::makedev(1, 3))?;
    fs::remove_file(path)
}

fn filesystem(path: &str) -> Value {
    let kind = match nix::sys::statfs::statfs(path) {
        Ok(kind) => kind,
        Err(e) => return format!("{e:?}").into(),
    };
    let flags = statvfs(path).map(|s| s.flags().bits()).unwrap_or(0);
    json!({ "magic": kind.filesystem_type().0, "flags": flags, "blocks": kind.blocks(), "block_size": kind.block_size(),
        "files": kind.files() })
}

fn syscall(argument: &str) -> Value {
    let numbers: Result<Vec<i128>, _> = argument.split(',').map(str::parse).collect();
    let Ok(numbers) = numbers else { return json!("not numbers") };
    let args: Vec<u64> = numbers[1..].iter().map(|n| *n as u64).collect();
    match raw::syscall(numbers[0] as i64, &args) {
        Ok(result) => result.into(),
        Err(e) => format!("{e:?}").into(),
    }
}

fn children(argument: &str) -> io::Result<()> {
    let count: usize = argument.parse().unwrap_or(1);
    let mut children = Vec::new();
    let mut result = Ok(());
    for _ in 0..count {
        match std::process::Command::new("/proc/self/exe").arg("pause").stdout(std::process::Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(e) => {
                result = Err(e);
                break;
            }
        }
    }
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    result
}
