//! cgroups against the machine's own hierarchies, each test in directories of its own.

mod control;
mod lifecycle;
mod limits;

use super::*;
use crate::host::{CgroupMode, Host};
use crate::plan::resources::{Cgroup, Manager, Place, Resources};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine as root sees it; `None` where cgroups cannot be written.
fn host() -> Option<Host> {
    let host = Host::probe().unwrap();
    (host.uid == 0 && !host.in_user_namespace && host.cgroup != CgroupMode::None).then_some(host)
}

/// The machine, and what it would be with cgroup v2 alone.
fn hosts() -> Vec<Host> {
    let Some(host) = host() else { return Vec::new() };
    let mut hosts = vec![host.clone()];
    if let CgroupMode::Legacy { hybrid: true, .. } = host.cgroup {
        let cgroup_root = host.cgroup_root.join("unified");
        hosts.push(Host { cgroup: CgroupMode::Unified, cgroup_root, ..host });
    }
    hosts
}

/// A cgroup that is removed with everything in it, however the test ends.
struct Made(Created);

impl std::ops::Deref for Made {
    type Target = Created;

    fn deref(&self) -> &Created {
        &self.0
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let removed = self.0.record().remove();
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn made(cgroup: &Cgroup, host: &Host) -> Made {
    Made(create(cgroup, host).unwrap_or_else(|e| panic!("{e:#}")))
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
        unit: None,
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
