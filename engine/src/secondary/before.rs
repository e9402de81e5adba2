//! The rows that the runs have of keys that are written again.
//!
//! Keys come in order, so that each sorted run is gone through once, and of its blocks only the columns are decoded that the indexes
//! need. What is found waits until it is enough: the index keys of many rows take hardly longer than those of one.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use kodiak_core::{Op, Result, SeqNo};

use super::batch::Batch;
use super::codec::IndexCodec;
use super::columns;
use crate::db::TableInner;
use crate::run::{KeyHash, SortedRunCursor};
use crate::typed::Gather;
use crate::version::{SortedRun, Version};

/// So many rows wait at most, or fewer if they have so many bytes.
const ROWS: usize = 1024;
const BYTES: usize = 1 << 20;

/// A row that waits.
struct Found {
    key: Vec<u8>,
    seq: SeqNo,
    /// The oldest version that replaces it.
    by: SeqNo,
}

/// Finds rows by their keys, which come in ascending order.
pub(super) struct Before<'v> {
    sorted_runs: Vec<(&'v SortedRun, SortedRunCursor)>,
    key_value: bool,
    codecs: Vec<Arc<IndexCodec>>,
    gather: Gather,
    found: Vec<Found>,
}

impl<'v> Before<'v> {
    /// In a version of a table, for the indexes of `batches`.
    ///
    /// # Errors
    /// Those of the codecs.
    pub fn new(table: &TableInner, version: &'v Version, batches: &[Batch<'_>]) -> Result<Self> {
        let target = table.target();
        let codec = |batch: &Batch<'_>| batch.index.codec(target.schema());
        let codecs: Vec<_> = batches.iter().map(codec).collect::<Result<_>>()?;
        let columns = columns::needed(&target, codecs.iter().map(|codec| &**codec))?;
        let wanted = columns.wanted();
        let cursor = |sorted: &'v SortedRun| {
            let cursor = SortedRunCursor::within(sorted.clone(), sorted.all(), true);
            (sorted, cursor.wanting(&wanted))
        };
        Ok(Self {
            sorted_runs: version.sorted_runs().map(cursor).collect(),
            key_value: table.key_value,
            codecs,
            gather: Gather::new(columns),
            found: Vec::new(),
        })
    }

    /// The row that the runs have of a key before `by`, if it is a put, is replaced from then on; the entries of those that were found
    /// are forgotten once they are many. Range deletes are not asked: readers ask them.
    ///
    /// # Errors
    /// Those of reading, and of the batches.
    pub fn replace(
        &mut self,
        key: &[u8],
        by: SeqNo,
        batches: &mut [Batch<'_>],
        unseen: &dyn Fn(SeqNo) -> bool,
    ) -> Result<()> {
        let mut hash = KeyHash::default();
        for (sorted, cursor) in &mut self.sorted_runs {
            let mut may_contain = false;
            for run in sorted.candidates(key)? {
                may_contain |= run.may_contain(key, &mut hash)?;
            }
            if !may_contain {
                continue;
            }
            cursor.seek(key, by.saturating_sub(1))?;
            let Some(entry) = cursor.entry().filter(|entry| entry.key == key) else {
                continue;
            };
            if entry.op == Op::Put {
                let seq = entry.seq;
                match cursor.position() {
                    Some((block, row)) if !self.key_value => self.gather.push_rows(block, row, row + 1),
                    _ => self.gather.push_bytes(key, entry.value),
                }
                let key = key.to_vec();
                self.found.push(Found { key, seq, by });
            }
            break;
        }
        match self.found.len() >= ROWS || self.gather.bytes() >= BYTES {
            true => self.forget(batches, unseen),
            false => Ok(()),
        }
    }

    /// Forgets the entries of all rows that were found.
    ///
    /// # Errors
    /// Those of the codecs and the batches.
    pub fn forget(&mut self, batches: &mut [Batch<'_>], unseen: &dyn Fn(SeqNo) -> bool) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let rows = self.gather.take()?;
        let keys = BinaryArray::from_iter_values(self.found.iter().map(|found| &found.key));
        let own = columns::of_batch(self.gather.columns(), &keys, &rows);
        for (batch, codec) in batches.iter_mut().zip(&self.codecs) {
            let index_keys = codec.encode(&own)?;
            for (row, found) in self.found.iter().enumerate() {
                if index_keys.is_valid(row) {
                    let (key, by) = (&found.key, found.by);
                    batch.forget(index_keys.value(row), key, found.seq, by, unseen(by))?;
                }
            }
        }
        self.found.clear();
        Ok(())
    }
}
