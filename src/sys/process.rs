//! Attributes of the calling process that have no wrapper elsewhere.

use super::check;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `struct sched_attr` of `<linux/sched/types.h>`, version 1 (56 bytes).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    /// Nanoseconds, as the two below.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

impl SchedAttr {
    /// As the kernel reads it.
    pub fn to_bytes(self) -> [u8; size_of::<SchedAttr>()] {
        let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..self };
        // SAFETY: integers without padding: 4 + 4 + 8 + 4 + 4 + 3 * 8 + 4 + 4.
        unsafe { std::mem::transmute(attr) }
    }
}

/// `sched_setattr(2)` for the calling thread.
pub fn sched_setattr(attr: &SchedAttr) -> nix::Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` has the layout and size that its `size` field gives; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// `ioprio_set(2)` for the calling process: class (1 realtime, 2 best effort, 3 idle) and level (0 to 7).
pub fn ioprio_set(class: u8, level: u8) -> nix::Result<()> {
    const WHO_PROCESS: i32 = 1;
    let value = (i32::from(class) << 13) | i32::from(level);
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// `set_mempolicy(2)`: `mode` is `MPOL_*` with its flags, `nodes` the node numbers (any number of them).
pub fn set_mempolicy(mode: u32, nodes: &[u32]) -> nix::Result<()> {
    let mask = bitmask(nodes);
    let (pointer, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (mask.as_ptr(), mask.len() * 64 + 1) };
    // SAFETY: the mask holds `bits - 1` bits; the kernel reads `maxnode - 1` bits (set_mempolicy(2), bugs).
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, pointer, bits) }).map(drop)
}

/// `sched_setaffinity(2)` of the caller to every CPU; the kernel leaves those that its cpuset allows.
///
/// The kernel takes a mask that is longer than its own (`CONFIG_NR_CPUS` is at most 8192), whereas glibc's `cpu_set_t` ends
/// at 1024 CPUs.
pub fn use_all_cpus() -> nix::Result<()> {
    let mask = [u64::MAX; 8192 / 64];
    // SAFETY: the length is that of the mask in bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) }).map(drop)
}

/// `sched_setaffinity(2)` of a process (0: the caller) to the CPU numbers given, without a limit of 1024.
pub fn sched_setaffinity(pid: libc::pid_t, cpus: &[u32]) -> nix::Result<()> {
    let mask = bitmask(cpus);
    // SAFETY: the length is that of the mask in bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, mask.len() * 8, mask.as_ptr()) }).map(drop)
}

fn bitmask(bits: &[u32]) -> Vec<u64> {
    let words = bits.iter().max().map_or(1, |m| *m as usize / 64 + 1);
    let mut mask = vec![0u64; words];
    for bit in bits {
        mask[*bit as usize / 64] |= 1 << (bit % 64);
    }
    mask
}

/// `prctl(PR_SET_PDEATHSIG)`; 0 clears it.
pub fn set_parent_death_signal(signal: i32) -> nix::Result<()> {
    prctl::set_death_signal(signal as isize).map_err(Errno::from_raw)
}

/// `prctl(PR_SET_DUMPABLE)`.
pub fn set_dumpable(dumpable: bool) -> nix::Result<()> {
    prctl::set_dumpable(dumpable).map_err(Errno::from_raw)
}

/// `prctl(PR_SET_CHILD_SUBREAPER)`.
pub fn set_child_subreaper() -> nix::Result<()> {
    prctl::set_child_subreaper(true).map_err(Errno::from_raw)
}

/// `prctl(PR_SET_NAME)`: the name of the calling thread in /proc, at most 15 bytes.
pub fn set_name(name: &std::ffi::CStr) -> nix::Result<()> {
    // SAFETY: the kernel reads a NUL-terminated string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }.into()).map(drop)
}

/// `prctl(PR_SET_NO_NEW_PRIVS, 1)`.
pub fn set_no_new_privileges() -> nix::Result<()> {
    prctl::set_no_new_privileges(true).map_err(Errno::from_raw)
}

/// `prctl(PR_SET_KEEPCAPS)`.
pub fn set_keep_capabilities(keep: bool) -> nix::Result<()> {
    prctl::set_keep_capabilities(keep).map_err(Errno::from_raw)
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)`: a new session keyring with this name; returns its serial number.
pub fn join_session_keyring(name: &str) -> nix::Result<i32> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) }).map(|id| id as i32)
}

/// `keyctl(KEYCTL_DESCRIBE)`: `type;uid;gid;permissions;description` of a key, permissions in hexadecimal.
pub fn describe_key(key: i32) -> nix::Result<String> {
    const DESCRIBE: libc::c_int = 6;
    // The description of a keyring is its name, which the kernel limits to 4095 bytes.
    let mut buffer = [0u8; 4096 + 64];
    // SAFETY: the kernel writes at most `buffer.len()` bytes.
    let size = check(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, key, buffer.as_mut_ptr(), buffer.len()) })?;
    let text = buffer.get(..size as usize).ok_or(Errno::EOVERFLOW)?;
    Ok(String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(text)).into_owned())
}

/// `keyctl(KEYCTL_SETPERM)`: sets the permission mask of a key.
pub fn set_key_permissions(key: i32, permissions: u32) -> nix::Result<()> {
    const SETPERM: libc::c_int = 5;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, key, permissions) }).map(drop)
}

/// `personality(2)`: `PER_*` of `<sys/personality.h>`.
pub fn set_personality(persona: u32) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) }).map(drop)
}

/// `umask(2)`.
pub fn umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// `fchown` by fd; works on O_PATH-less fds only.
pub fn fchown(fd: BorrowedFd, uid: Option<u32>, gid: Option<u32>) -> nix::Result<()> {
    let keep = u32::MAX;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::fchown(fd.as_raw_fd(), uid.unwrap_or(keep), gid.unwrap_or(keep)) }.into()).map(drop)
}

/// What Rust's own entry point does first: file descriptors 0 to 2 are open (on /dev/null, where the caller closed them,
/// so that nothing that is opened later takes their place), and a write to a closed pipe is an error, not a signal. Besides,
/// children can be waited for.
pub fn take_over_stdio() -> nix::Result<()> {
    use nix::fcntl::{OFlag, open};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::fd::IntoRawFd;
    // SAFETY: the numbers are borrowed for one poll(2), which says of each whether it is open.
    let mut fds = [0, 1, 2].map(|fd| PollFd::new(unsafe { BorrowedFd::borrow_raw(fd) }, PollFlags::empty()));
    poll(&mut fds, PollTimeout::ZERO)?;
    for fd in fds.iter().filter(|fd| fd.revents() == Some(PollFlags::POLLNVAL)) {
        let null = open("/dev/null", OFlag::O_RDWR, nix::sys::stat::Mode::empty())?.into_raw_fd();
        debug_assert_eq!(null, fd.as_fd().as_raw_fd(), "the lowest free number");
    }
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    // Where the caller ignores it, the kernel reaps children itself, and nobody can wait for them.
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Leaves the process at once, without destructors or atexit handlers: the way out of a forked init.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Overwrites the arguments and the environment that the program was started with, which are read from its memory by
/// `/proc/<pid>/cmdline` and `environ`. `std::env` has empty ones afterwards.
pub fn wipe_arguments() {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: as the kernel lays it out (fs/binfmt_elf.c, create_elf_tables): argc, the arguments' addresses, null, the
    // environment's, null; the strings lie one after the other in this order, and the program's name behind them. The
    // pointers are looked at from the environment's back to argc, which is smaller than any address. Nobody holds
    // references to the strings: std and the parsers copy them.
    unsafe {
        let end = libc::getauxval(libc::AT_EXECFN) as usize;
        let mut word = environ.sub(2).cast::<usize>();
        let mut start = *environ as usize;
        while *word > 65_536 * 64 {
            start = *word;
            word = word.sub(1);
        }
        if start != 0 && start < end {
            std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(start), 0, end - start);
        }
    }
}

/// `setdomainname(2)`.
pub fn setdomainname(name: &str) -> nix::Result<()> {
    // SAFETY: the pointer and length are those of `name`.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Gives the signals of signal(7), "Standard signals", their default actions again, also those that the caller of the
/// program ignores (`nohup`, a shell's `&`); all but SIGPIPE ([`reset_sigpipe`]). A call each: /proc/self/stat, which
/// says which are ignored, takes as long, and CLONE_CLEAR_SIGHAND leaves them ignored.
pub fn stop_ignoring_signals() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for number in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE)) {
        // SAFETY: SigDfl installs no handler.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Gives SIGPIPE, which this program ignores as long as it runs, its default action again, and unblocks all signals.
pub fn reset_sigpipe() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: SigDfl installs no handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    unblock_signals()
}

fn unblock_signals() -> nix::Result<()> {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Gives the command's process the signals of a fresh one: none is blocked, and none is ignored, whatever the caller blocks
/// or was started with (nohup(1) ignores SIGHUP, and what is ignored stays so across execve).
pub fn with_default_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    if has_fresh_signals() {
        return;
    }
    let reset =
        || signals().try_for_each(default_action).and_then(|()| unblock_signals()).map_err(std::io::Error::from);
    // SAFETY: rt_sigaction and sigprocmask are async-signal-safe and the closure allocates nothing.
    unsafe { command.pre_exec(reset) };
}

/// Whether a child of this process begins with fresh signals anyway. Then std can use posix_spawn(3), which is faster than
/// a fork, and which gives SIGPIPE its default action by itself.
fn has_fresh_signals() -> bool {
    /// 32 and 33 are the C library's own: sigaction(2) has no way to ignore them.
    const RESET_OR_INTERNAL: u64 = 1 << (libc::SIGPIPE - 1) | 1 << 31 | 1 << 32;
    let is_unblocked =
        nix::sys::signal::SigSet::thread_get_mask().is_ok_and(|m| m == nix::sys::signal::SigSet::empty());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    is_unblocked && ignored.is_some_and(|mask| mask & !RESET_OR_INTERNAL == 0)
}

/// Every signal that a program can handle, realtime ones too. Those of the C library stay as the caller has them, as with
/// runc: sigaction(3) refuses them.
fn signals() -> impl Iterator<Item = libc::c_int> {
    let handled = |number: &libc::c_int| !matches!(*number, libc::SIGKILL | libc::SIGSTOP);
    (1..=64).filter(handled).filter(|number| !OF_THE_LIBRARY.contains(number))
}

/// The first realtime signals, which the C library keeps for itself and does not let anybody handle.
const OF_THE_LIBRARY: [libc::c_int; 2] = [32, 33];

/// Gives a signal its default action.
fn default_action(number: libc::c_int) -> nix::Result<()> {
    /// `sizeof(sigset_t)` of the kernel.
    const SET: usize = 8;
    // As long as the kernel's `struct sigaction` on every processor, and all zeroes: SIG_DFL.
    let action = [0u64; 4];
    // SAFETY: the kernel reads the action; SIG_DFL installs no handler.
    check(unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), 0usize, SET) }).map(drop)
}

/// Makes the caller end by each signal whose default is to end a process, with exit code 128+n.
///
/// The kernel drops a signal with the default action that is sent to the first process of a pid namespace
/// (pid_namespaces(7)), so that this process would live on. execve(2) gives handled signals their default again.
pub fn end_by_signals() -> nix::Result<()> {
    extern "C" fn end(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the kernel passes a siginfo; both calls are async-signal-safe.
        unsafe {
            // A write of our own to a closed socket is no wish of anybody: it gives EPIPE.
            if number != libc::SIGPIPE || (*info).si_pid() != libc::getpid() {
                libc::_exit(128 + number);
            }
        }
    }
    const STAYS: [libc::c_int; 7] =
        [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for number in signals() {
        if STAYS.contains(&number) {
            default_action(number)?;
            continue;
        }
        // SAFETY: all zeroes is a valid sigaction: SIG_DFL with no flags and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = end as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler is async-signal-safe, and no old action is asked for.
        check(i64::from(unsafe { libc::sigaction(number, &action, std::ptr::null_mut()) }))?;
    }
    Ok(())
}
