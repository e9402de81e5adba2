//! What is to be read of a table, and how.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use arrow::array::RecordBatch;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{KeyRange, Result};

use super::batches::{Plan, VisibleRows};
use super::filter::Filter;
use super::filtered::{Batches, Filtering};
use super::gather::Columns;
use super::merge;
use super::predicate::Predicate;
use super::{countable_rows, keys};
use crate::db::{ScanRange, Snapshot, Table};
use crate::read::{ScanBounds, ScanContext};

/// Rows that a batch has at most, unless asked otherwise.
const BATCH_ROWS: usize = 8192;

/// A read of rows as record batches, made by [`Table::read`]; nothing happens before [`batches`](Self::batches).
#[derive(Debug, Clone)]
#[must_use = "nothing is read before `batches` is called"]
pub struct Read<'a> {
    table: &'a Table,
    names: Option<Vec<String>>,
    range: Rows,
    filter: Option<Predicate>,
    limit: usize,
    batch_size: usize,
    reverse: bool,
    snapshot: Option<&'a Snapshot>,
    fill_cache: bool,
}

/// Which rows: by their user keys, or by key columns, whose names are those of the moment that is read at.
#[derive(Debug, Clone)]
enum Rows {
    Bytes(ScanBounds),
    Columns(Bound<RecordBatch>, Bound<RecordBatch>),
}

impl<'a> Read<'a> {
    pub(crate) fn new(table: &'a Table) -> Self {
        Self {
            table,
            names: None,
            range: Rows::Bytes(ScanBounds::default()),
            filter: None,
            limit: usize::MAX,
            batch_size: BATCH_ROWS,
            reverse: false,
            snapshot: None,
            fill_cache: true,
        }
    }

    /// Only these columns, in this order; only what they need is decoded. No columns at all count rows.
    pub fn project<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only rows whose user keys are in a range of bytes. The last of `range`, [`key_range`](Self::key_range) and
    /// [`prefix`](Self::prefix) counts.
    pub fn range(mut self, range: impl KeyRange) -> Self {
        self.range = Rows::Bytes(ScanBounds::of(range));
        self
    }

    /// Only rows whose keys are in a range, in the order of the key: `key_range(&from..&to)`, `key_range(..=&to)`. The ends
    /// are record batches of one row with the key columns, or only the first of them, by name: an end then stands for all
    /// keys that begin so. In a descending column larger values come first, so `from` has the larger one.
    pub fn key_range(mut self, range: impl RangeBounds<RecordBatch>) -> Self {
        self.range = Rows::Columns(range.start_bound().cloned(), range.end_bound().cloned());
        self
    }

    /// Only rows whose first key columns have these values: one row of the first key columns, by name.
    pub fn prefix(self, key: &RecordBatch) -> Self {
        self.key_range((std::ops::Bound::Included(key), std::ops::Bound::Included(key)))
    }

    /// Only rows of which this is true. Given several times, all must be. The columns that it names need not be among those
    /// asked for; at a snapshot they are those of that moment.
    ///
    /// Blocks whose statistics say that no row passes are not read, unless a row in them may hide an older version of itself
    /// that does; conditions on the first columns of the key also narrow the range. (Tables with a merge operator leave out
    /// blocks only where nothing else overlaps them.)
    pub fn filter(mut self, condition: Predicate) -> Self {
        self.filter = Some(match self.filter {
            Some(known) => known.and(condition),
            None => condition,
        });
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// From the last row to the first.
    pub fn rev(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// As the table was when the snapshot was taken, with the columns that it had then.
    pub fn at(mut self, snapshot: &'a Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// At most so many rows in a batch (at least 1; 8192 if not said). Batches are smaller where rows can be handed out as
    /// they lie in a file, and where the indexes of a dictionary column count no more values.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows.max(1);
        self
    }

    /// Blocks read are not kept in the cache: for large reads that should not push out what is hot.
    pub fn without_cache(mut self) -> Self {
        self.fill_cache = false;
        self
    }

    /// Begins to read.
    ///
    /// # Errors
    /// `InvalidInput` for a column that the table does not have, range ends that are no keys, or a filter that compares what
    /// cannot be compared, naming column and value; otherwise as
    /// [`Table::scan`].
    pub fn batches(self) -> Result<Batches> {
        let (shared, inner) = (&self.table.open.shared, &self.table.inner);
        shared.check_open()?;
        if let Some(snapshot) = self.snapshot {
            snapshot.check(shared)?;
        }
        let view = inner.view.load_full();
        let mut range = ScanRange {
            seq: self
                .snapshot
                .map_or_else(|| shared.visible(), Snapshot::seq)
                .min(MAX_SEQ),
            hidden_below: inner.hidden_below(|| shared.now_micros()),
            reverse: self.reverse,
            prefix: None,
            fill_cache: self.fill_cache,
            filter: None,
            merges_fast: false,
        };
        let target = inner.target_at(range.seq);
        let schema = target.schema();
        let bounds = match &self.range {
            Rows::Bytes(bounds) => bounds.clone(),
            Rows::Columns(from, to) => keys::bounds(schema, target.codecs(), &(from.as_ref(), to.as_ref()))?,
        };
        let filter = self
            .filter
            .as_ref()
            .map(|filter| Filter::new(filter, &target).map(Arc::new))
            .transpose()?;
        let bounds = match &filter {
            Some(filter) => bounds.within(filter.key_bounds()?),
            None => bounds,
        };
        let batch_size = self.batch_size.min(countable_rows(schema));
        let operator = inner.operator_for(&target);
        let also = filter.as_ref().map_or(&[][..], |filter| filter.columns());
        let handed_out = Columns::new(target.clone(), self.names.as_deref(), &[], operator.is_some())?;
        let columns = Columns::new(target, self.names.as_deref(), also, operator.is_some())?;
        let wanted = columns.wanted();
        range.filter = filter.as_ref();
        range.merges_fast = merge::is_exact(columns.target());
        let (cursor, tombstones) = inner.sources(&view, &bounds, range, &wanted)?;
        let context = ScanContext {
            seq: range.seq,
            hidden_below: range.hidden_below,
            tombstones,
            operator,
            // Rows are brought to the target's columns as columns.
            target: None,
            key_value: inner.key_value,
        };
        let plan = Plan {
            context,
            bounds,
            reverse: self.reverse,
            limit: if filter.is_some() { usize::MAX } else { self.limit },
            batch_size,
        };
        let filtering = filter.map(|filter| {
            let places = filter
                .columns()
                .iter()
                .filter_map(|&index| columns.place(index))
                .collect();
            Filtering::new(filter, places, Arc::clone(handed_out.output()), self.limit, batch_size)
        });
        let rows = VisibleRows::new(cursor, plan, columns)?;
        Ok(Batches::new(rows, filtering))
    }
}
