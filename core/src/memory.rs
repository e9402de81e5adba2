//! Large pieces of memory, straight from the system.
//!
//! An allocator that keeps what it was given back has it in pieces, between what lives longer. glibc's keeps anything up to 32 MiB once a
//! piece of that size was freed, and memtables that came and went then took half as much memory again as they held. So what comes
//! and goes in large pieces is mapped, and is the system's again when it goes.

#![allow(unsafe_code)]

mod pieces;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use pieces::Pieces;

/// A huge page of the usual processors, bytes. A [`Memory`] of this size is aligned to it, and the system is asked for huge pages.
pub const HUGE_PAGE: usize = 2 << 20;
/// From this size on memory is mapped: where allocators begin to do so as well.
const LARGE: usize = 128 << 10;
/// What all memory is aligned to, bytes: a cache line.
pub const ALIGN: usize = 64;

static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of all [`Memory`] of this process that the system gave, not the allocator.
pub fn mapped_bytes() -> usize {
    MAPPED.load(Ordering::Relaxed)
}

/// A piece of memory that nobody else has, aligned to [`ALIGN`] bytes. It does not move when this does.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    size: usize,
    mapped: bool,
}

// SAFETY: it owns its memory, and gives no access to it but a pointer, whose use is up to who asks for it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// The bytes that a piece of at least `size` takes: whole pages, if it is large.
    pub fn size_for(size: usize) -> usize {
        let unit = if size >= LARGE { page_size() } else { ALIGN };
        size.max(1).next_multiple_of(unit)
    }

    /// At least `size` bytes, which is below `isize::MAX / 2`; all zero if `zeroed`, else anything. Ends the process as
    /// allocations do if there is no memory.
    pub fn new(size: usize, zeroed: bool) -> Self {
        let size = Self::size_for(size);
        // What the system maps is zero.
        Self::map(size).unwrap_or_else(|| Self::allocate(size, zeroed))
    }

    /// The first byte. All are there until `self` is dropped.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    fn allocate(size: usize, zeroed: bool) -> Self {
        let layout = layout(size);
        // SAFETY: the layout is not of size zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        if zeroed {
            // SAFETY: within the new allocation.
            unsafe { start.write_bytes(0, size) };
        }
        Self {
            start,
            size,
            mapped: false,
        }
    }

    /// `None` if `size` is small, or where the system cannot.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn map(size: usize) -> Option<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
        if size < LARGE {
            return None;
        }
        let slack = if size == HUGE_PAGE { HUGE_PAGE } else { 0 };
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the system chooses a place where nothing is.
        let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), size + slack, access, flags) };
        let mapped = NonNull::new(mapped.ok()?.cast::<u8>())?;
        let before = mapped.align_offset(HUGE_PAGE).min(slack);
        // SAFETY: all three parts are of the mapping just made, which nobody knows yet; the advice does not change what is there. What
        // cannot be given back takes no memory, and the advice is a hint.
        let start = unsafe {
            let start = mapped.add(before);
            if before > 0 {
                let _ = munmap(mapped.as_ptr().cast(), before);
            }
            if before < slack {
                let _ = munmap(start.add(size).as_ptr().cast(), slack - before);
            }
            if slack > 0 {
                let _ = madvise(start.as_ptr().cast(), size, Advice::LinuxHugepage);
            }
            start
        };
        MAPPED.fetch_add(size, Ordering::Relaxed);
        Some(Self {
            start,
            size,
            mapped: true,
        })
    }

    #[cfg(not(all(target_os = "linux", not(miri))))]
    fn map(_: usize) -> Option<Self> {
        None
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    fn unmap(&self) {
        // SAFETY: a mapping of this size, which nobody else has. To give it back whole cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.size) };
        MAPPED.fetch_sub(self.size, Ordering::Relaxed);
    }

    #[cfg(not(all(target_os = "linux", not(miri))))]
    fn unmap(&self) {}
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.mapped {
            self.unmap();
        } else {
            // SAFETY: allocated with this layout; `&mut self` says that nobody borrows from it.
            unsafe { dealloc(self.start.as_ptr(), layout(self.size)) };
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("sizes are below isize::MAX / 2")
}

#[cfg(all(target_os = "linux", not(miri)))]
fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn page_size() -> usize {
    4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_all_sizes_are_aligned_zeroed_and_written_to_their_ends() {
        for size in [
            0,
            1,
            64,
            4096,
            LARGE - 1,
            LARGE,
            LARGE + 1,
            HUGE_PAGE,
            HUGE_PAGE + 1,
            5 << 20,
        ] {
            for zeroed in [false, true] {
                let pieces: Vec<_> = (0..3).map(|_| Memory::new(size, zeroed)).collect();
                for (n, piece) in pieces.iter().enumerate() {
                    let align = if size == HUGE_PAGE { HUGE_PAGE } else { ALIGN };
                    assert!(cfg!(miri) || piece.start().addr().get().is_multiple_of(align), "{size}");
                    assert!(piece.size() >= size.max(1) && piece.size() == Memory::size_for(size));
                    // SAFETY: within the piece; what is read was written by the system or just before.
                    unsafe {
                        if zeroed {
                            let bytes = NonNull::slice_from_raw_parts(piece.start(), piece.size());
                            assert!(bytes.as_ref().iter().all(|&byte| byte == 0), "{size}");
                        }
                        piece.start().write_bytes(n as u8 + 1, piece.size());
                    }
                }
                for (n, piece) in pieces.iter().enumerate() {
                    // SAFETY: written above.
                    let bytes = unsafe {
                        NonNull::slice_from_raw_parts(piece.start(), piece.size())
                            .as_ref()
                            .to_vec()
                    };
                    assert!(
                        bytes.iter().all(|&byte| byte == n as u8 + 1),
                        "{size}: another piece was written to"
                    );
                }
            }
        }
    }
}
