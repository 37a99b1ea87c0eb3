//! Namespaces and id mappings.

use super::Problem;
use crate::host::Host;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `UID_GID_MAP_MAX_EXTENTS` of the kernel.
const MOST_RANGES: usize = 340;

/// Stands for a namespace that the config may or may not have.
const UNKNOWN: &str = "";

/// `KTIME_SEC_MAX` of the kernel.
const MOST_SECONDS: i64 = i64::MAX / 1_000_000_000;

/// What the container has of each kind of namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    pub user: Namespace,
    pub pid: Namespace,
    pub mount: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
    /// The mappings of a new user namespace, or of the joined one as far as the config states them.
    pub id_map: Option<IdMap>,
    /// Offsets for a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// The runtime's own.
    #[default]
    Inherit,
    New,
    /// The one behind this path, which is absolute.
    Join(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdMap {
    pub uid: Vec<IdRange>,
    pub gid: Vec<IdRange>,
    pub writer: IdMapWriter,
}

/// Who writes `/proc/<pid>/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapWriter {
    /// The runtime itself: it is privileged in the parent user namespace, or maps one id, its own.
    Runtime,
    /// newuidmap(1) and newgidmap(1), by /etc/subuid and /etc/subgid.
    Helpers,
}

/// `linux.uidMappings[]`: `size` ids from `container` on are `host` and up outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IdRange {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Namespace {
    /// True when the container is not in the runtime's namespace, as far as the config tells.
    pub fn is_own(&self) -> bool {
        *self != Namespace::Inherit
    }
}

impl Namespaces {
    /// `CLONE_NEW*` bits of those that are of a kind.
    pub fn clone_flags(&self, wanted: impl Fn(&Namespace) -> bool) -> u64 {
        const NEWTIME: libc::c_int = 0x80;
        [
            (&self.user, libc::CLONE_NEWUSER),
            (&self.pid, libc::CLONE_NEWPID),
            (&self.mount, libc::CLONE_NEWNS),
            (&self.network, libc::CLONE_NEWNET),
            (&self.ipc, libc::CLONE_NEWIPC),
            (&self.uts, libc::CLONE_NEWUTS),
            (&self.cgroup, libc::CLONE_NEWCGROUP),
            (&self.time, NEWTIME),
        ]
        .into_iter()
        .filter(|(namespace, _)| wanted(namespace))
        .fold(0, |flags, (_, flag)| flags | u64::from(flag.cast_unsigned()))
    }

    fn presume(&mut self) {
        let Namespaces { user, pid, mount, network, ipc, uts, cgroup, time, .. } = self;
        for namespace in [user, pid, mount, network, ipc, uts, cgroup, time] {
            if !namespace.is_own() {
                // Joined, because for a new one other parts of the config would be required.
                *namespace = Namespace::Join(PathBuf::from(UNKNOWN));
            }
        }
    }
}

impl IdMap {
    /// The id outside for the container's user id `id`.
    pub fn host_uid(&self, id: u32) -> Option<u32> {
        to_host(&self.uid, id)
    }

    /// The id outside for the container's group id `id`.
    pub fn host_gid(&self, id: u32) -> Option<u32> {
        to_host(&self.gid, id)
    }
}

/// The id outside for the id `id` of the container.
pub fn to_host(ranges: &[IdRange], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|r| id >= r.container && id - r.container < r.size)?;
    range.host.checked_add(id - range.container)
}

/// `linux.namespaces`, the id mappings and `linux.timeOffsets`.
///
/// `incomplete`: entries of the list could not be read. Then what is absent counts as present, so that nothing is
/// reported only because of them.
pub fn plan(linux: Option<&Linux>, host: &Host, incomplete: bool, problems: &mut Vec<Problem>) -> Namespaces {
    let mut namespaces = linux.map(|l| kinds(l, problems)).unwrap_or_default();
    if incomplete {
        namespaces.presume();
    }
    if host.uid != 0 && !namespaces.user.is_own() {
        let message = format!("a user namespace is needed, as uid {} runs the runtime without privileges", host.uid);
        problems.push(Problem::new("linux.namespaces", message));
    }
    let Some(linux) = linux else { return namespaces };
    namespaces.id_map = id_map(linux, &namespaces.user, host, problems);
    namespaces.time_offsets = time_offsets(linux, &namespaces.time, problems);
    namespaces
}

fn kinds(linux: &Linux, problems: &mut Vec<Problem>) -> Namespaces {
    let mut namespaces = Namespaces::default();
    let mut seen: Vec<(LinuxNamespaceType, usize)> = Vec::with_capacity(8);
    for (i, entry) in linux.namespaces().iter().flatten().enumerate() {
        if let Some((_, first)) = seen.iter().find(|(typ, _)| *typ == entry.typ()) {
            let message = format!("is the same as that of linux.namespaces[{first}]; a kind may be listed once only");
            problems.push(Problem::new(format!("linux.namespaces[{i}].type"), message));
            continue;
        }
        seen.push((entry.typ(), i));
        let slot = match entry.typ() {
            LinuxNamespaceType::User => &mut namespaces.user,
            LinuxNamespaceType::Pid => &mut namespaces.pid,
            LinuxNamespaceType::Mount => &mut namespaces.mount,
            LinuxNamespaceType::Network => &mut namespaces.network,
            LinuxNamespaceType::Ipc => &mut namespaces.ipc,
            LinuxNamespaceType::Uts => &mut namespaces.uts,
            LinuxNamespaceType::Cgroup => &mut namespaces.cgroup,
            LinuxNamespaceType::Time => &mut namespaces.time,
        };
        *slot = match entry.path().as_deref() {
            // Engines written in Go leave out an empty path, or write it: both mean a new namespace.
            None => Namespace::New,
            Some(path) if path == Path::new("") => Namespace::New,
            Some(path) => {
                if !path.is_absolute() {
                    let place = format!("linux.namespaces[{i}].path");
                    problems.push(Problem::new(place, format!("{path:?} is not an absolute path")));
                }
                Namespace::Join(path.to_path_buf())
            }
        };
    }
    namespaces
}

fn id_map(linux: &Linux, user: &Namespace, host: &Host, problems: &mut Vec<Problem>) -> Option<IdMap> {
    let uid = ranges("linux.uidMappings", linux.uid_mappings(), user, problems);
    let gid = ranges("linux.gidMappings", linux.gid_mappings(), user, problems);
    if !user.is_own() || (uid.is_empty() && gid.is_empty()) {
        return None;
    }
    let maps_only_self = |ranges: &[IdRange], id| matches!(ranges, [r] if r.size == 1 && r.host == id);
    let writer = if host.uid == 0 || (maps_only_self(&uid, host.uid) && maps_only_self(&gid, host.gid)) {
        IdMapWriter::Runtime
    } else {
        IdMapWriter::Helpers
    };
    Some(IdMap { uid, gid, writer })
}

fn ranges(
    place: &str,
    mappings: &Option<Vec<LinuxIdMapping>>,
    user: &Namespace,
    problems: &mut Vec<Problem>,
) -> Vec<IdRange> {
    let mappings = mappings.as_deref().unwrap_or_default();
    let ranges: Vec<IdRange> =
        mappings.iter().map(|m| IdRange { container: m.container_id(), host: m.host_id(), size: m.size() }).collect();
    match user {
        Namespace::Inherit if !ranges.is_empty() => {
            problems.push(Problem::new(place, "needs a user namespace, and linux.namespaces has none"));
        }
        Namespace::New if ranges.is_empty() => {
            problems.push(Problem::new(place, "is required for a new user namespace"));
        }
        Namespace::New if to_host(&ranges, 0).is_none() => {
            problems.push(Problem::new(place, "does not map id 0 of the container, its root"));
        }
        _ => {}
    }
    check_ranges(place, &ranges, problems);
    ranges
}

/// What the kernel asks of a mapping (user_namespaces(7)); also for the mappings of a mount.
pub fn check_ranges(place: &str, ranges: &[IdRange], problems: &mut Vec<Problem>) {
    if ranges.len() > MOST_RANGES {
        let message = format!("has {} entries, and the kernel takes {MOST_RANGES}", ranges.len());
        problems.push(Problem::new(place, message));
        return;
    }
    let overlap = |a: u32, b: u32, r: &IdRange, s: &IdRange| {
        u64::from(a) < u64::from(b) + u64::from(s.size) && u64::from(b) < u64::from(a) + u64::from(r.size)
    };
    for (i, range) in ranges.iter().enumerate() {
        let at = |field: &str| format!("{place}[{i}].{field}");
        if range.size == 0 {
            problems.push(Problem::new(at("size"), "must not be 0"));
            continue;
        }
        for (field, first) in [("containerID", range.container), ("hostID", range.host)] {
            if first.checked_add(range.size).is_none() {
                let message = format!("{first} and the size of {} run past the last id, 4294967294", range.size);
                problems.push(Problem::new(at(field), message));
            }
        }
        for (j, other) in ranges[..i].iter().enumerate().filter(|(_, other)| other.size != 0) {
            if overlap(range.container, other.container, range, other) {
                problems.push(Problem::new(at("containerID"), format!("overlaps the ids of {place}[{j}]")));
            }
            if overlap(range.host, other.host, range, other) {
                problems.push(Problem::new(at("hostID"), format!("overlaps the ids of {place}[{j}]")));
            }
        }
    }
}

fn time_offsets(linux: &Linux, time: &Namespace, problems: &mut Vec<Problem>) -> Vec<TimeOffset> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return Vec::new() };
    match time {
        Namespace::New => {}
        Namespace::Join(path) if path == Path::new(UNKNOWN) => {}
        Namespace::Inherit => problems.push(Problem::new(
            "linux.timeOffsets",
            "needs a new time namespace, and linux.namespaces has no time namespace",
        )),
        Namespace::Join(_) => problems
            .push(Problem::new("linux.timeOffsets", "cannot be set in a time namespace that is joined by its path")),
    }
    let mut planned: Vec<TimeOffset> = Vec::with_capacity(offsets.len());
    for (clock, offset) in offsets {
        let at = super::place::member("linux.timeOffsets", clock);
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            problems.push(Problem::new(at.as_str(), "is not a clock of a time namespace (monotonic, boottime)"));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if !(-MOST_SECONDS..=MOST_SECONDS).contains(&seconds) {
            let message = format!("{seconds} is out of range (-{MOST_SECONDS} to {MOST_SECONDS})");
            problems.push(Problem::new(format!("{at}.secs"), message));
        }
        if nanoseconds > 999_999_999 {
            problems.push(Problem::new(format!("{at}.nanosecs"), format!("{nanoseconds} is above 999999999")));
        }
        planned.push(TimeOffset { clock: clock.clone(), seconds, nanoseconds });
    }
    planned.sort_by(|a, b| a.clock.cmp(&b.clock));
    planned
}
