//! `type: cgroup`: what the container sees of the cgroup hierarchies.
//!
//! With a cgroup namespace of its own the container mounts the hierarchies itself and sees its own cgroup as their
//! root. Without one, v1 shows its own cgroup of each hierarchy, and v2 the whole tree, as runc and crun do:
//! `/proc/self/cgroup` then holds paths from the tree's root. `ro` counts for all of it (CVE-2023-25809).

use super::entry::{Entry, Scene};
use super::{Bind, CreateTarget, Fs, FsOption, Mount, MountOp, Requirement, Target};
use crate::host::CgroupMode;
use crate::plan::Problem;
use crate::plan::namespaces::Namespace;
use crate::plan::options::Propagation;
use crate::plan::resources::Manager;
use std::path::PathBuf;

/// Controllers of cgroup v1; any other hierarchy is a named one, such as `systemd`.
const CONTROLLERS: &[&str] = &[
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

const ROOTLESS: Requirement =
    Requirement::BestEffort("a rootless runtime may have no cgroup of its own in this hierarchy");
const WITHOUT_CONTROLLER: Requirement =
    Requirement::BestEffort("the hierarchy has no controller that limits the container");

/// The operations for an entry of type `cgroup`.
pub(super) fn plan(
    scene: &Scene,
    entry: &Entry,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Mount> {
    let own_namespace = scene.namespaces.cgroup != Namespace::Inherit;
    let takes_data = own_namespace && scene.host.cgroup == CgroupMode::Unified;
    entry.refuse(!takes_data, true, "a mount of type `cgroup`", problems);
    if !takes_data {
        entry.warn_of_superblock_flags("a mount of type `cgroup`", warnings);
    }
    match &scene.host.cgroup {
        CgroupMode::Unified if own_namespace => {
            let target = entry.target(CreateTarget::Directory);
            vec![entry.must(target, MountOp::Fs(new(entry, "cgroup2", entry.fs_options())))]
        }
        CgroupMode::Unified => {
            let target = entry.target(CreateTarget::Directory);
            vec![entry.must(target, bind(entry, scene.host.cgroup_root.clone()))]
        }
        CgroupMode::Legacy { hierarchies, hybrid } => {
            let v1 = V1 { scene, entry, own_namespace };
            let mut mounts = vec![v1.directory()];
            if own_namespace || scene.cgroup.manager != Manager::Disabled {
                mounts.extend(hierarchies.iter().map(|name| v1.hierarchy(name)));
                mounts.extend(hybrid.then(|| v1.unified()));
                mounts.extend(hierarchies.iter().flat_map(|name| v1.links(name)));
            } else {
                warnings.push(format!("{}: the container has no cgroup of its own to show", entry.place));
            }
            mounts
        }
        CgroupMode::None => {
            warnings.push(format!("{}: this machine has no cgroups mounted; the directory stays empty", entry.place));
            vec![entry.must(entry.target(CreateTarget::Nothing), MountOp::Mask)]
        }
    }
}

fn new(entry: &Entry, fstype: &str, options: Vec<FsOption>) -> Fs {
    Fs {
        fstype: fstype.to_owned(),
        source: Some("cgroup".to_owned()),
        options,
        attr: entry.options.attr.of_new_mount(),
        propagation: entry.propagation(),
        idmap: None,
        copy_up: false,
        label: None,
    }
}

fn bind(entry: &Entry, source: PathBuf) -> MountOp {
    MountOp::Bind(Bind {
        source,
        recursive: false,
        attr: entry.options.attr,
        propagation: entry.options.propagation.unwrap_or(Propagation::private(false)),
        idmap: None,
        volume: None,
        missing: super::MissingSource::default(),
    })
}

/// A tmpfs with a directory for each v1 hierarchy, as the host has it.
struct V1<'a> {
    scene: &'a Scene<'a>,
    entry: &'a Entry<'a>,
    own_namespace: bool,
}

impl V1<'_> {
    fn directory(&self) -> Mount {
        let options =
            [("mode", "755"), ("size", "1024k")].map(|(key, value)| FsOption::Value(key.into(), value.into()));
        let op = MountOp::Fs(Fs {
            source: Some("tmpfs".into()),
            label: self.scene.label("tmpfs"),
            ..new(self.entry, "tmpfs", options.into())
        });
        self.entry.must(self.entry.target(CreateTarget::Directory), op)
    }

    fn target(&self, name: &str, create: CreateTarget) -> Target {
        let target = self.entry.target(create);
        Target { path: target.path.join(name), ..target }
    }

    fn hierarchy(&self, name: &str) -> Mount {
        let parts: Vec<_> = name.split(',').collect();
        let named = !parts.iter().all(|part| CONTROLLERS.contains(part));
        let op = if !self.own_namespace {
            self.own_cgroup(name)
        } else if named {
            let options = vec![FsOption::Flag("none".into()), FsOption::Value("name".into(), name.into())];
            MountOp::Fs(new(self.entry, "cgroup", options))
        } else {
            let options = parts.iter().map(|part| FsOption::Flag(part.to_string())).collect();
            MountOp::Fs(new(self.entry, "cgroup", options))
        };
        let rootless = self.scene.host.uid != 0 || self.scene.host.in_user_namespace;
        let requirement = match (rootless && !self.own_namespace, named) {
            (true, _) => ROOTLESS,
            (false, true) => WITHOUT_CONTROLLER,
            (false, false) => Requirement::Must,
        };
        let target = self.target(name, CreateTarget::Directory);
        Mount { requirement, ..self.entry.must(target, op) }
    }

    /// The cgroup2 of a hybrid host.
    fn unified(&self) -> Mount {
        let op = match self.own_namespace {
            true => MountOp::Fs(new(self.entry, "cgroup2", Vec::new())),
            false => self.own_cgroup("unified"),
        };
        let target = self.target("unified", CreateTarget::Directory);
        Mount { requirement: WITHOUT_CONTROLLER, ..self.entry.must(target, op) }
    }

    fn own_cgroup(&self, hierarchy: &str) -> MountOp {
        let path = &self.scene.cgroup.path;
        let path = path.strip_prefix("/").unwrap_or(path);
        let hierarchy = self.scene.host.cgroup_root.join(hierarchy);
        bind(self.entry, hierarchy.join(path))
    }

    /// `cpu` and `cpuacct` for `cpu,cpuacct`.
    fn links(&self, name: &str) -> Vec<Mount> {
        let parts = name.split(',').filter(|part| *part != name);
        let link = |part| {
            let target = self.target(part, CreateTarget::File);
            self.entry.must(target, MountOp::Symlink { text: name.into() })
        };
        parts.map(link).collect()
    }
}
