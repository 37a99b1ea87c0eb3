//! `run`: the namespaces, the root file system as the measured configs have it, and the payload in it.

use crate::raw::{Path, clone3, errno, fail, mount, must, wait, write_file};
use crate::{Request, cgroup, privileges};
use libc::{MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, MS_STRICTATIME};
use std::ffi::CStr;

const NOTHING: &CStr = c"";

pub fn run(request: &Request) -> libc::c_int {
    let into = cgroup::make(request);
    let namespaces =
        libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS;
    let pid = clone3(namespaces, into);
    if pid == 0 {
        child(request, into.is_some());
    }
    let code = wait(pid);
    cgroup::remove(request);
    code
}

fn child(request: &Request, v2: bool) -> ! {
    if v2 {
        // Before the mount: a cgroup2 mount from the initial cgroup namespace waits for an RCU grace period.
        must!("unshare", libc::SYS_unshare, libc::CLONE_NEWCGROUP);
    } else {
        cgroup::join_v1(request);
    }
    let filter = privileges::read_filter(request);
    if request.docker {
        write_file(c"/proc/self/oom_score_adj".as_ptr(), b"0");
    }
    must!("setsid", libc::SYS_setsid);
    mount(NOTHING, c"/".as_ptr(), NOTHING, MS_REC | MS_PRIVATE, NOTHING);
    mount(request.place, request.place.as_ptr(), NOTHING, MS_BIND | MS_REC, NOTHING);
    must!("chdir", libc::SYS_chdir, request.place.as_ptr());
    file_systems(request);
    if v2 {
        let flags = MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY;
        mount(c"cgroup", c"sys/fs/cgroup".as_ptr(), c"cgroup2", flags, NOTHING);
    } else {
        mount_cgroups_v1(request);
    }
    binds(request);
    devices();
    must!("sethostname", libc::SYS_sethostname, c"bench".as_ptr(), 5);
    loopback_up();
    if request.docker {
        write_file(c"proc/sys/net/ipv4/ip_unprivileged_port_start".as_ptr(), b"0");
        write_file(c"proc/sys/net/ipv4/ping_group_range".as_ptr(), b"0 2147483647");
    }
    masks();
    pivot(!request.docker);
    if !request.docker {
        let limit = [1024u64, 1024];
        must!("prlimit", libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &raw const limit, 0);
    }
    must!("umask", libc::SYS_umask, 0o022);
    privileges::become_payload(request, filter.as_ref())
}

fn file_systems(request: &Request) {
    let strict = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    let proc = if request.docker { strict } else { 0 };
    mount(c"proc", c"proc".as_ptr(), c"proc", proc, NOTHING);
    mount(c"tmpfs", c"dev".as_ptr(), c"tmpfs", MS_NOSUID | MS_STRICTATIME, c"mode=755,size=65536k");
    for dir in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        must!("mkdir", libc::SYS_mkdir, dir.as_ptr(), 0o755);
    }
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(c"devpts", c"dev/pts".as_ptr(), c"devpts", MS_NOSUID | MS_NOEXEC, pts);
    mount(c"shm", c"dev/shm".as_ptr(), c"tmpfs", strict, c"mode=1777,size=65536k");
    mount(c"mqueue", c"dev/mqueue".as_ptr(), c"mqueue", strict, NOTHING);
    mount(c"sysfs", c"sys".as_ptr(), c"sysfs", strict | MS_RDONLY, NOTHING);
}

/// Without a cgroup namespace: a tmpfs with the container's own directory of each hierarchy.
fn mount_cgroups_v1(request: &Request) {
    let strict = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    mount(c"tmpfs", c"sys/fs/cgroup".as_ptr(), c"tmpfs", strict, c"mode=755");
    for hierarchy in cgroup::hierarchies(request) {
        let mut target = Path::new(b"sys/fs/cgroup/");
        target.push(cgroup::controller(hierarchy));
        must!("mkdir", libc::SYS_mkdir, target.pointer(), 0o755);
        let source = cgroup::dir(request, hierarchy);
        must!("bind a cgroup", libc::SYS_mount, source.pointer(), target.pointer(), 0, MS_BIND, 0);
        mount(NOTHING, target.pointer(), NOTHING, MS_REMOUNT | MS_BIND | MS_RDONLY | strict, NOTHING);
    }
    mount(NOTHING, c"sys/fs/cgroup".as_ptr(), NOTHING, MS_REMOUNT | MS_BIND | MS_RDONLY | strict, NOTHING);
}

fn binds(request: &Request) {
    let Some(colon) = request.binds.iter().rposition(|byte| *byte == b':') else { return };
    let count = request.binds[colon + 1..].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    for i in 0..count {
        let (mut source, mut target) = (Path::new(&request.binds[..colon]), Path::new(b"mnt/"));
        source.push(b"/").push_number(i, 3);
        target.push_number(i, 3);
        must!("bind", libc::SYS_mount, source.pointer(), target.pointer(), 0, MS_BIND | MS_REC, 0);
    }
}

fn devices() {
    must!("umask", libc::SYS_umask, 0);
    let nodes = [
        (c"dev/null", 1, 3),
        (c"dev/zero", 1, 5),
        (c"dev/full", 1, 7),
        (c"dev/random", 1, 8),
        (c"dev/urandom", 1, 9),
        (c"dev/tty", 5, 0),
    ];
    for (path, major, minor) in nodes {
        must!("mknod", libc::SYS_mknod, path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor));
    }
    let links = [
        (c"pts/ptmx", c"dev/ptmx"),
        (c"/proc/self/fd", c"dev/fd"),
        (c"/proc/self/fd/0", c"dev/stdin"),
        (c"/proc/self/fd/1", c"dev/stdout"),
        (c"/proc/self/fd/2", c"dev/stderr"),
    ];
    for (target, path) in links {
        must!("symlink", libc::SYS_symlink, target.as_ptr(), path.as_ptr());
    }
}

fn loopback_up() {
    let socket = must!("socket", libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
    // struct ifreq: the name in 16 bytes, then the flags.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&((libc::IFF_UP | libc::IFF_RUNNING) as u16).to_ne_bytes());
    must!("loopback up", libc::SYS_ioctl, socket, libc::SIOCSIFFLAGS, request.as_ptr());
    must!("close", libc::SYS_close, socket);
}

/// A mount that may fail for want of its target: not every kernel has all of these paths. True if it was made.
fn mount_if_there(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> bool {
    // SAFETY: all four are NUL-terminated strings.
    let result = unsafe {
        libc::syscall(libc::SYS_mount, source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, NOTHING.as_ptr())
    };
    if result < 0 && errno() != libc::ENOENT {
        fail("mask", errno());
    }
    result == 0
}

fn masks() {
    let files = [
        c"proc/kcore",
        c"proc/keys",
        c"proc/latency_stats",
        c"proc/timer_list",
        c"proc/timer_stats",
        c"proc/sched_debug",
    ];
    for file in files {
        mount_if_there(c"dev/null", file, NOTHING, MS_BIND);
    }
    // One empty directory for all of them.
    let mut empty = None;
    for dir in [c"proc/acpi", c"proc/asound", c"proc/scsi", c"sys/firmware"] {
        match empty {
            Some(empty) => _ = mount_if_there(empty, dir, NOTHING, MS_BIND),
            None => empty = mount_if_there(c"tmpfs", dir, c"tmpfs", MS_RDONLY).then_some(dir),
        }
    }
    for path in [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"] {
        if mount_if_there(path, path, NOTHING, MS_BIND | MS_REC) {
            let flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV;
            mount(NOTHING, path.as_ptr(), NOTHING, flags, NOTHING);
        }
    }
}

fn pivot(readonly: bool) {
    must!("pivot_root", libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr());
    must!("detach the old root", libc::SYS_umount2, c".".as_ptr(), libc::MNT_DETACH);
    must!("chdir", libc::SYS_chdir, c"/".as_ptr());
    if readonly {
        mount(NOTHING, c"/".as_ptr(), NOTHING, MS_REMOUNT | MS_BIND | MS_RDONLY, NOTHING);
    }
}
