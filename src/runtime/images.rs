//! The directories of a checkpoint: where criu writes its images, and where its log.

use super::record::Record;
use crate::annotations::CRIU_CONFIG;
use crate::criu;
use crate::log;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// runc's file of where the standard streams led.
pub const DESCRIPTORS: &str = "descriptors.json";
/// The names of the container's anonymous volumes, by destination.
pub const VOLUMES: &str = "rvol-volumes.json";
/// What the container has for sd_notify(3).
pub const NOTIFY: &str = "rvol-notify.json";

/// How much of its own files an image may have.
const LONGEST: u64 = 1024 * 1024;

/// What runc gives criu where there is no annotation [`CRIU_CONFIG`]. Criu passes over one that is not there.
const DEFAULT_CONFIG: &str = "/etc/criu/runc.conf";

/// What criu does with cgroups (`--manage-cgroups-mode`); the numbers are those of `criu_cg_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum CgroupsMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    /// Criu's own, which is `soft`.
    #[default]
    Default = 6,
}

/// What `checkpoint` and `restore` are told alike.
#[derive(Debug, Clone, Default)]
pub struct ImageArgs {
    pub directory: PathBuf,
    /// For criu's log; `None`: where the image is.
    pub work: Option<PathBuf>,
    pub tcp_established: bool,
    pub external_sockets: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub cgroups: CgroupsMode,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
}

/// Open directories.
#[derive(Debug)]
pub(super) struct Images {
    path: PathBuf,
    directory: OwnedFd,
    work: Option<(PathBuf, OwnedFd)>,
}

impl Images {
    /// For a dump: made where they are missing, for nobody but the caller.
    pub fn make(args: &ImageArgs) -> Result<Images> {
        make(&args.directory).context("--image-path")?;
        Images::open(args)
    }

    /// The image's directory has to be there; that for the log is made.
    pub fn open(args: &ImageArgs) -> Result<Images> {
        let directory = open_directory(&args.directory).context("--image-path")?;
        let open_work = |path: &Path| {
            make(path)?;
            Ok::<_, anyhow::Error>((path.to_owned(), open_directory(path)?))
        };
        let work = args.work.as_deref().map(open_work).transpose().context("--work-path")?;
        Ok(Images { path: args.directory.clone(), directory, work })
    }

    /// `--parent-path`: an earlier image, by its path from this one, as criu notes it.
    pub fn check_parent(&self, parent: &Path) -> Result<()> {
        ensure!(!parent.is_absolute(), "--parent-path must be relative");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(&self.directory, parent, flags, Mode::empty())
            .call(|| format!("open {}", self.path.join(parent).display()))
            .context("invalid --parent-path")
            .map(drop)
    }

    /// Criu's options that every request has. The directories must stay open, and be criu's by the same numbers.
    pub fn options(&self, log: &str, record: &Record, args: &ImageArgs) -> criu::Options {
        criu::Options {
            images_dir_fd: self.directory.as_raw_fd(),
            work_dir_fd: self.work.as_ref().map(|(_, directory)| directory.as_raw_fd()),
            log_level: Some(4),
            log_file: Some(log.into()),
            notify_scripts: Some(true),
            orphan_pts_master: Some(true),
            tcp_established: Some(args.tcp_established),
            ext_unix_sk: Some(args.external_sockets),
            shell_job: Some(args.shell_job),
            file_locks: Some(args.file_locks),
            auto_dedup: Some(args.auto_dedup),
            lazy_pages: Some(args.lazy_pages),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(args.cgroups as i32),
            // Interfaces are the engine's or the config's, not the image's.
            empty_namespaces: Some(libc::CLONE_NEWNET.cast_unsigned()),
            config_file: match record.annotations.get(CRIU_CONFIG) {
                None => Some(DEFAULT_CONFIG.into()),
                Some(path) => Some(path.clone()).filter(|path| !path.is_empty()),
            },
            ..criu::Options::default()
        }
    }

    /// The directories with their paths, for criu to have as well.
    pub fn into_directories(self) -> Vec<(PathBuf, OwnedFd)> {
        std::iter::once((self.path, self.directory)).chain(self.work).collect()
    }

    /// Replaces what criu says by the last errors of its log, with where that is.
    pub fn explain(&self, error: anyhow::Error, name: &str) -> anyhow::Error {
        let (path, directory) = match &self.work {
            Some((path, directory)) => (path, directory),
            None => (&self.path, &self.directory),
        };
        let log = path.join(name);
        match criu::last_errors(directory.as_fd(), name, 3) {
            Ok(lines) if !lines.is_empty() => anyhow!("criu failed: {} (log: {})", lines.join("; "), log.display()),
            // A log that was never written says nothing.
            _ => anyhow!("{error:#} (log: {})", log.display()),
        }
    }

    /// Writes a file of ours into the image; an earlier one is replaced.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let at = || format!("{}/{name}", self.path.display());
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| format!("unlink {}", at())),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file =
            openat(&self.directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).call(|| format!("create {}", at()))?;
        let json = serde_json::to_vec(value).with_context(|| format!("serialise {name}"))?;
        std::fs::File::from(file).write_all(&json).call(|| format!("write {}", at()))
    }

    /// Reads a file of ours; `None` if the image has none.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let at = || format!("{}/{name}", self.path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            file => file.call(|| format!("open {}", at()))?,
        };
        let mut json = Vec::new();
        std::fs::File::from(file).take(LONGEST).read_to_end(&mut json).call(|| format!("read {}", at()))?;
        serde_json::from_slice(&json).with_context(at).map(Some)
    }
}

/// runc's warning, where criu is called without the rights that it mostly needs.
pub(super) fn warn_rootless(what: &str) {
    if !nix::unistd::geteuid().is_root() {
        log::warn(format_args!("{what} needs root, or CAP_CHECKPOINT_RESTORE and more: see criu(8)"));
    }
}

fn make(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).call(|| format!("mkdir {}", path.display()))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).call(|| format!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_written_and_read_and_no_link_is_followed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let args = ImageArgs { directory: path.clone(), work: Some(base.path().join("work")), ..ImageArgs::default() };
        let images = Images::make(&args).unwrap();
        assert_eq!(images.read::<Vec<String>>(DESCRIPTORS).unwrap(), None);
        images.write(DESCRIPTORS, &["x"]).unwrap();
        images.write(DESCRIPTORS, &["y"]).unwrap();
        assert_eq!(images.read::<Vec<String>>(DESCRIPTORS).unwrap().unwrap(), ["y"]);
        std::os::unix::fs::symlink("/etc/passwd", path.join(VOLUMES)).unwrap();
        assert!(images.read::<Vec<String>>(VOLUMES).is_err());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        images.check_parent(Path::new("../../work")).unwrap();
        assert!(images.check_parent(Path::new("/tmp")).is_err());
        assert!(images.check_parent(Path::new("../none")).is_err());
    }
}
