//! Blocks made ready for point reads.

use std::sync::Arc;

use kodiak_core::Slice;

use super::block::{Block, Entry};
use super::buffer::Said;
use super::guide::Guide;
use crate::tree::piece::Piece;

/// A block as a point read needs it: 56 bytes, so that with the lock of its place it fills a cache line, which names what else
/// comes from memory.
#[derive(Debug)]
pub(crate) struct BlockReader {
    bytes: Slice,
    /// Made anew, and so, of blocks that are made ready one after the other, side by side in few pages of memory.
    guide: Guide,
    prefix: u32,
    heap_end: u32,
}

impl BlockReader {
    /// Of a block, whose bytes it shares; `None` for one of 4 GiB or more.
    pub(crate) fn new(block: &Block) -> Option<Self> {
        Some(Self {
            prefix: u32::try_from(block.prefix.len()).ok()?,
            heap_end: u32::try_from(block.heap.end).ok()?,
            guide: Guide::new(block),
            bytes: block.bytes.clone(),
        })
    }

    /// Bytes of memory for one of so many entries, beside its own and the block's.
    pub(crate) fn memory(entries: usize) -> usize {
        Guide::memory(entries)
    }

    /// [`Block::find_entry`].
    #[inline]
    pub(crate) fn find_entry(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.guide
            .find(&self.bytes, self.prefix as usize, self.heap_end as usize, key)
    }
}

/// A buffer as a point read needs it.
#[derive(Debug)]
pub(crate) struct BufferReader {
    points: BlockReader,
    piece: Arc<Piece>,
}

impl BufferReader {
    /// `None` for a piece that is no buffer, or too large.
    pub(crate) fn new(piece: Arc<Piece>) -> Option<Self> {
        let points = BlockReader::new(&piece.buffer().ok()?.points)?;
        Some(Self { points, piece })
    }

    /// What the buffer says about a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Said<'_> {
        let entry = self.points.find_entry(key);
        match self.piece.buffer() {
            Ok(buffer) => buffer.say(entry, key),
            // It was one when it was made ready.
            Err(_) => Said::Nothing,
        }
    }
}
