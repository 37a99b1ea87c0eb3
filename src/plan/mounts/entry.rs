//! One entry of `mounts[]`: what kind of mount it is, and the operation that makes it.

use super::added::{AddedMount, MissingSource};
use super::idmap;
use super::target::{self, OnProc};
use super::{Bind, CreateTarget, Fs, FsOption, Mount, MountOp, Requirement, Symlinks, Target, cgroup};
use crate::host::Host;
use crate::plan::namespaces::{Namespace, Namespaces, to_host};
use crate::plan::options::{Attr, BindOption, Options, Propagation};
use crate::plan::volume::{self, VolumeUse, check_name};
use crate::plan::{Problem, resources};
use oci_spec::runtime::{self as oci, Spec};
use std::path::{Path, PathBuf};

/// What an entry is planned with.
pub(super) struct Scene<'a> {
    pub spec: &'a Spec,
    pub bundle: &'a Path,
    /// Where volumes are, for their paths.
    pub volume_root: &'a Path,
    pub namespaces: &'a Namespaces,
    pub cgroup: &'a resources::Cgroup,
    pub host: &'a Host,
}

/// An entry with its destination and options read.
pub(super) struct Entry<'a> {
    /// `mounts[3]`.
    pub place: String,
    pub mount: &'a oci::Mount,
    pub target: PathBuf,
    pub options: Options,
    /// Options of a volume, each with its index.
    volume_options: Vec<(usize, FsOption)>,
    /// What is not the config's own.
    added: Option<&'a AddedMount>,
}

/// What an entry mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Remount,
    Bind(BindOption),
    Cgroup,
    Volume,
    Fs(&'a str),
}

/// tmpfs(5).
const TMPFS_PARAMETERS: &[&str] = &["gid", "huge", "mode", "mpol", "nr_blocks", "nr_inodes", "size", "uid"];

/// Options of a bind that an engine acts upon before it writes config.json (it relabels, or changes owners). Podman leaves
/// them there, and here they change nothing.
const ENGINE_WORDS: &[&str] = &["U", "Z", "copy", "nocopy", "z"];

/// Filesystems whose superblock others may share (the host, another container in the same namespace), or that must
/// stay writable until they are filled: `ro` is an attribute of the container's mount and leaves the superblock alone.
const READONLY_BY_MOUNT: &[&str] = &[
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "proc",
    "pstore",
    "ramfs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// The type of a mount that is a volume.
const VOLUME: &str = "volume";

/// Filesystems that take no `context=` (mqueue's files would be labelled one by one), as in runc.
const WITHOUT_LABEL: &[&str] = &["cgroup", "cgroup2", "mqueue", "proc", "sysfs"];

impl<'a> Entry<'a> {
    pub fn all(spec: &'a Spec) -> Vec<Entry<'a>> {
        let read = |(index, mount)| Entry::read(format!("mounts[{index}]"), mount, None);
        spec.mounts().iter().flatten().enumerate().map(read).collect()
    }

    pub fn read(place: String, mount: &'a oci::Mount, added: Option<&'a AddedMount>) -> Entry<'a> {
        let target = target::clean(mount.destination());
        let list = mount.options().as_deref().unwrap_or_default();
        if mount.typ().as_deref() != Some(VOLUME) {
            return Entry { place, mount, target, options: Options::parse(list), volume_options: Vec::new(), added };
        }
        // Whole, for their values may hold commas; in their places nothing is left, so that an index stays what it is.
        let (mut others, mut volume_options) = (list.to_vec(), Vec::new());
        for (index, text) in others.iter_mut().enumerate().filter(|(_, text)| volume::is_option(text)) {
            let text = std::mem::take(text);
            let option = match text.split_once('=') {
                Some((key, value)) => FsOption::Value(key.to_owned(), value.to_owned()),
                None => FsOption::Flag(text),
            };
            volume_options.push((index, option));
        }
        let mut options = Options::parse(&others);
        // Several of them in one string, separated by commas.
        let (ours, rest) = std::mem::take(&mut options.data).into_iter().partition(|(_, option)| match option {
            FsOption::Flag(flag) => volume::is_option(flag),
            FsOption::Value(key, _) => volume::is_option(&format!("{key}=")),
        });
        options.data = rest;
        volume_options.extend::<Vec<_>>(ours);
        Entry { place, mount, target, options, volume_options, added }
    }

    pub fn problem(&self, field: &str, message: &str) -> Problem {
        Problem { place: format!("{}.{field}", self.place), message: message.to_owned() }
    }

    pub fn option_problem(&self, index: usize, message: &str) -> Problem {
        self.problem(&format!("options[{index}]"), message)
    }

    /// The option as the config has it.
    fn option(&self, index: usize) -> &str {
        self.mount.options().as_ref().and_then(|list| list.get(index)).map_or("", String::as_str)
    }

    /// As in the spec and in runc, `bind` and `rbind` decide whatever the type says; but a volume is bound anyway.
    pub fn kind(&self) -> Result<Kind<'a>, Problem> {
        if self.options.remount {
            return Ok(Kind::Remount);
        }
        if self.mount.typ().as_deref() == Some(VOLUME) {
            return Ok(Kind::Volume);
        }
        if let Some(bind) = self.options.bind {
            return Ok(Kind::Bind(bind));
        }
        match self.mount.typ().as_deref() {
            None | Some("") => Err(self.problem("type", "is missing, and there is no option `bind` or `rbind`")),
            Some("bind" | "rbind" | "none") => {
                Err(self.problem("options", "a bind mount needs the option `bind` or `rbind`"))
            }
            Some("cgroup") => Ok(Kind::Cgroup),
            Some(fstype) => Ok(Kind::Fs(fstype)),
        }
    }

    pub fn target(&self, create: CreateTarget) -> Target {
        let path = target::resolvable(self.mount.destination());
        Target { path, create, symlinks: Symlinks::Follow }
    }

    pub fn must(&self, target: Target, op: MountOp) -> Mount {
        Mount { place: self.place.clone(), target, op, requirement: Requirement::Must }
    }

    /// Strings that no syscall can take, and a destination that is missing or relative.
    fn check_strings(&self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
        let mount = self.mount;
        let destination = mount.destination();
        if destination.as_os_str().is_empty() {
            problems.push(self.problem("destination", "is missing"));
        } else if destination.is_relative() {
            warnings.push(format!(
                "{}.destination: `{}` is relative, which is deprecated; it is taken as {}",
                self.place,
                destination.display(),
                target::resolvable(destination).display(),
            ));
        }
        let fields = [
            ("destination", Some(destination.as_os_str())),
            ("type", mount.typ().as_ref().map(|t| t.as_ref())),
            ("source", mount.source().as_ref().map(|s| s.as_os_str())),
        ];
        for (field, text) in fields {
            if text.is_some_and(target::has_nul) {
                problems.push(self.problem(field, "holds a NUL byte"));
            }
        }
        for (index, option) in mount.options().iter().flatten().enumerate() {
            if target::has_nul(option.as_ref()) {
                problems.push(self.option_problem(index, "holds a NUL byte"));
            }
        }
    }

    /// What is not for this kind of mount: an option that only filesystems have, `tmpcopyup`, an id mapping.
    pub fn refuse(&self, data: bool, idmap: bool, kind: &str, problems: &mut Vec<Problem>) {
        if data {
            self.refuse_data(self.options.data.iter(), kind, problems);
        }
        if let Some(index) = self.options.copy_up {
            problems.push(self.option_problem(index, "`tmpcopyup` is for tmpfs only"));
        }
        if idmap && let Some(option) = &self.options.idmap {
            problems.push(self.option_problem(option.index, &format!("{kind} cannot be id-mapped")));
        } else if idmap && (self.mount.uid_mappings().is_some() || self.mount.gid_mappings().is_some()) {
            problems.push(self.problem("uidMappings", &format!("{kind} cannot be id-mapped")));
        }
    }

    fn refuse_data<'d>(
        &self,
        data: impl Iterator<Item = &'d (usize, FsOption)>,
        kind: &str,
        problems: &mut Vec<Problem>,
    ) {
        let mut last = None;
        for (index, _) in data {
            // Several of them may be in one string.
            if last.replace(*index) != Some(*index) {
                let message = format!("`{}` is not an option of {kind}", self.option(*index));
                problems.push(self.option_problem(*index, &message));
            }
        }
    }

    /// Refuses on a bind mount what only filesystems have, except the words of an engine ([`ENGINE_WORDS`]).
    /// Parameters of a tmpfs are ignored, as mount(2) does it with all, for
    /// configs carry them along (runtime-tools, `mounts`). Anything else may be a flag that is misspelt.
    fn refuse_data_of_bind(&self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
        let of_tmpfs =
            |option: &FsOption| matches!(option, FsOption::Value(key, _) if TMPFS_PARAMETERS.contains(&key.as_str()));
        for (index, option) in &self.options.data {
            if let FsOption::Value(key, _) = option
                && of_tmpfs(option)
            {
                let place = &self.place;
                warnings
                    .push(format!("{place}.options[{index}]: `{key}=` is for tmpfs and has no effect on a bind mount"));
            }
        }
        let is_engines =
            |option: &FsOption| matches!(option, FsOption::Flag(flag) if ENGINE_WORDS.contains(&flag.as_str()));
        let refused = self.options.data.iter().filter(|(_, option)| !of_tmpfs(option) && !is_engines(option));
        self.refuse_data(refused, "a bind mount", problems);
    }

    /// Flags of the superblock change nothing where the superblock is there already.
    pub fn warn_of_superblock_flags(&self, kind: &str, warnings: &mut Vec<String>) {
        for flag in self.options.superblock.iter().filter(|flag| flag.on) {
            warnings.push(format!(
                "{}.options[{}]: `{}` is a property of the whole filesystem and has no effect on {kind}",
                self.place, flag.index, flag.name,
            ));
        }
    }

    /// The parameters of a new filesystem, without read-only.
    pub fn fs_options(&self) -> Vec<FsOption> {
        let flags = self.options.superblock.iter().filter(|flag| flag.on);
        let flags = flags.map(|flag| FsOption::Flag(flag.name.to_owned()));
        flags.chain(self.options.data.iter().map(|(_, option)| option.clone())).collect()
    }

    /// The entry's propagation, or the default of a new mount, which belongs to no peer group.
    pub fn propagation(&self) -> Propagation {
        self.options.propagation.unwrap_or(Propagation::private(false))
    }
}

impl Scene<'_> {
    /// The operations for one entry.
    pub fn plan(&self, entry: &Entry, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Vec<Mount> {
        entry.check_strings(problems, warnings);
        let kind = match entry.kind() {
            Ok(kind) => kind,
            Err(problem) => {
                problems.push(problem);
                return Vec::new();
            }
        };
        let on_proc = match kind {
            Kind::Fs("proc") => OnProc::Procfs,
            Kind::Bind(_) => OnProc::Bind,
            Kind::Remount => OnProc::Remount,
            Kind::Fs(_) | Kind::Cgroup | Kind::Volume => OnProc::Other,
        };
        if let Err(message) = target::check_proc(&entry.target, on_proc) {
            problems.push(entry.problem("destination", message));
        } else if target::climbs(entry.mount.destination()) && target::is_in_proc(&entry.target) {
            problems.push(entry.problem("destination", "leads to /proc by `..`: write it without"));
        }
        match kind {
            Kind::Remount => vec![remount(entry, problems, warnings)],
            Kind::Bind(bind) => self.bind(entry, bind, problems, warnings).into_iter().collect(),
            Kind::Cgroup => cgroup::plan(self, entry, problems, warnings),
            Kind::Volume => self.volume(entry, problems, warnings).into_iter().collect(),
            Kind::Fs("sysfs") if self.must_bind_sysfs(entry) => vec![self.sysfs_by_bind(entry, problems, warnings)],
            Kind::Fs(fstype) => vec![self.fs(entry, fstype, problems)],
        }
    }

    fn bind(
        &self,
        entry: &Entry,
        bind: BindOption,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Option<Mount> {
        entry.refuse(false, false, "a bind mount", problems);
        entry.refuse_data_of_bind(problems, warnings);
        entry.warn_of_superblock_flags("a bind mount", warnings);
        let idmap = idmap::plan(self, entry, problems);
        let Some(source) = entry.mount.source().as_ref().filter(|source| !source.as_os_str().is_empty()) else {
            problems.push(entry.problem("source", "is missing: a bind mount needs one"));
            return None;
        };
        let recursive = bind == BindOption::Tree;
        let op = MountOp::Bind(Bind {
            // Without `.` and double slashes; `..` is the kernel's affair, for a component may be a symbolic link.
            source: self.bundle.join(source).components().collect(),
            recursive,
            attr: entry.options.attr.recursive_last(),
            // As in runc: what the host mounts below the source later is seen, and nothing goes back.
            propagation: entry.options.propagation.unwrap_or(Propagation::slave(recursive)),
            idmap,
            volume: None,
            missing: entry.added.map_or(MissingSource::default(), |added| added.missing),
        });
        Some(entry.must(entry.target(CreateTarget::LikeSource), op))
    }

    /// A volume becomes a bind of the volume's directory. Which that is (an anonymous one has no name yet) and what has
    /// to happen before, is found out when the plan is carried out.
    fn volume(&self, entry: &Entry, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Option<Mount> {
        entry.refuse(true, false, "a volume", problems);
        entry.warn_of_superblock_flags("a volume", warnings);
        let idmap = idmap::plan(self, entry, problems);
        let volume = self.volume_use(entry, problems)?;
        let of_pod = volume.origin.namespace.is_some();
        let recursive = entry.options.bind != Some(BindOption::Mount);
        let mut source = self.volume_root.join(volume.name.as_deref().unwrap_or("<new>")).join("_data");
        source.extend(&volume.subpath);
        let op = MountOp::Bind(Bind {
            source,
            recursive,
            attr: if recursive { wholly_readonly(entry.options.attr) } else { entry.options.attr },
            propagation: entry.options.propagation.unwrap_or(Propagation::private(recursive)),
            idmap,
            volume: Some(volume),
            missing: MissingSource::default(),
        });
        let mut target = entry.target(CreateTarget::LikeSource);
        if of_pod {
            // By a link in the image, /data could be /dev or /sys.
            target.symlinks = Symlinks::Refuse;
        }
        Some(entry.must(target, op))
    }

    fn volume_use(&self, entry: &Entry, problems: &mut Vec<Problem>) -> Option<VolumeUse> {
        let origin = entry.added.map(|added| added.origin.clone()).unwrap_or_default();
        let mut volume = VolumeUse { origin, ..VolumeUse::default() };
        if let Some(source) = entry.mount.source().as_ref().filter(|source| !source.as_os_str().is_empty()) {
            let name = source.to_string_lossy();
            if source.is_absolute() {
                problems
                    .push(entry.problem("source", "is a path: a volume has a name; use type `bind` for a directory"));
                return None;
            }
            if let Err(message) = check_name(&name) {
                problems.push(entry.problem("source", &message));
                return None;
            }
            volume.name = Some(name.into_owned());
        }
        for (index, option) in &entry.volume_options {
            if let Err(message) = volume.add(option) {
                problems.push(entry.option_problem(*index, &message));
            }
        }
        if volume.name.is_none() && volume.subpath.is_some() {
            problems.push(entry.problem("options", "must not set Subpath when using anonymous volumes"));
        }
        if volume.name.is_none() && volume.existing {
            problems.push(entry.problem("options", "`nocreate` needs a volume with a name"));
        }
        Some(volume)
    }

    fn fs(&self, entry: &Entry, fstype: &str, problems: &mut Vec<Problem>) -> Mount {
        if fstype != "tmpfs" {
            entry.refuse(false, false, fstype, problems);
        }
        self.check_ids(entry, problems);
        let attr = entry.options.attr.of_new_mount();
        let mut options = entry.fs_options();
        if attr.is_readonly() && !READONLY_BY_MOUNT.contains(&fstype) {
            options.insert(0, FsOption::Flag("ro".into()));
        }
        // The kernel takes one context and refuses a second (EINVAL): the entry's own is the more specific one.
        let has_context = options.iter().any(|option| matches!(option, FsOption::Value(key, _) if key == "context"));
        let op = MountOp::Fs(Fs {
            fstype: fstype.to_owned(),
            source: Some(source_or(entry, fstype)),
            options,
            attr,
            propagation: entry.propagation(),
            idmap: idmap::plan(self, entry, problems),
            copy_up: entry.options.copy_up.is_some(),
            label: self.label(fstype).filter(|_| !has_context),
        });
        let mut target = entry.target(CreateTarget::Directory);
        if matches!(fstype, "proc" | "sysfs") {
            target.symlinks = Symlinks::Refuse;
        }
        let requirement = if fstype == "sysfs" { self.sysfs_requirement(entry) } else { Requirement::Must };
        Mount { requirement, ..entry.must(target, op) }
    }

    /// The SELinux context for a new filesystem of this type.
    pub fn label(&self, fstype: &str) -> Option<String> {
        let label = self.spec.linux().as_ref()?.mount_label().as_ref()?;
        (!label.is_empty() && !WITHOUT_LABEL.contains(&fstype)).then(|| label.clone())
    }

    /// `uid=` and `gid=` are ids of the container's user namespace: what it does not map, the kernel refuses.
    fn check_ids(&self, entry: &Entry, problems: &mut Vec<Problem>) {
        let (Namespace::New, Some(map)) = (&self.namespaces.user, &self.namespaces.id_map) else { return };
        for (index, option) in &entry.options.data {
            let FsOption::Value(key, value) = option else { continue };
            let ranges = match key.as_str() {
                "uid" => &map.uid,
                "gid" => &map.gid,
                _ => continue,
            };
            if value.parse().is_ok_and(|id| to_host(ranges, id).is_none()) {
                let message = format!("the container's user namespace does not map {key} {value}");
                problems.push(entry.option_problem(*index, &message));
            }
        }
    }

    /// Whether the kernel lets the container mount a sysfs is not known where the network namespace may belong to
    /// another user namespace; whoever carries it out then takes the host's, if it is to be read-only.
    fn sysfs_requirement(&self, entry: &Entry) -> Requirement {
        let in_user_namespace = self.host.in_user_namespace || self.namespaces.user != Namespace::Inherit;
        let foreign = self.namespaces.network != Namespace::New;
        if in_user_namespace && foreign && entry.options.attr.is_readonly() {
            return Requirement::BestEffort("the network namespace may belong to another user namespace");
        }
        Requirement::Must
    }

    /// sysfs belongs to the network namespace: a new user namespace has no right to mount it without a network
    /// namespace of its own. Bound from the host it is as good, but only read-only, for below it is the host's.
    fn must_bind_sysfs(&self, entry: &Entry) -> bool {
        self.namespaces.user == Namespace::New
            && self.namespaces.network == Namespace::Inherit
            && entry.options.attr.is_readonly()
    }

    fn sysfs_by_bind(&self, entry: &Entry, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Mount {
        entry.refuse(true, true, "sysfs", problems);
        warnings.push(format!(
            "{}: sysfs cannot be mounted in a user namespace without a network namespace of its own; the host's /sys \
             is bound instead",
            entry.place,
        ));
        let attr = entry.options.attr.of_new_mount();
        let op = MountOp::Bind(Bind {
            source: "/sys".into(),
            // The kernel refuses to take a mount apart from what is mounted below it in another user namespace.
            recursive: true,
            attr: Attr { recursive_set: attr.set, ..Attr::default() },
            propagation: entry.options.propagation.unwrap_or(Propagation::private(true)),
            idmap: None,
            volume: None,
            missing: MissingSource::default(),
        });
        let target = Target { symlinks: Symlinks::Refuse, ..entry.target(CreateTarget::Directory) };
        entry.must(target, op)
    }
}

/// `remount`: other attributes and another propagation for what is mounted at the target, and with `bind` nothing
/// more. Read-only is never set on the superblock, which may be the host's.
fn remount(entry: &Entry, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Mount {
    let bind = entry.options.bind.is_some();
    entry.refuse(bind, true, "a remount", problems);
    let mut options = Vec::new();
    if bind {
        entry.warn_of_superblock_flags("a bind mount", warnings);
    } else {
        options.extend(entry.options.superblock.iter().map(|flag| FsOption::Flag(flag.name.to_owned())));
        options.extend(entry.options.data.iter().map(|(_, option)| option.clone()));
    }
    let op =
        MountOp::Remount { attr: entry.options.attr.recursive_last(), propagation: entry.options.propagation, options };
    entry.must(entry.target(CreateTarget::Nothing), op)
}

/// `ro` on a volume means all of it, unless `rrw` says otherwise.
fn wholly_readonly(attr: Attr) -> Attr {
    let readonly = libc::MOUNT_ATTR_RDONLY;
    if attr.set & readonly == 0 || attr.recursive_clear & readonly != 0 {
        return attr;
    }
    Attr { set: attr.set & !readonly, recursive_set: attr.recursive_set | readonly, ..attr }
}

fn source_or(entry: &Entry, fstype: &str) -> String {
    let source = entry.mount.source().as_ref().map(|source| source.to_string_lossy().into_owned());
    source.filter(|source| !source.is_empty()).unwrap_or_else(|| fstype.to_owned())
}
