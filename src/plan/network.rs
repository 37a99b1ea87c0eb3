//! `linux.netDevices`: interfaces that move into the container.

use super::{Namespaces, Problem, place};
use crate::host::Host;
use oci_spec::runtime::Linux;
use serde::Serialize;

/// `IFNAMSIZ` of the kernel, which counts the NUL at the end.
const NAME_SIZE: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    pub host_name: String,
    /// May end in `%d`, for which the kernel puts the first free number.
    pub container_name: String,
}

/// `linux.netDevices`, by the host's names in order.
pub fn plan(
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    host: &Host,
    problems: &mut Vec<Problem>,
) -> Vec<NetDevice> {
    let Some(devices) = linux.and_then(|l| l.net_devices().as_ref()).filter(|d| !d.is_empty()) else {
        return Vec::new();
    };
    if !namespaces.network.is_own() {
        problems.push(Problem::new("linux.netDevices", "needs a network namespace, and linux.namespaces has none"));
    }
    if host.uid != 0 {
        let message = "moving a network device out of the host's network namespace needs root";
        problems.push(Problem::new("linux.netDevices", message));
    }
    let mut planned: Vec<NetDevice> = devices
        .iter()
        .map(|(name, device)| NetDevice {
            host_name: name.clone(),
            container_name: device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| name.clone()),
        })
        .collect();
    planned.sort_by(|a, b| a.host_name.cmp(&b.host_name));
    for (i, device) in planned.iter().enumerate() {
        let at = place::member("linux.netDevices", &device.host_name);
        if let Err(message) = check_name(&device.host_name) {
            problems.push(Problem::new(at, message));
            continue;
        }
        let at = if device.container_name == device.host_name { at } else { format!("{at}.name") };
        let name = device.container_name.as_str();
        if let Err(message) = check_name(name).and_then(|()| check_template(name)) {
            problems.push(Problem::new(at, message));
        } else if let Some(other) = planned[..i].iter().find(|o| o.container_name == name && !name.contains('%')) {
            problems.push(Problem::new(at, format!("{name:?} is the name of {:?} already", other.host_name)));
        }
    }
    planned
}

/// `dev_valid_name` of the kernel.
fn check_name(name: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{name:?} is not a name for a network device: {what}"));
    match name {
        "" => wrong("it is empty".into()),
        "." | ".." => wrong("it is a directory".into()),
        _ if name.len() >= NAME_SIZE => wrong(format!("it is longer than {} bytes", NAME_SIZE - 1)),
        _ => match name.chars().find(|c| matches!(c, '/' | ':') || c.is_ascii_whitespace() || *c == '\x0b') {
            Some(c) => wrong(format!("it contains {c:?}")),
            None => Ok(()),
        },
    }
}

/// A new name may have one `%`, and only in `%d` (`__dev_alloc_name` of the kernel).
fn check_template(name: &str) -> Result<(), String> {
    match name.split_once('%') {
        Some((_, rest)) if !rest.starts_with('d') || rest.contains('%') => {
            Err(format!("{name:?} is not a template: one %d and no other % may be in it"))
        }
        _ => Ok(()),
    }
}
