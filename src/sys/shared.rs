//! Memory that parent and init share: a word, to know in which step init died, and notes of what was done when.

use nix::errno::Errno;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A zeroed `T` in anonymous shared memory, mapped before the clone and kept for the life of the process.
///
/// # Safety
/// All zeroes is a valid `T`, and `T` is no larger than what the machine can map and aligned to a page at most.
unsafe fn share<T>() -> nix::Result<&'static T> {
    // SAFETY: a fresh anonymous mapping; no existing memory is touched.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the mapping is page-aligned, zeroed, writable and never unmapped; the caller answers for `T`.
    Ok(unsafe { &*page.cast::<T>() })
}

/// One word.
#[derive(Debug, Clone, Copy)]
pub struct SharedWord(&'static AtomicU32);

impl SharedWord {
    /// `mmap(MAP_SHARED | MAP_ANONYMOUS)` of one page; starts as 0.
    pub fn new() -> nix::Result<SharedWord> {
        // SAFETY: an AtomicU32 may be zero.
        unsafe { share() }.map(SharedWord)
    }

    pub fn set(self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which of the two processes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Runtime,
    Init,
}

/// A line of [`Notes`].
#[derive(Debug, Clone, Copy)]
pub struct Note {
    pub who: Who,
    pub time: u64,
    pub text: &'static str,
}

/// What both processes have noted; what does not fit any more is left out.
#[derive(Debug, Clone, Copy)]
pub struct Notes(&'static Page);

#[derive(Debug)]
struct Page {
    used: AtomicUsize,
    slots: [Slot; 120],
}

#[derive(Debug)]
struct Slot {
    time: AtomicU64,
    init: AtomicU32,
    length: AtomicUsize,
    /// Null until the other fields are written.
    text: AtomicPtr<u8>,
}

impl Notes {
    pub fn new() -> nix::Result<Notes> {
        // SAFETY: all of it may be zero.
        unsafe { share() }.map(Notes)
    }

    pub fn add(self, who: Who, time: u64, text: &'static str) {
        let Some(slot) = self.0.slots.get(self.0.used.fetch_add(1, Ordering::Relaxed)) else { return };
        slot.time.store(time, Ordering::Relaxed);
        slot.init.store((who == Who::Init).into(), Ordering::Relaxed);
        slot.length.store(text.len(), Ordering::Relaxed);
        slot.text.store(text.as_ptr().cast_mut(), Ordering::Release);
    }

    pub fn iter(self) -> impl Iterator<Item = Note> {
        self.0.slots.iter().filter_map(|slot| {
            let text = slot.text.load(Ordering::Acquire);
            if text.is_null() {
                return None;
            }
            // SAFETY: written once, in `add`, from one `&'static str`, by this process or by a fork of it, which has the
            // same program at the same addresses. After an execve nobody has this memory.
            let text = unsafe { std::slice::from_raw_parts(text, slot.length.load(Ordering::Relaxed)) };
            let who = if slot.init.load(Ordering::Relaxed) == 0 { Who::Runtime } else { Who::Init };
            Some(Note { who, time: slot.time.load(Ordering::Relaxed), text: std::str::from_utf8(text).ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_as_long_as_there_is_room() {
        let notes = Notes::new().unwrap();
        for time in 0..200 {
            notes.add(if time % 2 == 0 { Who::Runtime } else { Who::Init }, time, "step");
        }
        assert_eq!(notes.iter().count(), 120);
        let last = notes.iter().last().unwrap();
        assert_eq!((last.who, last.time, last.text), (Who::Init, 119, "step"));
    }
}
