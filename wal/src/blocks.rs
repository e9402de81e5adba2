//! Records gathered for a durable write, in whole blocks.
//!
//! In mode `full` a commit is a write and a sync. Where the file system can write past its cache
//! ([`LogFile::write_durably`](kodiak_core::storage::LogFile::write_durably)) both are one call that takes less time than the
//! sync alone, but takes whole blocks only. So the block that the log ends in is kept, and written again with each commit
//! until it is full; a power loss meanwhile finds it with the bytes that it had, whether the old or the new ones get there.

use kodiak_core::storage::LOG_BLOCK;
use kodiak_core::wal::SegmentId;

/// Consecutive bytes of a segment, some of them to be written yet.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Behind `skip` and the `len` bytes that are meant there may be zeros, up to the end of a block.
    bytes: Vec<u8>,
    /// The bytes begin here in `bytes`, where the address is a multiple of [`LOG_BLOCK`].
    skip: usize,
    len: usize,
    segment: SegmentId,
    /// The offset of the first byte in the segment.
    offset: u64,
    /// So many of the first bytes are in the file already.
    written: usize,
}

impl Blocks {
    /// Begins anew at `offset` of a segment, with the bytes that the file has there.
    pub fn begin(&mut self, segment: SegmentId, offset: u64, there: &[u8]) {
        self.bytes.truncate(self.skip);
        self.len = 0;
        (self.segment, self.offset) = (segment, offset);
        self.push(there);
        self.written = self.len;
    }

    /// Begins where `earlier`, which is about to be written, will end: with the block that it ends in if it has all of that, so
    /// that whole blocks can be written from then on.
    pub fn follow(&mut self, earlier: &Self) {
        let end = earlier.end();
        let block = end - end % LOG_BLOCK as u64;
        let Some(before) = block.checked_sub(earlier.offset) else {
            return self.begin(earlier.segment, end, &[]);
        };
        let there = &earlier.all()[before as usize..];
        // What these bytes were when they were written last, the file has, too. To copy and to fill up a block for each record would
        // take a part of a microsecond, and another one for the disk to fetch what has changed in memory.
        match there.get(self.len..) {
            Some(more) if (self.segment, self.offset) == (earlier.segment, block) => {
                self.push(more);
                self.written = self.len;
            }
            _ => self.begin(earlier.segment, block, there),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let zeros = self.bytes.len() - self.skip - self.len;
        if self.bytes.capacity() - self.bytes.len() + zeros < bytes.len() {
            self.grow(bytes.len());
        }
        let (over_zeros, behind) = bytes.split_at(zeros.min(bytes.len()));
        let at = self.skip + self.len;
        self.bytes[at..at + over_zeros.len()].copy_from_slice(over_zeros);
        self.bytes.extend_from_slice(behind);
        self.len += bytes.len();
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        // With room to align the bytes, and to fill the last block.
        let room = (2 * self.len).max(self.len + more);
        let mut bytes = Vec::<u8>::with_capacity(room + 2 * LOG_BLOCK);
        // A matter of speed alone, should it ever fail.
        let skip = Some(bytes.as_ptr().align_offset(LOG_BLOCK))
            .filter(|skip| *skip < LOG_BLOCK)
            .unwrap_or(0);
        bytes.resize(skip, 0);
        bytes.extend_from_slice(&self.bytes[self.skip..]);
        (self.bytes, self.skip) = (bytes, skip);
    }

    fn all(&self) -> &[u8] {
        &self.bytes[self.skip..][..self.len]
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.len as u64
    }

    /// What the file does not have yet, and its offset.
    pub fn unwritten(&self) -> (u64, &[u8]) {
        (self.offset + self.written as u64, &self.all()[self.written..])
    }

    /// Everything, filled up with zeros to a whole block, if it begins with one and the last one ends at `limit` or before.
    pub fn whole(&mut self, limit: u64) -> Option<(u64, &[u8])> {
        let whole = self.len.next_multiple_of(LOG_BLOCK);
        if !self.offset.is_multiple_of(LOG_BLOCK as u64) || self.offset + whole as u64 > limit {
            return None;
        }
        if self.bytes.capacity() < self.skip + whole {
            self.grow(whole - self.len);
        }
        self.bytes.resize(self.skip + whole, 0);
        Some((self.offset, &self.bytes[self.skip..]))
    }

    /// Gives memory back if it is more than `limit` bytes.
    pub fn shrink(&mut self, limit: usize) {
        if self.bytes.capacity() > limit {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = LOG_BLOCK as u64;

    #[test]
    fn whole_blocks_hold_what_the_file_has_and_what_it_lacks() {
        let mut blocks = Blocks::default();
        blocks.begin(1, BLOCK, b"there");
        blocks.push(b"lacking");
        assert_eq!(blocks.unwritten(), (BLOCK + 5, &b"lacking"[..]));
        assert_eq!(blocks.end(), BLOCK + 12);
        assert!(blocks.whole(2 * BLOCK - 1).is_none(), "beyond the end of the file");
        let (offset, whole) = blocks.whole(2 * BLOCK).expect("begins with a block");
        assert_eq!(
            (offset, whole.len(), &whole[..13]),
            (BLOCK, LOG_BLOCK, &b"therelacking\0"[..])
        );
        assert!(whole[12..].iter().all(|byte| *byte == 0));
        assert_eq!(whole.as_ptr().addr() % LOG_BLOCK, 0, "a direct write would refuse it");
    }

    #[test]
    fn memory_stays_aligned_as_it_grows_and_is_used_again() {
        let (mut blocks, mut next) = (Blocks::default(), Blocks::default());
        let mut log = Vec::new();
        let mut offset = 0;
        for round in 0..200usize {
            let record: Vec<u8> = (0..round * 37 % 9000 + 1).map(|at| (at * 7 + round) as u8).collect();
            blocks.push(&record);
            log.extend_from_slice(&record);
            next.follow(&blocks);
            let (at, whole) = blocks.whole(u64::MAX).expect("follows a whole block");
            assert_eq!(whole.as_ptr().addr() % LOG_BLOCK, 0);
            assert!(at <= offset && at % BLOCK == 0);
            let lies = log.len() - at as usize;
            assert_eq!(whole[..lies], log[at as usize..]);
            assert!(whole.len() - lies < LOG_BLOCK && whole[lies..].iter().all(|byte| *byte == 0));
            std::mem::swap(&mut blocks, &mut next);
            offset = log.len() as u64;
            assert_eq!((blocks.end(), blocks.unwritten().1), (offset, &b""[..]));
        }
        blocks.shrink(0);
        assert_eq!(blocks.bytes.capacity(), 0);
    }

    #[test]
    fn a_block_that_was_begun_elsewhere_is_finished_first() {
        let (mut blocks, mut next) = (Blocks::default(), Blocks::default());
        blocks.begin(1, 100, &[]);
        blocks.push(&[1; 200]);
        assert!(blocks.whole(u64::MAX).is_none());
        next.follow(&blocks);
        assert_eq!(next.end(), 300);
        assert!(
            next.whole(u64::MAX).is_none(),
            "the first hundred bytes of the block are not known"
        );
        next.push(&[2; LOG_BLOCK]);
        blocks.follow(&next);
        let (offset, whole) = blocks.whole(u64::MAX).expect("the next block is");
        assert_eq!((offset, &whole[..300], whole[300]), (BLOCK, &[2; 300][..], 0));
    }

    #[test]
    fn what_was_kept_of_another_segment_is_not_taken_for_this_one() {
        let mut kept = Blocks::default();
        kept.begin(1, 0, b"the first segment");
        let mut blocks = Blocks::default();
        blocks.begin(2, 0, b"the header of the second");
        blocks.push(b" and a record");
        kept.follow(&blocks);
        let (_, whole) = kept.whole(u64::MAX).expect("begins with a block");
        assert!(whole.starts_with(b"the header of the second and a record\0"));
        // A block that was kept from before is only added to.
        blocks.follow(&kept);
        blocks.push(b", a second");
        kept.follow(&blocks);
        assert_eq!(kept.all(), b"the header of the second and a record, a second");
        assert_eq!(kept.unwritten().1, b"");
    }
}
