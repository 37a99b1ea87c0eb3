//! The last steps before the payload, for `run` and `exec` alike: ids, capabilities, seccomp, execve.

use crate::Request;
use crate::raw::{fail, must};

const LAST_CAPABILITY: u32 = 40;

/// kill, net_bind_service, audit_write
const MINIMAL: u64 = 1 << 5 | 1 << 10 | 1 << 29;
/// The 14 of Docker's default.
const DOCKER: u64 = 1 // chown
    | 1 << 1 // dac_override
    | 1 << 3 // fowner
    | 1 << 4 // fsetid
    | 1 << 5 // kill
    | 1 << 6 // setgid
    | 1 << 7 // setuid
    | 1 << 8 // setpcap
    | 1 << 10 // net_bind_service
    | 1 << 13 // net_raw
    | 1 << 18 // sys_chroot
    | 1 << 27 // mknod
    | 1 << 29 // audit_write
    | 1 << 31; // setfcap

/// A seccomp program in memory.
pub struct Filter {
    instructions: [u64; 512],
    count: u16,
}

/// Reads it while its path can still be reached.
pub fn read_filter(request: &Request) -> Option<Filter> {
    if !request.docker {
        return None;
    }
    let mut filter = Filter { instructions: [0; 512], count: 0 };
    let fd = must!("open the filter", libc::SYS_open, request.filter.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
    let size = size_of_val(&filter.instructions);
    let count = must!("read the filter", libc::SYS_read, fd, filter.instructions.as_mut_ptr(), size);
    must!("close", libc::SYS_close, fd);
    filter.count = (count / 8) as u16;
    Some(filter)
}

/// Gives up what the payload is not to have, and becomes the payload.
pub fn become_payload(request: &Request, filter: Option<&Filter>) -> ! {
    let keep = if request.docker { DOCKER } else { MINIMAL };
    for capability in 0..=LAST_CAPABILITY {
        if keep & (1 << capability) == 0 {
            must!("drop from the bounding set", libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
    }
    let groups = [0u32];
    must!("setgroups", libc::SYS_setgroups, usize::from(request.docker), groups.as_ptr());
    must!("setresgid", libc::SYS_setresgid, 0, 0, 0);
    must!("setresuid", libc::SYS_setresuid, 0, 0, 0);
    if !request.docker {
        must!("no new privileges", libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    if let Some(filter) = filter {
        load_filter(filter);
    }
    set_capabilities(keep);
    let environment = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(), std::ptr::null()];
    must!("execve", libc::SYS_execve, request.program[0], request.program.as_ptr(), environment.as_ptr());
    fail("execve returned", 0)
}

fn load_filter(filter: &Filter) {
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const u64,
    }
    const SET_MODE_FILTER: libc::c_int = 1;
    let program = Program { length: filter.count, instructions: filter.instructions.as_ptr() };
    must!("seccomp", libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program);
}

fn set_capabilities(set: u64) {
    let header = [0x2008_0522u32, 0];
    let (low, high) = (set as u32, (set >> 32) as u32);
    // Effective, permitted, inheritable; twice.
    let data = [low, low, 0, high, high, 0];
    must!("capset", libc::SYS_capset, header.as_ptr(), data.as_ptr());
}
