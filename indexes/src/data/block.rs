//! Blocks: sorted entries in one piece of memory, which is what is written to the file.
//!
//! ```text
//! count u32 | heap length u32 | prefix length u32 | prefix | heap | count x u32: where in the heap each entry starts
//! ```
//!
//! An entry is `varint(4 * length of suffix + kind) | varint(length of value) | suffix | value`; its key is the prefix and
//! the suffix. Everything is in key order, so that a stretch of entries is copied into another block at once.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::OnceLock;

use kodiak_core::varint::Reader;
use kodiak_core::{Error, Result, Slice};

use super::guide::{self, Guide, Marks, STRIDE};
use crate::store::piece::HEADER;

/// What an entry says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// It has this value.
    Put = 0,
    /// It is to be deleted.
    Delete = 1,
    /// These operands are to be applied, oldest first, each with its length before it.
    Upserts = 2,
}

/// Bytes before the prefix.
pub(crate) const FIXED: usize = 12;

/// The first eight bytes, for comparing without following a reference.
#[inline]
pub(crate) fn head(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

/// `left < right`, quickly where the first eight bytes tell.
#[inline]
pub(super) fn before(left: &[u8], right: &[u8]) -> bool {
    if let (Some(one), Some(two)) = (left.first_chunk::<8>(), right.first_chunk::<8>())
        && one != two
    {
        return u64::from_be_bytes(*one) < u64::from_be_bytes(*two);
    }
    left < right
}

/// How many bytes two keys have in common at their start.
pub(crate) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// Sorted entries. Their places are checked when they are read from a file, so that nothing here can go wrong.
#[derive(Debug)]
pub(crate) struct Block {
    /// Room for a header, then the body.
    pub(super) bytes: Slice,
    /// The memory behind `bytes`.
    pub(super) capacity: usize,
    pub(super) count: usize,
    pub(super) prefix: Range<usize>,
    pub(super) heap: Range<usize>,
    pub(super) guide: OnceLock<Guide>,
}

/// An entry; its key is without the block's prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub tag: Tag,
    pub suffix: &'a [u8],
    pub value: &'a [u8],
}

impl Block {
    pub(crate) fn empty() -> Self {
        super::builder::Builder::new(b"", 0).finish()
    }

    /// Reads a block from the start of a body that has room for a header before it; also returns where it ends.
    ///
    /// # Errors
    /// `Corruption` if it is malformed.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<(Self, usize)> {
        let mut reader = Reader::new(bytes.get(HEADER..).unwrap_or_default());
        let (count, heap, prefix) = (
            reader.u32_le()? as usize,
            reader.u32_le()? as usize,
            reader.u32_le()? as usize,
        );
        reader.take(prefix)?;
        reader.take(heap)?;
        let slots = reader.take(count.saturating_mul(4))?;
        let end = HEADER + reader.position();
        let start = HEADER + FIXED;
        let (prefix, heap) = (start..start + prefix, start + prefix..start + prefix + heap);
        check_entries(&bytes[heap.clone()], slots)?;
        let block = Self {
            capacity: bytes.capacity(),
            bytes: bytes.into(),
            count,
            prefix,
            heap,
            guide: OnceLock::new(),
        };
        Ok((block, end))
    }

    /// The number of entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the body.
    pub(crate) fn body_len(&self) -> usize {
        self.heap.end + self.count * 4 - HEADER
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.capacity + Guide::memory(self.count) + size_of::<Self>()
    }

    /// The whole piece: room for a header, then the body, then whatever the reader of the piece has left.
    pub(crate) fn piece(&self) -> &[u8] {
        &self.bytes
    }

    /// Works on the whole [piece](Self::piece), of which the body must stay what it is. No byte is copied unless somebody else reads
    /// it at the moment.
    pub(crate) fn with_piece<T>(&mut self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let bytes = std::mem::replace(&mut self.bytes, Vec::new().into());
        let mut bytes = bytes.into_buffer().into_vec().unwrap_or_else(|shared| shared.to_vec());
        let result = work(&mut bytes);
        self.capacity = bytes.capacity();
        self.bytes = bytes.into();
        result
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.bytes[self.prefix.clone()]
    }

    #[inline]
    pub(super) fn slot(&self, index: usize) -> usize {
        let at = self.heap.end + index * 4;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(bytes) as usize
    }

    /// Where entry `index` starts in the heap, or where the last one ends.
    #[inline]
    pub(super) fn start(&self, index: usize) -> usize {
        if index < self.count {
            self.slot(index)
        } else {
            self.heap.len()
        }
    }

    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry<'_> {
        decode(&self.bytes[self.heap.start + self.slot(index)..self.heap.end])
    }

    #[inline]
    pub(crate) fn value(&self, index: usize) -> &[u8] {
        self.entry(index).value
    }

    /// Writes the key of an entry to `out`.
    pub(crate) fn key_into(&self, index: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.prefix());
        out.extend_from_slice(self.entry(index).suffix);
    }

    pub(crate) fn key(&self, index: usize) -> Vec<u8> {
        let mut key = Vec::new();
        self.key_into(index, &mut key);
        key
    }

    pub(crate) fn key_is(&self, index: usize, key: &[u8]) -> bool {
        key.strip_prefix(self.prefix()) == Some(self.entry(index).suffix)
    }

    /// `key` without the prefix, or which side of all entries it is on.
    #[inline]
    fn suffix_of<'a>(&self, key: &'a [u8]) -> Result<&'a [u8], Ordering> {
        let prefix = self.prefix();
        match key.strip_prefix(prefix) {
            Some(suffix) => Ok(suffix),
            None => Err(key.cmp(prefix)),
        }
    }

    #[inline]
    fn marks(&self) -> Marks<'_> {
        self.guide.get_or_init(|| Guide::new(self)).marks()
    }

    /// The entry of `key`, if it is there.
    pub(crate) fn find_entry(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.marks().find(self.prefix(), &self.bytes[self.heap.clone()], key)
    }

    /// The number of entries before `key`.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        let suffix = match self.suffix_of(key) {
            Ok(suffix) => suffix,
            Err(Ordering::Less) => return 0,
            Err(_) => return self.count,
        };
        let (marks, wanted) = (self.marks(), guide::head(suffix));
        let low = marks.before(wanted);
        let high = marks.up_to(low, wanted);
        self.search(
            (low.saturating_sub(1) * STRIDE)..(high * STRIDE).min(self.count),
            suffix,
        )
    }

    /// The number of entries before `key`, none of which is at or after `from`'s end: `range` is known to hold the answer.
    pub(crate) fn lower_bound_in(&self, range: Range<usize>, key: &[u8]) -> usize {
        match self.suffix_of(key) {
            Ok(suffix) => self.search(range, suffix),
            Err(Ordering::Less) => range.start,
            Err(_) => range.end,
        }
    }

    /// As [`lower_bound`](Self::lower_bound), for a key that is not before entry `from`; quick if it is near.
    pub(crate) fn lower_bound_from(&self, from: usize, key: &[u8]) -> usize {
        let suffix = match self.suffix_of(key) {
            Ok(suffix) => suffix,
            Err(Ordering::Less) => return from,
            Err(_) => return self.count,
        };
        let (mut low, mut step) = (from, 1);
        while low + step <= self.count && before(self.entry(low + step - 1).suffix, suffix) {
            low += step;
            step *= 2;
        }
        self.search(low..(low + step).min(self.count), suffix)
    }

    fn search(&self, range: Range<usize>, suffix: &[u8]) -> usize {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low.midpoint(high);
            if before(self.entry(middle).suffix, suffix) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// True if every key is after the one before it.
    pub(crate) fn is_sorted(&self) -> bool {
        (1..self.count).all(|index| self.entry(index - 1).suffix < self.entry(index).suffix)
    }

    /// Bytes of a stretch of entries within a body.
    pub(crate) fn bytes_of(&self, range: Range<usize>) -> usize {
        self.start(range.end) - self.start(range.start) + range.len() * 4
    }
}

#[inline]
fn decode(bytes: &[u8]) -> Entry<'_> {
    decode_with_len(bytes).0
}

/// The entry that `bytes` begin with, and how many of them are its.
#[inline]
pub(super) fn decode_with_len(bytes: &[u8]) -> (Entry<'_>, usize) {
    if let [first, second, rest @ ..] = bytes
        && *first < 0x80
        && *second < 0x80
    {
        let (suffix, rest) = rest.split_at(usize::from(*first >> 2));
        let entry = Entry {
            tag: tag(u64::from(*first)),
            suffix,
            value: &rest[..usize::from(*second)],
        };
        return (entry, 2 + suffix.len() + entry.value.len());
    }
    decode_long(bytes)
}

fn decode_long(bytes: &[u8]) -> (Entry<'_>, usize) {
    let mut reader = Reader::new(bytes);
    let (first, value) = (reader.u64().unwrap_or(0), reader.u64().unwrap_or(0));
    let entry = Entry {
        tag: tag(first),
        suffix: reader.take((first >> 2) as usize).unwrap_or_default(),
        value: reader.take(value as usize).unwrap_or_default(),
    };
    (entry, reader.position())
}

#[inline]
fn tag(first: u64) -> Tag {
    match first & 3 {
        0 => Tag::Put,
        1 => Tag::Delete,
        _ => Tag::Upserts,
    }
}

/// Checks that each entry ends where the next one starts.
fn check_entries(heap: &[u8], slots: &[u8]) -> Result<()> {
    let (slots, _) = slots.as_chunks::<4>();
    let mut reader = Reader::new(heap);
    for slot in slots {
        if u32::from_le_bytes(*slot) as usize != reader.position() {
            return Err(Error::corruption("an entry is not where it should be"));
        }
        let (first, value) = (reader.u64()?, reader.u64()?);
        if first & 3 == 3 {
            return Err(Error::corruption("an entry of an unknown kind"));
        }
        let len = (first >> 2).saturating_add(value);
        reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
    }
    if !reader.is_empty() {
        return Err(Error::corruption("bytes after the last entry"));
    }
    Ok(())
}
