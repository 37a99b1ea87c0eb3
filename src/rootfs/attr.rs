//! Mount attributes and propagation, set while a tree is still detached: nobody ever sees it without them.

use super::console::CONSOLE;
use crate::plan::options::{Attr, Propagation, PropagationKind};
use crate::plan::{CreateTarget, Mount, MountOp, Plan, Process};
use crate::sys::Call;
use crate::sys::mount::{
    AT_RECURSIVE, MOUNT_ATTR_ATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_RDONLY, MountAttr, OPEN_TREE_CLONE, clone_tree_with,
    mount_setattr, open_tree,
};
use anyhow::{Result, ensure};
use nix::sys::statvfs::fstatvfs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How much of the tree was cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The top mount only.
    Top,
    /// Every mount below it as well.
    Recursive,
}

/// `MS_SHARED` and so on.
pub fn flag(kind: PropagationKind) -> u64 {
    match kind {
        PropagationKind::Shared => libc::MS_SHARED,
        PropagationKind::Slave => libc::MS_SLAVE,
        PropagationKind::Private => libc::MS_PRIVATE,
        PropagationKind::Unbindable => libc::MS_UNBINDABLE,
    }
}

/// What mount_setattr(2) is called with: first for the whole tree, then for its top alone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    pub all: MountAttr,
    pub top: MountAttr,
}

impl Calls {
    /// A bind or a new filesystem. A clone stays in the peer group that its source is in, so the propagation is always
    /// set; mounts below the top that the config says nothing about become slaves, lest something mounted or unmounted
    /// in the container reach the host.
    pub fn new(attr: &Attr, propagation: Propagation, tree: Tree) -> Calls {
        let kind = flag(propagation.kind);
        let mut all = setting(attr.recursive_set, attr.recursive_clear);
        let mut top = setting(attr.set, attr.clear);
        if tree == Tree::Top {
            let top = MountAttr { propagation: kind, ..merge(all, top) };
            return Calls { all: MountAttr::default(), top };
        }
        if propagation.recursive {
            all.propagation = kind;
        } else {
            top.propagation = kind;
            if propagation.kind != PropagationKind::Shared {
                all.propagation = libc::MS_SLAVE;
            }
        }
        Calls { all, top }
    }

    /// A change to what is mounted already: `None` leaves the propagation as it is.
    pub fn remount(attr: &Attr, propagation: Option<Propagation>) -> Calls {
        let mut all = setting(attr.recursive_set, attr.recursive_clear);
        let mut top = setting(attr.set, attr.clear);
        match propagation {
            Some(Propagation { kind, recursive: true }) => all.propagation = flag(kind),
            Some(Propagation { kind, recursive: false }) => top.propagation = flag(kind),
            None => {}
        }
        Calls { all, top }
    }

    /// The root filesystem, until the root is changed. pivot_root(2) refuses a shared mount, an unbindable one cannot
    /// be cloned for read-only paths, and `shared` means a peer group of the container's own: these two start as
    /// private and are set at the end. `None` is slave, as runc does it.
    pub fn of_root(propagation: Option<Propagation>) -> Calls {
        let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
        let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
        match propagation {
            None | Some(Propagation { kind: PropagationKind::Slave, .. }) => {
                Calls { all: slave, top: MountAttr::default() }
            }
            Some(Propagation { recursive: true, .. }) => Calls { all: private, top: MountAttr::default() },
            Some(Propagation { recursive: false, .. }) => Calls { all: slave, top: private },
        }
    }

    /// Clones a tree as open_tree(2) does with these flags, and carries out what can be in the same call. Returns the tree
    /// with what is left to [`Calls::apply`].
    pub fn clone_tree(self, dir: BorrowedFd, path: &[u8], flags: u32) -> nix::Result<(OwnedFd, Calls)> {
        let (first, left) = match flags & AT_RECURSIVE {
            0 => (self.top, Calls { top: MountAttr::default(), ..self }),
            _ => (self.all, Calls { all: MountAttr::default(), ..self }),
        };
        if first != MountAttr::default()
            && let Ok(tree) = clone_tree_with(dir, path, flags, &first)
        {
            return Ok((tree, left));
        }
        // An older kernel, or something is refused: one by one they tell what.
        open_tree(dir, path, flags | OPEN_TREE_CLONE).map(|tree| (tree, self))
    }

    /// Carries them out on a detached or attached mount.
    pub fn apply(&self, mount: BorrowedFd) -> Result<()> {
        if self.all != MountAttr::default() {
            mount_setattr(mount, AT_RECURSIVE, &self.all).call(|| describe(&self.all, "recursive "))?;
        }
        if self.top != MountAttr::default() {
            mount_setattr(mount, 0, &self.top).call(|| describe(&self.top, ""))?;
        }
        Ok(())
    }
}

fn setting(set: u64, clear: u64) -> MountAttr {
    // The access-time mode is one field: the kernel takes a new value only with the whole old one cleared.
    let atime = if (set | clear) & MOUNT_ATTR_ATIME == 0 { 0 } else { MOUNT_ATTR_ATIME };
    MountAttr { attr_set: set, attr_clr: clear | atime, ..MountAttr::default() }
}

/// Both on one mount: where they disagree, what is said about the mount itself wins.
fn merge(all: MountAttr, top: MountAttr) -> MountAttr {
    let attr_set = (all.attr_set & !top.attr_clr) | top.attr_set;
    MountAttr { attr_set, attr_clr: (all.attr_clr & !top.attr_set) | top.attr_clr, ..MountAttr::default() }
}

/// Flags of statvfs(3) that have the values of the MOUNT_ATTR_* bits: ro, nosuid, nodev, noexec.
const SHOWN: u64 = 0x0f;

/// The attributes without what the kernel does not let us clear on this mount: in a user namespace the flags of the host's
/// mounts are locked (mount_namespaces(7)). `None` if none of them is to be cleared. What is to be set stays.
pub fn without_locked(mount: BorrowedFd, attr: &Attr) -> Option<Attr> {
    let locked = fstatvfs(mount).ok()?.flags().bits() & SHOWN & (attr.clear | attr.recursive_clear);
    (locked != 0).then_some(Attr {
        clear: attr.clear & !locked,
        recursive_clear: attr.recursive_clear & !locked,
        ..*attr
    })
}

/// Fails unless the mount has every flag that the attributes set.
pub fn ensure_set(mount: BorrowedFd, attr: &Attr) -> Result<()> {
    let flags = fstatvfs(mount).call(|| "fstatvfs".into())?.flags().bits();
    let missing: Vec<_> = names(attr.of_new_mount().set & SHOWN & !flags).collect();
    ensure!(missing.is_empty(), "the mount does not have {}", missing.join(","));
    Ok(())
}

/// Maps the ids of a detached tree.
pub fn map_ids(mount: BorrowedFd, user_namespace: BorrowedFd, tree: Tree) -> nix::Result<()> {
    let attr =
        MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: user_namespace.as_raw_fd() as u64, ..MountAttr::default() };
    mount_setattr(mount, if tree == Tree::Recursive { AT_RECURSIVE } else { 0 }, &attr)
}

/// Makes one mount read-only and leaves everything else about it as it is.
pub fn make_readonly(mount: BorrowedFd) -> nix::Result<()> {
    mount_setattr(mount, 0, &MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() })
}

/// Whether `plan.mounts[index]` becomes read-only only when everything is made, so that it can be made in it: a new
/// filesystem with a later target, the console or process.cwd in it, and whatever is mounted on `/`. A bind elsewhere is
/// read-only from the start: making directories in what the config calls read-only would change the host's.
pub fn readonly_at_end(plan: &Plan, index: usize) -> bool {
    let mount = &plan.mounts[index];
    let attr = match &mount.op {
        MountOp::Fs(fs) => &fs.attr,
        MountOp::Bind(bind) if mount.target.is_root() => &bind.attr,
        _ => return false,
    };
    let inside = |path: &Path| path.starts_with(&mount.target.path);
    let target_inside = |later: &Mount| later.target.create != CreateTarget::Nothing && inside(&later.target.path);
    let process_needs = |process: &Process| inside(&process.cwd) || process.terminal && inside(Path::new(CONSOLE));
    (attr.set | attr.recursive_set) & MOUNT_ATTR_RDONLY != 0
        && (plan.mounts[index + 1..].iter().any(target_inside) || plan.process.as_ref().is_some_and(process_needs))
}

/// The attributes without read-only.
pub fn writable(attr: &Attr) -> Attr {
    Attr { set: attr.set & !MOUNT_ATTR_RDONLY, recursive_set: attr.recursive_set & !MOUNT_ATTR_RDONLY, ..*attr }
}

/// `mount_setattr +ro -nosuid slave`, for messages.
fn describe(attr: &MountAttr, scope: &str) -> String {
    let mut text = format!("mount_setattr {scope}");
    for (sign, bits) in [('+', attr.attr_set), ('-', attr.attr_clr & !attr.attr_set)] {
        for name in names(bits) {
            text.push(sign);
            text.push_str(name);
            text.push(' ');
        }
    }
    text.push_str(match attr.propagation {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_PRIVATE => "private",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "",
    });
    text.trim_end().to_owned()
}

/// The option names of attribute bits.
pub fn names(bits: u64) -> impl Iterator<Item = &'static str> {
    const NAMES: [(u64, &str); 8] = [
        (0x01, "ro"),
        (0x02, "nosuid"),
        (0x04, "nodev"),
        (0x08, "noexec"),
        (0x10, "noatime"),
        (0x20, "strictatime"),
        (0x80, "nodiratime"),
        (0x20_0000, "nosymfollow"),
    ];
    NAMES.into_iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount::{MOUNT_ATTR_NOATIME, MOUNT_ATTR_NOSUID};

    const PRIVATE: Propagation = Propagation { kind: PropagationKind::Private, recursive: false };
    const RPRIVATE: Propagation = Propagation { kind: PropagationKind::Private, recursive: true };
    const SHARED: Propagation = Propagation { kind: PropagationKind::Shared, recursive: false };

    fn attr(set: u64, clear: u64, propagation: u64) -> MountAttr {
        MountAttr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 }
    }

    #[test]
    fn a_single_mount_takes_one_call() {
        let a = Attr { set: MOUNT_ATTR_NOSUID, recursive_set: MOUNT_ATTR_RDONLY, ..Attr::default() };
        let calls = Calls::new(&a, RPRIVATE, Tree::Top);
        assert_eq!(calls.all, MountAttr::default());
        assert_eq!(calls.top, attr(MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY, 0, libc::MS_PRIVATE));
    }

    #[test]
    fn what_is_said_of_the_mount_itself_wins() {
        let a = Attr { clear: MOUNT_ATTR_RDONLY, recursive_set: MOUNT_ATTR_RDONLY, ..Attr::default() };
        assert_eq!(Calls::new(&a, PRIVATE, Tree::Top).top, attr(0, MOUNT_ATTR_RDONLY, libc::MS_PRIVATE));
    }

    #[test]
    fn submounts_never_stay_peers_by_accident() {
        let calls = Calls::new(&Attr::default(), PRIVATE, Tree::Recursive);
        assert_eq!((calls.all.propagation, calls.top.propagation), (libc::MS_SLAVE, libc::MS_PRIVATE));
        let calls = Calls::new(&Attr::default(), SHARED, Tree::Recursive);
        assert_eq!((calls.all.propagation, calls.top.propagation), (0, libc::MS_SHARED));
    }

    #[test]
    fn the_atime_field_is_cleared_whole() {
        let a = Attr { set: MOUNT_ATTR_NOATIME, ..Attr::default() };
        let calls = Calls::new(&a, RPRIVATE, Tree::Recursive);
        assert_eq!(calls.all, attr(0, 0, libc::MS_PRIVATE));
        assert_eq!(calls.top, attr(MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME, 0));
    }

    #[test]
    fn messages_show_options() {
        assert_eq!(
            describe(&attr(MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, libc::MS_SLAVE), "recursive "),
            "mount_setattr recursive +ro -nosuid slave"
        );
    }
}
