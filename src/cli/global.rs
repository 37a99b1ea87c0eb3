//! The flags that stand before the command, and what they mean for all commands.

use super::args::{Flag, Matches, wrong_value};
use crate::log::Format;
use crate::plan::resources::Manager;
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
const LOG: Flag = Flag { name: "log", short: None, value: Some("FILE"), help: "Append log records to this file" };
const LOG_FORMAT: Flag =
    Flag { name: "log-format", short: None, value: Some("FORMAT"), help: "Format of log records: text or json" };
const DEBUG: Flag = Flag { name: "debug", short: None, value: None, help: "Log what is done, step by step" };
const SYSTEMD_CGROUP: Flag = Flag {
    name: "systemd-cgroup",
    short: None,
    value: None,
    help: "Let systemd make the cgroup; cgroupsPath has the form slice:prefix:name",
};
const CGROUP_MANAGER: Flag = Flag {
    name: "cgroup-manager",
    short: None,
    value: Some("MANAGER"),
    help: "Who makes the cgroup: cgroupfs, systemd or disabled",
};
const ROOTLESS: Flag = Flag {
    name: "rootless",
    short: None,
    value: Some("MODE"),
    help: "Go on where a cgroup needs more privilege: true, false or auto",
};

pub const GLOBAL_FLAGS: &[Flag] = &[ROOT, LOG, LOG_FORMAT, DEBUG, SYSTEMD_CGROUP, CGROUP_MANAGER, ROOTLESS, VERSION];

/// The values of the global flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// Absolute; `None` where the flag is not given.
    pub root: Option<PathBuf>,
    pub log: Option<PathBuf>,
    pub log_format: Format,
    pub debug: bool,
    pub cgroup_manager: Manager,
    /// `None`: found out where it matters.
    pub rootless: Option<bool>,
}

impl Globals {
    pub fn new(given: &Matches) -> Result<Globals> {
        Ok(Globals {
            root: given.value(&ROOT).map(|dir| absolute_root(Path::new(dir))).transpose()?,
            log: given.value(&LOG).filter(|file| !file.is_empty()).map(PathBuf::from),
            log_format: match given.text(&LOG_FORMAT)? {
                None | Some("" | "text") => Format::Text,
                Some("json") => Format::Json,
                Some(other) => return Err(wrong_value(&LOG_FORMAT, other.as_ref(), "is neither text nor json")),
            },
            debug: given.is_set(&DEBUG),
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

    /// The same for an operation that touches no state, and so needs no directory for it.
    pub fn context_without_state(&self) -> Context {
        Context { root: PathBuf::new(), cgroup_manager: self.cgroup_manager, rootless: self.rootless }
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
fn absolute_root(dir: &Path) -> Result<PathBuf> {
    if dir.as_os_str().is_empty() {
        bail!("--root is empty");
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
        bail!("--root {}: / cannot hold the state of containers", dir.display());
    }
    Ok(clean)
}

fn default_root() -> Result<PathBuf> {
    let root = nix::unistd::geteuid().is_root();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) if !root || acts_for_user()? => Ok(Path::new(&dir).join("rvol-runc")),
        None if !root => bail!("no directory for state: XDG_RUNTIME_DIR is not set, and there is no --root"),
        _ => Ok("/run/rvol-runc".into()),
    }
}

/// Root only in a user namespace that a user made: /run is then the user's of the host. As in runc, `USER=root` says
/// that it is not.
fn acts_for_user() -> Result<bool> {
    const INITIAL: [&str; 3] = ["0", "0", "4294967295"];
    if std::env::var_os("USER").is_some_and(|user| user == "root") {
        return Ok(false);
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    Ok(!map.split_ascii_whitespace().eq(INITIAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_absolute_and_clean() {
        assert_eq!(absolute_root(Path::new("/run/./a/../b/")).unwrap(), Path::new("/run/b"));
        assert!(absolute_root(Path::new("x")).unwrap().is_absolute());
        for bad in ["", "/", "/..", "/a/../..", "/.", "../../../../../../../../../../.."] {
            assert!(absolute_root(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
