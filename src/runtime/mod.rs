//! The operations: what each command does, in which order, and how it is undone.
//!
//! Ties the plan, the state directory, the cgroup and init together. The work itself is done elsewhere.

mod annotated;
pub mod checkpoint;
mod create;
mod delete;
mod dialogue;
mod events;
pub mod exec;
mod external;
mod foreground;
mod gc;
mod idmap;
pub mod images;
mod kill;
pub mod mounts;
mod newborn;
mod notify;
mod pause;
mod progress;
mod ps;
mod query;
pub(crate) mod record;
mod remains;
pub mod restore;
mod run;
mod sentinel;
mod start;
pub mod storage;
mod surroundings;
mod terminal;
mod update;
pub mod volume;

pub use crate::state::State;
pub use create::create;
pub use delete::delete;
pub use events::{Event, events, stats};
pub use exec::exec;
pub use gc::gc;
pub use kill::kill;
pub use pause::{pause, resume};
pub use ps::{processes, table};
pub use query::{ids, list, state};
pub use run::run;
pub use start::start;
pub use update::{Change, update};

use crate::bundle::{Bundle, LoadError};
use crate::host::Host;
use crate::plan::mounts::AddedMount;
use crate::plan::resources::Manager;
use crate::plan::tenant::Policy;
use crate::plan::{Plan, Problems, Request};
use crate::store::Store;
use crate::trace;
use anyhow::Result;
use std::path::PathBuf;

/// The global flags.
#[derive(Debug, Clone)]
pub struct Context {
    /// The directory of the containers' state.
    pub root: PathBuf,
    /// The directory of the volumes; `None`: the user's or the host's own.
    pub volume_root: Option<PathBuf>,
    /// What annotations of the config may have of volumes; the error is that of a wrong `RVOL_VOLUME_ANNOTATIONS`, which
    /// keeps no container from being deleted.
    pub volume_annotations: Result<Policy, String>,
    pub cgroup_manager: Manager,
    /// `--rootless`; `None` is `auto`.
    pub rootless: Option<bool>,
}

impl Context {
    fn store(&self) -> Store {
        Store::new(self.root.clone())
    }

    fn volume_annotations(&self) -> Result<Policy> {
        self.volume_annotations.clone().map_err(anyhow::Error::msg)
    }
}

/// The flags that `create` and `run` share.
#[derive(Debug, Clone, Default)]
pub struct CreateArgs {
    pub id: String,
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Number of fds from 3 on that the container's process keeps.
    pub preserve_fds: u32,
    pub mounts: storage::MountFlags,
}

/// The flags of `run` alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunArgs {
    pub detach: bool,
    /// Keep the container after its process has ended.
    pub keep: bool,
    pub no_subreaper: bool,
}

/// Reads the bundle and plans; no side effects.
fn plan(context: &Context, args: &CreateArgs) -> Result<(Plan, Host)> {
    plan_notifying(context, args, notify::manager().is_some())
}

/// As [`plan`], with or without a socket for sd_notify(3).
fn plan_notifying(context: &Context, args: &CreateArgs, notifies: bool) -> Result<(Plan, Host)> {
    trace::phase("read the config and the machine, plan");
    let host = Host::probe()?;
    let notify = notifies.then(|| notify::mount(&context.root, &args.id));
    let mut plan = plan_for(context, args, &load(args)?, &host, notify)?;
    if notifies {
        notify::set_variable(&mut plan);
    }
    Ok((plan, host))
}

/// The plan to show to anybody: a container that only root can create is planned as root's `create` would.
pub fn preview(mut context: Context, args: &CreateArgs) -> Result<Plan> {
    let mut host = Host::probe()?;
    let bundle = load(args)?;
    let volumes_of_root = host.uid != 0 && !bundle.has_user_namespace();
    if !bundle.has_user_namespace() {
        (host.uid, host.gid, host.has_user_systemd) = (0, 0, false);
    }
    if context.volume_root.is_none() {
        // Only shown: it is no matter if there is none.
        context.volume_root = if volumes_of_root { Some(volume::ROOTS.into()) } else { volume::default_root().ok() };
    }
    plan_for(&context, args, &bundle, &host, None)
}

fn load(args: &CreateArgs) -> Result<Bundle> {
    Bundle::load(&args.bundle).map_err(|error| match error {
        LoadError::File(error) => error,
        LoadError::Shape(problems) => Problems(problems).into(),
    })
}

fn plan_for(
    context: &Context,
    args: &CreateArgs,
    bundle: &Bundle,
    host: &Host,
    more: Option<AddedMount>,
) -> Result<Plan> {
    let mut mounts = storage::added(context, &args.mounts, bundle)?;
    mounts.extend(more);
    let request = Request {
        id: args.id.clone(),
        bundle: bundle.dir.clone(),
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        cgroup_manager: context.cgroup_manager,
        mounts,
        // For plans that are only shown; `create` opens volumes by their names.
        volume_root: context.volume_root.clone().unwrap_or_default(),
    };
    Ok(Plan::new(bundle, &request, host).map_err(Problems)?)
}
