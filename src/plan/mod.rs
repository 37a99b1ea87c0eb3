//! What `create` will do, as data: typed, printable, made without any I/O.
//!
//! [`Plan::new`] turns a config, the host's facts and the command's flags into a [`Plan`], or into the list of every
//! [`Problem`] found. Nothing here opens a file or makes a syscall. With `bundle` and `cli/spec` this is the only place
//! that names oci_spec types; everything after it speaks of plans.

pub mod capabilities;
pub mod devices;
pub mod display;
pub mod exec;
pub mod hooks;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod numbers;
pub mod options;
pub mod place;
pub mod process;
pub mod rdt;
pub mod resources;
pub mod scheduling;
pub mod seccomp;
pub mod sysctl;
pub mod tenant;
pub mod validate;
pub mod volume;

use crate::bundle::Bundle;
use crate::host::Host;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use devices::Device;
pub use hooks::{Hook, Hooks};
pub use mounts::{CreateTarget, Mount, MountOp, Requirement, Target};
pub use namespaces::{IdMap, IdRange, Namespaces};
pub use network::NetDevice;
pub use options::{Attr, Propagation};
pub use process::Process;
pub use rdt::IntelRdt;
pub use seccomp::Seccomp;

/// Everything that `create` (or `run`) does for one container, in the order in which init does it.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub id: String,
    pub oci_version: String,
    /// Absolute path of the bundle's directory.
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
    pub namespaces: Namespaces,
    pub cgroup: resources::Cgroup,
    pub rootfs: Rootfs,
    /// `mounts[]`, the default devices and links and `linux.devices`, in order; made before pivot_root.
    pub mounts: Vec<Mount>,
    pub net_devices: Vec<NetDevice>,
    pub hooks: Hooks,
    /// `linux.maskedPaths` and `linux.readonlyPaths`: made after the createContainer hooks, before pivot_root.
    pub masks: Vec<Mount>,
    /// File below `/proc/sys` (with slashes) and the value to write.
    pub sysctl: Vec<(String, String)>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub intel_rdt: Option<IntelRdt>,
    /// A new session keyring for the container's process (`--no-new-keyring` turns it off).
    pub new_keyring: bool,
    /// pivot_root unless `--no-pivot`.
    pub root_change: RootChange,
    /// `None` when the config has no `process`: such a container can be created, but not started.
    pub process: Option<Process>,
    pub seccomp: Option<Seccomp>,
    /// What the plan leaves out or changes, and why; logged once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Plan {
    /// What `create` will do for this bundle, or everything in it that the spec or the machine forbids.
    pub fn new(bundle: &Bundle, request: &Request, host: &Host) -> Result<Plan, Vec<Problem>> {
        validate::kernel(host).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let plan = Plan::assemble(bundle, request, host, &mut problems);
        let problems = bundle.misfits.with(problems);
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    fn assemble(bundle: &Bundle, request: &Request, host: &Host, problems: &mut Vec<Problem>) -> Plan {
        let (spec, linux) = (&bundle.spec, bundle.spec.linux().as_ref());
        let mut warnings = bundle.warnings.clone();
        validate::container_id(&request.id, problems);
        validate::oci_version(spec, problems);
        let annotations = validate::annotations(spec, problems);
        let rootfs = validate::rootfs(spec, &bundle.dir, problems);
        let namespaces = namespaces::plan(linux, host, bundle.misfits.touch("linux.namespaces"), problems);
        let process = process::plan(spec, problems, &mut warnings);
        if !bundle.misfits.touch("linux.uidMappings") && !bundle.misfits.touch("linux.gidMappings") {
            validate::mapped_ids(process.as_ref(), &namespaces, problems);
        }
        let cgroup = resources::plan(spec, request, host, problems, &mut warnings);
        Plan {
            id: request.id.clone(),
            oci_version: spec.version().clone(),
            bundle: bundle.dir.clone(),
            annotations,
            rootfs,
            mounts: mounts::plan(spec, request, &namespaces, &cgroup, host, problems, &mut warnings),
            cgroup,
            net_devices: network::plan(linux, &namespaces, host, problems),
            hooks: hooks::plan(spec, problems),
            masks: mounts::masks(spec),
            sysctl: sysctl::plan(spec, &namespaces, host, problems),
            hostname: validate::uts_name("hostname", spec.hostname(), &namespaces, problems),
            domainname: validate::uts_name("domainname", spec.domainname(), &namespaces, problems),
            intel_rdt: rdt::plan(linux, request, problems),
            new_keyring: !request.no_new_keyring,
            root_change: RootChange::new(request, &namespaces),
            process,
            seccomp: seccomp::plan(linux, &bundle.dir, problems, &mut warnings),
            namespaces,
            warnings,
        }
    }
}

impl RootChange {
    fn new(request: &Request, namespaces: &Namespaces) -> RootChange {
        match (namespaces.mount.is_own(), request.no_pivot) {
            (false, _) => RootChange::Chroot,
            (true, true) => RootChange::MoveMount,
            (true, false) => RootChange::PivotRoot,
        }
    }
}

/// `root` and what `linux` says about it.
#[derive(Debug, Clone, Serialize)]
pub struct Rootfs {
    /// Absolute; may be or contain a symbolic link.
    pub path: PathBuf,
    pub readonly: bool,
    /// Set on `/` after everything is mounted (`linux.rootfsPropagation`; `None`: slave, as runc and crun).
    pub propagation: Option<Propagation>,
    /// `linux.mountLabel`.
    pub mount_label: Option<String>,
}

/// How the root of the container's mount namespace is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RootChange {
    PivotRoot,
    /// `--no-pivot`: move the root filesystem onto `/` and chroot, for a root on initramfs.
    MoveMount,
    /// No mount namespace of its own: the mounts are made on the root filesystem in the host's, and taken away again by
    /// `delete`.
    Chroot,
}

/// What the command adds to the config.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub id: String,
    /// Absolute path of the bundle's directory.
    pub bundle: PathBuf,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub cgroup_manager: resources::Manager,
    /// In addition to the config's.
    pub mounts: Vec<mounts::AddedMount>,
    /// Where volumes are.
    pub volume_root: PathBuf,
}

/// Something in the config that the spec or the machine forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place in config.json, such as `linux.namespaces[2].path`, or the flag, such as `--no-pivot`.
    pub place: String,
    pub message: String,
}

impl Problem {
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { place: place.into(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong with a config, as one error: a single problem in a line, several below a heading.
#[derive(Debug, Clone)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The same text for another file than config.json.
    pub fn text(&self, file: &str) -> String {
        if let [problem] = self.0.as_slice() {
            return problem.to_string();
        }
        let lines = self.0.iter().map(|problem| format!("\n  {problem}"));
        std::iter::once(format!("{file} has {} faults:", self.0.len())).chain(lines).collect()
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text("config.json"))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests;
