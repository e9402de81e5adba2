//! Where a log ends: what each append changes.

use kodiak_core::SeqNo;
use kodiak_core::wal::WalStats;

use crate::format::SEGMENT_HEADER;
use crate::metrics::PUBLISH_EVERY;

/// The end of a log, behind the lock that gives records their places. It lies in one piece, so that what one processor takes over
/// from another with each append is one cache line.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// The offset of the next record in the active segment.
    pub end: u64,
    /// The sequence number that the next batch gets.
    pub next_seq: SeqNo,
    /// The one after those of the last record; 0 before the first.
    pub end_seq: SeqNo,
    records: u64,
    bytes: u64,
}

impl Head {
    /// That of a log whose first segment has a header.
    pub fn new() -> Self {
        Self {
            end: SEGMENT_HEADER as u64,
            next_seq: 1,
            end_seq: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// Numbers `count` operations, and returns the first number. They stay taken if the record cannot be written: the log takes no
    /// other one then.
    #[inline]
    pub fn number(&mut self, count: u32) -> SeqNo {
        let first = self.next_seq;
        self.next_seq += u64::from(count);
        first
    }

    /// The operations numbered last are at the end, in `len` bytes. True if metrics are to be told.
    #[inline]
    pub fn extend(&mut self, len: u64) -> bool {
        self.end += len;
        self.end_seq = self.next_seq;
        self.records += 1;
        self.bytes += len;
        self.records.is_multiple_of(PUBLISH_EVERY)
    }

    /// What it tells of a log that has so many `segments` on disk.
    pub fn stats(&self, segments: u64) -> WalStats {
        WalStats {
            records: self.records,
            bytes: self.bytes,
            segments,
            active_bytes: self.end - SEGMENT_HEADER as u64,
            next_seq: self.end_seq,
            ..WalStats::default()
        }
    }
}
