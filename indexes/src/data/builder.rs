//! Putting blocks together.

use std::ops::Range;
use std::sync::OnceLock;

use kodiak_core::varint::put_u64;

use super::block::{Block, FIXED, Tag};
use crate::store::piece::HEADER;

/// Puts a block together, in key order.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    prefix: usize,
    slots: Vec<u32>,
}

impl Builder {
    /// A block whose keys all start with `prefix`, of about `capacity` bytes.
    pub(crate) fn new(prefix: &[u8], capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity((HEADER + FIXED + prefix.len() + capacity).next_multiple_of(64));
        bytes.resize(HEADER + FIXED, 0);
        bytes.extend_from_slice(prefix);
        Self {
            bytes,
            prefix: prefix.len(),
            slots: Vec::new(),
        }
    }

    fn heap_start(&self) -> usize {
        HEADER + FIXED + self.prefix
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[HEADER + FIXED..HEADER + FIXED + self.prefix]
    }

    /// Bytes of the body so far.
    pub(crate) fn body_len(&self) -> usize {
        self.bytes.len() - HEADER + self.slots.len() * 4
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds an entry with its whole key, which must start with the prefix.
    #[inline]
    pub(crate) fn push(&mut self, tag: Tag, key: &[u8], value: &[u8]) {
        debug_assert!(key.starts_with(self.prefix()), "the key is outside the block's bounds");
        self.push_parts(tag, &[], &key[self.prefix.min(key.len())..], value);
    }

    #[inline]
    fn push_parts(&mut self, tag: Tag, first: &[u8], second: &[u8], value: &[u8]) {
        self.slots.push((self.bytes.len() - self.heap_start()) as u32);
        put_u64(
            &mut self.bytes,
            (((first.len() + second.len()) as u64) << 2) | tag as u64,
        );
        put_u64(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(second);
        self.bytes.extend_from_slice(value);
    }

    /// Adds a stretch of entries of another block.
    pub(crate) fn extend(&mut self, block: &Block, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if block.prefix.len() == self.prefix {
            let (start, end) = (block.start(range.start), block.start(range.end));
            let base = self.bytes.len() - self.heap_start();
            self.bytes
                .extend_from_slice(&block.bytes[block.heap.start + start..block.heap.start + end]);
            self.slots
                .extend(range.map(|index| (base + block.slot(index) - start) as u32));
            return;
        }
        let theirs = block.prefix();
        for index in range {
            let entry = block.entry(index);
            if theirs.len() > self.prefix {
                self.push_parts(entry.tag, &theirs[self.prefix..], entry.suffix, entry.value);
            } else {
                let suffix = &entry.suffix[(self.prefix - theirs.len()).min(entry.suffix.len())..];
                self.push_parts(entry.tag, &[], suffix, entry.value);
            }
        }
    }

    pub(crate) fn finish(mut self) -> Block {
        let prefix = HEADER + FIXED..self.heap_start();
        let heap = self.heap_start()..self.bytes.len();
        let fixed = [self.slots.len() as u32, heap.len() as u32, self.prefix as u32];
        for (at, number) in fixed.into_iter().enumerate() {
            self.bytes[HEADER + at * 4..HEADER + at * 4 + 4].copy_from_slice(&number.to_le_bytes());
        }
        self.bytes.reserve_exact(self.slots.len() * 4);
        self.bytes.extend(self.slots.iter().flat_map(|slot| slot.to_le_bytes()));
        Block {
            capacity: self.bytes.capacity(),
            bytes: self.bytes.into(),
            count: self.slots.len(),
            prefix,
            heap,
            guide: OnceLock::new(),
        }
    }
}
