//! The place where everything is measured: a mount namespace of its own with a tmpfs for the bundles and state roots, and
//! cgroups of its own. It goes without a trace when dropped. It knows nothing of cases.

use crate::sys::{self, Command, Ended, Spawner, Streams};
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NONE: Option<&str> = None;

/// How the machine's cgroups are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    V1,
    V2,
}

pub struct Place {
    /// The tmpfs.
    pub dir: PathBuf,
    pub rootfs: PathBuf,
    pub cgroups: Cgroups,
    /// The mount points of the hierarchies.
    pub hierarchies: Vec<PathBuf>,
    /// The cgroup under which all containers are, from the root of each hierarchy, with its leading slash.
    pub cgroup: String,
    spawner: Spawner,
    null: File,
    stderr: File,
}

impl Place {
    /// Leaves the caller's mount namespace for good and makes the place. With `V2` on a hybrid machine, its version 2
    /// hierarchy, with what controllers it has, stands at /sys/fs/cgroup for everything measured.
    pub fn new(wanted: Option<Cgroups>) -> Result<Place> {
        unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace (root is needed)")?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make the mounts private")?;
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("rvol-bench.{pid}"));
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("mount a tmpfs")?;
        let (cgroups, hierarchies) = hierarchies(wanted)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let stderr = File::options().read(true).append(true).create(true).open(dir.join("stderr"))?;
        let spawner = Spawner::new(Streams { null: null.as_fd(), stderr: stderr.as_fd() })?;
        let rootfs = dir.join("rootfs");
        let place =
            Place { dir, rootfs, cgroups, hierarchies, cgroup: format!("/rvol-bench.{pid}"), spawner, null, stderr };
        make_rootfs(&place.rootfs)?;
        place.make_cgroups()?;
        Ok(place)
    }

    pub fn streams(&self) -> Streams<'_> {
        Streams { null: self.null.as_fd(), stderr: self.stderr.as_fd() }
    }

    /// Writes a bundle and returns its directory: `config` with the root, and the cgroup `name`, put in.
    pub fn bundle(&self, name: &str, mut config: Value) -> Result<PathBuf> {
        let dir = self.dir.join("bundles").join(name);
        fs::create_dir_all(&dir)?;
        config["root"]["path"] = json!(self.rootfs);
        config["linux"]["cgroupsPath"] = json!(format!("{}/{name}", self.cgroup));
        if self.cgroups == Cgroups::V2 {
            // As engines and `runc spec` have it on cgroup v2.
            let namespaces = config["linux"]["namespaces"].as_array_mut().context("the config has namespaces")?;
            namespaces.push(json!({"type": "cgroup"}));
        }
        fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        Ok(dir)
    }

    pub fn spawn(&self, command: &Command) -> Result<libc::pid_t> {
        self.spawner.spawn(command)
    }

    /// Runs the command to its end and returns the milliseconds from before the spawn until it was waited for.
    pub fn timed(&self, command: &Command) -> Result<f64> {
        let begin = Instant::now();
        let ended = sys::wait(self.spawner.spawn(command)?)?;
        let ms = begin.elapsed().as_secs_f64() * 1000.0;
        self.expect_success(ended)?;
        Ok(ms)
    }

    /// Runs the command to its end and says whether it succeeded; one that takes too long is killed and has failed.
    pub fn succeeds(&self, command: &Command) -> Result<bool> {
        let ended = sys::wait_at_most(self.spawner.spawn(command)?, Duration::from_secs(5))?;
        self.take_stderr();
        Ok(ended.code == 0)
    }

    /// Runs the command to its end, whatever that is.
    pub fn run(&self, command: &Command) -> Result<Ended> {
        sys::wait(self.spawner.spawn(command)?)
    }

    /// An error with what the command wrote to its standard error, if it failed.
    pub fn expect_success(&self, ended: Ended) -> Result<()> {
        if ended.code == 0 {
            return Ok(());
        }
        bail!("{} (exit code {})", self.take_stderr(), ended.code)
    }

    /// What commands have written to their standard error since the last call, each line once.
    pub fn take_stderr(&self) -> String {
        let mut text = String::new();
        let mut file = &self.stderr;
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        if let Err(error) = read.and_then(|_| self.stderr.set_len(0)) {
            return format!("read standard error: {error}");
        }
        let mut lines: Vec<&str> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if lines.is_empty() { "no message".into() } else { lines.join("; ") }
    }

    /// Whether the process runs the containers' payload and no longer the runtime.
    pub fn is_payload(&self, pid: libc::pid_t) -> bool {
        let inode = |path: PathBuf| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        inode(format!("/proc/{pid}/exe").into()) == inode(self.rootfs.join("bin/busybox"))
    }

    /// Puts `count` further mounts into the mount namespace until the guard is dropped.
    pub fn crowd(&self, count: usize) -> Result<Crowd> {
        let dir = self.dir.join("crowd");
        fs::create_dir_all(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), NONE).context("mount a tmpfs")?;
        let crowd = Crowd { dir };
        for i in 0..count {
            let path = crowd.dir.join(i.to_string());
            fs::create_dir(&path)?;
            mount(Some(&path), &path, NONE, MsFlags::MS_BIND, NONE).context("bind a directory onto itself")?;
        }
        Ok(crowd)
    }

    fn make_cgroups(&self) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let dir = hierarchy.join(&self.cgroup[1..]);
            fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                // Version 1 starts a cpuset empty, and nothing can be in it then.
                if hierarchy.join(file).exists() {
                    fs::write(dir.join(file), fs::read(hierarchy.join(file))?)?;
                }
            }
        }
        Ok(())
    }

    /// Ends every process in the cgroup and those below it, and removes them, in each hierarchy.
    pub fn sweep(&self, cgroup: &str) -> Result<()> {
        for _ in 0..100 {
            let dirs = self.hierarchies.iter().map(|h| h.join(cgroup.trim_start_matches('/')));
            // All of them each time: no short circuit.
            if dirs.filter(|dir| !remove_tree(dir)).count() == 0 {
                return Ok(());
            }
            // Killed processes leave their cgroups only when they are dead and waited for.
            while nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG))
                .is_ok_and(|s| s != nix::sys::wait::WaitStatus::StillAlive)
            {}
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("cgroups named {cgroup} could not be removed")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.sweep(&self.cgroup) {
            eprintln!("rvol-bench: {error:#}");
        }
        if let Err(error) = umount2(&self.dir, MntFlags::MNT_DETACH)
            .and(fs::remove_dir(&self.dir).map_err(|e| nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0))))
        {
            eprintln!("rvol-bench: remove {}: {error}", self.dir.display());
        }
    }
}

/// See [`Place::crowd`].
pub struct Crowd {
    dir: PathBuf,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.dir, MntFlags::MNT_DETACH) {
            eprintln!("rvol-bench: unmount {}: {error}", self.dir.display());
        }
    }
}

/// Kills what is in the cgroup and removes it with its children. False if something is still in it.
fn remove_tree(dir: &Path) -> bool {
    let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|p| p.parse().ok()).filter(|p| *p > 0) {
        // Gone already is as good.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let Ok(entries) = fs::read_dir(dir) else { return !dir.exists() };
    let children = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path());
    let mut empty = true;
    for child in children {
        empty &= remove_tree(&child);
    }
    empty && fs::remove_dir(dir).is_ok()
}

/// Finds the cgroup mounts. On a hybrid machine the v2 hierarchy beside v1 is hidden from everything measured: crun 1.8
/// refuses to run where it has controllers, and all are to do the same work.
fn hierarchies(wanted: Option<Cgroups>) -> Result<(Cgroups, Vec<PathBuf>)> {
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        match right.split(' ').next() {
            Some("cgroup") => v1.push(point),
            Some("cgroup2") => v2.push(point),
            _ => {}
        }
    }
    for hybrid in v2.iter().filter(|_| !v1.is_empty()) {
        umount2(hybrid, MntFlags::MNT_DETACH).with_context(|| format!("hide {}", hybrid.display()))?;
    }
    match wanted {
        Some(Cgroups::V1) if v1.is_empty() => bail!("this machine has no cgroup v1 hierarchies"),
        Some(Cgroups::V2) if !v1.is_empty() => {
            umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).context("hide /sys/fs/cgroup")?;
            mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), NONE)
                .context("mount cgroup2")?;
            Ok((Cgroups::V2, vec!["/sys/fs/cgroup".into()]))
        }
        _ if !v1.is_empty() => Ok((Cgroups::V1, v1)),
        _ if v2.is_empty() => bail!("no cgroup hierarchy is mounted"),
        _ => {
            v2.truncate(1);
            Ok((Cgroups::V2, v2))
        }
    }
}

/// A root file system with a static busybox as `true`, `sleep` and `sh`, and every mount point that the cases use.
fn make_rootfs(rootfs: &Path) -> Result<()> {
    for dir in ["bin", "proc", "sys", "dev", "etc", "tmp", "mnt"] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    for i in 0..crate::cases::BINDS {
        fs::create_dir(rootfs.join(format!("mnt/{i:03}")))?;
    }
    let busybox = rootfs.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("copy /bin/busybox (apt-get install busybox-static)")?;
    for name in ["true", "sleep", "sh"] {
        fs::hard_link(&busybox, rootfs.join("bin").join(name))?;
    }
    Ok(())
}
