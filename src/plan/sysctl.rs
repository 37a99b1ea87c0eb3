//! `linux.sysctl`: key forms, and which keys a namespace owns.

use super::namespaces::Namespace;
use super::{Namespaces, Problem, place};
use crate::host::Host;
use oci_spec::runtime::Spec;

/// Files below `/proc/sys/kernel` that belong to the IPC namespace (ipc/ipc_sysctl.c of the kernel).
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// The first kernel whose `kernel.pid_max` is one of the pid namespace.
const OWN_PID_MAX: (u32, u32) = (6, 14);

/// `linux.sysctl` as files below `/proc/sys` and what to write, sorted.
pub fn plan(spec: &Spec, namespaces: &Namespaces, host: &Host, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let Some(sysctl) = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref()) else { return Vec::new() };
    let mut planned: Vec<(String, String)> = Vec::with_capacity(sysctl.len());
    for (key, value) in sysctl {
        match file(key).and_then(|file| check(&file, spec, namespaces, host).map(|()| file)) {
            Ok(file) => planned.push((file, value.clone())),
            Err(message) => problems.push(Problem::new(place::member("linux.sysctl", key), message)),
        }
    }
    planned.sort();
    if let Some(pair) = planned.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        problems.push(Problem::new("linux.sysctl", format!("has two keys for /proc/sys/{}", pair[0].0)));
    }
    planned
}

/// The file for a key, by the rule of sysctl(8) and sysctl.d(5): the first separator decides. With a slash first, the key
/// is the path; with a dot first, dots separate and slashes stand for dots: `net.ipv4.conf.eth0/100.forwarding`.
fn file(key: &str) -> Result<String, String> {
    let dots = key.find(['.', '/']).is_some_and(|i| key.as_bytes()[i] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let file: String = if dots { key.chars().map(swap).collect() } else { key.to_string() };
    if file.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err("is not a key: a part of it is empty or leads out of /proc/sys".into());
    }
    Ok(file)
}

/// Only what a namespace of the container owns may be written: anything else would change the host.
fn check(file: &str, spec: &Spec, namespaces: &Namespaces, host: &Host) -> Result<(), String> {
    let own = |namespace: &Namespace, kind: &str| match namespace {
        Namespace::Inherit => Err(format!("needs {kind} namespace, and linux.namespaces has none")),
        Namespace::Join(path) if is_our_own(path) => Err(format!("would be set in the host's namespace, {path:?}")),
        _ => Ok(()),
    };
    match (owner(file), file) {
        (Some(Owner::Network), _) => own(&namespaces.network, "a network"),
        (Some(Owner::Ipc), _) => own(&namespaces.ipc, "an ipc"),
        (None, "kernel/hostname") => Err("is what the property hostname is for".into()),
        (Some(Owner::Uts), _) if spec.domainname().as_ref().is_some_and(|d| !d.is_empty()) => {
            Err("conflicts with the property domainname".into())
        }
        (Some(Owner::Uts), _) => own(&namespaces.uts, "a uts"),
        (None, "kernel/pid_max") if host.kernel >= OWN_PID_MAX && namespaces.pid == Namespace::New => Ok(()),
        (Some(Owner::User), _) => own(&namespaces.user, "a user"),
        (None, _) => Err("is not in a namespace: it would change the host".into()),
    }
}

/// The kind of namespace, of those that can also be joined, to which a file of sysctls belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Network,
    Ipc,
    Uts,
    User,
}

/// The owner of a file below `/proc/sys`.
pub fn owner(file: &str) -> Option<Owner> {
    match file.split_once('/')? {
        ("net", _) => Some(Owner::Network),
        ("fs", name) if name.starts_with("mqueue/") => Some(Owner::Ipc),
        ("kernel", name) if IPC.contains(&name) => Some(Owner::Ipc),
        ("kernel", "domainname") => Some(Owner::Uts),
        ("user", _) => Some(Owner::User),
        _ => None,
    }
}

/// True for paths that always mean the runtime's own namespaces. That another path leads to the same namespace can only
/// be seen when it is open: whoever opens it looks.
fn is_our_own(path: &std::path::Path) -> bool {
    ["/proc/self/ns/", "/proc/thread-self/ns/"].iter().any(|own| path.starts_with(own))
}
