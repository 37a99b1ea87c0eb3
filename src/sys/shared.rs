//! Memory that parent and init share: a word, to know in which step init died, and notes of what was done when.

use nix::errno::Errno;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

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

/// What the maker of a process that is born elsewhere leaves to the runtime: its step, the pid, the program's path.
///
/// The newborn does not have it ([`crate::sys::ns::add_sibling`]), so nobody else can have written it.
#[derive(Debug, Clone, Copy)]
pub struct SharedBirth(&'static BirthPage);

#[derive(Debug)]
struct BirthPage {
    step: AtomicU32,
    pid: AtomicI32,
    length: AtomicUsize,
    path: [AtomicU8; 2048],
}

impl SharedBirth {
    pub fn new() -> nix::Result<SharedBirth> {
        // SAFETY: all of it may be zero.
        unsafe { share() }.map(SharedBirth)
    }

    pub fn step(self) -> SharedWord {
        SharedWord(&self.0.step)
    }

    /// The pid, in the pid namespace of the maker, which is the runtime's; `None` as long as there is nobody.
    pub fn pid(self) -> Option<i32> {
        Some(self.0.pid.load(Ordering::Acquire)).filter(|pid| *pid > 0)
    }

    /// Where the kernel puts the pid.
    pub(super) fn address_of_pid(self) -> usize {
        self.0.pid.as_ptr().addr()
    }

    /// The memory that it takes.
    pub fn range(self) -> std::ops::Range<usize> {
        let start = std::ptr::from_ref(self.0).addr();
        start..(start + size_of::<BirthPage>()).next_multiple_of(super::script::page_size())
    }

    /// For an error; what is too long is cut.
    pub fn set_path(self, path: &[u8]) {
        let length = path.len().min(self.0.path.len());
        for (byte, value) in self.0.path.iter().zip(path) {
            byte.store(*value, Ordering::Relaxed);
        }
        self.0.length.store(length, Ordering::Release);
    }

    pub fn path(self) -> String {
        let length = self.0.length.load(Ordering::Acquire).min(self.0.path.len());
        let bytes: Vec<u8> = self.0.path[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
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
