//! Carries out a list of writes in one hierarchy.

use super::group::Group;
use super::resources::Write;
use crate::plan::Requirement;
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;

/// Writes in order; what could not be written and need not be goes to `notes`.
///
/// Some values are only valid together (quota and burst, memory and swap) and which has to come first depends on what
/// is there: what is refused as invalid is tried once more after the others.
pub fn apply<'a>(group: &Group, writes: impl Iterator<Item = &'a Write>, notes: &mut Vec<String>) -> Result<()> {
    let mut open = None;
    let mut refused = Vec::new();
    for write in writes {
        let result = put(group, write, &mut open);
        match (&write.requirement, result) {
            (_, Ok(())) => {}
            (Requirement::BestEffort(why), Err(e)) => notes.push(format!("{}: {e:#}; {why}", write.place)),
            (Requirement::Must, Err(e)) if errno_of(&e) == Some(Errno::EINVAL) => refused.push(write),
            (Requirement::Must, Err(e)) => return Err(e.context(write.place.clone())),
        }
    }
    for write in refused {
        put(group, write, &mut open).with_context(|| write.place.clone())?;
    }
    Ok(())
}

/// The file that was written last, and its name: device rules go to the same one.
type Open = Option<(String, OwnedFd)>;

fn put(group: &Group, write: &Write, open: &mut Open) -> Result<()> {
    if let Some((file, limit)) = write.not_below {
        let text = group.read(file).call(|| format!("read {}/{file}", group.shown().display()))?;
        let current: u64 = text.trim().parse().with_context(|| format!("{file} is {text:?}"))?;
        if current > limit {
            bail!("{limit} is below what is in use, {current} ({file})");
        }
    }
    let mut choices = write.choices.iter().peekable();
    while let Some((file, value)) = choices.next() {
        let fd = match open {
            Some((name, fd)) if name == file => fd,
            _ => match group.open(file, OFlag::O_WRONLY) {
                Err(Errno::ENOENT) if choices.peek().is_some() => continue,
                fd => {
                    let fd = fd.call(|| format!("open {}/{file} to write {value}", group.shown().display()))?;
                    &mut open.insert((file.clone(), fd)).1
                }
            },
        };
        return nix::unistd::write(&*fd, value.as_bytes())
            .map(drop)
            .call(|| format!("write {value} to {}/{file}", group.shown().display()));
    }
    Ok(())
}
