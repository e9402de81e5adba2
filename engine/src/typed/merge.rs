//! The visible rows of several sources in key order, in stretches.
//!
//! Every source is a stream of blocks, memtables too. The streams are compared by eight bytes of their next keys; all rows of the
//! first stream that come before the next row of any other are taken at once, without a look at each unless their block has
//! deletes, old versions or rows that the reader must not see. Where a few rows in a hundred were updated, a row so costs a
//! comparison of integers. What keys begin with is taken from their columns as they lie in blocks that overlap others, and so is what
//! tells apart those that begin alike.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kodiak_core::entry::common_prefix;
use kodiak_core::{Op, Result};

use super::Target;
use super::gather::Gather;
use super::streams::{Feed, Sight, Stream};
use crate::merge::MergeOperator;
use crate::read::Account;

mod backward;
mod operands;
mod pair;
mod seek;
mod tied;

pub use backward::Backward;

/// Rows from which on a stretch of a block is handed out as it lies instead of being copied.
const LONG_STRETCH: usize = 64;

/// Bytes at which a batch ends, however few its rows.
pub const BATCH_BYTES: usize = 32 << 20;

/// Streams that are merged, forward.
pub struct Merge {
    /// Those that have rows left.
    streams: Vec<Stream>,
    /// The feeds of those that have none.
    idle: Vec<Feed>,
    /// What the next key of each begins with, behind what all have in common.
    heads: Vec<u64>,
    /// So many bytes at the front of all keys in the blocks at hand are the same.
    skip: usize,
    /// `skip` and `heads` are not up to date.
    stale: bool,
    /// Keys are told apart by their first eight bytes.
    exact: bool,
    /// First key that is not to be read.
    bound: Option<Vec<u8>>,
    sight: Sight,
    operator: Option<Arc<dyn MergeOperator>>,
    account: Account,
    tied: Vec<usize>,
    key: Vec<u8>,
    other: Vec<u8>,
}

impl Merge {
    /// Of feeds that are yet to be positioned. `exact` is as [`is_exact`] says of the table.
    pub fn new(
        feeds: Vec<Feed>,
        sight: Sight,
        operator: Option<Arc<dyn MergeOperator>>,
        exact: bool,
        mut account: Account,
    ) -> Self {
        account.search();
        Self {
            streams: Vec::with_capacity(feeds.len()),
            heads: Vec::with_capacity(feeds.len()),
            idle: feeds,
            skip: 0,
            stale: true,
            exact,
            bound: None,
            sight,
            operator,
            account,
            tied: Vec::new(),
            key: Vec::new(),
            other: Vec::new(),
        }
    }

    /// The next batch, of at most `rows` rows; `None` at the end.
    ///
    /// # Errors
    /// Those of reading, and of [`Gather::take`].
    pub fn batch(&mut self, gather: &mut Gather, rows: usize) -> Result<Option<RecordBatch>> {
        let mut whole = None;
        while whole.is_none() && gather.rows() < rows && gather.bytes() < BATCH_BYTES {
            if !self.step(gather, rows - gather.rows(), &mut whole)? {
                break;
            }
        }
        match whole {
            Some(batch) => Ok(Some(batch)),
            None if gather.rows() == 0 => Ok(None),
            None => gather.take().map(Some),
        }
    }

    /// Takes what comes next: a stretch of rows or one, at most `room` of them, or passes rows that are not seen. False at the end.
    /// A stretch that is a batch of its own goes to `whole`.
    fn step(&mut self, gather: &mut Gather, room: usize, whole: &mut Option<RecordBatch>) -> Result<bool> {
        if self.stale {
            self.compare_anew();
        }
        let Some(&first) = self.heads.first() else {
            return Ok(false);
        };
        // The first stream, the second, and what the next key of the third begins with.
        let (mut front, mut least, mut second, mut limit) = (0, first, None, None);
        for (stream, &head) in self.heads.iter().enumerate().skip(1) {
            let after = second.map(|(_, head)| head);
            if head < least {
                (front, least, second, limit) = (stream, head, Some((front, least)), after);
            } else if after.is_none_or(|after| head < after) {
                (second, limit) = (Some((stream, head)), after);
            } else {
                limit = Some(limit.map_or(head, |limit: u64| limit.min(head)));
            }
        }
        match second {
            Some((second, head))
                if gather.rows() > 0 && limit.is_none_or(|limit| head < limit) && self.is_plain_pair(front, second) =>
            {
                self.take_pair((front, second), limit, gather, room)?;
            }
            Some((_, head)) if head == least => self.take_tied(least, gather)?,
            second => self.take_stretch(front, second.map(|(_, head)| head), gather, room, whole)?,
        }
        Ok(true)
    }

    /// Takes the rows of a stream that begin with less than any other stream's.
    fn take_stretch(
        &mut self,
        front: usize,
        until: Option<u64>,
        gather: &mut Gather,
        room: usize,
        whole: &mut Option<RecordBatch>,
    ) -> Result<()> {
        let stream = &mut self.streams[front];
        let from = stream.row;
        let stop = match until {
            Some(until) => stream.before(until, self.skip, &mut self.key),
            None => stream.end,
        };
        if !stream.plain {
            return self.take_seen(front, stop, gather, room);
        }
        let to = stop.min(from.saturating_add(room));
        if gather.rows() == 0 && to - from >= LONG_STRETCH {
            *whole = Some(gather.columns().slice(&stream.block, from, to)?);
        } else {
            stream.push(gather, from, to);
        }
        self.advance(front, to, true)
    }

    /// Takes those rows of a stream before `stop` that are seen.
    fn take_seen(&mut self, front: usize, stop: usize, gather: &mut Gather, room: usize) -> Result<()> {
        let (stream, sight) = (&mut self.streams[front], &self.sight);
        let block = Arc::clone(&stream.block);
        let (begin, mut row, mut taken, mut resolved) = (stream.row, stream.row, 0, false);
        while row < stop && taken < room {
            let seq = block.seq(row);
            resolved = seq <= sight.seq;
            if !resolved {
                row += 1;
                continue;
            }
            match sight.sees(&block, row) {
                Op::Put => {
                    stream.push(gather, row, row + 1);
                    taken += 1;
                }
                Op::Merge if row > begin => {
                    // With the next step.
                    resolved = false;
                    break;
                }
                Op::Merge => return self.merge_operands(block.key(row), gather),
                Op::Delete | Op::RangeDelete => {}
            }
            // Older versions.
            let at = row;
            row += 1;
            while row < stop && block.seqs()[row] < block.seqs()[row - 1] && block.key(row) == block.key(at) {
                row += 1;
            }
        }
        self.account.rows += (row - begin - taken) as u64;
        self.advance(front, row, resolved)
    }

    /// Moves a stream on to `row`, at or before its end. If the row before is `resolved`, older versions of its key are passed.
    #[inline]
    fn advance(&mut self, index: usize, row: usize, resolved: bool) -> Result<()> {
        let stream = &mut self.streams[index];
        if row < stream.end {
            stream.row = row;
            if self.heads.len() > 1 {
                self.heads[index] = stream.prefix(row, self.skip, &mut self.key);
            }
            return Ok(());
        }
        self.leave_block(index, row, resolved)
    }

    fn leave_block(&mut self, index: usize, row: usize, resolved: bool) -> Result<()> {
        let stream = &mut self.streams[index];
        let (block, seq) = (Arc::clone(&stream.block), stream.block.seq(row - 1));
        stream.row = row;
        while self.enter_next(index)? {
            let stream = &mut self.streams[index];
            // Older versions have lower sequence numbers.
            if !resolved || stream.block.seq(stream.row) >= seq {
                break;
            }
            block.copy_key(row - 1, &mut self.other);
            stream.block.copy_key(stream.row, &mut self.key);
            while self.key == self.other {
                stream.row += 1;
                self.account.rows += 1;
                if stream.row == stream.end {
                    break;
                }
                stream.block.copy_key(stream.row, &mut self.key);
            }
            if stream.row < stream.end {
                break;
            }
        }
        if !self.has_rows(index) {
            self.drop_stream(index);
        } else if !self.exact {
            self.stale = true;
        } else if self.heads.len() > 1 {
            let stream = &mut self.streams[index];
            self.heads[index] = stream.prefix(stream.row, 0, &mut self.key);
        }
        Ok(())
    }

    fn has_rows(&self, index: usize) -> bool {
        self.streams[index].row < self.streams[index].end
    }

    fn drop_stream(&mut self, index: usize) {
        self.idle.push(self.streams.swap_remove(index).feed);
        self.heads.swap_remove(index);
    }

    /// Moves the feed of a stream on to the row of the stream; false if there is nothing more to be read.
    fn enter_next(&mut self, index: usize) -> Result<bool> {
        let stream = &mut self.streams[index];
        if stream.last {
            return Ok(false);
        }
        stream.feed.advance_to(stream.row)?;
        Ok(self.enter_block(index))
    }
}

impl Merge {
    /// Finds out what the keys of the blocks at hand have in common, and compares them by what follows.
    #[cold]
    fn compare_anew(&mut self) {
        self.stale = false;
        if self.streams.len() < 2 {
            return;
        }
        if !self.exact {
            let (mut low, mut high): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
            for stream in &self.streams {
                stream.block.copy_key(stream.row, &mut self.key);
                if low.as_ref().is_none_or(|low| self.key < *low) {
                    low = Some(self.key.clone());
                }
                stream.block.copy_key(stream.end - 1, &mut self.key);
                if high.as_ref().is_none_or(|high| self.key > *high) {
                    high = Some(self.key.clone());
                }
            }
            let skip = match (&low, &high) {
                (Some(low), Some(high)) => common_prefix(low, high),
                _ => 0,
            };
            if skip != self.skip {
                self.skip = skip;
                self.streams.iter_mut().for_each(|stream| stream.prefixed = false);
            }
        }
        for (stream, head) in self.streams.iter_mut().zip(&mut self.heads) {
            *head = stream.prefix(stream.row, self.skip, &mut self.key);
        }
    }
}

/// True if keys are told apart by their first eight bytes: then they are compared as integers.
pub fn is_exact(target: &Target) -> bool {
    !target.schema().is_key_value() && target.codecs().key.width().is_some_and(|width| width <= 8)
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge")
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}
