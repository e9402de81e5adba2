//! Records gathered for a durable write, in whole blocks.
//!
//! In mode `full` a commit is a write and a sync. Where the file system can write past its cache
//! ([`LogFile::write_durably`](kodiak_core::storage::LogFile::write_durably)) both are one call that takes less time than the
//! sync alone, but takes whole blocks only. So the block that the log ends in is kept, and written again with each commit
//! until it is full; a power loss meanwhile finds it with the bytes that it had, whether the old or the new ones get there.

use kodiak_core::storage::LOG_BLOCK;

/// Consecutive bytes of a segment, some of them to be written yet.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    /// The bytes begin here in `bytes`, where the address is a multiple of [`LOG_BLOCK`].
    skip: usize,
    /// The offset of the first byte in the segment.
    offset: u64,
    /// So many of the first bytes are in the file already.
    written: usize,
}

impl Blocks {
    /// Begins anew at `offset`, with the bytes that the file has there.
    pub fn begin(&mut self, offset: u64, there: &[u8]) {
        self.bytes.truncate(self.skip);
        (self.offset, self.written) = (offset, 0);
        self.push(there);
        self.written = there.len();
    }

    /// Begins where `earlier`, which is about to be written, will end: with the block that it ends in if it has all of that, so
    /// that whole blocks can be written from then on.
    pub fn follow(&mut self, earlier: &Self) {
        let end = earlier.end();
        let block = end - end % LOG_BLOCK as u64;
        match block.checked_sub(earlier.offset) {
            Some(before) => self.begin(block, &earlier.all()[before as usize..]),
            None => self.begin(end, &[]),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        // With room to align the bytes, and to fill the last block.
        let room = (2 * self.all().len()).max(self.all().len() + more);
        let mut bytes = Vec::<u8>::with_capacity(room + 2 * LOG_BLOCK);
        // A matter of speed alone, should it ever fail.
        let skip = Some(bytes.as_ptr().align_offset(LOG_BLOCK))
            .filter(|skip| *skip < LOG_BLOCK)
            .unwrap_or(0);
        bytes.resize(skip, 0);
        bytes.extend_from_slice(self.all());
        (self.bytes, self.skip) = (bytes, skip);
    }

    fn all(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.all().len() as u64
    }

    /// What the file does not have yet, and its offset.
    pub fn unwritten(&self) -> (u64, &[u8]) {
        (self.offset + self.written as u64, &self.all()[self.written..])
    }

    /// Everything, filled up with zeros to a whole block, if it begins with one and the last one ends at `limit` or before.
    pub fn whole(&mut self, limit: u64) -> Option<(u64, &[u8])> {
        let whole = self.all().len().next_multiple_of(LOG_BLOCK);
        if !self.offset.is_multiple_of(LOG_BLOCK as u64) || self.offset + whole as u64 > limit {
            return None;
        }
        let padding = whole - self.all().len();
        self.push(&[0; LOG_BLOCK][..padding]);
        Some((self.offset, self.all()))
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
        blocks.begin(BLOCK, b"there");
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
        blocks.begin(100, &[]);
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
}
