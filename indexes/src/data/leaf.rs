//! Leaves made ready for point reads.

use kodiak_core::Slice;

use super::block::Block;
use super::guide::Guide;

/// A leaf as a point read needs it: 56 bytes, so that with the lock of its place it fills a cache line, which names what else
/// comes from memory.
#[derive(Debug)]
pub(crate) struct LeafReader {
    bytes: Slice,
    /// Made anew, and so, of leaves that are made ready one after the other, side by side in few pages of memory.
    guide: Guide,
    prefix: u32,
    heap_end: u32,
}

impl LeafReader {
    /// Of a leaf, whose bytes it shares; `None` for one of 4 GiB or more.
    pub(crate) fn new(leaf: &Block) -> Option<Self> {
        Some(Self {
            prefix: u32::try_from(leaf.prefix.len()).ok()?,
            heap_end: u32::try_from(leaf.heap.end).ok()?,
            guide: Guide::new(leaf),
            bytes: leaf.bytes.clone(),
        })
    }

    /// Bytes of memory for one of so many entries, beside its own and the leaf's.
    pub(crate) fn memory(entries: usize) -> usize {
        Guide::memory(entries)
    }

    /// [`Block::find_value`].
    #[inline]
    pub(crate) fn find_value(&self, key: &[u8]) -> Option<&[u8]> {
        self.guide
            .find(&self.bytes, self.prefix as usize, self.heap_end as usize, key)
    }
}
