//! Copies of what is read often, side by side in large pieces of memory.
//!
//! A piece in the pool lies wherever the allocator put it, each in pages of its own: then a read of any one of thousands waits
//! for the page's address as well as for its bytes. So what a view has been asked for often is copied to chunks, for which the
//! system is asked to use huge pages. A chunk goes with the last copy in it.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use kodiak_core::memory::{HUGE_PAGE, Memory};
use parking_lot::Mutex;

use super::BufferPool;

/// The first chunk of a shelf; each later one is as large as all before it, up to a part of the pool, and to a huge page of the usual
/// processors.
const SMALLEST: usize = 16 << 10;
const CHUNKS_IN_POOL: usize = 32;
/// What chunks and copies are aligned to: a cache line.
const ALIGN: usize = 64;

/// Takes copies, which live as long as anybody holds them.
pub(crate) struct Shelf {
    pool: Arc<BufferPool>,
    filling: Mutex<Filling>,
}

/// The chunk that is being filled.
#[derive(Default)]
struct Filling {
    chunk: Option<Arc<Chunk>>,
    used: usize,
    /// Bytes of all chunks.
    made: usize,
}

/// Memory that is written once, piece by piece, each under the lock of [`Filling`] before a [`Copied`] of it exists.
struct Chunk {
    memory: Memory,
    pool: Arc<BufferPool>,
}

/// A copy of some bytes.
pub(crate) struct Copied {
    start: NonNull<u8>,
    len: u32,
    /// Keeps the memory.
    _chunk: Arc<Chunk>,
}

// SAFETY: it reads bytes that nobody writes any more, and that its chunk keeps.
unsafe impl Send for Copied {}
// SAFETY: as above.
unsafe impl Sync for Copied {}

impl Shelf {
    /// Whose chunks count as memory of `pool`.
    pub(crate) fn new(pool: &Arc<BufferPool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            filling: Mutex::default(),
        }
    }

    /// Copies `parts`, one after the other; `None` if they have 4 GiB or more, or if they take a new chunk and `room`, which is asked
    /// with its size, refuses that.
    pub(crate) fn copy(&self, parts: &[&[u8]], room: impl FnOnce(usize) -> bool) -> Option<Copied> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let count = u32::try_from(len).ok()?;
        let size = len.next_multiple_of(ALIGN);
        let mut filling = self.filling.lock();
        let chunk = match &filling.chunk {
            Some(chunk) if chunk.memory.size() - filling.used >= size => Arc::clone(chunk),
            _ => {
                let largest = (self.pool.budget_bytes() / CHUNKS_IN_POOL).clamp(SMALLEST, HUGE_PAGE);
                let bytes = Memory::size_for(filling.made.clamp(SMALLEST, largest).max(size));
                if !room(bytes) {
                    return None;
                }
                let chunk = Arc::new(Chunk::new(bytes, &self.pool));
                filling.chunk = Some(Arc::clone(&chunk));
                (filling.used, filling.made) = (0, filling.made + bytes);
                chunk
            }
        };
        // SAFETY: `used + size` is within the chunk, and nobody else has been given this part of it.
        let start = unsafe { chunk.memory.start().add(filling.used) };
        let mut at = start;
        for part in parts {
            // SAFETY: the parts have `len` bytes together, and the lock is held.
            unsafe {
                at.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
                at = at.add(part.len());
            }
        }
        filling.used += size;
        Some(Copied {
            start,
            len: count,
            _chunk: chunk,
        })
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filling = self.filling.lock();
        f.debug_struct("Shelf")
            .field("made", &filling.made)
            .field("used", &filling.used)
            .finish_non_exhaustive()
    }
}

impl Chunk {
    fn new(bytes: usize, pool: &Arc<BufferPool>) -> Self {
        let memory = Memory::new(bytes, false);
        pool.copied(0, memory.size());
        Self {
            memory,
            pool: Arc::clone(pool),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.copied(self.memory.size(), 0);
    }
}

impl Deref for Copied {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: these bytes were written before this was made, and the chunk keeps them.
        unsafe { NonNull::slice_from_raw_parts(self.start, self.len as usize).as_ref() }
    }
}

impl fmt::Debug for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Copied").field(&self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use kodiak_core::index::IndexPool;

    use super::*;

    #[test]
    fn copies_hold_what_was_copied_and_their_chunks() {
        let pool = BufferPool::new(64 << 20);
        let shelf = Shelf::new(&pool);
        let piece = |n: usize| vec![n as u8; n * 37 % 9000];
        let copies: Vec<Copied> = (0..1000)
            .map(|n| shelf.copy(&[&piece(n), b"end"], |_| true).expect("there is room"))
            .collect();
        let bytes: usize = copies.iter().map(|copy| copy.len()).sum();
        let used = pool.used();
        assert!(
            used >= bytes && used < bytes + bytes / 8 + HUGE_PAGE,
            "{used} for {bytes}"
        );
        for (n, copy) in copies.iter().enumerate() {
            assert_eq!(**copy, [&*piece(n), b"end"].concat(), "{n}");
            assert_eq!(copy.as_ptr() as usize % ALIGN, 0, "{n}");
        }
        let mut copies = copies;
        drop(shelf);
        let last = copies.pop().expect("there are copies");
        drop(copies);
        assert!(pool.used() <= HUGE_PAGE, "one chunk is left");
        assert_eq!(last.last(), Some(&b'd'));
        drop(last);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn without_room_for_another_chunk_nothing_is_copied() {
        let pool = BufferPool::new(1 << 20);
        let shelf = Shelf::new(&pool);
        assert!(shelf.copy(&[&[1; 100]], |bytes| bytes < SMALLEST).is_none());
        assert_eq!(pool.used(), 0);
        let first = shelf
            .copy(&[&[1; 100]], |bytes| bytes == SMALLEST)
            .expect("there is room");
        let second = shelf
            .copy(&[&[2; SMALLEST - 128]], |_| false)
            .expect("there is no need of another chunk");
        assert!(shelf.copy(&[&[3]], |_| false).is_none());
        assert!(first.iter().all(|&byte| byte == 1) && second.iter().all(|&byte| byte == 2));
    }

    #[test]
    fn threads_copy_and_read_at_once() {
        let pool = BufferPool::new(64 << 20);
        let shelf = Shelf::new(&pool);
        std::thread::scope(|scope| {
            for thread in 1..=4u8 {
                let shelf = &shelf;
                scope.spawn(move || {
                    let copies: Vec<Copied> = (0..200)
                        .map(|n| shelf.copy(&[&vec![thread; 500 + n]], |_| true).expect("there is room"))
                        .collect();
                    assert!(copies.iter().all(|copy| copy.iter().all(|&byte| byte == thread)));
                });
            }
        });
    }
}
