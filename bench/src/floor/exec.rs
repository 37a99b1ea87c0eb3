//! `exec`: one more process in a running container.

use crate::raw::{clone3, must, wait};
use crate::{Request, cgroup, privileges};

pub fn exec(request: &Request) -> libc::c_int {
    let init = request.place.to_bytes().iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    let pidfd = must!("pidfd_open", libc::SYS_pidfd_open, init, 0);
    // The pid namespace is that of children; the others are joined by the child, so that this process stays outside.
    must!("setns", libc::SYS_setns, pidfd, libc::CLONE_NEWPID);
    let v2 = cgroup::is_v2(request);
    let into = v2.then(|| cgroup::open_v2(request));
    let pid = clone3(0, into);
    if pid == 0 {
        child(request, pidfd, v2);
    }
    wait(pid)
}

fn child(request: &Request, pidfd: libc::c_long, v2: bool) -> ! {
    let mut namespaces = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS;
    if v2 {
        namespaces |= libc::CLONE_NEWCGROUP;
    } else {
        cgroup::join_v1(request);
    }
    let filter = privileges::read_filter(request);
    must!("setsid", libc::SYS_setsid);
    must!("setns", libc::SYS_setns, pidfd, namespaces);
    privileges::become_payload(request, filter.as_ref())
}
