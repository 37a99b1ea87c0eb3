//! Device nodes: the defaults of the spec and `linux.devices`.
//!
//! What the container has in `/dev` beside them (the links, and ptmx of its own devpts) is here too. The console is
//! not: it is a terminal and comes with the process.

use super::mounts::target::{clean, climbs, has_nul, is_beneath};
use super::mounts::{CreateTarget, Mount, MountOp, Requirement, Symlinks, Target};
use super::namespaces::{Namespace, Namespaces};
use super::{Problem, options};
use crate::host::Host;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Ids in the container.
    pub uid: u32,
    pub gid: u32,
    pub make: MakeDevice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// How the node comes into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MakeDevice {
    Mknod,
    /// Bound from the host's node at this path: in a user namespace mknod(2) is not allowed.
    Bind(PathBuf),
}

/// config-linux.md, "Default Devices", as character devices with their numbers.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// What Linux programs expect in `/dev`, as the peers make it.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    (PTMX, "pts/ptmx"),
];

/// Always that of the container's devpts, never a node of its own.
const PTMX: &str = "/dev/ptmx";

const DEV: &str = "/dev";

/// The largest numbers that the kernel's 32-bit dev_t holds.
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

/// `linux.devices`.
fn of_config(spec: &Spec) -> &[LinuxDevice] {
    spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default()
}

/// Whether `/dev` is the host's (bound, or its devtmpfs): then everything is there, and nothing may be made in it.
fn dev_is_hosts(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().filter(|mount| clean(mount.destination()) == Path::new(DEV)).any(|mount| {
        let options = mount.options().as_deref().map(options::Options::parse).unwrap_or_default();
        !options.remount && (options.bind.is_some() || mount.typ().as_deref() == Some("devtmpfs"))
    })
}

/// The operations for the default devices, `linux.devices` and the links. `taken` are the destinations of `mounts[]`.
pub(super) fn plan(
    spec: &Spec,
    namespaces: &Namespaces,
    host: &Host,
    taken: &[&OsStr],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Mount> {
    let of_host = dev_is_hosts(spec);
    let configured = configured(spec, problems);
    // mknod(2) makes no device in a user namespace, whoever asks.
    let bind = host.in_user_namespace || namespaces.user != Namespace::Inherit;
    let make = |path: &Path, kind| match kind {
        DeviceKind::Char | DeviceKind::Block if bind => MakeDevice::Bind(path.to_owned()),
        _ => MakeDevice::Mknod,
    };
    let mut mounts = Vec::new();
    if !of_host {
        let given = |path: &Path| taken.contains(&path.as_os_str()) || configured.iter().any(|d| d.path == path);
        for (path, major, minor) in DEFAULTS.iter().filter(|(path, ..)| !given(Path::new(path))) {
            let make = make(Path::new(path), DeviceKind::Char);
            let device =
                Device { kind: DeviceKind::Char, major: *major, minor: *minor, mode: 0o666, uid: 0, gid: 0, make };
            mounts.push(operation("default device".into(), path.into(), MountOp::Device(device)));
        }
    }
    for Configured { place, path, mut device } in configured {
        if path == Path::new(PTMX) || of_host && is_beneath(&path, Path::new(DEV)) {
            continue;
        }
        if let Some(index) = taken.iter().position(|target| *target == path.as_os_str()) {
            warnings.push(format!("{place}: {} is left to mounts[{index}]", path.display()));
            continue;
        }
        device.make = make(&path, device.kind);
        mounts.push(operation(place, path, MountOp::Device(device)));
    }
    if !of_host {
        for (path, text) in LINKS {
            mounts.push(operation("default link".into(), path.into(), MountOp::Symlink { text: text.into() }));
        }
    }
    mounts
}

fn operation(place: String, path: PathBuf, op: MountOp) -> Mount {
    // A `/dev` that is a link has no honest use (CVE-2026-41579); elsewhere `/var/run` is one.
    let symlinks = if is_beneath(&path, Path::new(DEV)) { Symlinks::Refuse } else { Symlinks::Follow };
    let target = Target { path, create: CreateTarget::File, symlinks };
    Mount { place, target, op, requirement: Requirement::Must }
}

/// An entry of `linux.devices`, read.
struct Configured {
    place: String,
    path: PathBuf,
    device: Device,
}

/// `linux.devices`, each path once.
fn configured(spec: &Spec, problems: &mut Vec<Problem>) -> Vec<Configured> {
    let mut list: Vec<Configured> = Vec::new();
    for (index, device) in of_config(spec).iter().enumerate() {
        let place = format!("linux.devices[{index}]");
        let path = clean(device.path());
        check_path(&place, device.path(), problems);
        let Some(device) = read(&place, device, problems) else { continue };
        match list.iter().find(|other| other.path == path) {
            None => list.push(Configured { place, path, device }),
            // Engines that merge lists (all of the host's devices and some more) name a device twice.
            Some(other) if is_same(&other.device, &device) => {}
            Some(other) => problems.push(Problem {
                place: format!("{place}.path"),
                message: format!("{} is another device in {}", path.display(), other.place),
            }),
        }
    }
    list
}

fn is_same(one: &Device, other: &Device) -> bool {
    (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
}

fn check_path(place: &str, path: &Path, problems: &mut Vec<Problem>) {
    let message = if path.as_os_str().is_empty() {
        "is missing"
    } else if path.is_relative() {
        "is not an absolute path"
    } else if climbs(path) {
        "has a `..` behind a name: which directory that is depends on links of the root filesystem; write it without"
    } else if clean(path) == Path::new("/") {
        "is the root directory"
    } else if has_nul(path.as_os_str()) {
        "holds a NUL byte"
    } else {
        return;
    };
    problems.push(Problem { place: format!("{place}.path"), message: message.into() });
}

/// The node, with its making left open.
fn read(place: &str, device: &LinuxDevice, problems: &mut Vec<Problem>) -> Option<Device> {
    let mut problem = |field: &str, message: String| {
        problems.push(Problem { place: format!("{place}.{field}"), message });
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            problem("type", "`a` is not a device: one of `c`, `b`, `u` and `p` is".into());
            return None;
        }
    };
    // Engines hand on st_mode as it is, with the type of the file in it.
    let mode = device.file_mode().unwrap_or(0o666) & !libc::S_IFMT;
    if mode > 0o7777 {
        problem("fileMode", format!("{mode} has more than permission bits"));
    }
    let (mut major, mut minor) = (0, 0);
    if kind != DeviceKind::Fifo {
        for (field, value, max) in [("major", device.major(), MAX_MAJOR), ("minor", device.minor(), MAX_MINOR)] {
            if !(0..=max).contains(&value) {
                problem(field, format!("{value} is not a device number: 0 to {max} is"));
            }
        }
        if (device.major(), device.minor()) == (0, 0) {
            problem("major", "major and minor are missing, or 0, which is no device".into());
        }
        (major, minor) = (device.major() as u32, device.minor() as u32);
    }
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    for (field, id) in [("uid", uid), ("gid", gid)] {
        if id == u32::MAX {
            problem(field, format!("{id} is not an id"));
        }
    }
    Some(Device { kind, major, minor, mode, uid, gid, make: MakeDevice::Mknod })
}

#[cfg(test)]
mod tests;
