//! Blocks made ready for point reads.

use super::block::{Block, Entry};
use super::buffer::{Buffer, Said, say};
use super::guide::{Guide, Marks};
use super::ranges::Ranges;
use crate::pool::shelf::{Copied, Shelf};

/// A block as a point read needs it, small enough that with the lock of its place it fills a cache line, which names what else
/// comes from memory.
#[derive(Debug)]
pub(crate) struct BlockReader {
    /// The marks, the prefix and the heap, which are copies: so they lie side by side, and in few pages of memory.
    bytes: Copied,
    marks: u32,
    prefix: u32,
    /// The heads of the first and the last mark.
    ends: (u32, u32),
}

impl BlockReader {
    /// Of a block that is copied to a shelf, as [`Shelf::copy`] does.
    pub(crate) fn new(block: &Block, shelf: &Shelf, room: impl FnOnce(usize) -> bool) -> Option<Self> {
        let guide = Guide::new(block);
        let heap = &block.bytes[block.heap.clone()];
        let Marks { marks, ends } = guide.marks();
        let marks = marks.as_flattened();
        Some(Self {
            marks: u32::try_from(marks.len()).ok()?,
            prefix: u32::try_from(block.prefix.len()).ok()?,
            ends,
            bytes: shelf.copy(&[marks, block.prefix(), heap], room)?,
        })
    }

    /// [`Block::find_entry`].
    #[inline]
    pub(crate) fn find_entry(&self, key: &[u8]) -> Option<Entry<'_>> {
        let (marks, bytes) = self.bytes.split_at(self.marks as usize);
        let (prefix, heap) = bytes.split_at(self.prefix as usize);
        let (marks, _) = marks.as_chunks();
        let marks = Marks { marks, ends: self.ends };
        marks.find(prefix, heap, key)
    }
}

/// A buffer as a point read needs it.
#[derive(Debug)]
pub(crate) struct BufferReader {
    points: BlockReader,
    ranges: Ranges,
}

impl BufferReader {
    /// As [`BlockReader::new`].
    pub(crate) fn new(buffer: &Buffer, shelf: &Shelf, room: impl Fn(usize) -> bool) -> Option<Self> {
        if !buffer.ranges.is_empty() && !room(buffer.ranges.memory()) {
            return None;
        }
        Some(Self {
            points: BlockReader::new(&buffer.points, shelf, room)?,
            ranges: buffer.ranges.clone(),
        })
    }

    /// What the buffer says about a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Said<'_> {
        say(self.points.find_entry(key), &self.ranges, key)
    }
}
