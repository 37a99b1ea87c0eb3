//! `debug-info`: what a bug report needs to say about the machine.
//!
//! Nothing here may name containers, volumes, files of the user or variables of the environment: people paste it in public.

use super::args::Matches;
use super::{Command, Globals, features, print, version};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

pub const COMMAND: Command = Command {
    name: "debug-info",
    about: "Show what a bug report needs to say about this machine, as JSON",
    details: "",
    flags: &[],
    operands: &[],
    run,
};

/// Files about namespaces and limits; one that is missing is `null`.
const SETTINGS: &[&str] = &[
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/seccomp/actions_avail",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/fs/mount-max",
    "/proc/sys/fs/nr_open",
    "/sys/kernel/security/lsm",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/cgroup.subtree_control",
    "/proc/cgroups",
    "/proc/self/uid_map",
    "/proc/self/gid_map",
];

/// Lines of proc_pid_status(5) about what the caller may do.
const CALLER: &[&str] =
    &["Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed_list"];

fn run(_: &Globals, _: &Matches) -> Result<i32> {
    let settings: Map<String, Value> =
        SETTINGS.iter().map(|file| ((*file).to_owned(), read(file).map_or(Value::Null, Value::from))).collect();
    let info = json!({
        "rvol-runc": version::text().lines().collect::<Vec<_>>(),
        "architecture": std::env::consts::ARCH,
        "kernel": read("/proc/version"),
        "cgroups": cgroup_mounts(),
        "caller": caller(),
        "settings": settings,
        "features": features::value()?,
    });
    print(&(serde_json::to_string_pretty(&info).context("write as JSON")? + "\n"))?;
    Ok(0)
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|text| text.trim_end().to_owned())
}

/// Mount point, filesystem and its options, of the cgroup hierarchies alone.
fn cgroup_mounts() -> Vec<String> {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let cgroup = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        filesystem.starts_with("cgroup").then(|| format!("{point} {filesystem}"))
    };
    mounts.lines().filter_map(cgroup).collect()
}

fn caller() -> Map<String, Value> {
    let status = read("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| CALLER.contains(name)).map(|(name, value)| (name.into(), value.trim().into())).collect()
}
