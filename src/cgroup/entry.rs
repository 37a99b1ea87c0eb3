//! The way into a cgroup, for a process that is about to be born.

use super::group::Group;
use super::record::{Membership, Record, Version};
use super::systemd::Handle;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail};
use nix::fcntl::{AtFlags, OFlag};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Open files of one cgroup: cgroup v2 is entered at the clone, v1 by the process itself.
#[derive(Debug, Default)]
pub struct Entry {
    /// `tasks` of each v1 hierarchy, open for writing.
    entrances: Vec<(OwnedFd, PathBuf)>,
    /// The cgroup v2 directory.
    unified: Option<OwnedFd>,
    /// The unit of a user's systemd, and the cgroup below it.
    unit: Option<(Handle, PathBuf)>,
}

/// A cgroup below the container's, for `exec --cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// v1 controllers that it is for; empty: every hierarchy.
    controllers: Vec<String>,
    /// Below the container's cgroup; empty: that itself.
    path: PathBuf,
}

impl Entry {
    pub(super) fn add(&mut self, group: &Group, version: Version) -> Result<()> {
        match version {
            Version::V1 => {
                let tasks = group.shown().join("tasks");
                let fd = group.open("tasks", OFlag::O_WRONLY).call(|| format!("open {}", tasks.display()))?;
                self.entrances.push((fd, tasks));
            }
            Version::V2 => {
                let directory = group.directory().call(|| format!("open {}", group.shown().display()))?;
                self.unified = Some(directory);
            }
        }
        Ok(())
    }

    /// The cgroup v2 directory for `CLONE_INTO_CGROUP`.
    pub fn into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// A process that may not be born in the cgroup can be moved there by [`Entry::attach`]: the user's systemd may do
    /// what the user may not who is in another session.
    pub fn can_attach(&self) -> bool {
        self.unit.is_some()
    }

    /// Lets the user's systemd move a process into the cgroup (systemd 238 or later).
    pub fn attach(&self, pid: i32) -> Result<()> {
        let Some((unit, below)) = &self.unit else { bail!("the container is in no unit of a user's systemd") };
        unit.attach(below, pid)
    }

    /// Moves the calling process, which must have one thread, into the v1 cgroups.
    pub fn enter_self(&self) -> Result<()> {
        for (tasks, path) in &self.entrances {
            // `tasks` and not `cgroup.procs`: a thread that moves itself needs no lock that waits for an RCU grace period.
            nix::unistd::write(tasks, b"0").call(|| format!("write 0 to {}", path.display()))?;
        }
        Ok(())
    }
}

impl SubCgroup {
    /// `[CONTROLLER[,CONTROLLER...]:]PATH`, as `exec --cgroup` takes it. The path cannot lead out of the container.
    pub fn parse(text: &str) -> Result<SubCgroup> {
        let (controllers, path) = text.split_once(':').unwrap_or(("", text));
        let mut below = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => below.push(name),
                Component::ParentDir => bail!("cgroup {text:?} must not contain '..'"),
                _ => {}
            }
        }
        let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(String::from).collect();
        Ok(SubCgroup { controllers, path: below })
    }

    fn is_for(&self, member: &Membership) -> bool {
        let has = |c: &String| member.directory.split(',').any(|d| d == c);
        self.controllers.is_empty() || self.controllers.iter().any(has)
    }
}

impl Record {
    /// The way into the running container, next to `init` (a pid) or into `subs`.
    ///
    /// A container may have moved its processes into cgroups of its own, and then cgroup v2 takes none at the top.
    pub fn entry(&self, init: i32, subs: &[SubCgroup]) -> Result<Entry> {
        let mut entry = Entry::default();
        for member in &self.hierarchies {
            let sub = subs.iter().find(|s| s.is_for(member));
            let path = sub.map_or_else(|| self.path.clone(), |s| self.path.join(&s.path));
            let open = |path: &Path| self.group_at(member, path)?.context("the container's cgroup is gone");
            let mut group = open(&path)?;
            if sub.is_none() && member.version == Version::V2 && has_children(&group)? {
                group = open(&self.leaf_of(init)?)?;
            }
            entry.add(&group, member.version)?;
            if let (Version::V2, Some(unit)) = (member.version, self.unit.as_ref().filter(|u| u.user)) {
                let below = group.path().strip_prefix(&self.path).unwrap_or(Path::new(""));
                entry.unit = Some((unit.clone(), below.to_path_buf()));
            }
        }
        let used = |s: &&SubCgroup| !self.hierarchies.iter().any(|m| s.is_for(m));
        if let Some(sub) = subs.iter().find(used) {
            bail!("no cgroup hierarchy of the container has {}", sub.controllers.join(","));
        }
        Ok(entry)
    }

    /// The cgroup v2 of a process, if it is the container's or below it.
    fn leaf_of(&self, pid: i32) -> Result<PathBuf> {
        let file = format!("/proc/{pid}/cgroup");
        let text = match std::fs::read_to_string(&file) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(self.path.clone()),
            text => text.call(|| format!("read {file}"))?,
        };
        let path = text.lines().find_map(|l| l.strip_prefix("0::/")).map(Path::new);
        // `starts_with` compares whole components: /c10 is not below /c1.
        Ok(path.filter(|p| p.starts_with(&self.path)).unwrap_or(&self.path).to_path_buf())
    }

    /// The container's processes were killed for lack of memory so many times.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some((group, version)) = self.controller_group("memory")? else { return Ok(0) };
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        match group.read(file) {
            Ok(text) => super::group::field(&text, "oom_kill")
                .map_or(Ok(0), |n| n.parse().with_context(|| format!("{file}: oom_kill {n}"))),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(0),
            Err(e) => Err(e).call(|| format!("read {}/{file}", group.shown().display())),
        }
    }
}

/// Whether there are cgroups below: a directory has one link for each, and two of its own.
fn has_children(group: &Group) -> Result<bool> {
    let stat = nix::sys::stat::fstatat(group.root(), group.path(), AtFlags::AT_SYMLINK_NOFOLLOW);
    Ok(stat.call(|| format!("stat {}", group.shown().display()))?.st_nlink > 2)
}
