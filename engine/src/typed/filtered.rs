//! Record batches as reads hand them out: all visible rows, or those that pass a filter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use kodiak_core::{Error, Result};

use super::batches::VisibleRows;
use super::filter::Filter;
use super::merge::BATCH_BYTES;

/// Iterates over record batches in key order; made by [`Read::batches`](crate::Read::batches). Each has at least one row.
///
/// It sees the table as it was when it was made, and keeps the files of that moment alive until it is dropped; a batch keeps
/// alive what it was cut from. After an error it yields nothing more.
#[derive(Debug)]
pub struct Batches {
    rows: VisibleRows,
    filtering: Option<Filtering>,
}

impl Batches {
    pub(super) fn new(rows: VisibleRows, filtering: Option<Filtering>) -> Self {
        Self { rows, filtering }
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        match &self.filtering {
            Some(filtering) => Arc::clone(&filtering.output),
            None => Arc::clone(self.rows.columns().output()),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.filtering {
            None => self.rows.next(),
            Some(filtering) => filtering.next(&mut self.rows).transpose(),
        }
    }
}

/// Picks the rows that pass, and puts few of many batches together.
#[derive(Debug)]
pub struct Filtering {
    filter: Arc<Filter>,
    /// Where the columns that the filter looks at are in what is read.
    places: Vec<usize>,
    /// The first columns of what is read, which are handed out.
    output: SchemaRef,
    /// Rows that may still be handed out.
    left: usize,
    batch_size: usize,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    done: bool,
}

impl Filtering {
    /// Hands out the first columns of what is read, which are `output`, of at most `limit` rows in batches of at most
    /// `batch_size`.
    pub fn new(filter: Arc<Filter>, places: Vec<usize>, output: SchemaRef, limit: usize, batch_size: usize) -> Self {
        Self {
            filter,
            places,
            output,
            left: limit,
            batch_size,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            done: limit == 0,
        }
    }

    fn next(&mut self, rows: &mut VisibleRows) -> Result<Option<RecordBatch>> {
        while !self.done {
            let Some(batch) = rows.next() else {
                self.done = true;
                break;
            };
            // After an error there is nothing more.
            let passing = batch.and_then(|batch| self.passing(&batch)).inspect_err(|_| {
                self.done = true;
                self.waiting.clear();
                self.waiting_rows = 0;
            })?;
            if passing.num_rows() == 0 {
                continue;
            }
            let full = match self.waiting_rows + passing.num_rows() > self.batch_size {
                true => Some(self.take()?),
                false => None,
            };
            self.waiting_rows += passing.num_rows();
            self.waiting_bytes += passing.get_array_memory_size();
            self.waiting.push(passing);
            if full.is_some() {
                return Ok(full);
            }
            if self.waiting_bytes >= BATCH_BYTES || self.waiting_rows >= self.left {
                break;
            }
        }
        match self.waiting_rows.min(self.left) {
            0 => Ok(None),
            _ => self.take().map(Some),
        }
    }

    /// The rows of a batch that pass, in the columns that are handed out.
    fn passing(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self
            .places
            .iter()
            .map(|&place| Arc::clone(batch.column(place)))
            .collect();
        let passed = self.filter.evaluate(&columns, batch.num_rows())?;
        let passed = match passed.null_count() {
            0 => passed,
            _ => prep_null_mask_filter(&passed),
        };
        let width = self.output.fields().len();
        let columns = batch.columns()[..width].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let wrong = |error| Error::corruption("rows that pass cannot be picked").with_source(error);
        let whole = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options).map_err(wrong)?;
        match passed.true_count() {
            all if all == batch.num_rows() => Ok(whole),
            0 => Ok(whole.slice(0, 0)),
            count if width == 0 => Ok(whole.slice(0, count)),
            _ => filter_record_batch(&whole, &passed).map_err(wrong),
        }
    }

    /// What waits, as one batch.
    fn take(&mut self) -> Result<RecordBatch> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        let batch = match waiting.as_slice() {
            [only] => only.clone(),
            several => concat_batches(&self.output, several)
                .map_err(|error| Error::corruption("rows that pass cannot be put together").with_source(error))?,
        };
        let batch = match batch.num_rows() > self.left {
            true => batch.slice(0, self.left),
            false => batch,
        };
        self.left -= batch.num_rows();
        self.done |= self.left == 0;
        Ok(batch)
    }
}
