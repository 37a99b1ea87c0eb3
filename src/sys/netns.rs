//! A new network namespace that is made beside the caller, which goes on meanwhile.
//!
//! To make one takes longer than all else that the kernel does for a container, and on a second processor it takes the
//! caller nothing. The process that makes it shares the caller's memory and files: it costs no page tables, and the
//! caller has the namespace as an open file. It calls nothing but the kernel, for the C library and the allocator belong
//! to the caller at that time.

use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// A namespace in the making.
#[derive(Debug)]
pub struct NetworkInTheMaking {
    maker: libc::pid_t,
}

impl NetworkInTheMaking {
    /// Begins; `None` where that cannot be (another one is being made, the processor is not one of those that this is
    /// written for, no process can be made): unshare(2) will tell.
    pub fn begin() -> Option<NetworkInTheMaking> {
        maker::start().map(|maker| NetworkInTheMaking { maker })
    }

    /// The namespace with its loopback up, when it is there; `None` where it could not be made: unshare(2) will tell.
    pub fn finish(self) -> Option<OwnedFd> {
        let maker = self.maker;
        std::mem::forget(self);
        maker::end(maker)
    }
}

impl Drop for NetworkInTheMaking {
    fn drop(&mut self) {
        drop(maker::end(self.maker));
    }
}

#[cfg(target_arch = "x86_64")]
mod maker {
    use super::*;
    use crate::sys::raw;
    use std::cell::UnsafeCell;
    use std::ffi::c_void;
    use std::os::fd::FromRawFd;
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    /// Much more than the few words that the maker has there.
    const STACK_SIZE: usize = 4096;

    #[repr(align(16))]
    struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

    // SAFETY: only the one maker that `BUSY` stands for uses it.
    unsafe impl Sync for Stack {}

    static STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));
    static BUSY: AtomicBool = AtomicBool::new(false);
    /// The namespace's fd, or -1.
    static OUTCOME: AtomicI32 = AtomicI32::new(-1);

    pub fn start() -> Option<libc::pid_t> {
        if BUSY.swap(true, Ordering::Acquire) {
            return None;
        }
        OUTCOME.store(-1, Ordering::Relaxed);
        let top = STACK.0.get().wrapping_add(1).cast::<c_void>();
        // No signal at its end, which is nobody's but ours.
        let flags = libc::CLONE_VM | libc::CLONE_FILES;
        // SAFETY: `make` touches nothing of the caller's but `OUTCOME` and its own stack, which is aligned, large enough and
        // nobody else's until `end` has seen the process end.
        let pid = unsafe { libc::clone(make, top, flags, std::ptr::null_mut()) };
        if pid < 0 {
            BUSY.store(false, Ordering::Release);
            return None;
        }
        Some(pid)
    }

    pub fn end(maker: libc::pid_t) -> Option<OwnedFd> {
        // SAFETY: no memory is passed. The maker is a child of this process that nothing else waits for.
        while unsafe { libc::waitpid(maker, std::ptr::null_mut(), libc::__WCLONE) } < 0 {
            if Errno::last() != Errno::EINTR {
                // It may still be there: its stack stays its own.
                return None;
            }
        }
        let fd = OUTCOME.swap(-1, Ordering::Acquire);
        BUSY.store(false, Ordering::Release);
        // SAFETY: the maker has opened it in the files that it shared with us, and is gone.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A system call whose failure is all that matters.
    unsafe fn call(number: libc::c_long, [first, second, third]: [usize; 3]) -> Option<i32> {
        // SAFETY: the caller's, for what the kernel reads.
        let result = unsafe { raw::call(number, [first, second, third, 0, 0]) };
        i32::try_from(result).ok().filter(|result| *result >= 0)
    }

    extern "C" fn make(_: *mut c_void) -> libc::c_int {
        OUTCOME.store(attempt().unwrap_or(-1), Ordering::Release);
        0
    }

    fn attempt() -> Option<i32> {
        /// `struct ifreq`: the name in 16 bytes, then the flags.
        #[repr(C)]
        struct Interface {
            name: [u8; 16],
            flags: i16,
            rest: [u8; 22],
        }
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        let mut lo = Interface { name: [0; 16], flags: up, rest: [0; 22] };
        [lo.name[0], lo.name[1]] = *b"lo";
        let datagrams = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: the kernel reads the interface and a NUL-terminated string.
        unsafe {
            call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize, 0, 0])?;
            // Any socket will do; a unix one is the cheapest.
            let socket = call(libc::SYS_socket, [libc::AF_UNIX as usize, datagrams as usize, 0])?;
            let is_up = call(libc::SYS_ioctl, [socket as usize, libc::SIOCSIFFLAGS as usize, &raw const lo as usize]);
            call(libc::SYS_close, [socket as usize, 0, 0])?;
            is_up?;
            call(libc::SYS_open, [c"/proc/self/ns/net".as_ptr() as usize, flags as usize, 0])
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod maker {
    use super::*;

    pub fn start() -> Option<libc::pid_t> {
        None
    }

    pub fn end(_: libc::pid_t) -> Option<OwnedFd> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ns;
    use std::os::fd::AsFd;

    #[test]
    fn a_namespace_is_made_beside_with_its_loopback_up() {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let Some(begun) = NetworkInTheMaking::begin() else { panic!("no maker") };
        // One at a time.
        assert!(NetworkInTheMaking::begin().is_none());
        let namespace = begun.finish().unwrap();
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), own);
        let visit = move || {
            ns::setns(namespace.as_fd(), libc::CLONE_NEWNET as u64).unwrap();
            assert_ne!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
            nix::ifaddrs::getifaddrs().unwrap().any(|a| a.interface_name == "lo" && a.address.is_some())
        };
        assert!(std::thread::spawn(visit).join().unwrap(), "lo has its address when it is up");
        drop(NetworkInTheMaking::begin());
        assert!(NetworkInTheMaking::begin().is_some(), "one that is given up makes room for another");
    }
}
