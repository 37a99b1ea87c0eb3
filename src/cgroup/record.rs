//! What has to be known of a container's cgroup after the command that made it is gone.

use super::group::{Group, open_hierarchy};
use super::systemd::Handle;
use super::{kill, parents, tree};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The place of a container's cgroup: one path in every hierarchy that it is part of.
///
/// It is stored before the first directory is made, so a record may name directories that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where the hierarchies are mounted.
    pub(super) mounts: PathBuf,
    /// Below the root of each hierarchy, without a leading slash.
    pub(super) path: PathBuf,
    pub(super) hierarchies: Vec<Membership>,
    /// The systemd driver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Handle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    /// Name of the hierarchy's directory below `mounts`; "" is `mounts` itself.
    pub directory: String,
    pub version: Version,
    /// So many directories at the end of `path` are made for this container.
    pub made: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Version {
    V1,
    V2,
}

impl Membership {
    /// It is the v1 hierarchy of this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.directory.split(',').any(|c| c == controller)
    }
}

impl Record {
    /// A container without a cgroup of its own.
    pub fn none() -> Record {
        Record { mounts: PathBuf::new(), path: PathBuf::new(), hierarchies: Vec::new(), unit: None }
    }

    /// The container has no cgroup of its own.
    pub fn is_none(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// The cgroup's directory on the host in each hierarchy, with the name of the hierarchy's directory ("" for a
    /// unified tree). For the container's own view of `/sys/fs/cgroup`.
    pub fn directories(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.hierarchies.iter().map(|h| (h.directory.as_str(), self.mounts.join(&h.directory).join(&self.path)))
    }

    /// Every process in the cgroup and below it, sorted.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(member) = self.member(|h| h.version == Version::V2).or_else(|| self.hierarchies.first()) else {
            return Ok(Vec::new());
        };
        match self.group(member)? {
            Some(group) => kill::processes(&[group]),
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal to every process in the cgroup and below it. Processes of a paused container get it when the
    /// container is resumed, SIGKILL at once.
    pub fn signal_all(&self, signal: i32, hold: kill::Hold) -> Result<()> {
        let hold = if hold == kill::Hold::Frozen && self.is_frozen()? { kill::Hold::No } else { hold };
        kill::signal_all(&self.groups()?, signal, hold)
    }

    /// Kills what is left in the cgroup and removes it with all that the container made below it, and those of its
    /// parents that were made for containers and are empty. What is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let stopped = self.stop_unit();
        // What systemd does not know of goes in any case.
        self.remove_directories()?;
        stopped
    }

    /// Stops the systemd unit, in which nothing is left that it would have to wait for.
    fn stop_unit(&self) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        kill::kill_all(&self.groups()?)?;
        unit.stop(&self.path)
    }

    fn remove_directories(&self) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mounts = open(&self.mounts, flags, Mode::empty()).call(|| format!("open {}", self.mounts.display()))?;
        let mut busy = Vec::new();
        for member in &self.hierarchies {
            // A cgroup filesystem has no links that could lead elsewhere, and rmdir takes nothing but an empty cgroup.
            let path = Path::new(&member.directory).join(&self.path);
            match unlinkat(&mounts, &path, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
                // Processes are left, or cgroups made by the container.
                Err(Errno::EBUSY) => busy.extend(self.group(member)?),
                Err(e) => {
                    // Never made: a place where cgroups cannot be written, left out by `create`.
                    let group =
                        self.group(member)?.filter(|_| matches!(e, Errno::EROFS | Errno::EACCES | Errno::EPERM));
                    if group.map_or(Ok(true), |group| group.exists())? {
                        return Err(e).call(|| format!("rmdir {}", self.mounts.join(&path).display()));
                    }
                }
            }
        }
        if !busy.is_empty() {
            kill::kill_all(&self.groups()?)?;
            for group in &busy {
                remove_tree(group).with_context(|| format!("remove cgroup {}", group.shown().display()))?;
            }
        }
        // What systemd made it takes away as well.
        for member in &self.hierarchies {
            parents::remove(mounts.as_fd(), &member.directory, member.version, &self.path, member.made.max(1) - 1)?;
        }
        Ok(())
    }

    /// The hierarchy that has a controller: v1's where it is mounted.
    fn controller(&self, name: &str) -> Option<&Membership> {
        self.member(|h| h.has(name)).or_else(|| self.member(|h| h.version == Version::V2))
    }

    /// The cgroup that a controller is in, if there can be one.
    pub(super) fn controller_group(&self, name: &str) -> Result<Option<(Group, Version)>> {
        let Some(member) = self.controller(name) else { return Ok(None) };
        Ok(self.group(member)?.map(|group| (group, member.version)))
    }

    pub(super) fn member(&self, wanted: impl Fn(&Membership) -> bool) -> Option<&Membership> {
        self.hierarchies.iter().find(|h| wanted(h))
    }

    pub(super) fn group(&self, member: &Membership) -> Result<Option<Group>> {
        self.group_at(member, &self.path)
    }

    /// `None`: the hierarchy is not mounted (any more).
    pub(super) fn group_at(&self, member: &Membership, path: &Path) -> Result<Option<Group>> {
        let hierarchy = self.mounts.join(&member.directory);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&hierarchy, flags, Mode::empty()) {
            Ok(root) => Ok(Some(Group::new(root, &hierarchy, path))),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e).call(|| format!("open {}", hierarchy.display())),
        }
    }

    fn groups(&self) -> Result<kill::Groups> {
        let mut groups = kill::Groups::default();
        for member in &self.hierarchies {
            let Some(group) = self.group(member)? else { continue };
            let freezer = member.version == Version::V1 && self.controller("freezer") == Some(member);
            groups.add(group, member.version, freezer);
        }
        Ok(groups)
    }
}

fn remove_tree(group: &Group) -> Result<()> {
    if let Some(top) = tree::open(group.root(), group.path())? {
        tree::remove_below(top)?;
    }
    match unlinkat(group.root(), group.path(), UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        result => result.call(|| format!("rmdir {}", group.shown().display())),
    }
}

/// Opens each hierarchy of a record that is about to be made.
pub(super) fn open_groups(mounts: &Path, path: &Path, members: &[Membership]) -> Result<Vec<Group>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top: OwnedFd = open(mounts, flags, Mode::empty()).call(|| format!("open {}", mounts.display()))?;
    let mut groups = Vec::with_capacity(members.len());
    for member in members {
        let hierarchy = mounts.join(&member.directory);
        let root = open_hierarchy(top.as_fd(), &member.directory).call(|| format!("open {}", hierarchy.display()))?;
        groups.push(Group::new(root, &hierarchy, path));
    }
    Ok(groups)
}
