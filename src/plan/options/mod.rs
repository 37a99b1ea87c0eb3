//! Mount options: one table that gives each option string its meaning, and the reading of a list of them.
//!
//! The order of the list counts: of two options that contradict each other, the later wins. What the table does not
//! know is left to the filesystem. This module does not know what kind of mount it reads for: whether an option
//! makes sense there is the caller's question.

mod table;

use super::mounts::FsOption;
use libc::{MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_RDONLY as RDONLY};
use serde::Serialize;
use table::{ATTRIBUTES, Meaning, TABLE};

/// Mount attributes to set and to clear (`MOUNT_ATTR_*` of mount_setattr(2)), on the mount itself and recursively.
///
/// The recursive ones are to be applied first: where both speak of the same attribute, the others hold for the mount
/// itself. An access-time mode always comes with the whole `MOUNT_ATTR__ATIME` mask in `clear`, as mount_setattr(2)
/// demands; relatime is the mode that has no bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attr {
    pub set: u64,
    pub clear: u64,
    /// From the options that start with `r` (`rro`, `rnosuid` …): for the mount and everything below it.
    pub recursive_set: u64,
    pub recursive_clear: u64,
}

/// The propagation type of a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// What an attribute option changes: one mount, or a tree of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Mount,
    Tree,
}

/// A change to the attributes of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Set(u64),
    Clear(u64),
    /// The access-time mode; the modes exclude each other.
    Atime(u64),
    /// Not this access-time mode: where it was chosen, or may be what a bind brings with it, the kernel's default.
    NotAtime(u64),
}

impl Change {
    /// All bits that the change decides.
    fn mask(self) -> u64 {
        match self {
            Change::Set(bit) | Change::Clear(bit) => bit,
            Change::Atime(_) | Change::NotAtime(_) => ATIME,
        }
    }

    fn apply(self, set: &mut u64, clear: &mut u64) {
        match self {
            Change::Set(bit) => (*set, *clear) = (*set | bit, *clear & !bit),
            Change::Clear(bit) => (*set, *clear) = (*set & !bit, *clear | bit),
            Change::Atime(mode) => (*set, *clear) = (*set & !ATIME | mode, *clear | ATIME),
            Change::NotAtime(mode) => {
                let chosen = *clear & ATIME != 0;
                // `norelatime` alone cannot say which mode is meant instead, and the kernel's default is relatime.
                match (chosen && *set & ATIME == mode, mode) {
                    (true, libc::MOUNT_ATTR_RELATIME) => *clear &= !ATIME,
                    (true, _) => *set &= !ATIME,
                    (false, _) if chosen || mode == libc::MOUNT_ATTR_RELATIME => {}
                    (false, _) => *clear |= ATIME,
                }
            }
        }
    }
}

impl Attr {
    fn change(&mut self, scope: Scope, change: Change) {
        match scope {
            Scope::Mount => change.apply(&mut self.set, &mut self.clear),
            Scope::Tree => {
                // The tree includes the mount: what was said of it before is overruled.
                self.set &= !change.mask();
                self.clear &= !change.mask();
                change.apply(&mut self.recursive_set, &mut self.recursive_clear);
            }
        }
    }

    /// The same for a new mount, which has nothing below it and nothing to clear: only `set` is left.
    pub fn of_new_mount(self) -> Attr {
        Attr { set: self.recursive_set & !self.clear | self.set, ..Attr::default() }
    }

    /// As mount(2) and then mount_setattr(2) give it, whatever the order of the options: what a recursive option (`rro`)
    /// says holds for the mount itself too, also against a later plain one (`rw`). runc and crun do it so.
    pub fn recursive_last(self) -> Attr {
        let decided = self.recursive_set | self.recursive_clear;
        Attr { set: self.set & !decided, clear: self.clear & !decided, ..self }
    }

    /// Whether the mount itself becomes read-only.
    pub fn is_readonly(self) -> bool {
        self.of_new_mount().set & RDONLY != 0
    }

    /// Makes the mount and everything below it read-only, whatever was asked for.
    pub fn set_readonly_for_all(&mut self) {
        self.change(Scope::Tree, Change::Set(RDONLY));
        self.recursive_clear &= !RDONLY;
    }

    /// Its options by name, in a fixed order.
    pub fn names(self) -> Vec<String> {
        let mut names = Vec::new();
        for (prefix, set, clear) in [("r", self.recursive_set, self.recursive_clear), ("", self.set, self.clear)] {
            for (bit, on, off) in ATTRIBUTES {
                if set & bit != 0 {
                    names.push(format!("{prefix}{on}"));
                } else if clear & bit != 0 {
                    names.push(format!("{prefix}{off}"));
                }
            }
            if (set | clear) & ATIME != 0 {
                names.push(format!("{prefix}{}", table::atime_name(set)));
            }
        }
        names
    }
}

impl Propagation {
    /// `slave` or `rslave`.
    pub fn slave(recursive: bool) -> Propagation {
        Propagation { kind: PropagationKind::Slave, recursive }
    }

    /// `private` or `rprivate`.
    pub fn private(recursive: bool) -> Propagation {
        Propagation { kind: PropagationKind::Private, recursive }
    }
}

/// The option's name: `rslave`.
impl std::fmt::Display for Propagation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = if self.recursive { "r" } else { "" };
        let kind = match self.kind {
            PropagationKind::Shared => "shared",
            PropagationKind::Slave => "slave",
            PropagationKind::Private => "private",
            PropagationKind::Unbindable => "unbindable",
        };
        write!(f, "{prefix}{kind}")
    }
}

/// A list of options, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub attr: Attr,
    pub propagation: Option<Propagation>,
    /// `bind` or `rbind`.
    pub bind: Option<BindOption>,
    pub remount: bool,
    /// Index of `tmpcopyup`.
    pub copy_up: Option<usize>,
    pub idmap: Option<IdMapOption>,
    /// Flags of the superblock, each with its index.
    pub superblock: Vec<SuperblockFlag>,
    /// What only the filesystem knows, each with its index.
    pub data: Vec<(usize, FsOption)>,
}

/// How much of the source a bind takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindOption {
    /// One mount.
    Mount,
    /// The mount and everything below it.
    Tree,
}

/// `idmap`, `ridmap`, or either of them with ranges of its own, as crun takes it: `idmap=uids=0-1000-1;gids=0-1000-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapOption {
    pub index: usize,
    pub recursive: bool,
    pub ranges: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperblockFlag {
    pub index: usize,
    /// As fsconfig(2) takes it.
    pub name: &'static str,
    /// Whether it turns something on; a new superblock has everything off.
    pub on: bool,
}

/// The names of all options in the table, sorted: what `features` lists as `mountOptions`.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}

/// The propagation type with this name, for `linux.rootfsPropagation`.
pub fn propagation(name: &str) -> Option<Propagation> {
    match table::meaning(name) {
        Some((_, Meaning::Propagation(propagation))) => Some(propagation),
        _ => None,
    }
}

impl Options {
    /// Reads `mounts[].options`. Anything can be read: what the table does not know ends up in `data`.
    pub fn parse(list: &[String]) -> Options {
        let mut options = Options::default();
        for (index, text) in list.iter().enumerate() {
            // One string may hold several options, as it does for mount(8) and for mount(2)'s data.
            for option in split(text) {
                options.add(index, option);
            }
        }
        options
    }

    fn add(&mut self, index: usize, option: &str) {
        if let Some((name, meaning)) = table::meaning(option) {
            return self.apply(index, name, meaning);
        }
        let Some((key, value)) = option.split_once('=') else {
            self.data.push((index, FsOption::Flag(option.to_owned())));
            return;
        };
        if let Some((_, Meaning::IdMap { recursive })) = table::meaning(key) {
            self.idmap = Some(IdMapOption { index, recursive, ranges: Some(value.to_owned()) });
            return;
        }
        self.data.push((index, FsOption::Value(key.to_owned(), unquote(key, value).to_owned())));
    }

    fn apply(&mut self, index: usize, name: &'static str, meaning: Meaning) {
        match meaning {
            Meaning::Nothing => {}
            Meaning::Attr(scope, change) => self.attr.change(scope, change),
            Meaning::Superblock { on, opposite } => {
                self.superblock.retain(|flag| flag.name != name && Some(flag.name) != opposite);
                self.superblock.push(SuperblockFlag { index, name, on });
            }
            Meaning::Propagation(propagation) => self.propagation = Some(propagation),
            // As in mount(2), where `rbind` is `bind` and one more flag.
            Meaning::Bind { recursive: false } => self.bind = self.bind.or(Some(BindOption::Mount)),
            Meaning::Bind { recursive: true } => self.bind = Some(BindOption::Tree),
            Meaning::Remount => self.remount = true,
            Meaning::CopyUp => self.copy_up = Some(index),
            Meaning::IdMap { recursive } => self.idmap = Some(IdMapOption { index, recursive, ranges: None }),
        }
    }
}

/// Splits at commas that are neither quoted (SELinux contexts) nor escaped (paths of overlay).
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let comma = c == ',' && !quoted && !escaped;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        comma
    })
    .filter(|option| !option.is_empty())
}

/// SELinux contexts are quoted for the sake of mount(2)'s commas; fsconfig(2) takes them bare.
fn unquote<'a>(key: &str, value: &'a str) -> &'a str {
    if !key.ends_with("context") {
        return value;
    }
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests;
