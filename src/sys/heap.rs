//! The heap of the binary: blocks of a few sizes, with nothing in front of them and a list of free ones for each size. It is
//! the binary that makes it the program's (`main.rs`); tests have the C library's.
//!
//! A command makes some thousand small allocations, lives for milliseconds and forks in between. What the C library does for
//! programs that live long (joining free neighbours, looking for the best fit, notes beside each block) costs an eighth of
//! a command's own time, and writes to pages that init would otherwise go on sharing with the runtime.
//!
//! What is free when init is cloned is given up ([`part`]): to use or free a block that the other side has as well copies its
//! page.
//!
//! What is large comes from the C library. Each thread has a heap of its own; a block may be freed by another one, which
//! then has it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sizes up to `SMALL` go by steps, above by powers of two up to `LARGEST`, in bytes.
const STEP: usize = 16;
const SMALL: usize = 1024;
const LARGEST: usize = 64 * 1024;
const STEPS: usize = SMALL / STEP;
const CLASSES: usize = STEPS + (LARGEST / SMALL).ilog2() as usize;
/// What is taken at a time, first of the program's own zeroed memory, which no call has to ask for.
const REGION: usize = 256 * 1024;
const PAGE: usize = 4096;

#[repr(align(4096))]
struct First(UnsafeCell<[u8; REGION]>);

// SAFETY: only the thread that has set `FIRST_TAKEN` uses it.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; REGION]));
static FIRST_TAKEN: AtomicBool = AtomicBool::new(false);

struct Heap {
    /// Unused memory: from here to there.
    from: Cell<*mut u8>,
    to: Cell<*mut u8>,
    /// In the region that `from` was in at that time: what is below was there before [`part`].
    old: Cell<(*mut u8, *mut u8)>,
    /// The first free block of each class; each block begins with a pointer to the next.
    free: [Cell<*mut u8>; CLASSES],
}

thread_local! {
    static HEAP: Heap = const {
        Heap {
            from: Cell::new(null_mut()),
            to: Cell::new(null_mut()),
            old: Cell::new((null_mut(), null_mut())),
            free: [const { Cell::new(null_mut()) }; CLASSES],
        }
    };
}

/// The class of a size and the size of its blocks; `None`: the C library's.
fn class_of(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if layout.align() > STEP || size > LARGEST {
        return None;
    }
    if size <= SMALL {
        let steps = size.max(1).div_ceil(STEP);
        return Some((steps - 1, steps * STEP));
    }
    let size = size.next_power_of_two();
    Some((STEPS - 1 + (size / SMALL).ilog2() as usize, size))
}

/// To be called before a clone that copies this memory: what has been allocated stays as it is, also when it is freed, and
/// what is allocated from here on has pages of its own. So the two sides go on sharing the old ones.
pub fn part() {
    HEAP.with(|heap| {
        let from = heap.from.get();
        let start = from.map_addr(|address| address.next_multiple_of(PAGE));
        if from.is_null() || start > heap.to.get() {
            return;
        }
        heap.from.set(start);
        let region = heap.to.get().wrapping_sub(REGION);
        heap.old.set((region, start));
        heap.free.iter().for_each(|list| list.set(null_mut()));
    });
}

impl Heap {
    fn take(&self, class: usize, size: usize) -> *mut u8 {
        let block = self.free[class].get();
        if !block.is_null() {
            // SAFETY: a free block begins with a pointer that `give` has written.
            self.free[class].set(unsafe { block.cast::<*mut u8>().read() });
            return block;
        }
        if self.to.get() as usize - (self.from.get() as usize) < size && !self.grow() {
            return null_mut();
        }
        let block = self.from.get();
        self.from.set(block.wrapping_add(size));
        block
    }

    fn give(&self, block: *mut u8, class: usize, size: usize) {
        let (from, to) = self.old.get();
        if from <= block && block < to {
            return;
        }
        if self.is_last(block, size) {
            self.from.set(block);
            return;
        }
        // SAFETY: the block is ours again, aligned to 16 bytes and at least as large.
        unsafe { block.cast::<*mut u8>().write(self.free[class].get()) };
        self.free[class].set(block);
    }

    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block.wrapping_add(size) == self.from.get()
    }

    /// What is left of the old region is given up.
    #[cold]
    fn grow(&self) -> bool {
        let region = if FIRST_TAKEN.swap(true, Ordering::Relaxed) {
            // SAFETY: the layout is not empty.
            unsafe { System.alloc(Layout::from_size_align_unchecked(REGION, STEP)) }
        } else {
            FIRST.0.get().cast::<u8>()
        };
        if region.is_null() {
            return false;
        }
        self.from.set(region);
        self.to.set(region.wrapping_add(REGION));
        true
    }
}

/// The allocator.
#[derive(Debug)]
pub struct Blocks;

// SAFETY: a block is handed out once until it is given back, is as large and as aligned as its class says, and lies in memory
// that is never returned. Nothing here panics or allocates by itself.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some((class, size)) => HEAP.with(|heap| heap.take(class, size)),
            // SAFETY: the caller's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            Some((class, size)) => HEAP.with(|heap| heap.give(block, class, size)),
            // SAFETY: the caller's; it has come from there, for its layout is the same.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's: not too large for its alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class_of(layout), class_of(wanted)) {
            (Some((old, _)), Some((new, _))) if old == new => return block,
            (Some((_, old)), Some((_, new))) => {
                let grown = HEAP.with(|heap| {
                    let end = block.wrapping_add(new);
                    let fits = heap.is_last(block, old) && end <= heap.to.get();
                    if fits {
                        heap.from.set(end);
                    }
                    fits
                });
                if grown {
                    return block;
                }
            }
            // SAFETY: the caller's; both are the C library's.
            (None, None) => return unsafe { System.realloc(block, layout, size) },
            _ => {}
        }
        // SAFETY: the caller's; the new block is another one.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn classes_hold_their_sizes() {
        let mut last = None;
        for size in 0..=LARGEST {
            let (class, block) = class_of(layout(size)).unwrap();
            assert!(block >= size && block >= STEP && block.is_multiple_of(STEP) && class < CLASSES, "{size}");
            assert!(last.is_none_or(|(c, b)| (class == c && block == b) || (class == c + 1 && block > b)), "{size}");
            last = Some((class, block));
        }
        assert_eq!(class_of(layout(LARGEST + 1)), None);
        assert_eq!(class_of(Layout::from_size_align(8, 64).unwrap()), None);
    }

    /// Allocates, grows, shrinks and frees in an order of its own, with each block full of its number.
    fn shuffle(rounds: usize, seed: u64) {
        let mut random = seed;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::new();
        let holds = |block: *mut u8, size: usize, mark: u8| {
            // SAFETY: a live block of that size.
            unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|byte| *byte == mark)
        };
        for round in 0..rounds {
            let size = if next(8) == 0 { next(3 * LARGEST) + 1 } else { next(600) + 1 };
            // SAFETY: each block is used with the layout that it was allocated with, and until it is freed.
            unsafe {
                match next(3) {
                    0 if !blocks.is_empty() => {
                        let (block, size, mark) = blocks.swap_remove(next(blocks.len()));
                        assert!(holds(block, size, mark));
                        Blocks.dealloc(block, layout(size));
                    }
                    1 if !blocks.is_empty() => {
                        let at = next(blocks.len());
                        let (block, old, mark) = blocks[at];
                        let block = Blocks.realloc(block, layout(old), size);
                        assert!(holds(block, old.min(size), mark));
                        block.write_bytes(mark, size);
                        blocks[at] = (block, size, mark);
                    }
                    _ => {
                        let (block, mark) = (Blocks.alloc(layout(size)), round as u8);
                        assert_eq!(block.addr() % STEP, 0);
                        block.write_bytes(mark, size);
                        blocks.push((block, size, mark));
                    }
                }
            }
        }
        for (block, size, mark) in blocks {
            assert!(holds(block, size, mark));
            // SAFETY: as above.
            unsafe { Blocks.dealloc(block, layout(size)) };
        }
    }

    #[test]
    fn blocks_keep_what_is_in_them() {
        let run = |seed| {
            move || {
                shuffle(20_000, seed);
                part();
                shuffle(20_000, seed + 1);
            }
        };
        let threads: Vec<_> = [3, 77].map(|seed| std::thread::spawn(run(seed))).into();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn what_was_there_before_a_clone_is_left_alone() {
        let run = || {
            // SAFETY: allocated and freed with one layout.
            unsafe {
                let old = Blocks.alloc(layout(100));
                let kept = Blocks.alloc(layout(100));
                Blocks.dealloc(old, layout(100));
                part();
                kept.write_bytes(7, 100);
                Blocks.dealloc(kept, layout(100));
                assert_eq!(kept.read(), 7, "nothing is written to it");
                let new = Blocks.alloc(layout(100));
                assert!(new > kept && new.addr() / PAGE != kept.addr() / PAGE);
                Blocks.dealloc(new, layout(100));
                assert_eq!(Blocks.alloc(layout(100)), new, "what is new is used again");
            }
        };
        std::thread::spawn(run).join().unwrap();
    }
}
