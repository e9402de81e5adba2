//! The visible rows of a key range as record batches.

use arrow::array::RecordBatch;
use kodiak_core::Result;

use super::gather::{Columns, Gather};
use super::memory::MemoryBlocks;
use super::merge::{Backward, Merge, is_exact};
use super::streams::{Feed, Last, Sight};
use crate::read::{MergedCursor, ScanBounds, ScanContext, Source};

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
    Forward(Merge),
    Backward(Backward),
}

/// The rows that are visible, in batches.
pub struct VisibleRows {
    way: Way,
    gather: Gather,
    batch_size: usize,
    /// Rows that may still be handed out.
    left: usize,
    done: bool,
}

impl VisibleRows {
    pub fn new(cursor: MergedCursor, mut plan: Plan, columns: Columns) -> Result<Self> {
        let done = plan.bounds.is_empty() || plan.limit == 0;
        let mut merge = merge(cursor, &mut plan, &columns);
        let range = (plan.bounds.start.as_slice(), plan.bounds.end.as_deref());
        let way = if plan.reverse {
            Way::Backward(Backward::new(merge, range, plan.limit))
        } else {
            if !done {
                merge.start(range)?;
            }
            Way::Forward(merge)
        };
        Ok(Self {
            way,
            gather: Gather::new(columns),
            batch_size: plan.batch_size,
            left: plan.limit,
            done,
        })
    }

    /// The columns of the batches.
    pub fn columns(&self) -> &Columns {
        self.gather.columns()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.batch_size.min(self.left);
        let batch = match &mut self.way {
            Way::Forward(merge) => merge.batch(&mut self.gather, rows)?,
            // It may have more than are left.
            Way::Backward(merge) => merge.batch(&mut self.gather, rows)?,
        };
        let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(self.left)));
        self.left -= batch.as_ref().map_or(0, RecordBatch::num_rows);
        self.done |= self.left == 0;
        Ok(batch)
    }
}

/// The sources of a cursor that is not positioned, merged in stretches.
fn merge(cursor: MergedCursor, plan: &mut Plan, columns: &Columns) -> Merge {
    let distinct = cursor.is_distinct();
    let (sources, account) = cursor.into_parts();
    let (seq, operator) = (plan.context.seq, plan.context.operator.clone());
    let (bound, merges) = (plan.bounds.end.as_deref(), operator.is_some());
    let feeds = sources.into_iter().map(|source| match source {
        Source::Run(cursor) => Feed::Run(cursor, Last::Unknown),
        Source::Memory(cursor) => Feed::Memory(MemoryBlocks::new(cursor, columns.clone(), seq, bound, merges)),
    });
    let sight = Sight {
        seq,
        hidden_below: plan.context.hidden_below,
        tombstones: std::mem::take(&mut plan.context.tombstones),
        distinct,
    };
    Merge::new(feeds.collect(), sight, operator, is_exact(columns.target()), account)
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
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
