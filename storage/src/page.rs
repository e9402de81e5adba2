//! Page-aligned memory that can be shared: written by racing threads, or frozen into an Arrow buffer.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};

use crate::copy;

/// The alignment of what stands in for a mapping.
pub(crate) const PAGE: usize = 4096;

/// Zeroed memory, aligned to a page. Its bytes are only accessed through `copy`, or, once it is [frozen](Self::freeze), read.
#[derive(Debug)]
pub(crate) struct PageBuf {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its memory, which is plain bytes, and all shared access goes through `copy`, which allows races.
unsafe impl Send for PageBuf {}
// SAFETY: as above.
unsafe impl Sync for PageBuf {}

impl PageBuf {
    /// `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                len,
            });
        }
        let layout = Layout::from_size_align(len, PAGE).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies `bytes` to `offset`. Racing calls on one range leave a mixture.
    ///
    /// # Panics
    /// If the range is not inside.
    #[inline]
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            offset <= self.len && bytes.len() <= self.len - offset,
            "a write beyond the end of the memory"
        );
        // SAFETY: the range is inside, and the type hands out no reference to its bytes before `freeze`, which consumes it.
        unsafe { copy::store(self.start.as_ptr().add(offset), bytes) }
    }

    /// Copies from `offset` into `out`; returns how many bytes there were.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let Some(offset) = usize::try_from(offset).ok().filter(|&offset| offset < self.len) else {
            return 0;
        };
        let count = out.len().min(self.len - offset);
        // SAFETY: the range is inside, as in `write`.
        unsafe { copy::load(self.start.as_ptr().add(offset), &mut out[..count]) };
        count
    }

    /// The same memory as an immutable buffer of its first `len` bytes.
    pub(crate) fn freeze(self, len: usize) -> Buffer {
        assert!(len <= self.len, "a buffer cannot be longer than its memory");
        if len == 0 {
            return empty();
        }
        let start = self.start;
        // SAFETY: `start` is valid for `len` bytes for as long as the owner lives; the owner is moved into the buffer, so
        // that nobody can write to it any more.
        unsafe { Buffer::from_custom_allocation(start, len, Arc::new(self)) }
    }
}

impl Drop for PageBuf {
    fn drop(&mut self) {
        if self.len > 0 {
            let layout = Layout::from_size_align(self.len, PAGE).expect("it was allocated with this layout");
            // SAFETY: allocated by `zeroed` with the same layout, and freed once.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

/// A buffer without bytes.
pub(crate) fn empty() -> Buffer {
    MutableBuffer::new(0).into()
}

/// An owned, 64-byte-aligned copy of `bytes`.
pub(crate) fn aligned_copy(bytes: &[u8]) -> Buffer {
    let mut copy = MutableBuffer::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy.into()
}
