//! A session keyring of the container's own, so that it does not share the caller's keys.

use crate::security::lsm::Labels;
use crate::security::procfs::Procfs;
use crate::sys::{Call, Errno, process};
use anyhow::{Context, Result};

/// Who may search the keyring (`KEY_*_SEARCH` of `<linux/keyctl.h>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Searchable {
    /// Its owner: the ids inside and outside are the same.
    ByUser,
    /// Everybody: in a user namespace of its own the container's ids are others than the owner's.
    ByOthers,
}

impl Searchable {
    fn permission(self) -> u32 {
        match self {
            Searchable::ByUser => 0x0008_0000,
            Searchable::ByOthers => 0x0000_0008,
        }
    }
}

/// Joins a new session keyring `_ses.<id>` and makes it searchable, as runc does.
///
/// A kernel without keyrings (ENOSYS) is a warning. Anything else is an error: EPERM mostly comes from a seccomp filter
/// around us and EDQUOT from `/proc/sys/kernel/keys/maxkeys`; `--no-new-keyring` does without.
pub fn join(
    id: &str,
    searchable: Searchable,
    labels: &Labels,
    procfs: &Procfs,
    warn: &mut dyn FnMut(String),
) -> Result<()> {
    let name = name(id);
    let Some(key) = join_by_name(&name, labels, procfs, warn)? else { return Ok(()) };
    let description = process::describe_key(key).call(|| format!("keyctl KEYCTL_DESCRIBE {name}"))?;
    let permissions = permissions(&description).with_context(|| format!("describe key {name}: {description:?}"))?;
    let wanted = permissions | searchable.permission();
    process::set_key_permissions(key, wanted).call(|| format!("keyctl KEYCTL_SETPERM {name} {wanted:#x}"))
}

/// Joins the session keyring that [`join`] has made for the container's first process.
pub fn rejoin(id: &str, labels: &Labels, procfs: &Procfs, warn: &mut dyn FnMut(String)) -> Result<()> {
    join_by_name(&name(id), labels, procfs, warn).map(drop)
}

fn name(id: &str) -> String {
    format!("_ses.{id}")
}

/// The keyring's serial number; `None` where the kernel has none.
fn join_by_name(name: &str, labels: &Labels, procfs: &Procfs, warn: &mut dyn FnMut(String)) -> Result<Option<i32>> {
    match labels.with_key_label(procfs, || Ok(process::join_session_keyring(name)))? {
        Ok(key) => Ok(Some(key)),
        Err(Errno::ENOSYS) => {
            warn("no session keyring is made: this kernel has no keyrings (keyctl: ENOSYS)".into());
            Ok(None)
        }
        Err(e) => Err(e)
            .call(|| format!("keyctl KEYCTL_JOIN_SESSION_KEYRING {name}"))
            .context("unable to join session keyring (--no-new-keyring does without)"),
    }
}

/// The fourth field of `type;uid;gid;permissions;description`.
fn permissions(description: &str) -> Option<u32> {
    u32::from_str_radix(description.split(';').nth(3)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_fourth_field() {
        assert_eq!(permissions("keyring;0;0;3f1b0000;_ses.a;b"), Some(0x3f1b_0000));
        assert_eq!(permissions("keyring;0;0"), None);
        assert_eq!(permissions("keyring;0;0;xyz;n"), None);
    }
}
