//! Rows from the last to the first.
//!
//! Streams are merged forward only. Backward they are merged a slice of the key range at a time, the last one first, and what comes
//! out is turned around. A slice ends where the one after it begins, and has rows of one block of each run at most.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use kodiak_core::{Error, ErrorKind, Result};

use super::Merge;
use crate::typed::gather::Gather;

/// Rows of a stream in the first slice, and in any: what is read first may be all that is read.
const COUNTS: (usize, usize) = (64, 8192);

/// A merge of streams from the last row to the first.
pub struct Backward {
    merge: Merge,
    /// The first key that is to be read.
    start: Vec<u8>,
    /// First key that is not to be read, or has been.
    end: Option<Vec<u8>>,
    /// Rows of a stream in the next slice.
    rows: usize,
    /// What is left of the slice at hand, in the order of keys.
    left: Vec<RecordBatch>,
    /// There are no more slices.
    ended: bool,
}

impl Backward {
    /// Of streams that are not positioned; about `rows` rows will be read.
    pub fn new(merge: Merge, (start, end): (&[u8], Option<&[u8]>), rows: usize) -> Self {
        Self {
            merge,
            start: start.to_vec(),
            end: end.map(<[u8]>::to_vec),
            rows: COUNTS.0.min(rows).max(1),
            left: Vec::new(),
            ended: false,
        }
    }

    /// The next batch, of at most `rows` rows; `None` at the end.
    ///
    /// # Errors
    /// As [`Merge::batch`].
    pub fn batch(&mut self, gather: &mut Gather, rows: usize) -> Result<Option<RecordBatch>> {
        while self.left.is_empty() && !self.ended {
            self.read_slice(gather, rows)?;
        }
        self.left.pop().map(|batch| reversed(&batch)).transpose()
    }

    fn read_slice(&mut self, gather: &mut Gather, rows: usize) -> Result<()> {
        let Some(from) = self.merge.seek_slice(&self.start, self.end.as_deref(), self.rows)? else {
            self.ended = true;
            return Ok(());
        };
        while let Some(batch) = self.merge.batch(gather, rows)? {
            self.left.push(batch);
        }
        self.ended = from <= self.start;
        self.end = Some(from);
        self.rows = (self.rows * 4).min(COUNTS.1);
        Ok(())
    }
}

impl Merge {
    /// Positions the streams at the beginning of the last slice before `end`, of about `rows` rows of each at most, and returns its
    /// first key, which is not before `start`; `None` if there are no rows before `end`.
    fn seek_slice(&mut self, start: &[u8], end: Option<&[u8]>, rows: usize) -> Result<Option<Vec<u8>>> {
        let mut feeds = self.take_feeds();
        let mut from = None;
        // Memtables have to be walked through, but not further than the runs go.
        feeds.sort_by_key(|feed| !feed.is_run());
        feeds
            .iter_mut()
            .try_for_each(|feed| feed.look_back(end, rows, &mut from))?;
        if let Some(from) = &mut from
            && from.as_slice() < start
        {
            *from = start.to_vec();
        }
        match &from {
            Some(from) => self.seek(feeds, (from, end))?,
            None => self.idle = feeds,
        }
        Ok(from)
    }
}

fn reversed(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = u32::try_from(batch.num_rows())
        .map_err(|_| Error::invalid_input("a batch has more rows than can be read backward: read smaller ones"))?;
    take_record_batch(batch, &UInt32Array::from_iter_values((0..rows).rev()))
        .map_err(|error| Error::new(ErrorKind::Unsupported, "rows cannot be put in reverse order").with_source(error))
}
