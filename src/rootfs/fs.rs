//! New instances of filesystems, made detached: fsopen(2), fsconfig(2), fsmount(2).

use super::attr::{self, Calls, Tree};
use super::diagnose;
use crate::plan::mounts::{Fs, FsOption};
use crate::plan::options::{Attr, Propagation, PropagationKind};
use crate::sys::mount::{
    AT_RECURSIVE, FsContext, MOUNT_ATTR_ATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE, move_mount, open_tree, open_tree_at_cwd,
};
use crate::sys::{Call, ContextError, Errno};
use anyhow::{Result, ensure};
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fchdir;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// fsconfig(2) takes strings of at most this many bytes.
const LONGEST_VALUE: usize = 255;
/// mount(2) takes a page of options. What is longer it cuts off without an error.
const LONGEST_DATA: usize = 4095;

/// What the executor adds to the plan's filesystem.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// Permission bits of the new root directory where the options have none (tmpfs takes over its mount point's).
    pub mode: Option<u32>,
    /// Leave out read-only: it is set at the end.
    pub writable: bool,
    /// The user namespace of an explicit idmap.
    pub idmap: Option<BorrowedFd<'a>>,
    /// For the diagnosis.
    pub in_user_namespace: bool,
}

/// Makes the filesystem; the detached mount has its attributes, propagation and idmap.
pub fn make(fs: &Fs, extra: Extra) -> Result<OwnedFd> {
    let split = match needs_old_call(fs) && old_options(fs, &extra).1.len() > LONGEST_DATA {
        true => Some(with_single_layers(fs)?),
        false => None,
    };
    let fs = split.as_ref().unwrap_or(fs);
    let made = if needs_old_call(fs) { make_with_mount(fs, &extra) } else { make_with_context(fs, &extra) };
    let tree = made.map_err(|e| diagnose::filesystem(e, fs, extra.in_user_namespace))?;
    if fs.propagation.kind != PropagationKind::Private {
        Calls::new(&Default::default(), fs.propagation, Tree::Top).apply(tree.as_fd())?;
    }
    if let Some(namespace) = extra.idmap {
        attr::map_ids(tree.as_fd(), namespace, Tree::Top)
            .call(|| "mount_setattr idmap".into())
            .map_err(|e| diagnose::idmap(e, tree.as_fd()))?;
    }
    Ok(tree)
}

/// A new filesystem that is no container's, as a detached mount: for the drivers of volumes.
pub fn make_for_host(fs: &Fs) -> Result<OwnedFd> {
    make(fs, Extra::default())
}

/// An empty, read-only tmpfs that holds nothing but its root directory.
pub fn make_empty() -> Result<OwnedFd> {
    let context = FsContext::open("tmpfs").call(|| "fsopen tmpfs".into())?;
    for (key, value) in [("source", "tmpfs"), ("mode", "555"), ("nr_inodes", "1"), ("nr_blocks", "1")] {
        set_string(&context, key, value.as_bytes())?;
    }
    configured(&context, context.create(), "fsconfig create tmpfs")?;
    let attr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    configured(&context, context.mount(attr), "fsmount tmpfs")
}

/// Changes the superblock options of the filesystem that is mounted at `mount`.
pub fn reconfigure(mount: BorrowedFd, options: &[FsOption]) -> Result<()> {
    let context = FsContext::pick(mount).call(|| "fspick".into())?;
    set_options(&context, options)?;
    configured(&context, context.reconfigure(), "fsconfig reconfigure")
}

/// The `MOUNT_ATTR_*` bits of a new mount: it starts with none, so there is nothing to clear.
fn attr_bits(fs: &Fs, extra: &Extra) -> u64 {
    let recursive = fs.attr.recursive_set & !fs.attr.clear;
    // What the mount itself has as its access-time mode replaces the recursive one.
    let recursive = if fs.attr.set & MOUNT_ATTR_ATIME == 0 { recursive } else { recursive & !MOUNT_ATTR_ATIME };
    let bits = recursive | fs.attr.set;
    if extra.writable { bits & !MOUNT_ATTR_RDONLY } else { bits }
}

fn make_with_context(fs: &Fs, extra: &Extra) -> Result<OwnedFd> {
    let context = FsContext::open(&fs.fstype).call(|| format!("fsopen {}", fs.fstype))?;
    if let Some(source) = &fs.source {
        set_string(&context, "source", source.as_bytes())?;
    }
    if let Some(mode) = extra.mode {
        set_string(&context, "mode", format!("{mode:o}").as_bytes())?;
    }
    set_options(&context, &fs.options)?;
    if let Some(label) = effective_label(fs) {
        set_string(&context, "context", label.as_bytes())?;
    }
    configured(&context, context.create(), &format!("fsconfig create {}", fs.fstype))?;
    configured(&context, context.mount(attr_bits(fs, extra)), &format!("fsmount {}", fs.fstype))
}

fn set_options(context: &FsContext, options: &[FsOption]) -> Result<()> {
    for option in options {
        match option {
            // These concern mount(2) only: what the kernel logs, and what has been the default of it.
            FsOption::Flag(key) if matches!(key.as_str(), "silent" | "loud" | "noiversion") => {}
            FsOption::Flag(key) => configured(context, context.set_flag(key), &format!("fsconfig {key}"))?,
            FsOption::Value(key, value) => set_string(context, key, value.as_bytes())?,
        }
    }
    Ok(())
}

fn set_string(context: &FsContext, key: &str, value: &[u8]) -> Result<()> {
    match context.set_string(key, value) {
        Ok(()) => Ok(()),
        result => configured(context, result, &format!("fsconfig {key}={}", String::from_utf8_lossy(value))),
    }
}

/// An error with what the kernel wrote into the context's log.
fn configured<T>(context: &FsContext, result: nix::Result<T>, call: &str) -> Result<T> {
    let Err(errno) = result else { return result.call(String::new) };
    let message = context.messages();
    if message.is_empty() {
        return Err(errno).call(|| call.to_owned());
    }
    Err(ContextError { call: call.to_owned(), message, errno }.into())
}

/// Values too long for fsconfig(2), such as an overlay's lowerdir, and `iversion`, which it does not know.
fn needs_old_call(fs: &Fs) -> bool {
    let too_long = |value: &str| value.len() > LONGEST_VALUE;
    fs.source.as_deref().is_some_and(too_long)
        || fs.options.iter().any(|option| match option {
            FsOption::Flag(key) => key == "iversion",
            FsOption::Value(_, value) => too_long(value),
        })
}

/// The same overlay with each lower directory in an option of its own (`lowerdir+`, Linux 6.7), for which no page is too
/// small. Fails where that says something else: other filesystems, escaped colons, data-only layers.
fn with_single_layers(fs: &Fs) -> Result<Fs> {
    let mut split = fs.clone();
    split.options = Vec::new();
    for option in &fs.options {
        match option {
            FsOption::Value(key, layers) if fs.fstype == "overlay" && key == "lowerdir" && is_plain(layers) => {
                let layers = layers.split(':').map(|layer| FsOption::Value("lowerdir+".into(), layer.to_owned()));
                split.options.extend(layers);
            }
            other => split.options.push(other.clone()),
        }
    }
    ensure!(
        !needs_old_call(&split),
        "the options of {} are longer than {LONGEST_DATA} bytes, which is all that mount(2) takes",
        fs.fstype
    );
    Ok(split)
}

fn is_plain(layers: &str) -> bool {
    !layers.contains('\\') && !layers.contains("::")
}

/// mount(2) attaches at once and by path, so it is given a place that nobody sees: a directory in a tmpfs stacked on
/// our own `/`, which path lookups, starting at our root directory, do not enter. A detached clone of what was mounted
/// there is all that remains.
fn make_with_mount(fs: &Fs, extra: &Extra) -> Result<OwnedFd> {
    let directory = |path: &str| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path, flags, Mode::empty()).call(|| format!("open {path}"))
    };
    let (before, top) = (directory(".")?, directory("/")?);
    let stage = {
        let context = FsContext::open("tmpfs").call(|| "fsopen tmpfs".into())?;
        configured(&context, context.create(), "fsconfig create tmpfs")?;
        configured(&context, context.mount(0), "fsmount tmpfs")?
    };
    mkdirat(&stage, "m", Mode::S_IRWXU).call(|| "mkdirat m".into())?;
    let point = openat(&stage, "m", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).call(|| "openat m".into())?;
    move_mount(stage.as_fd(), top.as_fd()).call(|| "move_mount a staging tmpfs".into())?;
    let made = fchdir(&point).call(|| "fchdir m".into()).and_then(|()| {
        let (flags, data) = old_options(fs, extra);
        let source = fs.source.as_deref().unwrap_or("none");
        mount(Some(source), ".", Some(fs.fstype.as_str()), flags, Some(data.as_str()))
            .call(|| format!("mount {} with {data}", fs.fstype))?;
        open_tree(stage.as_fd(), b"m", OPEN_TREE_CLONE | AT_RECURSIVE).call(|| "open_tree m".into())
    });
    fchdir(&stage).call(|| "fchdir to the staging tmpfs".into())?;
    umount2(".", MntFlags::MNT_DETACH).call(|| "umount2 the staging tmpfs".into())?;
    fchdir(&before).call(|| "fchdir back".into())?;
    let tree = made?;
    let attr = Attr { set: attr_bits(fs, extra), ..fs.attr };
    Calls::new(&attr, fs.propagation, Tree::Top).apply(tree.as_fd())?;
    Ok(tree)
}

/// Flags and data of mount(2).
fn old_options(fs: &Fs, extra: &Extra) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    data.extend(extra.mode.map(|mode| format!("mode={mode:o}")));
    for option in &fs.options {
        match option {
            // Categories of an SELinux context have a comma between them, at which the kernel would split the data.
            FsOption::Value(key, value) if key.ends_with("context") => data.push(format!("{key}=\"{value}\"")),
            FsOption::Value(key, value) => data.push(format!("{key}={value}")),
            FsOption::Flag(key) => match key.as_str() {
                "ro" => flags |= MsFlags::MS_RDONLY,
                "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
                "dirsync" => flags |= MsFlags::MS_DIRSYNC,
                "mand" => flags |= MsFlags::MS_MANDLOCK,
                "lazytime" => flags |= MsFlags::MS_LAZYTIME,
                "iversion" => flags |= MsFlags::MS_I_VERSION,
                "silent" => flags |= MsFlags::MS_SILENT,
                "rw" | "async" | "nomand" | "nolazytime" | "noiversion" | "loud" => {}
                other => data.push(other.to_owned()),
            },
        }
    }
    data.extend(effective_label(fs).map(|label| format!("context=\"{label}\"")));
    (flags, data.join(","))
}

/// The label, where there is something that takes it: without SELinux the filesystem itself would be given `context=`
/// and refuse it, but the label then has no meaning (runtime-tools, `linux_mount_label`).
fn effective_label(fs: &Fs) -> Option<&str> {
    fs.label.as_deref().filter(|_| selinux_is_on())
}

/// SELinux registers its filesystem if and only if it is on. Where that cannot be seen, the kernel shall judge the label.
fn selinux_is_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    let registered = |table: String| table.lines().any(|line| line.ends_with("\tselinuxfs"));
    *ON.get_or_init(|| std::fs::read_to_string("/proc/filesystems").map_or(true, registered))
}

/// The host's own sysfs in the place of a new one that the kernel refused: for a user namespace that shares the host's
/// network namespace. What is asked for holds for everything below it, too, and nothing is cleared.
pub fn host_sysfs(fs: &Fs) -> Result<OwnedFd> {
    let tree = open_tree_at_cwd(b"/sys", OPEN_TREE_CLONE | AT_RECURSIVE).call(|| "open_tree /sys".into())?;
    let attr = Attr { recursive_set: fs.attr.set | fs.attr.recursive_set, ..Attr::default() };
    Calls::new(&attr, Propagation { recursive: true, ..fs.propagation }, Tree::Recursive).apply(tree.as_fd())?;
    Ok(tree)
}

/// Whether a failure means that the kernel refuses new instances here.
pub fn is_refused(error: &anyhow::Error) -> bool {
    matches!(crate::sys::errno_of(error), Some(Errno::EPERM | Errno::EBUSY))
}
