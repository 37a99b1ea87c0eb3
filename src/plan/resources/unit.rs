//! The systemd unit that a container is in: `cgroupsPath` as `slice:prefix:name`, and properties from annotations.
//!
//! Names and paths are systemd.slice(5)'s and `cg_escape` of systemd's `src/basic/cgroup-util.c`.

use super::property::Value;
use crate::annotations::SYSTEMD_PROPERTY as PREFIX;
use crate::plan::Problem;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const SLICE: &str = ".slice";
/// `UNIT_NAME_MAX` of systemd, without the NUL.
const LONGEST: usize = 255;

/// A transient unit, to be started by a systemd manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// With its suffix: a scope, or a slice where the config names one.
    pub name: String,
    /// The slice that it is in, or for a slice the one that it wants.
    pub slice: String,
    /// Of a user's manager and not of the machine's.
    pub user: bool,
    /// From annotations, in the order of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
}

/// One property of a unit, by its name on D-Bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Property {
    pub name: String,
    pub value: Value,
}

impl Unit {
    /// `given` is `linux.cgroupsPath`; without one the unit is named after the container.
    pub fn new(given: Option<&str>, id: &str, user: bool) -> Result<Unit, String> {
        let default = if user { "user.slice" } else { "system.slice" };
        let unit = |slice: &str, name: String| {
            let slice = if slice.is_empty() { default } else { slice };
            Unit { name, slice: slice.into(), user, properties: Vec::new() }
        };
        let Some(path) = given else {
            let unit = unit("", format!("rvol-runc-{}.scope", escaped(id)));
            return unit.check().map(|()| unit);
        };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(format!("expected the form \"slice:prefix:name\" for a cgroup of systemd, got {path:?}"));
        };
        let name = if name.ends_with(SLICE) { name.to_string() } else { format!("{prefix}-{name}.scope") };
        let unit = unit(slice, name);
        unit.check().map(|()| unit)
    }

    pub fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }

    /// The cgroup, below that of the manager and without a leading slash.
    pub fn path(&self) -> PathBuf {
        // Both names were expanded when the unit was made.
        let expand = |slice| expand(slice).unwrap_or_default();
        if self.is_slice() { expand(&self.name) } else { expand(&self.slice).join(directory(&self.name)) }
    }

    fn check(&self) -> Result<(), String> {
        expand(&self.slice)?;
        if self.is_slice() {
            expand(&self.name)?;
            if self.name == "-.slice" {
                return Err("the root slice cannot be a container's".into());
            }
        }
        let ok = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if !self.name.chars().all(ok) || self.name.len() > LONGEST {
            return Err(format!("{:?} is not the name of a systemd unit", self.name));
        }
        Ok(())
    }
}

/// systemd's escape for what a unit's name cannot have (systemd-escape(1)).
fn escaped(text: &str) -> String {
    let ok = |c: u8| c.is_ascii_alphanumeric() || b":-_.".contains(&c);
    text.bytes().fold(String::new(), |all, c| all + &if ok(c) { char::from(c).into() } else { format!("\\x{c:02x}") })
}

/// `a-b.slice` is `a.slice/a-b.slice`, and `-.slice` the root.
fn expand(slice: &str) -> Result<PathBuf, String> {
    let invalid = || format!("invalid slice name: {slice}");
    let name = slice.strip_suffix(SLICE).filter(|_| !slice.contains('/')).ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for component in name.split('-') {
        if component.is_empty() {
            return Err(invalid());
        }
        path.push(directory(&format!("{prefix}{component}{SLICE}")));
        prefix += &format!("{component}-");
    }
    Ok(path)
}

/// A unit's directory: one that could be taken for a file of the kernel gets an underscore.
fn directory(unit: &str) -> String {
    const CONTROLLERS: [&str; 9] = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "cgroup"];
    let first = unit.split('.').next().unwrap_or_default();
    let escape = unit.starts_with(['_', '.']) || CONTROLLERS.contains(&first);
    if escape { format!("_{unit}") } else { unit.into() }
}

/// The properties that annotations ask for, as runc and crun read them.
pub fn properties<'a>(
    annotations: impl Iterator<Item = (&'a String, &'a String)>,
    problems: &mut Vec<Problem>,
) -> Vec<Property> {
    let asked: BTreeMap<_, _> = annotations.filter_map(|(key, v)| Some((key.strip_prefix(PREFIX)?, v))).collect();
    let mut properties = Vec::new();
    for (name, text) in asked {
        match property(name, text) {
            Ok(property) => properties.push(property),
            Err(message) => problems.push(Problem::new(format!("annotations.{PREFIX}{name}"), message)),
        }
    }
    properties
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|c| c.is_ascii_alphabetic()) {
        return Err("is not the name of a property".into());
    }
    let value = Value::parse(text).map_err(|message| format!("{text:?}: {message}"))?;
    // In unit files a time is given as `…Sec`, on D-Bus in microseconds.
    let seconds = name.strip_suffix("Sec").filter(|n| n.ends_with(|c: char| c.is_ascii_lowercase()));
    match seconds {
        None => Ok(Property { name: name.into(), value }),
        Some(name) => {
            let value = value.in_microseconds().ok_or_else(|| format!("{text:?} is not a number of seconds"))?;
            Ok(Property { name: format!("{name}USec"), value })
        }
    }
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn unit(path: &str) -> Result<Unit, String> {
        Unit::new(Some(path), "demo", false)
    }

    #[test]
    fn paths_name_a_unit_and_its_slice() {
        let cases = [
            ("system.slice:docker:1234", "docker-1234.scope", "system.slice", "system.slice/docker-1234.scope"),
            (":docker:1234", "docker-1234.scope", "system.slice", "system.slice/docker-1234.scope"),
            ("::x", "-x.scope", "system.slice", "system.slice/-x.scope"),
            ("-.slice:a:b", "a-b.scope", "-.slice", "a-b.scope"),
            ("a-b-c.slice:p:n", "p-n.scope", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            ("system.slice:p:a-b.slice", "a-b.slice", "system.slice", "a.slice/a-b.slice"),
            ("cpu.slice:memory.x:n", "memory.x-n.scope", "cpu.slice", "_cpu.slice/_memory.x-n.scope"),
            ("_a.slice:p:n", "p-n.scope", "_a.slice", "__a.slice/p-n.scope"),
        ];
        for (given, name, slice, path) in cases {
            let unit = unit(given).unwrap();
            assert_eq!((unit.name.as_str(), unit.slice.as_str()), (name, slice), "{given}");
            assert_eq!(unit.path(), Path::new(path), "{given}");
        }
    }

    #[test]
    fn without_a_path_the_unit_is_named_after_the_container() {
        let root = Unit::new(None, "demo", false).unwrap();
        assert_eq!((root.name.as_str(), root.slice.as_str()), ("rvol-runc-demo.scope", "system.slice"));
        let user = Unit::new(None, "a+b", true).unwrap();
        assert_eq!((user.name.as_str(), user.slice.as_str()), ("rvol-runc-a\\x2bb.scope", "user.slice"));
        assert_eq!(Unit::new(Some(":a:b"), "demo", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let form = |p: &str| format!("expected the form \"slice:prefix:name\" for a cgroup of systemd, got {p:?}");
        for path in ["", "/a/b", "a:b", "a:b:c:d", "system.slice"] {
            assert_eq!(unit(path), Err(form(path)));
        }
        for slice in ["a", "a/b.slice", ".slice", "a--b.slice", "-a.slice", "a-.slice", "--.slice"] {
            assert_eq!(unit(&format!("{slice}:p:n")), Err(format!("invalid slice name: {slice}")));
        }
        assert_eq!(unit(":p:-a.slice"), Err("invalid slice name: -a.slice".into()));
        assert_eq!(unit(":p:-.slice"), Err("the root slice cannot be a container's".into()));
        for name in ["a/b", "a b", "ä", &"n".repeat(250)] {
            assert!(unit(&format!(":p:{name}")).unwrap_err().ends_with("is not the name of a systemd unit"), "{name}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        let annotations: BTreeMap<String, String> = [
            ("org.systemd.property.TimeoutStopUSec", "uint64 123456789"),
            ("org.systemd.property.TimeoutStartSec", "1.5"),
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("org.systemd.property.After", "['a.service', 'b.service']"),
            ("org.systemd.property.USec", "int32 3"),
            ("org.systemd", "x"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
        let mut problems = Vec::new();
        let shown: Vec<String> =
            properties(annotations.iter(), &mut problems).iter().map(Property::to_string).collect();
        assert_eq!(
            shown,
            [
                "After=['a.service', 'b.service']",
                "CollectMode='inactive-or-failed'",
                "TimeoutStartUSec=uint64 1500000",
                "TimeoutStopUSec=uint64 123456789",
                // "U" before "Sec" is not what stands before a time.
                "USec=3",
            ]
        );
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn what_is_no_property_is_refused_by_its_annotation() {
        for (name, text, message) in [
            ("Ab", "true", "is not the name of a property"),
            ("Exec-Start", "true", "is not the name of a property"),
            ("TimeoutStopSec", "'long'", "\"'long'\" is not a number of seconds"),
            ("TimeoutStopSec", "-1", "\"-1\" is not a number of seconds"),
        ] {
            let mut problems = Vec::new();
            let annotation = (format!("{PREFIX}{name}"), text.to_string());
            properties([(&annotation.0, &annotation.1)].into_iter(), &mut problems);
            assert_eq!(problems, [Problem::new(format!("annotations.{}", annotation.0), message)]);
        }
    }
}
