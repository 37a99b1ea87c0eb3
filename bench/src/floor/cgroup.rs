//! The container's cgroup: made in each hierarchy, with the device rules, joined by the child, and removed.

use crate::Request;
use crate::raw::{Path, must, read_file, write_file};

/// On version 1 a list of hierarchies, on version 2 one.
pub fn hierarchies<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a [u8]> {
    request.hierarchies.split(|byte| *byte == b',')
}

/// Version 2 has one hierarchy, and its mount point is not named after a controller.
pub fn is_v2(request: &Request) -> bool {
    !request.hierarchies.contains(&b',')
}

pub fn dir(request: &Request, hierarchy: &[u8]) -> Path {
    let mut path = Path::new(hierarchy);
    path.push(request.cgroup);
    path
}

/// The mount point's last component.
pub fn controller(hierarchy: &[u8]) -> &[u8] {
    hierarchy.rsplit(|byte| *byte == b'/').next().unwrap_or(hierarchy)
}

/// The devices that runtimes allow in any case; with Docker's rules put to them nothing is added.
const ALLOWED: &[&[u8]] = &[
    b"c *:* m",
    b"b *:* m",
    b"c 1:3 rwm",
    b"c 1:5 rwm",
    b"c 1:7 rwm",
    b"c 1:8 rwm",
    b"c 1:9 rwm",
    b"c 5:0 rwm",
    b"c 5:1 rwm",
    b"c 5:2 rwm",
    b"c 136:* rwm",
];

/// On version 2 also opens it, to be born into.
pub fn make(request: &Request) -> Option<libc::c_int> {
    for hierarchy in hierarchies(request) {
        let mut path = dir(request, hierarchy);
        must!("mkdir cgroup", libc::SYS_mkdir, path.pointer(), 0o755);
        match controller(hierarchy) {
            b"cpuset" => inherit_cpuset(&mut path, request),
            b"devices" => write_devices(&mut path),
            b"memory" if !request.memory.is_empty() => {
                write_file(path.push(b"/memory.limit_in_bytes").pointer(), request.memory);
            }
            _ => {}
        }
    }
    let fd = is_v2(request).then(|| open_v2(request))?;
    crate::bpf::attach(fd);
    if !request.memory.is_empty() {
        write_file(dir(request, request.hierarchies).push(b"/memory.max").pointer(), request.memory);
    }
    Some(fd)
}

/// A version 1 cpuset starts empty, and nothing can run in it.
fn inherit_cpuset(path: &mut Path, request: &Request) {
    let parent = request.cgroup.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (length, parent) = (path.len(), path.len() - (request.cgroup.len() - parent));
    for name in [b"/cpuset.cpus", b"/cpuset.mems"] {
        let mut above = path.head(parent);
        above.push(name);
        let mut value = [0; 256];
        let count = read_file(above.pointer(), &mut value);
        write_file(path.push(name).pointer(), &value[..count]);
        path.cut(length);
    }
}

fn write_devices(path: &mut Path) {
    let length = path.len();
    write_file(path.push(b"/devices.deny").pointer(), b"a");
    path.cut(length).push(b"/devices.allow");
    let fd = must!("open devices.allow", libc::SYS_open, path.pointer(), libc::O_WRONLY | libc::O_CLOEXEC);
    for rule in ALLOWED {
        must!("write devices.allow", libc::SYS_write, fd, rule.as_ptr(), rule.len());
    }
    must!("close", libc::SYS_close, fd);
    path.cut(length);
}

/// By the process itself: a write of `0` to a `tasks` file does not take the lock that waits for an RCU grace period.
pub fn join_v1(request: &Request) {
    for hierarchy in hierarchies(request) {
        let mut path = dir(request, hierarchy);
        write_file(path.push(b"/tasks").pointer(), b"0");
    }
}

pub fn open_v2(request: &Request) -> libc::c_int {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    must!("open cgroup", libc::SYS_open, dir(request, request.hierarchies).pointer(), flags) as libc::c_int
}

pub fn remove(request: &Request) {
    for hierarchy in hierarchies(request) {
        must!("rmdir cgroup", libc::SYS_rmdir, dir(request, hierarchy).pointer());
    }
}
