//! The namespaces and cgroups of a restore: those of others that the container goes into, and a look at those that criu has
//! made.

use super::checkpoint::utf8;
use super::external;
use crate::criu::{CgroupRoot, JoinNamespace};
use crate::plan::Plan;
use crate::plan::namespaces::Namespace;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, stat};
use std::os::fd::OwnedFd;

/// Namespaces of others: criu finds those of one kind open, those of another by path.
pub(super) struct Joined {
    pub open: Vec<(&'static str, OwnedFd)>,
    pub by_path: Vec<JoinNamespace>,
}

impl Joined {
    pub fn open(plan: &Plan) -> Result<Joined> {
        let namespaces = &plan.namespaces;
        let mut joined = Joined { open: Vec::new(), by_path: Vec::new() };
        for (namespace, kind) in [(&namespaces.network, "net"), (&namespaces.pid, "pid")] {
            let Namespace::Join(path) = namespace else { continue };
            let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .call(|| format!("open {}", path.display()))
                .with_context(|| format!("{kind} namespace of linux.namespaces"))?;
            joined.open.push((external::namespace_key(kind), fd));
        }
        for (namespace, kind) in [(&namespaces.ipc, "ipc"), (&namespaces.uts, "uts"), (&namespaces.time, "time")] {
            let Namespace::Join(path) = namespace else { continue };
            joined.by_path.push(JoinNamespace { kind: kind.into(), file: utf8(path)? });
        }
        Ok(joined)
    }
}

/// The cgroups that criu is in, which are the container's, by their hierarchies.
pub(super) fn cgroup_roots(pid: i32) -> Result<Vec<CgroupRoot>> {
    let path = format!("/proc/{pid}/cgroup");
    let table = std::fs::read_to_string(&path).call(|| format!("read {path}"))?;
    let root = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        Some(CgroupRoot { controller: Some(controllers.to_owned()), path: path.to_owned() })
    };
    table.lines().map(|line| root(line).with_context(|| format!("{path}: {line:?}"))).collect()
}

/// The image decides which namespaces there are; fewer than the config asks for are refused.
pub(super) fn check_namespaces(plan: &Plan, pid: i32) -> Result<()> {
    let namespaces = &plan.namespaces;
    for (namespace, file) in [
        (&namespaces.pid, "pid"),
        (&namespaces.mount, "mnt"),
        (&namespaces.network, "net"),
        (&namespaces.ipc, "ipc"),
        (&namespaces.uts, "uts"),
    ] {
        if *namespace == Namespace::New {
            ensure!(is_apart(pid, file)?, "linux.namespaces: the image has no {file} namespace of its own");
        }
    }
    Ok(())
}

/// Whether a process is in another namespace of a kind than we are.
pub(super) fn is_apart(pid: i32, kind: &str) -> Result<bool> {
    let inode = |whose: &str| {
        let path = format!("/proc/{whose}/ns/{kind}");
        match stat(path.as_str()) {
            // A kernel without this kind.
            Err(Errno::ENOENT) => Ok(0),
            found => found.map(|stat| stat.st_ino).call(|| format!("stat {path}")),
        }
    };
    Ok(inode(&pid.to_string())? != inode("self")?)
}
