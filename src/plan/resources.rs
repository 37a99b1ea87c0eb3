//! `linux.cgroupsPath` and `linux.resources`.

pub mod devices;
pub mod limits;
pub mod property;
mod read;
pub mod unit;

use super::{Problem, Request};
use crate::host::Host;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

pub use devices::Policy;
pub use limits::{Limit, Resources};
pub use read::read;
pub use unit::Unit;

/// Which cgroup the container is in, and who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    pub manager: Manager,
    /// Absolute path below each hierarchy's root; with systemd, below the cgroup of its manager.
    pub path: PathBuf,
    pub place: Place,
    /// With systemd: the unit that has the cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Host uid that gets the cgroup (v2 only), so that the container can make cgroups of its own below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    #[serde(skip_serializing_if = "limits::is_default")]
    pub resources: Resources,
}

/// What the config says about the place of the cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// An absolute `cgroupsPath`: below the root of every hierarchy.
    Absolute,
    /// A relative `cgroupsPath`: below the root for root, else beside the runtime's own cgroup.
    Relative,
    /// No `cgroupsPath`: as `Relative`, named after the container. A machine that allows no cgroup is no error.
    #[default]
    Default,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    #[default]
    Cgroupfs,
    Systemd,
    Disabled,
}

impl Cgroup {
    /// Limits are asked for: without a cgroup the container must not run.
    pub fn has_limits(&self) -> bool {
        self.resources.has_limits()
    }
}

/// Plans the container's cgroup. Every misfit goes to `problems`.
pub fn plan(
    spec: &Spec,
    request: &Request,
    host: &Host,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Cgroup {
    let given = spec.linux().as_ref().and_then(|l| l.cgroups_path().as_deref()).filter(|p| !p.as_os_str().is_empty());
    let unit = match request.cgroup_manager {
        Manager::Systemd => unit(spec, given, request, host, problems),
        Manager::Cgroupfs | Manager::Disabled => None,
    };
    let mut refuse = |message| {
        problems.push(Problem { place: "linux.cgroupsPath".into(), message });
        PathBuf::from("/")
    };
    let (path, place) = match (&unit, given) {
        (Some(unit), Some(_)) => (Path::new("/").join(unit.path()), Place::Absolute),
        (Some(unit), None) => (Path::new("/").join(unit.path()), Place::Default),
        // What is wrong with it has been said.
        (None, _) if request.cgroup_manager == Manager::Systemd => (PathBuf::from("/"), Place::Absolute),
        (None, None) => (Path::new("/").join(&request.id), Place::Default),
        (None, Some(path)) => {
            let place = if path.is_absolute() { Place::Absolute } else { Place::Relative };
            (clean(path).unwrap_or_else(&mut refuse), place)
        }
    };
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|l| l.resources().as_ref());
    let resources: Resources = resources.map(|r| read(PLACE, r, problems, warnings)).unwrap_or_default();
    if request.cgroup_manager == Manager::Disabled && resources.has_limits() {
        let sections = resources.limited_sections().collect::<Vec<_>>().join(", ");
        warnings.push(format!("{PLACE}: the limits are not applied (--cgroup-manager=disabled): {sections}"));
    }
    Cgroup {
        manager: request.cgroup_manager,
        path,
        place,
        unit,
        owner: linux.and_then(|linux| owner(spec, linux)),
        resources,
    }
}

/// The unit for a container that systemd makes the cgroup of.
fn unit(
    spec: &Spec,
    given: Option<&Path>,
    request: &Request,
    host: &Host,
    problems: &mut Vec<Problem>,
) -> Option<Unit> {
    let properties = unit::properties(spec.annotations().iter().flatten(), problems);
    let given = given.map(Path::to_string_lossy);
    match Unit::new(given.as_deref(), &request.id, host.has_user_systemd) {
        Ok(unit) => Some(Unit { properties, ..unit }),
        Err(message) => {
            problems.push(Problem { place: "linux.cgroupsPath".into(), message });
            None
        }
    }
}

const PLACE: &str = "linux.resources";

/// The rules of config-linux.md, "Cgroup ownership": a new cgroup namespace, and a writable cgroup mount.
fn owner(spec: &Spec, linux: &Linux) -> Option<u32> {
    let new = |kind| linux.namespaces().iter().flatten().any(|n| n.typ() == kind && n.path().is_none());
    let writable = spec.mounts().iter().flatten().any(|m| {
        m.source().as_deref() == Some(Path::new("cgroup"))
            && m.destination() == Path::new("/sys/fs/cgroup")
            && !m.options().iter().flatten().any(|o| o == "ro")
    });
    let uid = spec.process().as_ref()?.user().uid();
    let maps = linux.uid_mappings().as_deref().filter(|_| new(LinuxNamespaceType::User));
    let host = match maps {
        None => Some(uid),
        Some(maps) => maps.iter().find_map(|m| {
            let offset = uid.checked_sub(m.container_id()).filter(|o| *o < m.size())?;
            m.host_id().checked_add(offset)
        }),
    };
    host.filter(|uid| *uid != 0 && new(LinuxNamespaceType::Cgroup) && writable)
}

/// `path` as an absolute one without `.` and double slashes.
fn clean(path: &Path) -> Result<PathBuf, String> {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) if name.as_encoded_bytes().contains(&b'\n') => {
                return Err("a cgroup's name cannot contain a line feed".into());
            }
            Component::Normal(name) if name.as_encoded_bytes().contains(&0) => {
                return Err("a path cannot contain a NUL".into());
            }
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(format!("{} must not contain '..'", path.display())),
            _ => {}
        }
    }
    if clean.parent().is_none() {
        return Err("the root cgroup cannot be a container's".into());
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (given, clean_path) in
            [("/a/b", "/a/b"), ("a", "/a"), ("//a/./b/", "/a/b"), ("system.slice:x:y", "/system.slice:x:y")]
        {
            assert_eq!(clean(Path::new(given)).unwrap(), Path::new(clean_path), "{given}");
        }
        for given in ["/", ".", "/../a", "a/../../b", "a\nb", "a\0"] {
            assert!(clean(Path::new(given)).is_err(), "{given:?}");
        }
    }
}
