//! What `create` leaves for the commands that come after it.

use super::storage::Storage;
use crate::cgroup;
use crate::plan::exec::Template;
use crate::plan::namespaces::Namespace;
use crate::plan::resources::{Limit, Resources};
use crate::plan::{Hooks, Plan};
use crate::state::{HookState, Status};
use crate::store::Entry;
use crate::sys::path::mount_id;
use crate::sys::{Call, Errno};
use crate::{hooks, log, rdt};
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// The format of the record; older ones stay readable.
const VERSION: u32 = 1;

/// What later commands need of the config, fixed at `create`: changes of config.json afterwards have no effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub id: String,
    pub oci_version: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub annotations: BTreeMap<String, String>,
    pub hooks: Hooks,
    pub has_process: bool,
    /// User id of the creator.
    pub owner: u32,
    /// RFC 3339, UTC.
    pub created: String,
    pub cgroup: cgroup::Record,
    /// The limits and device rules that are in force: those of the config, as `update` has changed them.
    #[serde(default)]
    resources: Option<Unread<Resources>>,
    /// The container has no pid namespace that is only its own: the end of its first process ends no other.
    #[serde(default)]
    pub shares_pids: bool,
    /// Without a mount namespace of its own: where the container's mounts are in the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted: Option<HostMount>,
    /// The resctrl tree and what is the container's in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<(PathBuf, rdt::Group)>,
    /// Binds and volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What `exec` needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<Unread<Template>>,
}

/// A part of the record that few commands look at: text, until they do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Unread<T> {
    text: Box<RawValue>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Unread<T> {
    fn new(value: &T) -> Result<Unread<T>> {
        Ok(Unread { text: to_raw_value(value).context("serialise a part of the record")?, of: PhantomData })
    }

    fn read(&self) -> Result<T> {
        serde_json::from_slice(self.text.get().as_bytes()).context("a part of the container's record is damaged")
    }
}

/// The root filesystem of a container that has no mount namespace of its own, as it stands in the host's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostMount {
    path: PathBuf,
    /// The mount that was on top at the path before.
    below: u64,
}

impl HostMount {
    /// To be recorded before anything is mounted at `path`.
    pub fn intend(path: &Path) -> Result<HostMount> {
        let below = mount_id(path).call(|| format!("statx {}", path.display()))?;
        Ok(HostMount { path: path.to_owned(), below })
    }

    /// Detaches the container's mount with everything in it; what was there before stays.
    fn remove(&self) -> Result<()> {
        match mount_id(&self.path) {
            Err(Errno::ENOENT) => return Ok(()),
            Ok(id) if id == self.below => return Ok(()),
            result => result.call(|| format!("statx {}", self.path.display()))?,
        };
        umount2(&self.path, MntFlags::MNT_DETACH).call(|| format!("umount2 {}", self.path.display()))
    }
}

impl Record {
    pub fn new(plan: &Plan, owner: u32, created: String) -> Result<Record> {
        Ok(Record {
            version: VERSION,
            id: plan.id.clone(),
            oci_version: plan.oci_version.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            annotations: plan.annotations.clone(),
            hooks: plan.hooks.clone(),
            has_process: plan.process.is_some(),
            owner,
            created,
            cgroup: cgroup::Record::none(),
            resources: Some(Unread::new(&plan.cgroup.resources)?),
            shares_pids: plan.namespaces.pid != Namespace::New,
            mounted: None,
            intel_rdt: None,
            storage: None,
            template: Some(Unread::new(&Template::of(plan))?),
        })
    }

    /// The limits and device rules that are in force.
    pub fn resources(&self) -> Result<Resources> {
        self.resources.as_ref().map_or_else(|| Ok(Resources::default()), Unread::read)
    }

    /// After an update.
    pub fn set_resources(&mut self, now: &Resources) -> Result<()> {
        self.resources = Some(Unread::new(now)?);
        Ok(())
    }

    /// What `exec` needs.
    pub fn template(&self) -> Result<Template> {
        self.template.as_ref().context("the container was created by an older version of this program")?.read()
    }

    /// After a restore, which may have made other namespaces.
    pub fn set_template(&mut self, now: &Template) -> Result<()> {
        self.template = Some(Unread::new(now)?);
        Ok(())
    }

    /// The record of a container; `None` when its `create` was killed before it wrote one.
    pub fn of(entry: &Entry) -> Result<Option<Record>> {
        match Record::of_any_version(entry)? {
            Some(record) if record.is_newer() => {
                bail!(
                    "container {} was created by a newer version of this program, which has to be used for it; \
                     delete --force works all the same",
                    record.id
                )
            }
            record => Ok(record),
        }
    }

    /// As [`Record::of`], of a newer version too: for whoever only destroys the container.
    pub fn of_any_version(entry: &Entry) -> Result<Option<Record>> {
        entry.record()
    }

    /// Whether a newer version of this program wrote it.
    pub fn is_newer(&self) -> bool {
        self.version > VERSION
    }

    /// The state that a hook in the runtime's namespaces reads.
    pub fn hook_state(&self, status: Status, pid: Option<i32>) -> Vec<u8> {
        self.state(status, pid).to_json()
    }

    pub fn state(&self, status: Status, pid: Option<i32>) -> HookState<'_> {
        HookState {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        }
    }

    /// Why a process of the container was killed, if it was for want of memory. Only a better sentence: where the count
    /// cannot be read there is none.
    pub fn want_of_memory(&self) -> Option<String> {
        self.cgroup.oom_kills().ok().filter(|kills| *kills > 0)?;
        match self.resources().ok()?.memory.limit {
            Some(Limit::To(limit)) => {
                Some(format!("killed for want of memory: linux.resources.memory.limit is {limit}"))
            }
            // A limit of a cgroup above, or one of `unified`.
            _ => Some("killed for want of memory".into()),
        }
    }

    /// Takes away what the container has outside its directory: the cgroup, with whatever still runs in it, the resctrl
    /// groups, and mounts in the host's namespace.
    pub fn take_away(&self) -> Result<()> {
        self.cgroup.remove().context("remove the cgroup")?;
        if let Some((root, group)) = &self.intel_rdt {
            group.remove(root).context("remove the resctrl group")?;
        }
        self.mounted.as_ref().map_or(Ok(()), HostMount::remove)
    }

    /// Runs the poststop hooks; their failures are warnings (runtime.md, lifecycle step 13).
    pub fn run_poststop_hooks(&self) {
        if !self.hooks.poststop.is_empty() {
            let state = self.hook_state(Status::Stopped, None);
            hooks::run_each(&self.hooks.poststop, &state, &mut |text| log::warn(format_args!("{}: {text}", self.id)));
        }
    }
}
