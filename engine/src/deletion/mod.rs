//! Deletion vectors: which rows of each run are dead, so that reads need not compare versions ("merge-on-write").
//!
//! A row is **dead** if a newer put or delete of its key is in the table's runs, or if it is a delete itself: nobody who reads at
//! the newest moment of which runs hold everything gets it as a value. Which row that is, the primary index tells when a flush, an
//! ingestion or a compaction brings it up to date: the locator that an update displaces ([`Marking`]). Operands displace
//! nothing, because they need what is below them. Range deletes and expiry mark nothing either: they hide rows from whoever
//! looks, as in any table.
//!
//! **Vectors belong to a version**, as the index does: the manifest edit that changes the runs names what has died by it, and both
//! are put in force together. An edit that changes runs and says nothing of dead rows leaves the table without vectors, and reads
//! merge as they do in any table; so they do for a snapshot that is older than something in the runs, and where runs hold operands.
//!
//! **A row that is dead stays so**: whatever superseded it may go only with something that hides both. So marks are only added
//! while a run is there, and a compaction may leave out dead rows that no snapshot sees, wherever their successors are.
//!
//! **All superseded rows are marked**, except those that a range delete in the runs or expiry hides, of which the index may have
//! forgotten the newest. So the rows that are not dead have distinct keys, as far as they are not hidden.
//!
//! That rows keep their places, and reads are told of updates by position, is the idea of positional updates (Héman et al., SIGMOD
//! 2010); the bitmaps are those of Lemire et al., "Roaring Bitmaps" (2018).

mod marks;
mod pass;
mod truth;

use std::collections::HashMap;
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::{Error, Result, SeqNo};
use roaring::RoaringBitmap;

pub(crate) use marks::Marking;
pub(crate) use pass::{Pass, Passing};
pub(crate) use truth::{from_runs, verify};

use crate::run::Run;

/// The dead rows of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadRows {
    /// Their numbers in the data file, from 0.
    pub(crate) rows: RoaringBitmap,
    /// Whoever reads at this sequence number or later sees none of them.
    pub(crate) newest: SeqNo,
    /// Rows of the run, dead or not, that are merge operands.
    pub(crate) operands: u64,
}

// Bitmaps are equal if they hold the same numbers.
impl Eq for DeadRows {}

impl DeadRows {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.rows.len()
    }

    /// Adds what `other` has.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows |= &other.rows;
        self.newest = self.newest.max(other.newest);
        self.operands = self.operands.max(other.operands);
    }

    /// Appends the stored form of the bitmap, which is that of all libraries of Roaring bitmaps.
    pub(crate) fn encode_rows(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        drop(self.rows.serialize_into(out));
    }

    /// Reads the stored form of a bitmap.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode_rows` does not produce.
    pub(crate) fn decode_rows(bytes: &[u8]) -> Result<RoaringBitmap> {
        let mut rest = bytes;
        let rows = RoaringBitmap::deserialize_from(&mut rest);
        match rows {
            Ok(rows) if rest.is_empty() => Ok(rows),
            Ok(_) => Err(Error::corruption("a bitmap of dead rows has bytes too many")),
            Err(error) => Err(Error::corruption("a bitmap of dead rows is malformed").with_source(error)),
        }
    }

    /// Rows that a rewrite would drop, while `snapshots` (ascending) are held: none, if one of them may see some. `tombstones` of
    /// the run's rows, whose oldest is of `oldest`, are deletes, which are dead but may be needed.
    pub(crate) fn reclaimable(&self, tombstones: u64, oldest: SeqNo, snapshots: &[SeqNo]) -> u64 {
        match sees(snapshots, oldest, self.newest) {
            true => 0,
            false => self.rows.len().saturating_sub(tombstones),
        }
    }
}

/// True if one of `snapshots` (ascending) may see a row of `seq` that whoever reads at `newest` does not.
fn sees(snapshots: &[SeqNo], seq: SeqNo, newest: SeqNo) -> bool {
    let first = snapshots.partition_point(|&snapshot| snapshot < seq);
    snapshots.get(first).is_some_and(|&snapshot| snapshot < newest)
}

/// The dead rows of a version's runs. Immutable; a change makes a new one.
#[derive(Debug, Default)]
pub struct DeletionVectors {
    /// Those that have something to say.
    runs: HashMap<RunId, Arc<DeadRows>>,
    /// The newest sequence number in the runs.
    newest: SeqNo,
    /// Merge operands in the runs.
    operands: u64,
    /// Rows of the runs, and how many of them are dead.
    rows: u64,
    dead: u64,
}

impl DeletionVectors {
    /// Those of `version`, the runs of a version.
    pub(crate) fn new<'r>(runs: HashMap<RunId, Arc<DeadRows>>, version: impl Iterator<Item = &'r Arc<Run>>) -> Self {
        let (mut newest, mut rows) = (0, 0);
        for run in version {
            newest = run.meta().max_seq.max(newest);
            rows += run.meta().entries;
        }
        Self {
            newest,
            rows,
            operands: runs.values().map(|dead| dead.operands).sum(),
            dead: runs.values().map(|dead| dead.count()).sum(),
            runs,
        }
    }

    /// The dead rows of a run; `None` if it has none, and no operands.
    pub(crate) fn of(&self, run: RunId) -> Option<&Arc<DeadRows>> {
        self.runs.get(&run)
    }

    /// Every run of which there is something to say.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (RunId, &Arc<DeadRows>)> {
        self.runs.iter().map(|(&run, dead)| (run, dead))
    }

    /// The same, in ascending order of the runs' numbers.
    pub(crate) fn in_order(&self) -> Vec<(RunId, DeadRows)> {
        let mut runs: Vec<_> = self.runs().map(|(run, dead)| (run, DeadRows::clone(dead))).collect();
        runs.sort_unstable_by_key(|(run, _)| *run);
        runs
    }

    /// The newest sequence number in the runs.
    pub(crate) fn newest(&self) -> SeqNo {
        self.newest
    }

    /// True if more rows are dead than are not.
    pub(crate) fn is_mostly_dead(&self) -> bool {
        self.dead > self.rows / 2
    }

    /// True if a reader at `seq` sees, of the rows of runs, exactly those that are not dead, save what range deletes and expiry
    /// hide from it.
    pub(crate) fn serves(&self, seq: SeqNo) -> bool {
        seq >= self.newest && self.operands == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_bitmap_are_those_of_the_documentation() {
        let dead = DeadRows {
            rows: [1, 5, 65_536].into_iter().collect(),
            ..DeadRows::default()
        };
        let mut bytes = Vec::new();
        dead.encode_rows(&mut bytes);
        let golden = [
            0x3a, 0x30, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 24, 0, 0, 0, 28, 0, 0, 0, 1, 0, 5, 0, 0, 0,
        ];
        assert_eq!(bytes, golden);
        assert_eq!(DeadRows::decode_rows(&bytes).expect("what was written"), dead.rows);
        for cut in 0..bytes.len() {
            DeadRows::decode_rows(&bytes[..cut]).expect_err("cut short");
        }
        bytes.push(0);
        DeadRows::decode_rows(&bytes).expect_err("a byte too many");
    }

    #[test]
    fn a_snapshot_between_a_row_and_its_successor_keeps_it() {
        let dead = DeadRows {
            rows: (0..10).collect(),
            newest: 20,
            operands: 0,
        };
        assert_eq!(dead.reclaimable(3, 5, &[]), 7);
        assert_eq!(
            dead.reclaimable(3, 5, &[4, 20, 30]),
            7,
            "older than all rows, or told of all marks"
        );
        for snapshot in [5, 19] {
            assert_eq!(dead.reclaimable(3, 5, &[1, snapshot, 40]), 0, "{snapshot}");
        }
    }
}
