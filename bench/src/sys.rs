//! The few calls the harness makes by hand: spawning a command as cheaply as can be, waiting for it with its resource
//! usage, and starting one under a tracer. It knows nothing of runtimes or cases.
#![allow(unsafe_code)]

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A command line in the form the kernel takes, made ready outside the measured time.
pub struct Command {
    strings: Vec<CString>,
}

impl Command {
    /// The first word is the path of the program; PATH is not searched.
    pub fn new<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<Command> {
        let strings = words.into_iter().map(|w| CString::new(w.as_ref().as_bytes())).collect::<Result<Vec<_>, _>>()?;
        if strings.is_empty() {
            bail!("an empty command line");
        }
        Ok(Command { strings })
    }

    fn argv(&self) -> Vec<*mut libc::c_char> {
        let mut argv: Vec<_> = self.strings.iter().map(|s| s.as_ptr().cast_mut()).collect();
        argv.push(ptr::null_mut());
        argv
    }
}

/// The environment of every measured command; always the same.
const ENVIRONMENT: [&std::ffi::CStr; 1] = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

fn environment() -> [*mut libc::c_char; 2] {
    [ENVIRONMENT[0].as_ptr().cast_mut(), ptr::null_mut()]
}

/// The standard streams that commands get.
#[derive(Clone, Copy)]
pub struct Streams<'a> {
    pub null: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

/// `posix_spawn(3)` with file actions ready: glibc makes it a `clone(CLONE_VM | CLONE_VFORK)`, so that the cost does not
/// depend on the size of the harness.
pub struct Spawner {
    actions: libc::posix_spawn_file_actions_t,
}

impl Spawner {
    /// Commands will have `null` as standard input and output and `stderr` as standard error.
    pub fn new(streams: Streams) -> Result<Spawner> {
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: init fills the whole struct before it is used; adddup2 keeps only the numbers.
        let (rc, actions) = unsafe {
            let mut rc = libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            for (fd, to) in [(streams.null, 0), (streams.null, 1), (streams.stderr, 2)] {
                rc |= libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), fd.as_raw_fd(), to);
            }
            (rc, actions.assume_init())
        };
        if rc != 0 {
            bail!("posix_spawn_file_actions: {}", Errno::from_raw(rc).desc());
        }
        Ok(Spawner { actions })
    }

    /// Starts the command and returns its pid as soon as it has been executed.
    pub fn spawn(&self, command: &Command) -> Result<libc::pid_t> {
        let (argv, env) = (command.argv(), environment());
        let mut pid = 0;
        // SAFETY: argv and env are NULL-terminated arrays of NUL-terminated strings that outlive the call, the actions
        // are initialised.
        let rc = unsafe {
            libc::posix_spawn(&raw mut pid, argv[0], &self.actions, ptr::null(), argv.as_ptr(), env.as_ptr())
        };
        if rc != 0 {
            bail!("{}: {}", command.strings[0].to_string_lossy(), Errno::from_raw(rc).desc());
        }
        Ok(pid)
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.actions) };
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub pid: libc::pid_t,
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// Page faults without I/O of the command and the children it waited for.
    pub faults: u64,
}

/// `wait4(2)` for one child, or with -1 for any.
///
/// # Errors
/// EINTR is an error: it is how an interrupt by the user gets through.
pub fn wait(pid: libc::pid_t) -> Result<Ended> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of ours of the right type; the rusage is zeroed and plain data.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr());
        (Errno::result(pid)?, usage.assume_init())
    };
    Ok(Ended { pid, code: exit_code(status), faults: usage.ru_minflt.unsigned_abs() })
}

/// Like [`wait`], but a child that is not done in time is killed.
pub fn wait_at_most(pid: libc::pid_t, limit: Duration) -> Result<Ended> {
    // SAFETY: no pointers are passed; the kernel returns a new fd or an error.
    let pidfd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new fd that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd is passed, and the number says so.
    let ready = Errno::result(unsafe { libc::poll(&raw mut poll, 1, limit.as_millis() as libc::c_int) })?;
    if ready == 0 {
        // SAFETY: no pointers are passed; the child is not waited for yet, so the pid is still its own.
        Errno::result(unsafe { libc::kill(pid, libc::SIGKILL) })?;
    }
    wait(pid)
}

pub fn exit_code(status: libc::c_int) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Starts a command that waits, before its execve, until the returned pipe is written to or closed: time to attach a tracer.
pub fn spawn_held(command: &Command, streams: Streams) -> Result<(libc::pid_t, OwnedFd)> {
    let (argv, env) = (command.argv(), environment());
    let mut pipe = [0; 2];
    // SAFETY: the kernel fills the two numbers.
    Errno::result(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the harness is single-threaded; the child makes only async-signal-safe calls on memory set up before.
    let pid = Errno::result(unsafe { libc::fork() })?;
    if pid == 0 {
        let mut byte = 0u8;
        // SAFETY: as above; every pointer is to live memory of this copy of the process.
        unsafe {
            libc::close(pipe[1]);
            libc::dup2(streams.null.as_raw_fd(), 0);
            libc::dup2(streams.null.as_raw_fd(), 1);
            libc::dup2(streams.stderr.as_raw_fd(), 2);
            libc::read(pipe[0], (&raw mut byte).cast(), 1);
            libc::execve(argv[0], argv.as_ptr().cast(), env.as_ptr().cast());
            libc::_exit(127);
        }
    }
    // SAFETY: both are fds that pipe2 has just made and nobody else owns.
    let (_read, write) = unsafe { (OwnedFd::from_raw_fd(pipe[0]), OwnedFd::from_raw_fd(pipe[1])) };
    Ok((pid, write))
}

/// `waitpid(-1, __WALL)` with the raw status, of which the upper bits tell the ptrace event.
pub fn wait_traced() -> Result<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: the pointer is to memory of ours.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) })?;
    Ok((pid, status))
}

/// The number of the syscall that a process in a syscall-stop is about to make; None if it is on its way out of one.
pub fn syscall_entered(pid: libc::pid_t) -> Result<Option<libc::c_long>> {
    let info = match nix::sys::ptrace::syscall_info(nix::unistd::Pid::from_raw(pid)) {
        // Killed in between.
        Err(Errno::ESRCH) => return Ok(None),
        info => info?,
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: for this `op` the kernel has filled the union's `entry`.
    Ok(Some(unsafe { info.u.entry.nr } as libc::c_long))
}

/// `PTRACE_SYSCALL` or `PTRACE_DETACH` with the number of a signal to deliver, or 0. Real-time signals are numbers that
/// nix has no name for, and Go and glibc send them to themselves.
pub fn ptrace_continue(request: libc::c_uint, pid: libc::pid_t, signal: i32) -> Result<()> {
    // SAFETY: these two requests take no pointer.
    match Errno::result(unsafe { libc::ptrace(request, pid, 0, signal as libc::c_long) }) {
        // Killed in between: its end is reported by the next wait.
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("ptrace: let a process go on"),
    }
}

/// Orphans of the measured commands, such as a container's init after `create`, become children of the harness.
pub fn become_subreaper() -> Result<()> {
    // SAFETY: no pointers are passed.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets SIGINT, SIGTERM and SIGHUP interrupt a blocked call (EINTR) instead of ending the harness, so that it cleans up.
pub fn interruptible() -> Result<()> {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe; without SA_RESTART calls return.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as *const () as usize;
            Errno::result(libc::sigaction(signal, &action, ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// Whether one of those signals has come.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
