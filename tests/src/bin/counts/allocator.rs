//! The system's allocator, counted.
#![allow(
    unsafe_code,
    reason = "an allocator can only be replaced by implementing an unsafe trait; each call is passed on as it is"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Calls and bytes of this thread. A constant that needs no destructor, so that it can be used at any time.
    static ASKED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Counts what is asked for; what is given back is not.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread so far, and their bytes. One that grows counts as one of what it grew by.
pub fn so_far() -> (u64, u64) {
    ASKED.get()
}

fn count(bytes: usize) {
    let (calls, all) = ASKED.get();
    ASKED.set((calls + 1, all.wrapping_add(bytes as u64)));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, and its answer comes back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the one that is asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
