//! The directories of a cgroup and what is written to them, all at once or in two parts.

use super::apply;
use super::create::{Created, Intent, Need};
use super::entry::Entry;
use super::group::{self, Group};
use super::record::{Membership, Record, Version};
use super::unit::Attachment;
use super::{controllers, delegate, devices, parents, systemd};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// How much of a cgroup is made before the clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    All,
    /// What a process has to be born in: cgroup v2. Init waits for the rest before it enters.
    ForBirth,
}

/// A cgroup that is made, at least as far as a process has to be born in it.
#[derive(Debug)]
pub struct Begun {
    intent: Intent,
    created: Created,
    portion: Portion,
    /// By the index of the hierarchy, from above.
    made: Vec<(usize, PathBuf)>,
}

impl Intent {
    /// Whether [`Portion::ForBirth`] leaves something for later.
    pub fn can_be_in_two(&self) -> bool {
        let v1 = self.record.hierarchies.iter().any(|m| m.version == Version::V1);
        v1 && self.need == Need::Must && self.starter.is_none()
    }

    /// Makes the directories and writes the limits. After an error everything that was made is gone.
    pub fn create(self) -> Result<Created> {
        self.begin(Portion::All)?.finish()
    }

    /// The part of [`Intent::create`] that comes before the clone; [`Portion::ForBirth`] only where
    /// [`Intent::can_be_in_two`].
    pub fn begin(mut self, portion: Portion) -> Result<Begun> {
        let created = Created {
            record: Record { hierarchies: Vec::new(), ..self.record.clone() },
            entry: Entry::default(),
            late: Vec::new(),
            notes: std::mem::take(&mut self.notes),
            attachment: None,
        };
        let starter = self.starter.take();
        let mut begun = Begun { intent: self, created, portion, made: Vec::new() };
        begun.attempt(|begun| match (starter, portion) {
            (Some(starter), _) => begun.make_before_unit(starter),
            (None, Portion::All) => begun.make(|_| true),
            (None, Portion::ForBirth) => begun.make(|version| version == Version::V2),
        })?;
        Ok(begun)
    }
}

impl Begun {
    /// The cgroup v2 directory for `CLONE_INTO_CGROUP`.
    pub fn into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.created.into_fd()
    }

    /// The process has to be put into the cgroup from outside, by [`Created::attach`], before it does anything.
    pub fn waits_for_attach(&self) -> bool {
        self.created.waits_for_attach()
    }

    /// For the process that was cloned: moves it, which must have one thread, into the v1 cgroups. The runtime has come to
    /// the end of [`Begun::finish`] before.
    pub fn enter_self(&self) -> Result<()> {
        if self.portion == Portion::All {
            return self.created.enter_self();
        }
        let mut entry = Entry::default();
        for (group, member) in self.intent.groups.iter().zip(&self.intent.record.hierarchies) {
            if member.version == Version::V1 {
                entry.add(group, Version::V1)?;
            }
        }
        entry.enter_self()
    }

    /// Makes what is missing. After an error nothing of it is left, but for what init is in.
    pub fn finish(mut self) -> Result<Created> {
        if self.portion == Portion::ForBirth {
            self.attempt(|begun| begun.make(|version| version == Version::V1))?;
        }
        Ok(self.created)
    }

    fn attempt(&mut self, action: impl FnOnce(&mut Begun) -> Result<()>) -> Result<()> {
        action(self).inspect_err(|_| self.take_back())
    }

    /// Takes back what was made, after an error: that is the one to tell, whatever comes of this.
    fn take_back(&self) {
        for (index, path) in self.made.iter().rev() {
            // Nobody is in it but init, if it is cgroup v2 and init was cloned; then the runtime's own undoing removes it.
            let _ = unlinkat(self.intent.groups[*index].root(), path, UnlinkatFlags::RemoveDir);
        }
    }

    fn make(&mut self, wanted: impl Fn(Version) -> bool) -> Result<()> {
        let Begun { intent, created, portion, made } = self;
        for (index, member) in intent.record.hierarchies.iter().enumerate().filter(|(_, m)| wanted(m.version)) {
            let group = &intent.groups[index];
            let count = match parents::make(group, member.version, member.made, |path| made.push((index, path))) {
                Ok(count) => count,
                Err(e) if intent.need == Need::IfAllowed && refused(&e) => {
                    created.notes.push(format!("no cgroup in this hierarchy: {e:#}"));
                    continue;
                }
                Err(e) => return Err(e),
            };
            created.record.hierarchies.push(member.clone());
            match member.version {
                Version::V1 => prepare_v1(group, member, count)?,
                Version::V2 => intent.prepare_v2(group, member, &mut created.notes)?,
            }
            // With the rest of it init opens the entrances, when it is there.
            if member.version == Version::V2 || *portion == Portion::All {
                created.entry.add(group, member.version)?;
            }
            let writes = || intent.settings.writes.iter().filter(|w| w.hierarchy == index);
            apply::apply(group, writes().filter(|w| !w.late), &mut created.notes)?;
            for write in writes().filter(|w| w.late) {
                created.late.push((group.again()?, write.clone()));
            }
        }
        Ok(())
    }

    /// What can be done before systemd is asked: where it uses v1, all hierarchies, of which it may know only some and
    /// which may be the source of mounts.
    fn make_before_unit(&mut self, starter: systemd::Starter) -> Result<()> {
        let Begun { intent, created, made, .. } = self;
        for (index, member) in intent.record.hierarchies.iter().enumerate() {
            let group = &intent.groups[index];
            let count = parents::make(group, member.version, member.made, |path| made.push((index, path)))?;
            if member.version == Version::V1 {
                prepare_v1(group, member, count)?;
                created.entry.add(group, Version::V1)?;
            }
        }
        created.record = intent.record.clone();
        created.attachment = Some(Box::new(Attachment {
            starter,
            groups: std::mem::take(&mut intent.groups),
            versions: intent.record.hierarchies.iter().map(|m| m.version).collect(),
            settings: std::mem::take(&mut intent.settings),
            owner: intent.owner,
        }));
        Ok(())
    }
}

impl Intent {
    fn prepare_v2(&self, group: &Group, member: &Membership, notes: &mut Vec<String>) -> Result<()> {
        let whole = member.directory.is_empty();
        if whole || !self.settings.controllers.is_empty() {
            let welcome: &[&str] = if whole { &controllers::WELCOME } else { &[] };
            controllers::enable(group, welcome, &self.settings.controllers, notes)?;
        }
        if self.settings.devices.is_none() && self.owner.is_none() {
            return Ok(());
        }
        let directory = group.directory().call(|| format!("open {}", group.shown().display()))?;
        if let Some(policy) = &self.settings.devices {
            devices::attach(policy, directory.as_fd()).context("linux.resources.devices")?;
        }
        if let Some(owner) = self.owner {
            delegate::give(directory.as_fd(), owner)
                .with_context(|| format!("delegate {}", group.shown().display()))?;
        }
        Ok(())
    }
}

fn prepare_v1(group: &Group, member: &Membership, made: usize) -> Result<()> {
    if made > 0 && member.has("cpuset") {
        inherit_cpuset(group, made)?;
    }
    Ok(())
}

/// A new v1 cpuset is empty and takes no process until it has its parent's CPUs and memory nodes. So may that one be: of
/// another container, which is being made at this moment.
fn inherit_cpuset(group: &Group, made: usize) -> Result<()> {
    let path: Vec<&Path> = group.path().ancestors().collect();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut level = made;
        let value = loop {
            let from = path[level].join(file);
            let value = group::read(group.root(), &from).call(|| format!("read /{}", from.display()))?;
            if !value.trim_end().is_empty() || level + 1 == path.len() {
                break value;
            }
            level += 1;
        };
        for to in path[..level].iter().rev().map(|p| p.join(file)) {
            group::write(group.root(), &to, value.trim_end())
                .call(|| format!("write {} to /{}", value.trim_end(), to.display()))?;
        }
    }
    Ok(())
}

fn refused(error: &anyhow::Error) -> bool {
    matches!(crate::sys::errno_of(error), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ENOENT))
}
