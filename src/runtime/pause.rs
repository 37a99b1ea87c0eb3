//! `pause` and `resume`.

use super::record::Record;
use super::{Context, query};
use crate::log;
use crate::state::Status;
use crate::store::{Access, Entry};
use crate::sys::{Errno, errno_of};
use anyhow::{Context as _, Result, bail};

/// Stops every process of a created or running container. Returns when all of them stand still.
pub fn pause(context: &Context, id: &str) -> Result<()> {
    let (entry, record) = open(context, id)?;
    match query::status(&entry, &record)?.0 {
        Status::Created | Status::Running => {}
        Status::Paused => bail!("container already paused"),
        Status::Creating | Status::Stopped => bail!("container not running"),
    }
    record.cgroup.freeze().inspect_err(hint)
}

/// Lets the processes of a paused container run again.
pub fn resume(context: &Context, id: &str) -> Result<()> {
    let (entry, record) = open(context, id)?;
    if query::status(&entry, &record)?.0 != Status::Paused {
        bail!("container not paused");
    }
    record.cgroup.thaw().inspect_err(hint)
}

fn open(context: &Context, id: &str) -> Result<(Entry, Record)> {
    let entry = context.store().open(id, Access::Change)?;
    let record = Record::of(&entry)?.context("the container's record is missing")?;
    Ok((entry, record))
}

/// What mostly stands behind a refusal of the kernel.
fn hint(error: &anyhow::Error) {
    if matches!(errno_of(error), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)) {
        log::warn(format_args!("the cgroup is not this user's to change: a rootless container needs a delegated one"));
    }
}
