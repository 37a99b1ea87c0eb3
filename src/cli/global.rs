//! The flags that stand before the command, and what they mean for all commands.

use super::args::{Flag, Matches, wrong_value};
use crate::host;
use crate::log::Format;
use crate::plan::resources::Manager;
use crate::plan::tenant::Policy;
use crate::runtime::Context;
use anyhow::{Context as _, Result, bail};
use std::path::{Component, Path, PathBuf};

pub const HELP: Flag = Flag { name: "help", short: Some('h'), value: None, help: "Show help" };
pub const VERSION: Flag = Flag { name: "version", short: Some('v'), value: None, help: "Show the version" };

const ROOT: Flag = Flag {
    name: "root",
    short: None,
    value: Some("DIR"),
    help: "Keep the containers' state in this directory (/run/rvol-runc)",
};
const VOLUME_ROOT: Flag = Flag {
    name: "volume-root",
    short: None,
    value: Some("DIR"),
    help: "Keep volumes in this directory (/var/lib/rvol-runc/volumes)",
};
const VOLUME_ANNOTATIONS: Flag = Flag {
    name: "volume-annotations",
    short: None,
    value: Some("MODE"),
    help: "Set which volumes annotations reach: off, scoped, trusted",
};
const NO_VOLUME_ANNOTATIONS: Flag = Flag {
    name: "no-volume-annotations",
    short: None,
    value: None,
    help: "Ignore annotations for volumes; as --volume-annotations off",
};
const LOG: Flag = Flag { name: "log", short: None, value: Some("FILE"), help: "Append log records to this file" };
const LOG_FORMAT: Flag =
    Flag { name: "log-format", short: None, value: Some("text|json"), help: "Format of log records" };
const DEBUG: Flag = Flag { name: "debug", short: None, value: None, help: "Log what is done, step by step" };
const TRACE: Flag =
    Flag { name: "trace", short: None, value: None, help: "At the end, show on stderr where the time went" };
const SYSTEMD_CGROUP: Flag = Flag {
    name: "systemd-cgroup",
    short: None,
    value: None,
    help: "Let systemd make the cgroup; cgroupsPath has the form slice:prefix:name",
};
const CGROUP_MANAGER: Flag = Flag {
    name: "cgroup-manager",
    short: None,
    value: Some("cgroupfs|systemd|disabled"),
    help: "Who makes the cgroup",
};
const ROOTLESS: Flag = Flag {
    name: "rootless",
    short: None,
    value: Some("true|false|auto"),
    help: "Go on where a cgroup needs more privilege",
};

pub const GLOBAL_FLAGS: &[Flag] = &[
    ROOT,
    VOLUME_ROOT,
    VOLUME_ANNOTATIONS,
    NO_VOLUME_ANNOTATIONS,
    LOG,
    LOG_FORMAT,
    DEBUG,
    TRACE,
    SYSTEMD_CGROUP,
    CGROUP_MANAGER,
    ROOTLESS,
    VERSION,
];

/// `--volume-annotations`; the error is that of the environment variable.
#[derive(Debug, PartialEq, Eq)]
pub struct VolumeAnnotations(Result<Policy, String>);

impl Default for VolumeAnnotations {
    fn default() -> VolumeAnnotations {
        VolumeAnnotations(Ok(Policy::default()))
    }
}

/// The values of the global flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// Absolute; `None` where the flag is not given.
    pub root: Option<PathBuf>,
    /// Absolute; `None` where neither the flag nor the environment says it.
    pub volume_root: Option<PathBuf>,
    pub volume_annotations: VolumeAnnotations,
    pub log: Option<PathBuf>,
    pub log_format: Format,
    pub debug: bool,
    pub trace: bool,
    pub cgroup_manager: Manager,
    /// `None`: found out where it matters.
    pub rootless: Option<bool>,
}

impl Globals {
    pub fn new(given: &Matches) -> Result<Globals> {
        Ok(Globals {
            root: given.value(&ROOT).map(|dir| absolute_root(&ROOT, Path::new(dir))).transpose()?,
            volume_root: volume_root(given)?,
            volume_annotations: volume_annotations(given)?,
            log: given.value(&LOG).filter(|file| !file.is_empty()).map(PathBuf::from),
            log_format: match given.text(&LOG_FORMAT)? {
                None | Some("" | "text") => Format::Text,
                Some("json") => Format::Json,
                Some(other) => return Err(wrong_value(&LOG_FORMAT, other.as_ref(), "is neither text nor json")),
            },
            debug: given.is_set(&DEBUG),
            trace: given.is_set(&TRACE),
            cgroup_manager: cgroup_manager(given)?,
            rootless: match given.text(&ROOTLESS)? {
                None | Some("" | "auto") => None,
                Some("true" | "1") => Some(true),
                Some("false" | "0") => Some(false),
                Some(other) => return Err(wrong_value(&ROOTLESS, other.as_ref(), "is none of true, false, auto")),
            },
        })
    }

    /// What the operations of the runtime need to know.
    ///
    /// # Errors
    /// Without `--root` and not as root, when `XDG_RUNTIME_DIR` is not set.
    pub fn context(&self) -> Result<Context> {
        let root = self.root.clone().map_or_else(default_root, Ok)?;
        Ok(Context { root, ..self.context_without_state() })
    }

    /// For the commands of volumes.
    pub fn volume_context(&self) -> Context {
        self.context_without_state()
    }

    /// The same for an operation that touches no state, and so needs no directory for it.
    pub fn context_without_state(&self) -> Context {
        Context {
            root: PathBuf::new(),
            volume_root: self.volume_root.clone(),
            volume_annotations: self.volume_annotations.0.clone(),
            cgroup_manager: self.cgroup_manager,
            rootless: self.rootless,
        }
    }
}

fn cgroup_manager(given: &Matches) -> Result<Manager> {
    let named = match given.text(&CGROUP_MANAGER)? {
        None => None,
        Some("cgroupfs") => Some(Manager::Cgroupfs),
        Some("systemd") => Some(Manager::Systemd),
        Some("disabled") => Some(Manager::Disabled),
        Some(other) => {
            return Err(wrong_value(&CGROUP_MANAGER, other.as_ref(), "is none of cgroupfs, systemd, disabled"));
        }
    };
    match (named, given.is_set(&SYSTEMD_CGROUP)) {
        (Some(Manager::Cgroupfs | Manager::Disabled), true) => bail!("--systemd-cgroup contradicts --cgroup-manager"),
        (Some(manager), _) => Ok(manager),
        (None, true) => Ok(Manager::Systemd),
        (None, false) => Ok(Manager::default()),
    }
}

/// Absolute and without `..`, so that no later change of directory matters. `/` is refused: containers are directories
/// below it.
fn absolute_root(flag: &Flag, dir: &Path) -> Result<PathBuf> {
    if dir.as_os_str().is_empty() {
        bail!("--{} is empty", flag.name);
    }
    let mut clean = PathBuf::new();
    for component in std::path::absolute(dir).context("find current directory")?.components() {
        match component {
            // At the top it stays there, as in the kernel.
            Component::ParentDir => _ = clean.pop(),
            component => clean.push(component),
        }
    }
    if clean == Path::new("/") {
        let what = if *flag == ROOT { "the state of containers" } else { "volumes" };
        bail!("--{} {}: / cannot hold {what}", flag.name, dir.display());
    }
    Ok(clean)
}

/// From the flag, or else from the environment.
fn volume_root(given: &Matches) -> Result<Option<PathBuf>> {
    let from_environment = || std::env::var_os("RVOL_VOLUME_ROOT").filter(|dir| !dir.is_empty());
    let dir = given.value(&VOLUME_ROOT).map(|dir| dir.to_owned()).or_else(from_environment);
    dir.map(|dir| absolute_root(&VOLUME_ROOT, Path::new(&dir))).transpose()
}

/// From the flags, or else from the environment.
fn volume_annotations(given: &Matches) -> Result<VolumeAnnotations> {
    let flag = given.text(&VOLUME_ANNOTATIONS)?;
    let policy =
        flag.map(|text| Policy::parse(text).map_err(|why| wrong_value(&VOLUME_ANNOTATIONS, text.as_ref(), &why)));
    let policy = policy.transpose()?;
    if given.is_set(&NO_VOLUME_ANNOTATIONS) {
        match policy {
            None | Some(Policy::Off) => return Ok(VolumeAnnotations(Ok(Policy::Off))),
            Some(_) => bail!("--no-volume-annotations contradicts --volume-annotations"),
        }
    }
    if let Some(policy) = policy {
        return Ok(VolumeAnnotations(Ok(policy)));
    }
    const VARIABLE: &str = "RVOL_VOLUME_ANNOTATIONS";
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(VolumeAnnotations::default());
    };
    let text = text.to_string_lossy();
    Ok(VolumeAnnotations(Policy::parse(&text).map_err(|why| format!("{VARIABLE}={text}: {why}"))))
}

fn default_root() -> Result<PathBuf> {
    let root = nix::unistd::geteuid().is_root();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) if !root || host::acts_for_user()? => Ok(Path::new(&dir).join("rvol-runc")),
        None if !root => bail!("no directory for state: XDG_RUNTIME_DIR is not set, and there is no --root"),
        _ => Ok("/run/rvol-runc".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_absolute_and_clean() {
        assert_eq!(absolute_root(&ROOT, Path::new("/run/./a/../b/")).unwrap(), Path::new("/run/b"));
        assert!(absolute_root(&ROOT, Path::new("x")).unwrap().is_absolute());
        for bad in ["", "/", "/..", "/a/../..", "/.", "../../../../../../../../../../.."] {
            assert!(absolute_root(&ROOT, Path::new(bad)).is_err(), "{bad}");
        }
    }
}
