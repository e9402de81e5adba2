//! The visible rows of a key range as record batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Op, Result, SeqNo, Slice};

use super::gather::{Columns, Gather};
use super::memory::MemoryBlocks;
use super::merge::{Merge, is_exact};
use super::streams::{Feed, Sight};
use crate::read::{MergedCursor, ScanBounds, ScanContext, Source, Start, resolve_merge};

/// Bytes at which a batch ends, however few its rows.
pub const BATCH_BYTES: usize = 32 << 20;

/// What is read.
pub struct Plan {
    pub context: ScanContext,
    pub bounds: ScanBounds,
    pub reverse: bool,
    pub limit: usize,
    pub batch_size: usize,
}

/// How rows are found.
#[allow(clippy::large_enum_variant, reason = "a read has one")]
enum Way {
    /// In stretches.
    Stretches(Merge),
    /// One by one: backward.
    Each(MergedCursor),
}

/// The rows that are visible, in batches.
pub struct VisibleRows {
    way: Way,
    plan: Plan,
    gather: Gather,
    /// Rows that may still be handed out.
    left: usize,
    /// The key under the cursor.
    passed: Vec<u8>,
    done: bool,
}

impl VisibleRows {
    pub fn new(cursor: MergedCursor, mut plan: Plan, columns: Columns) -> Result<Self> {
        let done = plan.bounds.is_empty() || plan.limit == 0;
        let way = if done || plan.reverse {
            Way::Each(cursor)
        } else {
            Way::Stretches(stretches(cursor, &mut plan, &columns)?)
        };
        let mut rows = Self {
            way,
            left: plan.limit,
            plan,
            gather: Gather::new(columns),
            passed: Vec::new(),
            done,
        };
        if let (Way::Each(cursor), false) = (&mut rows.way, done) {
            match &rows.plan.bounds.end {
                Some(end) => cursor.start(Start::At(end, MAX_SEQ))?,
                None => cursor.start(Start::Edge)?,
            }
        }
        Ok(rows)
    }

    /// The columns of the batches.
    pub fn columns(&self) -> &Columns {
        self.gather.columns()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut whole = None;
        loop {
            let room = self.room();
            if whole.is_some() || room == 0 {
                break;
            }
            let more = match &mut self.way {
                Way::Stretches(merge) => merge.step(&mut self.gather, room, &mut whole)?,
                Way::Each(_) => self.backward()?,
            };
            if !more {
                self.done = true;
                break;
            }
        }
        let batch = match whole {
            Some(batch) => batch,
            None if self.gather.rows() == 0 => return Ok(None),
            None => self.gather.take()?,
        };
        self.left -= batch.num_rows();
        self.done |= self.left == 0;
        Ok(Some(batch))
    }

    /// Rows that fit into the batch at hand.
    fn room(&self) -> usize {
        if self.gather.bytes() >= BATCH_BYTES {
            return 0;
        }
        self.plan.batch_size.min(self.left) - self.gather.rows()
    }

    /// Takes the row of the key under the cursor, if it has one; false at the end.
    fn backward(&mut self) -> Result<bool> {
        let Way::Each(cursor) = &mut self.way else {
            return Ok(false);
        };
        let Some(entry) = cursor.entry() else {
            return Ok(false);
        };
        if entry.key < self.plan.bounds.start.as_slice() {
            return Ok(false);
        }
        self.passed.clear();
        self.passed.extend_from_slice(entry.key);
        // Going backward the versions of a key come oldest first.
        let mut base = Newest::None;
        let mut operands: Vec<Slice> = Vec::new();
        while let Some(entry) = cursor.entry() {
            if entry.key != self.passed.as_slice() {
                break;
            }
            if entry.seq <= self.plan.context.seq && !hides(&self.plan.context, entry.key, entry.seq) {
                match entry.op {
                    Op::Merge => operands.extend(cursor.value()?),
                    op => {
                        operands.clear();
                        base = match cursor.position() {
                            _ if op != Op::Put => Newest::None,
                            Some((block, row)) => Newest::Row(Arc::clone(block), row),
                            None => Newest::Bytes(Slice::copy_from(entry.value)),
                        };
                    }
                }
            }
            cursor.advance()?;
        }
        if !operands.is_empty() {
            operands.reverse();
            let bytes = match base {
                Newest::None => None,
                Newest::Row(block, row) => Some(block.value(row)?),
                Newest::Bytes(bytes) => Some(bytes),
            };
            let operator = self.plan.context.operator.as_deref();
            base = Newest::Bytes(resolve_merge(operator, &self.passed, bytes.as_deref(), &operands)?);
        }
        match base {
            Newest::None => {}
            Newest::Row(block, row) => self.gather.push_rows(&block, row, row + 1),
            Newest::Bytes(bytes) => self.gather.push_bytes(&self.passed, &bytes),
        }
        Ok(true)
    }
}

fn hides(context: &ScanContext, key: &[u8], seq: SeqNo) -> bool {
    seq < context.hidden_below
        || (!context.tombstones.is_empty() && seq < context.tombstones.covering(key, context.seq))
}

/// The sources of a cursor that is not positioned, merged in stretches.
fn stretches(cursor: MergedCursor, plan: &mut Plan, columns: &Columns) -> Result<Merge> {
    let bounds = (plan.bounds.start.as_slice(), plan.bounds.end.as_deref());
    let distinct = cursor.is_distinct();
    let (sources, account) = cursor.into_parts();
    let (seq, operator) = (plan.context.seq, plan.context.operator.clone());
    let merges = operator.is_some();
    let feeds = sources.into_iter().map(|source| match source {
        Source::Run(cursor) => Feed::Run(cursor),
        Source::Memory(cursor) => Feed::Memory(MemoryBlocks::new(cursor, columns.clone(), seq, bounds.1, merges)),
    });
    let sight = Sight {
        seq,
        hidden_below: plan.context.hidden_below,
        tombstones: std::mem::take(&mut plan.context.tombstones),
        distinct,
    };
    Merge::new(
        feeds.collect(),
        bounds,
        sight,
        operator,
        is_exact(columns.target()),
        account,
    )
}

/// The newest visible version of a key.
enum Newest {
    None,
    Row(Arc<ColumnBlock>, usize),
    Bytes(Slice),
}

impl Iterator for VisibleRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_batch();
        self.done |= !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl std::fmt::Debug for VisibleRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VisibleRows")
            .field("bounds", &self.plan.bounds)
            .field("reverse", &self.plan.reverse)
            .finish_non_exhaustive()
    }
}
