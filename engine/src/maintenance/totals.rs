//! What the entries of a run add up to.

use kodiak_core::block::ColumnBlock;
use kodiak_core::{Op, SeqNo};

/// What the entries of a run add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub entries: u64,
    pub tombstones: u64,
    pub merges: u64,
    pub min_key: Vec<u8>,
    pub max_key: Vec<u8>,
    pub min_seq: SeqNo,
    pub max_seq: SeqNo,
}

impl Totals {
    /// Adds those of the next block.
    pub fn add(&mut self, block: &ColumnBlock) {
        if self.entries == 0 {
            self.min_key = block.key(0).to_vec();
            self.min_seq = SeqNo::MAX;
        }
        self.max_key = block.key(block.rows() - 1).to_vec();
        self.entries += block.rows() as u64;
        for row in 0..block.rows() {
            self.tombstones += u64::from(block.op(row) == Op::Delete);
            self.merges += u64::from(block.op(row) == Op::Merge);
            self.min_seq = self.min_seq.min(block.seq(row));
            self.max_seq = self.max_seq.max(block.seq(row));
        }
    }
}

/// The bounds of a run with its range deletes.
pub(crate) fn with_range_deletes(mut totals: Totals, deletes: &[crate::sidecar::RangeTombstone]) -> Totals {
    let mut empty = totals.entries == 0;
    if empty {
        totals.min_seq = if deletes.is_empty() { 0 } else { SeqNo::MAX };
    }
    for tombstone in deletes {
        if empty || tombstone.start < totals.min_key {
            totals.min_key.clone_from(&tombstone.start);
        }
        if empty || tombstone.end > totals.max_key {
            totals.max_key.clone_from(&tombstone.end);
        }
        totals.min_seq = totals.min_seq.min(tombstone.seq);
        totals.max_seq = totals.max_seq.max(tombstone.seq);
        empty = false;
    }
    totals
}
