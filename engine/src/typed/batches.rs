//! The visible rows of a key range as record batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Op, Result, SeqNo, Slice};

use super::gather::{Columns, Gather};
use crate::read::{MergedCursor, ScanBounds, ScanContext, Start, resolve_merge};

/// Rows from which on a stretch of a block is handed out as it lies instead of being copied.
const LONG_STRETCH: usize = 64;
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

/// The rows that are visible, in batches.
pub struct VisibleRows {
    cursor: MergedCursor,
    plan: Plan,
    gather: Gather,
    /// Rows that may still be handed out.
    left: usize,
    /// Versions of this key have been dealt with.
    passed: Vec<u8>,
    any_passed: bool,
    done: bool,
}

impl VisibleRows {
    pub fn new(mut cursor: MergedCursor, plan: Plan, columns: Columns) -> Result<Self> {
        let done = plan.bounds.is_empty() || plan.limit == 0;
        if !done {
            match (plan.reverse, &plan.bounds.end) {
                (false, _) => cursor.start(Start::At(&plan.bounds.start, MAX_SEQ))?,
                (true, Some(end)) => cursor.start(Start::At(end, MAX_SEQ))?,
                (true, None) => cursor.start(Start::Edge)?,
            }
        }
        let left = plan.limit;
        Ok(Self {
            cursor,
            plan,
            gather: Gather::new(columns),
            left,
            passed: Vec::new(),
            any_passed: false,
            done,
        })
    }

    /// The columns of the batches.
    pub fn columns(&self) -> &Columns {
        self.gather.columns()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut whole = None;
        while whole.is_none() && self.room() > 0 {
            let more = if self.plan.reverse {
                self.backward()?
            } else {
                self.forward(&mut whole)?
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

    fn hidden(&self, key: &[u8], seq: SeqNo) -> bool {
        let context = &self.plan.context;
        seq < context.hidden_below
            || (!context.tombstones.is_empty() && seq < context.tombstones.covering(key, context.seq))
    }

    /// Takes a stretch of rows, or looks at one entry; false at the end. A stretch that is a batch of its own goes to `whole`.
    fn forward(&mut self, whole: &mut Option<RecordBatch>) -> Result<bool> {
        let room = self.room();
        if let Some((block, row, end)) = self.cursor.stretch() {
            let stop = self.visible(block, row, end.min(row.saturating_add(room)));
            if stop > row {
                let block = Arc::clone(block);
                self.pass(block.key(stop - 1));
                if self.gather.rows() == 0 && stop - row >= LONG_STRETCH {
                    *whole = Some(self.gather.columns().slice(&block, row, stop)?);
                } else {
                    self.gather.push_rows(&block, row, stop);
                }
                self.cursor.advance_to(stop)?;
                return Ok(true);
            }
        }
        let Some(entry) = self.cursor.entry() else {
            return Ok(false);
        };
        if self
            .plan
            .bounds
            .end
            .as_ref()
            .is_some_and(|end| entry.key >= end.as_slice())
        {
            return Ok(false);
        }
        let passed = self.any_passed && entry.key == self.passed.as_slice();
        if passed || entry.seq > self.plan.context.seq {
            return self.cursor.advance().map(|()| true);
        }
        self.any_passed = true;
        self.passed.clear();
        self.passed.extend_from_slice(entry.key);
        if !self.hidden(entry.key, entry.seq) {
            match entry.op {
                Op::Put => match self.cursor.position() {
                    Some((block, row)) => self.gather.push_rows(block, row, row + 1),
                    None => self.gather.push_bytes(entry.key, entry.value),
                },
                Op::Merge => return self.merge_forward().map(|()| true),
                Op::Delete | Op::RangeDelete => {}
            }
        }
        self.cursor.advance()?;
        Ok(true)
    }

    fn pass(&mut self, key: &[u8]) {
        self.any_passed = true;
        self.passed.clear();
        self.passed.extend_from_slice(key);
    }

    /// The end of the rows from `row` on, before `end`, that are all to be handed out: puts of distinct keys that nothing
    /// hides. `row` itself if it needs a closer look.
    fn visible(&self, block: &ColumnBlock, row: usize, mut end: usize) -> usize {
        let context = &self.plan.context;
        if row >= end || !context.tombstones.is_empty() {
            return row;
        }
        if self.any_passed && block.key(row) == self.passed.as_slice() {
            return row;
        }
        if let Some(bound) = &self.plan.bounds.end
            && block.key(end - 1) >= bound.as_slice()
        {
            end = block.lower_bound(bound, MAX_SEQ);
            if end <= row {
                return row;
            }
        }
        if self.cursor.is_distinct() && context.hidden_below == 0 {
            return end;
        }
        let (ops, seqs) = (&block.ops()[row..end], &block.seqs()[row..end]);
        let seen = |seq: i64| seq as SeqNo >= context.hidden_below && seq as SeqNo <= context.seq;
        let (put, all) = (Op::Put as i8, ops.len());
        let mut stop = ops.iter().position(|&op| op != put).unwrap_or(all);
        if !seqs.iter().fold(true, |every, &seq| every & seen(seq)) {
            stop = stop.min(seqs.iter().position(|&seq| !seen(seq)).unwrap_or(all));
        }
        // Versions of one key have falling sequence numbers: where they rise the keys differ.
        for next in 1..stop {
            if seqs[next] < seqs[next - 1] && block.key(row + next) == block.key(row + next - 1) {
                return row + next;
            }
        }
        row + stop
    }

    /// Collects the operands of the key under the cursor, and moves past what belongs to them.
    fn merge_forward(&mut self) -> Result<()> {
        let mut operands = Vec::new();
        let mut base = None;
        while let Some(entry) = self.cursor.entry() {
            if entry.key != self.passed.as_slice() {
                break;
            }
            let (op, hidden) = (entry.op, self.hidden(entry.key, entry.seq));
            if op != Op::Merge || hidden {
                if op == Op::Put && !hidden {
                    base = self.cursor.value()?;
                }
                break;
            }
            operands.extend(self.cursor.value()?);
            self.cursor.advance()?;
        }
        let operator = self.plan.context.operator.as_deref();
        let value = resolve_merge(operator, &self.passed, base.as_deref(), &operands)?;
        self.gather.push_bytes(&self.passed, &value);
        Ok(())
    }

    /// Takes the row of the key under the cursor, if it has one; false at the end.
    fn backward(&mut self) -> Result<bool> {
        let Some(entry) = self.cursor.entry() else {
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
        while let Some(entry) = self.cursor.entry() {
            if entry.key != self.passed.as_slice() {
                break;
            }
            if entry.seq <= self.plan.context.seq && !self.hidden(entry.key, entry.seq) {
                match entry.op {
                    Op::Merge => operands.extend(self.cursor.value()?),
                    op => {
                        operands.clear();
                        base = match self.cursor.position() {
                            _ if op != Op::Put => Newest::None,
                            Some((block, row)) => Newest::Row(Arc::clone(block), row),
                            None => Newest::Bytes(Slice::copy_from(entry.value)),
                        };
                    }
                }
            }
            self.cursor.advance()?;
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
