//! How entries lie in an arena, and how they compare.
//!
//! An entry is one contiguous piece: sequence number (8 bytes), flags (operation in bits 0-1, "long" in bit 2), then
//! for a key below 256 bytes and a value below 64 KiB their lengths in 1 + 2 bytes, else 3 unused bytes and both lengths in
//! 4 + 4 bytes; then the key, then the value. Native byte order: it never leaves the process.

#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::ptr::NonNull;

use kodiak_core::Result;
use kodiak_core::entry::{EntryRef, Op, SeqNo, compare, prefix_of};
use kodiak_core::memtable::{Version, entry_too_large};

use crate::arena::Arena;

const SHORT_HEADER: usize = 12;
const LONG_HEADER: usize = 20;
const LONG: u8 = 4;
/// Keys and values above this are refused.
pub const LIMIT: usize = if usize::BITS > 32 { u32::MAX as usize } else { 1 << 29 };

/// The arena of entries: 4-byte alignment keeps the loss small.
pub type EntryArena = Arena<4>;

/// An entry in an arena. It is a bare pointer: whoever holds one keeps the arena alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Stored(NonNull<u8>);

// SAFETY: an entry is never written again once a `Stored` to it exists.
unsafe impl Send for Stored {}
// SAFETY: as above.
unsafe impl Sync for Stored {}

impl Stored {
    /// Bytes that [`write`](Self::write) needs for `entry`.
    ///
    /// # Errors
    /// `InvalidInput` if key or value is above [`LIMIT`].
    #[inline]
    pub fn size(entry: &EntryRef<'_>) -> Result<usize> {
        let (key, value) = (entry.key.len(), entry.value.len());
        if key.max(value) > LIMIT {
            return Err(entry_too_large(key.max(value), LIMIT));
        }
        Ok(if is_short(key, value) {
            SHORT_HEADER
        } else {
            LONG_HEADER
        } + key
            + value)
    }

    /// Copies `entry` into `arena`.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    #[inline]
    pub fn new_in(arena: &EntryArena, entry: &EntryRef<'_>) -> Result<Self> {
        let place = arena.alloc(Self::size(entry)?);
        // SAFETY: new and of the size asked for.
        Ok(unsafe { Self::write(place, entry) })
    }

    /// Writes `entry` at `place`.
    ///
    /// # Safety
    /// `place` has [`size`](Self::size) bytes that nobody else reads or writes.
    #[inline]
    pub unsafe fn write(place: NonNull<u8>, entry: &EntryRef<'_>) -> Self {
        let (key, value) = (entry.key.len(), entry.value.len());
        // SAFETY: all writes are within `size(entry)` bytes, which the caller provides.
        unsafe {
            place.cast::<u64>().write_unaligned(entry.seq);
            let body = if is_short(key, value) {
                place.add(8).write(entry.op as u8);
                place.add(9).write(key as u8);
                place.add(10).cast::<u16>().write_unaligned(value as u16);
                place.add(SHORT_HEADER)
            } else {
                place.add(8).write(entry.op as u8 | LONG);
                place.add(12).cast::<u32>().write_unaligned(key as u32);
                place.add(16).cast::<u32>().write_unaligned(value as u32);
                place.add(LONG_HEADER)
            };
            body.as_ptr().copy_from_nonoverlapping(entry.key.as_ptr(), key);
            body.as_ptr()
                .add(key)
                .copy_from_nonoverlapping(entry.value.as_ptr(), value);
        }
        Self(place)
    }

    /// The pointer, to be kept in an atomic.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// The entry at a pointer that [`as_ptr`](Self::as_ptr) gave.
    ///
    /// # Safety
    /// `pointer` came from `as_ptr` and the arena lives.
    #[inline]
    pub unsafe fn from_ptr(pointer: *mut u8) -> Self {
        debug_assert!(!pointer.is_null());
        // SAFETY: `as_ptr` never gives null.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    /// Starts loading the entry: its header, its key and the start of its value.
    #[inline(always)]
    pub fn prefetch(self) {
        kodiak_core::prefetch::prefetch(self.0.as_ptr());
        kodiak_core::prefetch::prefetch(self.0.as_ptr().wrapping_add(64));
    }

    /// The entry.
    ///
    /// # Safety
    /// The arena outlives `'a`.
    #[inline]
    pub unsafe fn entry<'a>(self) -> EntryRef<'a> {
        // SAFETY: the layout is what `write` wrote; the bytes never change; the caller vouches for the lifetime.
        unsafe {
            let seq = self.0.cast::<u64>().read_unaligned();
            let flags = self.0.add(8).read();
            let (key, value, body) = self.lengths(flags);
            EntryRef {
                key: std::slice::from_raw_parts(body.as_ptr(), key),
                seq,
                op: op_of(flags),
                value: std::slice::from_raw_parts(body.as_ptr().add(key), value),
            }
        }
    }

    /// Key and sequence number, the part that is compared.
    ///
    /// # Safety
    /// As for [`entry`](Self::entry).
    #[inline]
    pub unsafe fn key_seq<'a>(self) -> (&'a [u8], SeqNo) {
        // SAFETY: as in `entry`.
        unsafe {
            let (key, _, body) = self.lengths(self.0.add(8).read());
            (
                std::slice::from_raw_parts(body.as_ptr(), key),
                self.0.cast::<u64>().read_unaligned(),
            )
        }
    }

    /// As [`Version`].
    ///
    /// # Safety
    /// As for [`entry`](Self::entry).
    #[inline]
    pub unsafe fn version<'a>(self) -> Version<'a> {
        // SAFETY: passed on to the caller.
        let EntryRef { seq, op, value, .. } = unsafe { self.entry() };
        Version { seq, op, value }
    }

    /// Lengths of key and value, and where they start.
    #[inline]
    unsafe fn lengths(self, flags: u8) -> (usize, usize, NonNull<u8>) {
        // SAFETY: the layout is what `write` wrote.
        unsafe {
            if flags & LONG == 0 {
                let value = self.0.add(10).cast::<u16>().read_unaligned();
                (
                    usize::from(self.0.add(9).read()),
                    usize::from(value),
                    self.0.add(SHORT_HEADER),
                )
            } else {
                let key = self.0.add(12).cast::<u32>().read_unaligned();
                let value = self.0.add(16).cast::<u32>().read_unaligned();
                (key as usize, value as usize, self.0.add(LONG_HEADER))
            }
        }
    }
}

#[inline]
fn is_short(key: usize, value: usize) -> bool {
    key <= usize::from(u8::MAX) && value <= usize::from(u16::MAX)
}

#[inline]
fn op_of(flags: u8) -> Op {
    Op::ALL[usize::from(flags & 3)]
}

/// What a search looks for: a place in the order of entries.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// The first eight bytes of the key.
    pub prefix: u64,
    /// The key.
    pub key: &'a [u8],
    /// The sequence number.
    pub seq: SeqNo,
}

impl<'a> Probe<'a> {
    /// The place of `(key, seq)`.
    #[inline]
    pub fn new(key: &'a [u8], seq: SeqNo) -> Self {
        Self {
            prefix: prefix_of(key),
            key,
            seq,
        }
    }
}

/// A stored entry with the prefix of its key beside the pointer, so that most comparisons stay out of the arena.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// The first eight bytes of the key.
    pub prefix: u64,
    /// The entry.
    pub stored: Stored,
}

impl Slot {
    /// How this entry compares with `probe`.
    ///
    /// # Safety
    /// The arena of the entry lives.
    #[inline]
    pub unsafe fn compare(&self, probe: &Probe<'_>) -> Ordering {
        self.prefix.cmp(&probe.prefix).then_with(|| {
            // SAFETY: the caller's promise.
            compare(unsafe { self.stored.key_seq() }, (probe.key, probe.seq))
        })
    }

    /// How two entries compare.
    ///
    /// # Safety
    /// The arenas of both live.
    #[inline]
    pub unsafe fn compare_slot(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| {
            // SAFETY: the caller's promise.
            unsafe { compare(self.stored.key_seq(), other.stored.key_seq()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_as_they_were_written() {
        let arena = EntryArena::new(false, 1 << 20);
        for (key, value) in [(0, 0), (1, 0), (255, 65535), (256, 0), (3, 65536), (1 << 20, 10 << 20)] {
            let (key, value) = (vec![7; key], vec![9; value]);
            for (op, seq) in Op::ALL.into_iter().zip([0, 1, u64::MAX, i64::MAX as u64]) {
                let entry = EntryRef {
                    key: &key,
                    seq,
                    op,
                    value: &value,
                };
                let stored = Stored::new_in(&arena, &entry).expect("within the limit");
                // SAFETY: the arena lives until the end of the test.
                assert!(unsafe { stored.entry() == entry && stored.key_seq() == (entry.key, seq) });
            }
        }
    }
}
