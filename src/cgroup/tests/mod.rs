//! cgroups against the machine's own hierarchies, each test in directories of its own.

mod lifecycle;
mod limits;

use super::*;
use crate::host::{CgroupMode, Host};
use crate::plan::resources::{Cgroup, Manager, Place, Resources};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine as root sees it; `None` where cgroups cannot be written.
fn host() -> Option<Host> {
    let root = Path::new("/sys/fs/cgroup");
    let writable = nix::unistd::geteuid().is_root();
    let cgroup = if root.join("cgroup.controllers").exists() {
        CgroupMode::Unified
    } else {
        let is_v1 = |e: &std::fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir()) && e.path().join("tasks").exists();
        let entries = std::fs::read_dir(root).ok()?.filter_map(Result::ok);
        let hierarchies: Vec<String> = entries.filter(is_v1).map(|e| e.file_name().into_string().unwrap()).collect();
        CgroupMode::Legacy { hierarchies, hybrid: root.join("unified/cgroup.procs").exists() }
    };
    let host = Host { kernel: (6, 1), uid: 0, gid: 0, in_user_namespace: false, cgroup, cgroup_root: root.into() };
    writable.then_some(host)
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rvol-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn at(path: &str) -> Cgroup {
    Cgroup {
        manager: Manager::Cgroupfs,
        path: Path::new("/").join(path),
        place: Place::Absolute,
        owner: None,
        resources: Resources::default(),
    }
}

fn directories(record: &Record) -> Vec<PathBuf> {
    record.directories().map(|(_, path)| path).collect()
}

/// A process that sleeps in the cgroup.
fn sleeper(record: &Record) -> Child {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    for directory in directories(record) {
        std::fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child
}
