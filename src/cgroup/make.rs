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
    /// What a process has to be born in: the directory of cgroup v2. Init waits for the rest, its limits among that, before
    /// it enters the others.
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
    /// Whether most of the work is for when there is a process: by [`Portion::ForBirth`], or because systemd has to be
    /// told of one.
    pub fn is_made_later(&self) -> bool {
        self.can_be_in_two() || self.starter.is_some()
    }

    /// Whether [`Portion::ForBirth`] leaves something for later.
    fn can_be_in_two(&self) -> bool {
        let v1 = self.record.hierarchies.iter().any(|m| m.version == Version::V1);
        let limits = !self.settings.writes.is_empty() || self.settings.devices.is_some();
        (v1 || limits) && self.need == Need::Must && self.starter.is_none()
    }

    /// Makes the directories and writes the limits. After an error everything that was made is gone.
    pub fn create(self) -> Result<Created> {
        self.begin(Portion::All)?.finish()
    }

    /// The part of [`Intent::create`] that comes before the clone.
    pub fn begin(mut self, portion: Portion) -> Result<Begun> {
        let portion = if self.can_be_in_two() { portion } else { Portion::All };
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
            (None, Portion::All) => begun.make_all(),
            (None, Portion::ForBirth) => begun.make_for_birth(),
        })?;
        Ok(begun)
    }
}

impl Begun {
    /// The directories that [`Begun::finish`] makes.
    pub fn coming(&self) -> Vec<PathBuf> {
        match self.portion {
            Portion::All => Vec::new(),
            Portion::ForBirth => {
                let shown = |index: usize| self.intent.groups[index].shown().to_path_buf();
                self.with(Version::V1).into_iter().map(shown).collect()
            }
        }
    }

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
            self.attempt(Begun::make_rest)?;
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

    fn make_all(&mut self) -> Result<()> {
        for index in 0..self.intent.groups.len() {
            if self.found(index)? {
                self.limit(index)?;
            }
        }
        Ok(())
    }

    fn make_for_birth(&mut self) -> Result<()> {
        for index in self.with(Version::V2) {
            self.found(index)?;
        }
        Ok(())
    }

    fn make_rest(&mut self) -> Result<()> {
        for index in self.with(Version::V1) {
            self.found(index)?;
            self.limit(index)?;
        }
        for index in self.with(Version::V2) {
            self.limit(index)?;
        }
        Ok(())
    }

    fn with(&self, version: Version) -> Vec<usize> {
        let members = self.intent.record.hierarchies.iter().enumerate();
        members.filter(|(_, member)| member.version == version).map(|(index, _)| index).collect()
    }

    /// Makes the directory in a hierarchy; false where it is left out.
    fn found(&mut self, index: usize) -> Result<bool> {
        let Begun { intent, created, portion, made } = self;
        let (group, member) = (&intent.groups[index], &intent.record.hierarchies[index]);
        let count = match parents::make(group, member.version, member.made, |path| made.push((index, path))) {
            Ok(count) => count,
            Err(e) if intent.need == Need::IfAllowed && refused(&e) => {
                created.notes.push(format!("no cgroup in this hierarchy: {e:#}"));
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        created.record.hierarchies.push(member.clone());
        match member.version {
            Version::V1 => prepare_v1(group, member, count)?,
            Version::V2 => intent.enable_controllers(group, member, &mut created.notes)?,
        }
        // With the rest of it init opens the entrances, when it is there.
        if member.version == Version::V2 || *portion == Portion::All {
            created.entry.add(group, member.version)?;
        }
        Ok(true)
    }

    /// Writes the limits in a hierarchy.
    fn limit(&mut self, index: usize) -> Result<()> {
        let Begun { intent, created, .. } = self;
        let group = &intent.groups[index];
        if intent.record.hierarchies[index].version == Version::V2 {
            intent.restrict_devices(group)?;
        }
        let writes = || intent.settings.writes.iter().filter(|w| w.hierarchy == index);
        apply::apply(group, writes().filter(|w| !w.late), &mut created.notes)?;
        for write in writes().filter(|w| w.late) {
            created.late.push((group.again()?, write.clone()));
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
    fn enable_controllers(&self, group: &Group, member: &Membership, notes: &mut Vec<String>) -> Result<()> {
        let whole = member.directory.is_empty();
        if whole || !self.settings.controllers.is_empty() {
            let welcome: &[&str] = if whole { &controllers::WELCOME } else { &[] };
            controllers::enable(group, welcome, &self.settings.controllers, notes)?;
        }
        Ok(())
    }

    /// On cgroup v2, by a program; and gives the directory to who is to have it.
    fn restrict_devices(&self, group: &Group) -> Result<()> {
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
