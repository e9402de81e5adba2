//! A concurrent bump arena: memory that only grows, and dies with the memtable.
//!
//! Each thread takes from one of a few *stripes*, so that writers do not share a cache line. A stripe owns a current
//! chunk; chunks grow with the arena (a quarter of it, from 4 KiB to 2 MiB) but stay below a part of what it is expected to
//! hold, so that a small memtable does not overshoot its size by a chunk. What would not fit four times into a chunk, or
//! would leave more unused than an eighth of it, gets one of its own. What was handed out never moves.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use kodiak_core::memory::{self, Memory};
use parking_lot::Mutex;

const STRIPES: usize = 4;
const FIRST_CHUNK: usize = 4 << 10;
/// The largest chunk is this part of what the arena is expected to hold.
const CHUNKS_IN_CAPACITY: usize = 32;
const LARGEST_CHUNK: usize = memory::HUGE_PAGE;
const HEADER: usize = memory::ALIGN;

/// The start of a chunk; the room follows after [`HEADER`] bytes.
struct Chunk {
    used: AtomicUsize,
    capacity: usize,
}

impl Chunk {
    /// How many bytes are left.
    fn left(&self) -> usize {
        self.capacity - self.used.load(Ordering::Relaxed)
    }
}

struct Stripe {
    chunk: AtomicPtr<Chunk>,
    items: AtomicUsize,
}

/// A bump arena whose allocations are aligned to `ALIGN` bytes (a power of two, at most 64).
pub struct Arena<const ALIGN: usize> {
    stripes: [CachePadded<Stripe>; STRIPES],
    chunks: Mutex<Vec<Memory>>,
    memory: AtomicUsize,
    largest_chunk: usize,
    zeroed: bool,
}

impl<const ALIGN: usize> Arena<ALIGN> {
    /// An empty arena that holds no memory yet and expects to hold `capacity` bytes; `zeroed` says whether its memory starts
    /// as zeroes.
    pub fn new(zeroed: bool, capacity: usize) -> Self {
        const { assert!(ALIGN.is_power_of_two() && ALIGN <= memory::ALIGN) };
        let stripe = || {
            CachePadded::new(Stripe {
                chunk: AtomicPtr::new(ptr::null_mut()),
                items: AtomicUsize::new(0),
            })
        };
        Self {
            stripes: [stripe(), stripe(), stripe(), stripe()],
            chunks: Mutex::new(Vec::new()),
            memory: AtomicUsize::new(0),
            largest_chunk: (capacity / CHUNKS_IN_CAPACITY).clamp(FIRST_CHUNK, LARGEST_CHUNK) / FIRST_CHUNK
                * FIRST_CHUNK,
            zeroed,
        }
    }

    /// `size` bytes that live as long as the arena. The caller checks that `size` is below `isize::MAX / 2`.
    #[inline]
    pub fn alloc(&self, size: usize) -> NonNull<u8> {
        let size = size.next_multiple_of(ALIGN);
        let stripe = &self.stripes[stripe_of_thread()];
        let chunk = stripe.chunk.load(Ordering::Acquire);
        // SAFETY: a stripe's chunk is null or lives until the arena is dropped.
        match unsafe { take(chunk, size) } {
            Some(place) => place,
            None => self.alloc_in_new_chunk(stripe, size),
        }
    }

    /// Counts one item as present; see [`items`](Self::items).
    #[inline]
    pub fn add_item(&self) {
        self.stripes[stripe_of_thread()].items.fetch_add(1, Ordering::Release);
    }

    /// How often [`add_item`](Self::add_item) was called.
    pub fn items(&self) -> usize {
        self.stripes
            .iter()
            .map(|stripe| stripe.items.load(Ordering::Acquire))
            .sum()
    }

    /// Bytes taken from the allocator and the system.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    #[cold]
    fn alloc_in_new_chunk(&self, stripe: &Stripe, size: usize) -> NonNull<u8> {
        let mut chunks = self.chunks.lock();
        let current = stripe.chunk.load(Ordering::Acquire);
        // SAFETY: as in `alloc`. Another thread of this stripe may have brought a new chunk in the meantime.
        if let Some(place) = unsafe { take(current, size) } {
            return place;
        }
        // SAFETY: as in `alloc`.
        let left = unsafe { current.as_ref() }.map_or(0, Chunk::left);
        let usual = (self.memory() / 4).clamp(FIRST_CHUNK, self.largest_chunk) / FIRST_CHUNK * FIRST_CHUNK;
        // Of the new chunk: an eighth of a small one that is current could be too much to give up for ever.
        let alone = size > usual / 4 || left > usual / 8;
        let room = if alone { size } else { usual - HEADER };
        let memory = Memory::new(HEADER + room, self.zeroed);
        let chunk = memory.start().cast::<Chunk>();
        // SAFETY: the allocation is new, large enough and aligned; nobody else knows it yet.
        unsafe {
            chunk.write(Chunk {
                used: AtomicUsize::new(size),
                capacity: memory.size() - HEADER,
            })
        };
        if !alone {
            stripe.chunk.store(chunk.as_ptr(), Ordering::Release);
        }
        let listed = chunks.capacity();
        let size = memory.size();
        chunks.push(memory);
        let list_growth = (chunks.capacity() - listed) * size_of::<Memory>();
        self.memory.fetch_add(size + list_growth, Ordering::Relaxed);
        // SAFETY: the room starts HEADER bytes into the allocation.
        unsafe { chunk.cast::<u8>().add(HEADER) }
    }
}

/// Takes `size` bytes from `chunk` if it is there and has them.
///
/// # Safety
/// `chunk` is null or points to a live chunk.
#[inline]
unsafe fn take(chunk: *mut Chunk, size: usize) -> Option<NonNull<u8>> {
    let base = NonNull::new(chunk)?;
    // SAFETY: the caller vouches for the chunk; only its header is borrowed.
    let header = unsafe { base.as_ref() };
    let mut used = header.used.load(Ordering::Relaxed);
    loop {
        if size > header.capacity - used {
            return None;
        }
        // Relaxed will do: the place is told to others only by structures that publish it themselves.
        match header
            .used
            .compare_exchange_weak(used, used + size, Ordering::Relaxed, Ordering::Relaxed)
        {
            // SAFETY: `used + size` is within the room that follows the header.
            Ok(_) => return Some(unsafe { base.cast::<u8>().add(HEADER + used) }),
            Err(now) => used = now,
        }
    }
}

impl<const ALIGN: usize> fmt::Debug for Arena<ALIGN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("items", &self.items())
            .field("memory", &self.memory())
            .finish()
    }
}

/// The stripe of the calling thread; threads are dealt out in turn.
#[inline]
fn stripe_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        stripe.get() % STRIPES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_aligned_and_do_not_overlap() {
        let arena = Arena::<8>::new(false, 8 << 20);
        let mut places: Vec<_> = (1..3000)
            .map(|size| size * 7 % 5000 + 1)
            .map(|size| (arena.alloc(size).as_ptr() as usize, size))
            .collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            assert!(pair[0].0 % 8 == 0 && pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
        let sum: usize = places.iter().map(|place| place.1).sum();
        assert!(
            arena.memory() >= sum && arena.memory() < sum * 9 / 8,
            "{} for {sum}",
            arena.memory()
        );
    }

    #[test]
    fn chunks_are_a_part_of_the_expected_size() {
        for capacity in [0, 64 << 10, 1 << 20, 64 << 20] {
            let arena = Arena::<8>::new(false, capacity);
            let (mut asked, mut memory, mut most) = (0, 0, 0);
            while asked < capacity {
                arena.alloc(128);
                asked += 128;
                most = most.max(arena.memory() - memory);
                memory = arena.memory();
            }
            // The list of chunks grows as well.
            let limit = (capacity / CHUNKS_IN_CAPACITY).max(FIRST_CHUNK) + (1 << 10);
            assert!(most <= limit, "{most} bytes at once for {capacity}");
            assert!(memory <= asked * 17 / 16 + limit, "{memory} bytes for {asked}");
        }
    }

    #[test]
    fn entries_of_any_size_share_chunks() {
        for size in (8..3000).step_by(8) {
            let arena = Arena::<8>::new(false, 64 << 20);
            let mut asked = 0;
            while asked < 4 << 20 {
                arena.alloc(size);
                asked += size;
            }
            let chunks = arena.chunks.lock().len();
            assert!(chunks < 100, "{chunks} chunks for entries of {size} bytes");
            assert!(arena.memory() < asked * 3 / 2, "{} for {asked}", arena.memory());
        }
    }

    #[test]
    fn large_allocations_leave_the_current_chunk_in_use() {
        let arena = Arena::<8>::new(true, 8 << 20);
        let first = arena.alloc(8).as_ptr() as usize;
        let large = arena.alloc(10 << 20);
        // SAFETY: just allocated with that size, zeroed.
        assert_eq!(unsafe { large.add((10 << 20) - 1).read() }, 0);
        assert_eq!(arena.alloc(8).as_ptr() as usize, first + 8);
    }

    #[test]
    fn threads_get_places_of_their_own() {
        let arena = Arena::<8>::new(true, 8 << 20);
        std::thread::scope(|scope| {
            for thread in 1..=6_u64 {
                let arena = &arena;
                scope.spawn(move || {
                    let places: Vec<_> = (0..2000).map(|_| arena.alloc(16).cast::<u64>()).collect();
                    for place in &places {
                        // SAFETY: allocated by this thread; overlap with another thread's is what the test looks for.
                        unsafe { place.write(thread) };
                        arena.add_item();
                    }
                    // SAFETY: as above.
                    assert!(places.iter().all(|place| unsafe { place.read() } == thread));
                });
            }
        });
        assert_eq!(arena.items(), 12_000);
    }
}
