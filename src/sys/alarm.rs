//! Deadlines for blocking system calls that have no timeout of their own, such as `flock(2)`.

use super::check;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// After the deadline the signal is repeated at this interval. A single one could arrive just before the blocking call
/// and would then be lost.
const REPEAT: Duration = Duration::from_millis(20);

/// Interrupts the calling thread's blocking system calls with EINTR from a deadline on, until it is dropped.
///
/// Uses SIGALRM, whose previous action and mask are restored on drop. Children do not inherit the timer.
#[derive(Debug)]
pub struct Alarm {
    timer: libc::timer_t,
    action: SigAction,
    mask: SigSet,
}

extern "C" fn nothing(_signal: libc::c_int) {}

impl Alarm {
    pub fn after(deadline: Duration) -> nix::Result<Alarm> {
        // Without SA_RESTART: the blocking call has to return.
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is async-signal-safe.
        let action = unsafe { sigaction(Signal::SIGALRM, &action) }?;
        let (mut mask, mut alarm) = (SigSet::empty(), SigSet::empty());
        alarm.add(Signal::SIGALRM);
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&alarm), Some(&mut mask))?;
        let timer = create_timer()?;
        let alarm = Alarm { timer, action, mask };
        alarm.set(deadline)?;
        Ok(alarm)
    }

    fn set(&self, deadline: Duration) -> nix::Result<()> {
        let spec = libc::itimerspec { it_interval: timespec(REPEAT), it_value: timespec(deadline) };
        // SAFETY: the timer is ours, and the kernel only reads `spec`.
        check(unsafe { libc::timer_settime(self.timer, 0, &raw const spec, std::ptr::null_mut()) }.into()).map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used afterwards.
        unsafe { libc::timer_delete(self.timer) };
        // Both fail on invalid arguments only, and these are what the kernel returned.
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
        // SAFETY: this is the action that was installed before.
        let _ = unsafe { sigaction(Signal::SIGALRM, &self.action) };
    }
}

/// A timer that signals the calling thread and no other.
fn create_timer() -> nix::Result<libc::timer_t> {
    // SAFETY: sigevent is plain data for which all zeroes is a valid value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGALRM;
    event.sigev_notify_thread_id = nix::unistd::gettid().as_raw();
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: the kernel reads `event` and writes the id to `timer`.
    check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) }.into())?;
    Ok(timer)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec { tv_sec: duration.as_secs() as libc::time_t, tv_nsec: duration.subsec_nanos().into() }
}

/// `flock(2)` LOCK_EX, which waits no longer than `patience`; false: the time is over and another open file has the lock.
///
/// A lock that is free costs one system call.
pub fn lock_within(fd: BorrowedFd, patience: Duration) -> nix::Result<bool> {
    // SAFETY: no pointers are passed.
    let flock = |operation| check(unsafe { libc::flock(fd.as_raw_fd(), operation) }.into());
    match flock(libc::LOCK_EX | libc::LOCK_NB) {
        Err(Errno::EWOULDBLOCK | Errno::EINTR) => {}
        result => return result.map(|_| true),
    }
    let end = std::time::Instant::now() + patience;
    let _alarm = Alarm::after(patience)?;
    loop {
        match flock(libc::LOCK_EX) {
            // Another signal than the alarm's may come earlier.
            Err(Errno::EINTR) if std::time::Instant::now() < end => {}
            Err(Errno::EINTR) => return Ok(false),
            result => return result.map(|_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::time::Instant;

    #[test]
    fn a_lock_is_waited_for_until_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (held, wanted) = (File::open(dir.path()).unwrap(), File::open(dir.path()).unwrap());
        assert!(lock_within(held.as_fd(), Duration::ZERO).unwrap());
        let begin = Instant::now();
        assert!(!lock_within(wanted.as_fd(), Duration::from_millis(200)).unwrap());
        assert!(begin.elapsed() >= Duration::from_millis(200));
        drop(held);
        assert!(lock_within(wanted.as_fd(), Duration::from_millis(200)).unwrap());
    }
}
