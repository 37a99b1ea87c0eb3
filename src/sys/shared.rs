//! A word of memory that parent and init share, to know in which step init died.

use nix::errno::Errno;
use std::sync::atomic::{AtomicU32, Ordering};

/// One anonymous shared page, mapped before the clone and kept for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct SharedWord(&'static AtomicU32);

impl SharedWord {
    /// `mmap(MAP_SHARED | MAP_ANONYMOUS)` of one page; starts as 0.
    pub fn new() -> nix::Result<SharedWord> {
        // SAFETY: a fresh anonymous mapping; no existing memory is touched.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the mapping is page-aligned, zeroed (a valid AtomicU32), writable and never unmapped.
        Ok(SharedWord(unsafe { &*page.cast::<AtomicU32>() }))
    }

    pub fn set(self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
