//! From a plan to a cgroup that a process can be born in.

use super::entry::Entry;
use super::group::{self, Group, field};
use super::place::place;
use super::record::{Membership, Record, Version, open_groups};
use super::resources::{self, Layout, Settings, Standing, Write};
use super::unit::Attachment;
use super::update::refuse;
use super::{apply, systemd};
use crate::host::{CgroupMode, Host};
use crate::plan::resources::{Cgroup, Manager, Place, Policy, Resources};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, bail};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// A cgroup that was looked for and not yet made.
#[derive(Debug)]
pub struct Intent {
    pub(super) record: Record,
    pub(super) groups: Vec<Group>,
    pub(super) need: Need,
    pub(super) settings: Settings,
    pub(super) owner: Option<u32>,
    pub(super) notes: Vec<String>,
    /// The systemd driver.
    pub(super) starter: Option<systemd::Starter>,
}

/// What a refusal by the kernel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    /// Nothing was asked for: rootless or nested use goes on without.
    IfAllowed,
}

/// A cgroup with its limits written, which nobody is in yet.
#[derive(Debug)]
pub struct Created {
    pub(super) record: Record,
    pub(super) entry: Entry,
    /// Limits that are written when the process is in.
    pub(super) late: Vec<(Group, Write)>,
    pub(super) notes: Vec<String>,
    /// What systemd and we do when there is a process.
    pub(super) attachment: Option<Box<Attachment>>,
}

/// Finds the place of the cgroup and what of it is there already. Makes nothing.
///
/// Errors: no place for a cgroup that was asked for, or one that is frozen or has processes.
pub fn intend(cgroup: &Cgroup, host: &Host) -> Result<Intent> {
    let privileged = host.uid == 0 && !host.in_user_namespace;
    let need = need(cgroup, privileged);
    let members = match (cgroup.manager, &host.cgroup) {
        (Manager::Disabled, _) => return Ok(Intent::nothing(None)),
        (Manager::Systemd, mode) => return intend_unit(cgroup, host, memberships(mode)),
        (Manager::Cgroupfs, CgroupMode::None) if need == Need::IfAllowed => {
            return Ok(Intent::nothing(Some("no cgroup: no cgroup filesystem is mounted".into())));
        }
        (Manager::Cgroupfs, CgroupMode::None) => {
            bail!("no cgroup filesystem is mounted at {}", host.cgroup_root.display())
        }
        (Manager::Cgroupfs, mode) => memberships(mode),
    };
    let path = match place(cgroup, host, privileged) {
        Ok(path) => path,
        Err(e) if need == Need::IfAllowed => return Ok(Intent::nothing(Some(format!("no cgroup: {e:#}")))),
        Err(e) => return Err(e),
    };
    let groups = open_groups(&host.cgroup_root, &path, &members)?;
    let settings = settle(cgroup, privileged, &members, &groups)?;
    let record = Record { mounts: host.cgroup_root.clone(), path, hierarchies: members, unit: None };
    let mut intent = Intent { record, groups, need, settings, owner: cgroup.owner, notes: Vec::new(), starter: None };
    intent.look()?;
    Ok(intent)
}

/// [`intend`] where systemd makes the cgroup.
fn intend_unit(cgroup: &Cgroup, host: &Host, members: Vec<Membership>) -> Result<Intent> {
    let unit = cgroup.unit.as_ref().context("the plan names no unit of systemd")?;
    let v1 = members.iter().any(|m| m.version == Version::V1);
    if members.is_empty() {
        bail!("no cgroup filesystem is mounted at {}", host.cgroup_root.display());
    }
    if unit.user && v1 {
        bail!("the systemd of a user can make no cgroups of cgroup v1; use cgroup v2 or --cgroup-manager=cgroupfs");
    }
    let privileged = host.uid == 0 && !host.in_user_namespace;
    let cgroup = Cgroup { resources: systemd::rounded(&cgroup.resources), ..cgroup.clone() };
    let mut manager = systemd::Manager::connect(unit.user)?;
    let path = manager.control_group()?.join(unit.path());
    let groups = open_groups(&host.cgroup_root, &path, &members)?;
    let settings = settle(&cgroup, privileged, &members, &groups)?;
    let policy = privileged.then(|| Policy::new(&cgroup.resources.devices));
    let mode = if v1 { systemd::Mode::V1 } else { systemd::Mode::V2 };
    let starter = systemd::Starter::new(manager, unit, mode, &cgroup.resources, policy.as_ref());
    let handle = Some(systemd::Handle::of(unit));
    let mut intent = Intent {
        record: Record { mounts: host.cgroup_root.clone(), path, hierarchies: members, unit: handle },
        groups,
        need: Need::Must,
        settings,
        owner: cgroup.owner,
        notes: Vec::new(),
        starter: Some(starter),
    };
    intent.look()?;
    Ok(intent)
}

/// A container that asks for no limit runs where the machine allows no cgroup.
fn need(cgroup: &Cgroup, privileged: bool) -> Need {
    let device_rules = privileged && !cgroup.resources.devices.is_empty();
    if cgroup.place == Place::Default && !cgroup.has_limits() && !device_rules { Need::IfAllowed } else { Need::Must }
}

/// All that will be written, or what of it this machine cannot do.
fn settle(cgroup: &Cgroup, privileged: bool, members: &[Membership], groups: &[Group]) -> Result<Settings> {
    let resources = &cgroup.resources;
    let layout = layout(resources, members, groups)?;
    let mut settings = resources::settings("linux.resources", resources, &layout).map_err(|p| refuse(&p))?;
    // Without privilege no device can be made, and its programs cannot be loaded.
    if privileged {
        let policy = Policy::new(&resources.devices);
        resources::add_devices(&mut settings, policy, &layout, &Standing::Fresh).map_err(|p| refuse(&[p]))?;
    }
    Ok(settings)
}

/// Where the controllers are that `resources` need.
pub(super) fn layout(resources: &Resources, members: &[Membership], groups: &[Group]) -> Result<Layout> {
    let v2 = members.iter().position(|m| m.version == Version::V2);
    let name = |m: &Membership| (m.version == Version::V1).then(|| m.directory.clone());
    let mut layout = Layout { v1: members.iter().map(name).collect(), v2: v2.map(|index| (index, None)) };
    if let Some(index) = v2.filter(|_| members.len() > 1) {
        // In a hybrid tree the controllers are in v1, but for those that v1 was not mounted for.
        layout.v2 = Some((index, Some(Vec::new())));
        if layout.must_ask_v2(resources) {
            let text = group::read(groups[index].root(), Path::new("cgroup.controllers"))
                .call(|| "read cgroup.controllers of the cgroup v2 root".into())?;
            layout.v2 = Some((index, Some(text.split_ascii_whitespace().map(String::from).collect())));
        }
    }
    Ok(layout)
}

/// [`intend`] and [`Intent::create`] in one, where no journal is kept.
pub fn create(cgroup: &Cgroup, host: &Host) -> Result<Created> {
    intend(cgroup, host)?.create()
}

fn memberships(mode: &CgroupMode) -> Vec<Membership> {
    let member = |directory: &str, version| Membership { directory: directory.into(), version, made: 0 };
    match mode {
        CgroupMode::None => Vec::new(),
        CgroupMode::Unified => vec![member("", Version::V2)],
        CgroupMode::Legacy { hierarchies, hybrid } => {
            let v1 = hierarchies.iter().filter(|h| h.as_str() != "unified").map(|h| member(h, Version::V1));
            v1.chain(hybrid.then(|| member("unified", Version::V2))).collect()
        }
    }
}

impl Intent {
    fn nothing(note: Option<String>) -> Intent {
        Intent {
            record: Record::none(),
            groups: Vec::new(),
            need: Need::IfAllowed,
            settings: Settings::default(),
            owner: None,
            notes: note.into_iter().collect(),
            starter: None,
        }
    }

    /// What [`Record::remove`] needs, to be stored before [`Intent::create`].
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Notes how much of the path is missing, and refuses a cgroup that somebody else uses.
    fn look(&mut self) -> Result<()> {
        let unit_of_v2 = self.record.unit.is_some() && self.record.hierarchies.iter().all(|m| m.version == Version::V2);
        for (group, member) in self.groups.iter().zip(&mut self.record.hierarchies) {
            if group.exists()? {
                refuse_in_use(group)?;
                continue;
            }
            // systemd makes and removes its own.
            if unit_of_v2 {
                continue;
            }
            member.made = 1;
            for parent in self.record.path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty()) {
                if group.has(parent)? {
                    break;
                }
                member.made += 1;
            }
        }
        Ok(())
    }
}

/// A cgroup that is frozen or in use would make two containers act on each other (runtime-spec, control groups).
fn refuse_in_use(group: &Group) -> Result<()> {
    let shown = group.shown().display();
    let processes = super::kill::processes(std::slice::from_ref(group))?;
    if !processes.is_empty() {
        bail!("cgroup {shown} is in use by {} processes", processes.len());
    }
    for (file, key, frozen) in [("freezer.state", "", "THAWED"), ("cgroup.events", "frozen", "0")] {
        match group.read(file) {
            Ok(text) if key.is_empty() && text.trim_end() != frozen => bail!("cgroup {shown} is frozen"),
            Ok(text) if !key.is_empty() && field(&text, key).is_some_and(|v| v != frozen) => {
                bail!("cgroup {shown} is frozen")
            }
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e).call(|| format!("read {shown}/{file}")),
        }
    }
    Ok(())
}

impl Created {
    /// The cgroup v2 directory for `CLONE_INTO_CGROUP`.
    pub fn into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.entry.into_fd()
    }

    /// Moves the calling process, which must have one thread, into the v1 cgroups.
    pub fn enter_self(&self) -> Result<()> {
        self.entry.enter_self()
    }

    /// The process has to be put into the cgroup from outside, by [`Created::attach`], before it does anything.
    pub fn waits_for_attach(&self) -> bool {
        self.attachment.is_some()
    }

    /// Lets systemd take the container's process in, if it is systemd that makes the cgroup, and writes the limits.
    /// Returns what was left out and why, for the debug log.
    pub fn attach(&mut self, pid: i32) -> Result<Vec<String>> {
        match self.attachment.take() {
            Some(attachment) => self.attach_by_systemd(attachment, pid),
            None => Ok(Vec::new()),
        }
    }

    /// Apart, and not among the code of those who have no systemd.
    #[inline(never)]
    fn attach_by_systemd(&mut self, attachment: Box<Attachment>, pid: i32) -> Result<Vec<String>> {
        let (late, notes) = attachment.attach(pid).inspect_err(|e| {
            if e.downcast_ref::<systemd::Exists>().is_some() {
                // Nothing of it is ours to take away.
                self.record.unit = None;
                self.record.hierarchies.retain(|m| m.made > 0);
            }
        })?;
        self.late.extend(late);
        Ok(notes)
    }

    /// Writes the limits that would have kept the container's process out. To be called when the process is in the
    /// cgroup and before anything of the container runs.
    pub fn complete(&self) -> Result<()> {
        for (group, write) in &self.late {
            apply::apply(group, std::iter::once(write), &mut Vec::new())?;
        }
        Ok(())
    }

    /// What is really there, for the store: without the hierarchies that could not be used.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What was left out and why, for the debug log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
