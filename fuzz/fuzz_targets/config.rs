//! Any bytes as config.json: each becomes a plan that can be printed, or problems that are; the filter of such a plan
//! compiles or is refused. Nothing may panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rvol_runc::bundle::{Bundle, LoadError};
use rvol_runc::host::{CgroupMode, Host};
use rvol_runc::plan::resources::Manager;
use rvol_runc::plan::{Plan, Problem, Problems, Request};
use rvol_runc::security::seccomp;
use std::path::PathBuf;

fuzz_target!(|text: &[u8]| {
    let bundle = match Bundle::from_json("/bundle".into(), text) {
        Ok(bundle) => bundle,
        Err(LoadError::Shape(problems)) => return show(problems),
        Err(LoadError::File(error)) => return assert!(!format!("{error:#}").is_empty()),
    };
    for host in hosts() {
        match Plan::new(&bundle, &request(), &host) {
            Ok(plan) => {
                assert!(!plan.to_string().is_empty());
                if let Some(filter) = plan.seccomp.as_ref().map(|seccomp| &seccomp.filter) {
                    let _refused_or_not = seccomp::compile(filter);
                }
            }
            Err(problems) => show(problems),
        }
    }
});

/// What is refused names a place and a reason.
fn show(problems: Vec<Problem>) {
    assert!(!problems.is_empty());
    assert!(!Problems(problems).to_string().is_empty());
}

fn request() -> Request {
    Request {
        id: "fuzz".into(),
        bundle: "/bundle".into(),
        no_pivot: false,
        no_new_keyring: false,
        cgroup_manager: Manager::Cgroupfs,
        mounts: Vec::new(),
        volume_root: PathBuf::from("/volumes"),
    }
}

/// Root on cgroup v2, and a user on cgroup v1.
fn hosts() -> [Host; 2] {
    let root = Host {
        kernel: (6, 12),
        uid: 0,
        gid: 0,
        in_user_namespace: false,
        cgroup: CgroupMode::Unified,
        cgroup_root: "/sys/fs/cgroup".into(),
    };
    let hierarchies = ["cpu", "cpuset", "devices", "memory", "pids"].map(String::from).to_vec();
    let cgroup = CgroupMode::Legacy { hierarchies, hybrid: true };
    let user = Host { uid: 1000, gid: 1000, in_user_namespace: true, cgroup, ..root.clone() };
    [root, user]
}
