//! What of a container is not in its image: mounts of the host's, and standard streams. Each has a key in the image, by
//! which `restore` gives it back from the config, and what criu made of it is checked against the config.

use super::record::Record;
use crate::criu::ExternalMount;
use crate::plan::options::Attr;
use crate::plan::{MountOp, Plan, Requirement};
use crate::rootfs::stage::{self, Staged};
use crate::sys::path::{Symlinks, mount_id_of, open_in_root};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The key of what covers masked files. No path begins like this.
const NULL_KEY: &str = "rvol-null";

/// The key of the mount at a destination of the config. Criu's own separators, with which a name chosen inside the
/// container could stand for another mount, cannot be in it.
fn key(destination: &Path) -> String {
    let mut key = String::from("rvol:");
    for byte in destination.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => key.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(key, "%{byte:02x}")),
        }
    }
    key
}

/// The key of a namespace that the container has joined by its path; runc's.
pub(super) fn namespace_key(kind: &str) -> &'static str {
    if kind == "net" { "extRootNetNS" } else { "extRootPidNS" }
}

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    id: u64,
    /// `major:minor`.
    device: String,
    /// What of the filesystem is mounted.
    root: String,
    point: String,
    readonly: bool,
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut fields = line.split(' ');
        let id = fields.next()?.parse().ok()?;
        let device = fields.nth(1)?.to_owned();
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let readonly = fields.next()?.split(',').any(|option| option == "ro");
        Some(Line { id, device, root, point, readonly })
    }

    fn is_same_source(&self, other: &Line) -> bool {
        (&self.device, &self.root) == (&other.device, &other.root)
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// The mounts of a process's mount namespace, as its root sees them.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Line>);

impl Mounts {
    pub fn of(pid: i32) -> Result<Mounts> {
        let path = format!("/proc/{pid}/mountinfo");
        let table = std::fs::read(&path).call(|| format!("read {path}"))?;
        let table = String::from_utf8(table).ok().context("a mount point is not UTF-8, and criu's messages are")?;
        table
            .lines()
            .map(|line| Line::parse(line).with_context(|| format!("{path}: {line:?}")))
            .collect::<Result<_>>()
            .map(Mounts)
    }

    fn get(&self, id: u64) -> Option<&Line> {
        self.0.iter().find(|line| line.id == id)
    }

    /// The mount whose root is at a path of the container; `None` where none is (any more).
    fn mounted_at(&self, root: BorrowedFd, path: &Path) -> Result<Option<u64>> {
        let describe = || format!("openat2 {} in the container", path.display());
        let open = |path: &Path, symlinks| match open_in_root(root, path, OFlag::O_PATH, symlinks) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            there => there.call(describe).map(Some),
        };
        let identity = |fd: &OwnedFd| {
            fstat(fd).call(|| format!("fstat {}", path.display())).map(|stat| (stat.st_dev, stat.st_ino))
        };
        let Some(there) = open(path, Symlinks::Follow)? else { return Ok(None) };
        let id = mount_id_of(there.as_fd()).call(describe)?;
        let Some(line) = self.get(id) else { return Ok(None) };
        let Some(top) = open(Path::new(&line.point), Symlinks::Refuse)? else { return Ok(None) };
        Ok((identity(&there)? == identity(&top)?).then_some(id))
    }
}

/// For a dump: the mount points in the container of what the config mounts from the host, each with its key.
pub(super) fn mounts(mounts: &Mounts, pid: i32, record: &Record) -> Result<Vec<ExternalMount>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("/proc/{pid}/root");
    let root = open(path.as_str(), flags, Mode::empty()).call(|| format!("open {path}"))?;
    let mut found: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let recorded = record.storage.as_ref().map(|storage| storage.mounts.as_slice()).unwrap_or_default();
    for mount in recorded {
        let destination = &mount.destination;
        let Some(id) = mounts.mounted_at(root.as_fd(), destination)? else { continue };
        match found.insert(id, destination.clone()) {
            Some(other) if other != *destination => bail!(
                "the container has exchanged {} and {}: one mount is at both",
                other.display(),
                destination.display()
            ),
            _ => {}
        }
    }
    let null = stat("/dev/null").call(|| "stat /dev/null".into())?.st_dev;
    let devices = format!("{}:{}", libc::major(null), libc::minor(null));
    let mut external = Vec::new();
    for line in &mounts.0 {
        let value = match found.get(&line.id) {
            Some(destination) => key(destination),
            None if line.device != devices => continue,
            // Masked files, and nodes that are bound because the container may make none.
            None if line.root == "/null" && line.point != "/dev/null" => NULL_KEY.into(),
            None => key(Path::new(&line.point)),
        };
        ensure!(!line.point.contains("]:"), "criu cannot tell a mount at {:?}: it has `]:` in its name", line.point);
        external.push(ExternalMount { key: line.point.clone(), value });
    }
    Ok(external)
}

/// For a restore: the key of each source that is staged, and where.
pub(super) fn sources(plan: &Plan, staged: Staged) -> Result<Vec<ExternalMount>> {
    let text = |path: PathBuf| path.into_os_string().into_string().ok().context("the state directory is not UTF-8");
    // Of two at one destination the later one is seen.
    let mut keys = BTreeMap::new();
    for (index, mount) in plan.mounts.iter().enumerate().filter(|(_, mount)| stage::has_source(&mount.op)) {
        keys.insert(key(&mount.target.path), text(staged.source(index))?);
    }
    keys.insert(NULL_KEY.into(), text(staged.null())?);
    Ok(keys.into_iter().map(|(key, value)| ExternalMount { key, value }).collect())
}

/// After a restore, before anything runs: what is to be read-only is. Criu takes the flags of each mount from the image.
///
/// `criu` is the process that has the sources staged, `pid` the restored one.
pub(super) fn check_readonly(plan: &Plan, staged: Staged, criu: i32, pid: i32) -> Result<()> {
    let (before, after) = (Mounts::of(criu)?, Mounts::of(pid)?);
    let root_is_writable = after.0.iter().rfind(|line| line.point == "/").is_none_or(|line| !line.readonly);
    ensure!(!(plan.rootfs.readonly && root_is_writable), "root.readonly: the image has a writable root filesystem");
    let mut sources: Vec<(&Line, &Attr, usize)> = Vec::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let MountOp::Bind(bind) = &mount.op else { continue };
        let path = staged.source(index);
        let line = before.0.iter().find(|line| Path::new(&line.point) == path);
        ensure!(
            line.is_some() || mount.requirement != Requirement::Must,
            "{}: its source is not at {}",
            mount.place,
            path.display()
        );
        sources.extend(line.map(|line| (line, &bind.attr, index)));
    }
    for (source, _, index) in sources.iter().filter(|(_, attr, _)| attr.is_readonly()) {
        // The same directory may be mounted twice, once to be written.
        if sources.iter().any(|(other, attr, _)| other.is_same_source(source) && !attr.is_readonly()) {
            continue;
        }
        let writable = after.0.iter().find(|line| line.is_same_source(source) && !line.readonly);
        if let Some(line) = writable {
            let mount = &plan.mounts[*index];
            let (place, target) = (&mount.place, mount.target.path.display());
            bail!("{place} {target}: is read-only, and the image has it writable at {}", line.point);
        }
    }
    Ok(())
}

/// Where a process's standard streams lead, as runc writes it to `descriptors.json`: `pipe:[…]`, a path, or the name that
/// criu gives a file outside of the container, for which it has to be told of it.
pub(super) fn streams(mounts: &Mounts, pid: i32) -> Result<Vec<String>> {
    (0..3).map(|number| stream(mounts, pid, number)).collect()
}

fn stream(mounts: &Mounts, pid: i32, number: u32) -> Result<String> {
    let path = format!("/proc/{pid}/fd/{number}");
    let link = match nix::fcntl::readlink(path.as_str()) {
        // The process has closed it.
        Err(Errno::ENOENT) => return Ok(String::new()),
        link => link.call(|| format!("readlink {path}"))?,
    };
    let link = link.to_string_lossy().into_owned();
    if !link.starts_with('/') {
        return Ok(link);
    }
    let file = open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).call(|| format!("open {path}"))?;
    let stat = fstat(&file).call(|| format!("fstat {path}"))?;
    let mount = mount_id_of(file.as_fd()).call(|| format!("statx {path}"))?;
    let outside = stat.st_mode & libc::S_IFMT == libc::S_IFREG && mounts.get(mount).is_none();
    Ok(if outside { format!("file[{mount:x}:{:x}]", stat.st_ino) } else { link })
}

/// Whether a stream of [`streams`] is the caller's to give at a restore.
pub(super) fn is_given(stream: &str) -> bool {
    stream.starts_with("pipe:[") || is_file(stream)
}

/// The key by which criu takes a stream of the caller's in its place. That of a file is its name as criu has it at a
/// restore, where it cuts the slash off that names begin with; by the whole name the file would have to be as long as the
/// old one was.
pub(super) fn given_key(stream: &str) -> &str {
    if is_file(stream) { stream.get(1..).unwrap_or_default() } else { stream }
}

/// Whether criu has to be told at the dump that a stream is not in the image.
pub(super) fn is_file(stream: &str) -> bool {
    stream.starts_with("file[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_criu_syntax_in_a_key() {
        assert_eq!(key(Path::new("/data/a-b_c.d")), "rvol:/data/a-b_c.d");
        let hostile = key(Path::new("/x]:/etc y%"));
        assert_eq!(hostile, "rvol:/x%5d%3a/etc%20y%25");
        assert!(!NULL_KEY.starts_with("rvol:"));
    }

    #[test]
    fn lines_of_mountinfo() {
        let text = "112 100 0:6 /null /proc/a\\040b ro,nosuid shared:3 - devtmpfs devtmpfs rw,mode=755";
        let line = Line::parse(text).unwrap();
        assert_eq!((line.id, line.readonly), (112, true));
        assert_eq!((line.device.as_str(), line.root.as_str(), line.point.as_str()), ("0:6", "/null", "/proc/a b"));
        assert_eq!(Line::parse("nothing"), None);
    }

    #[test]
    fn own_streams() {
        let me = std::process::id().cast_signed();
        let mounts = Mounts::of(me).unwrap();
        assert_eq!(streams(&mounts, me).unwrap().len(), 3);
        assert!(is_given("pipe:[7]") && is_given("file[1b:7]") && !is_given("/dev/null") && !is_given(""));
        assert!(is_file("file[1b:7]") && !is_file("pipe:[7]"));
    }
}
