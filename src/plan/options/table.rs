//! The table itself: every option string that is known, by meaning.
//!
//! The names are those of config.md 1.3.0, and of mount(8) where it has more that concern a container. A name that
//! is not here belongs to the filesystem (`size=64k`).

use super::{Change, Propagation, PropagationKind, Scope};
use libc::{
    MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODEV as NODEV,
    MOUNT_ATTR_NODIRATIME as NODIRATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW, MOUNT_ATTR_RDONLY as RDONLY, MOUNT_ATTR_RELATIME as RELATIME,
    MOUNT_ATTR_STRICTATIME as STRICTATIME,
};

/// What an option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Known, and nothing to do.
    Nothing,
    /// An attribute of the mount.
    Attr(Scope, Change),
    /// A flag of the superblock (fsconfig(2)), with the flag that takes it back.
    Superblock {
        on: bool,
        opposite: Option<&'static str>,
    },
    Propagation(Propagation),
    Bind {
        recursive: bool,
    },
    Remount,
    CopyUp,
    IdMap {
        recursive: bool,
    },
}

use Meaning::{Bind, CopyUp, IdMap, Nothing, Remount};

const fn set(bit: u64) -> Meaning {
    Meaning::Attr(Scope::Mount, Change::Set(bit))
}

const fn clear(bit: u64) -> Meaning {
    Meaning::Attr(Scope::Mount, Change::Clear(bit))
}

const fn atime(mode: u64) -> Meaning {
    Meaning::Attr(Scope::Mount, Change::Atime(mode))
}

const fn not_atime(mode: u64) -> Meaning {
    Meaning::Attr(Scope::Mount, Change::NotAtime(mode))
}

/// The same for the mount and everything below it.
const fn tree(meaning: Meaning) -> Meaning {
    match meaning {
        Meaning::Attr(_, change) => Meaning::Attr(Scope::Tree, change),
        other => other,
    }
}

const fn on(opposite: Option<&'static str>) -> Meaning {
    Meaning::Superblock { on: true, opposite }
}

const fn off(opposite: &'static str) -> Meaning {
    Meaning::Superblock { on: false, opposite: Some(opposite) }
}

const fn propagation(kind: PropagationKind, recursive: bool) -> Meaning {
    Meaning::Propagation(Propagation { kind, recursive })
}

#[rustfmt::skip]
pub(super) const TABLE: &[(&str, Meaning)] = &[
    // What the mount is.
    ("bind",           Bind { recursive: false }),
    ("rbind",          Bind { recursive: true }),
    ("remount",        Remount),
    ("tmpcopyup",      CopyUp),
    ("idmap",          IdMap { recursive: false }),
    ("ridmap",         IdMap { recursive: true }),

    // Attributes of one mount.
    ("ro",             set(RDONLY)),
    ("rw",             clear(RDONLY)),
    ("nosuid",         set(NOSUID)),
    ("suid",           clear(NOSUID)),
    ("nodev",          set(NODEV)),
    ("dev",            clear(NODEV)),
    ("noexec",         set(NOEXEC)),
    ("exec",           clear(NOEXEC)),
    ("nosymfollow",    set(NOSYMFOLLOW)),
    ("symfollow",      clear(NOSYMFOLLOW)),
    ("nodiratime",     set(NODIRATIME)),
    ("diratime",       clear(NODIRATIME)),
    ("noatime",        atime(NOATIME)),
    ("atime",          not_atime(NOATIME)),
    ("relatime",       atime(RELATIME)),
    ("norelatime",     not_atime(RELATIME)),
    ("strictatime",    atime(STRICTATIME)),
    ("nostrictatime",  not_atime(STRICTATIME)),

    // The same for the mount and everything below it.
    ("rro",            tree(set(RDONLY))),
    ("rrw",            tree(clear(RDONLY))),
    ("rnosuid",        tree(set(NOSUID))),
    ("rsuid",          tree(clear(NOSUID))),
    ("rnodev",         tree(set(NODEV))),
    ("rdev",           tree(clear(NODEV))),
    ("rnoexec",        tree(set(NOEXEC))),
    ("rexec",          tree(clear(NOEXEC))),
    ("rnosymfollow",   tree(set(NOSYMFOLLOW))),
    ("rsymfollow",     tree(clear(NOSYMFOLLOW))),
    ("rnodiratime",    tree(set(NODIRATIME))),
    ("rdiratime",      tree(clear(NODIRATIME))),
    ("rnoatime",       tree(atime(NOATIME))),
    ("ratime",         tree(not_atime(NOATIME))),
    ("rrelatime",      tree(atime(RELATIME))),
    ("rnorelatime",    tree(not_atime(RELATIME))),
    ("rstrictatime",   tree(atime(STRICTATIME))),
    ("rnostrictatime", tree(not_atime(STRICTATIME))),

    // Propagation.
    ("shared",         propagation(PropagationKind::Shared, false)),
    ("rshared",        propagation(PropagationKind::Shared, true)),
    ("slave",          propagation(PropagationKind::Slave, false)),
    ("rslave",         propagation(PropagationKind::Slave, true)),
    ("private",        propagation(PropagationKind::Private, false)),
    ("rprivate",       propagation(PropagationKind::Private, true)),
    ("unbindable",     propagation(PropagationKind::Unbindable, false)),
    ("runbindable",    propagation(PropagationKind::Unbindable, true)),

    // Flags of the superblock.
    ("sync",           on(Some("async"))),
    ("async",          off("sync")),
    ("dirsync",        on(None)),
    ("lazytime",       on(Some("nolazytime"))),
    ("nolazytime",     off("lazytime")),
    ("mand",           on(Some("nomand"))),
    ("nomand",         off("mand")),
    ("iversion",       on(Some("noiversion"))),
    ("noiversion",     off("iversion")),

    // Nothing to do. `defaults` is what a mount has without options; `silent` only keeps a failing mount(2) from
    // writing to the kernel's log, and fsconfig(2) does not know it. The last four are mount(8)'s own affair.
    ("defaults",       Nothing),
    ("silent",         Nothing),
    ("loud",           Nothing),
    ("auto",           Nothing),
    ("noauto",         Nothing),
    ("nouser",         Nothing),
    ("_netdev",        Nothing),
];

/// The meaning of an option, or `None` if it is the filesystem's own.
pub(super) fn meaning(name: &str) -> Option<(&'static str, Meaning)> {
    TABLE.iter().find(|(known, _)| *known == name).copied()
}

/// The attributes with their names when set and when cleared, for printing; access times apart.
pub(super) const ATTRIBUTES: &[(u64, &str, &str)] = &[
    (RDONLY, "ro", "rw"),
    (NOSUID, "nosuid", "suid"),
    (NODEV, "nodev", "dev"),
    (NOEXEC, "noexec", "exec"),
    (NOSYMFOLLOW, "nosymfollow", "symfollow"),
    (NODIRATIME, "nodiratime", "diratime"),
];

/// The name of an access-time mode.
pub(super) fn atime_name(mode: u64) -> &'static str {
    match mode & ATIME {
        NOATIME => "noatime",
        STRICTATIME => "strictatime",
        _ => "relatime",
    }
}
