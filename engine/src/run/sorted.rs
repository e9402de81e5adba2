//! Cursors over sorted runs, which are made of several runs that do not overlap.

use std::ops::Range;
use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::{EntryRef, Result, SeqNo};

use super::cursor::RunCursor;
use super::lazy::Run;
use super::pruning::Pruning;
use super::rows::Rows;
use super::wanted::Wanted;
use crate::deletion::Passing;

/// A cursor over runs that do not overlap, in key order.
#[derive(Debug)]
pub struct SortedRunCursor {
    runs: Arc<Vec<Arc<Run>>>,
    /// Those of them that it reads.
    range: Range<usize>,
    /// Within the range.
    index: usize,
    cursor: Option<RunCursor>,
    fill_cache: bool,
    wanted: Wanted,
    once: bool,
    pruning: Option<Pruning>,
    passing: Option<Passing>,
}

impl SortedRunCursor {
    /// A cursor that is not positioned.
    pub fn new(runs: Vec<Arc<Run>>, fill_cache: bool) -> Self {
        let range = 0..runs.len();
        Self::within(Arc::new(runs), range, fill_cache)
    }

    /// A cursor over some of the runs, which must be a range of them.
    pub fn within(runs: Arc<Vec<Arc<Run>>>, range: Range<usize>, fill_cache: bool) -> Self {
        Self {
            runs,
            range,
            index: 0,
            cursor: None,
            fill_cache,
            wanted: Wanted::default(),
            once: false,
            pruning: None,
            passing: None,
        }
    }

    /// Stands on no row that is to be passed over.
    pub fn passing(mut self, passing: Option<&Passing>) -> Self {
        self.passing = passing.cloned();
        self
    }

    /// For one pass over runs that will hardly be read again: pages of mapped files are let go of behind the cursor, so that
    /// what it reads does not count as memory of the process.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Blocks have what `wanted` says, or everything where that costs no more.
    pub fn wanting(mut self, wanted: &Wanted) -> Self {
        self.wanted = wanted.clone();
        self
    }

    /// Passes over blocks as `pruning` says.
    pub fn pruned(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// True if it has no runs to read.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    #[inline]
    fn runs(&self) -> &[Arc<Run>] {
        &self.runs[self.range.clone()]
    }

    fn open(&mut self, index: usize) -> Result<Option<&mut RunCursor>> {
        let Some(run) = self.runs[self.range.clone()].get(index) else {
            self.cursor = None;
            return Ok(None);
        };
        if self.cursor.is_none() || self.index != index {
            self.cursor = None;
            let reader = run.reader()?;
            let projection = self.wanted.of_run(reader.schema());
            let left_out = match &self.pruning {
                Some(pruning) => {
                    let next = self.runs[self.range.clone()].get(index + 1);
                    pruning.blocks(&reader, next)?
                }
                None => None,
            };
            let pass = self.passing.as_ref().and_then(|passing| passing.in_run(run.id()));
            let cursor = RunCursor::new(reader, self.fill_cache, projection).leaving_out(left_out);
            self.cursor = Some(cursor.once(self.once).passing(pass));
            self.index = index;
        }
        Ok(self.cursor.as_mut())
    }

    fn settle_forward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_positioned()) {
            if let Some(cursor) = self.open(self.index + 1)? {
                cursor.seek_first()?;
            }
        }
        Ok(())
    }

    fn settle_backward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_positioned()) {
            let Some(before) = self.index.checked_sub(1) else {
                self.cursor = None;
                return Ok(());
            };
            if let Some(cursor) = self.open(before)? {
                cursor.seek_last()?;
            }
        }
        Ok(())
    }

    /// The first half of a [`seek`](Self::seek), as [`RunCursor::approach`].
    pub fn approach(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let index = self.runs().partition_point(|run| run.max_key() < key);
        match self.open(index)? {
            Some(cursor) => cursor.approach(key, seq),
            None => Ok(()),
        }
    }

    /// The second half, with the same arguments.
    pub fn land(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.land(key, seq)?;
        }
        self.settle_forward()
    }

    /// To the first entry at or after `(key, seq)`.
    pub fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.approach(key, seq)?;
        self.land(key, seq)
    }

    /// To the last entry before `(key, seq)`.
    pub fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let Some(index) = self.runs().partition_point(|run| run.min_key() <= key).checked_sub(1) else {
            self.cursor = None;
            return Ok(());
        };
        if let Some(cursor) = self.open(index)? {
            cursor.seek_before(key, seq)?;
        }
        self.settle_backward()
    }

    /// To the first entry.
    pub fn seek_first(&mut self) -> Result<()> {
        if let Some(cursor) = self.open(0)? {
            cursor.seek_first()?;
        }
        self.settle_forward()
    }

    /// To the last entry.
    pub fn seek_last(&mut self) -> Result<()> {
        if let Some(last) = self.range.len().checked_sub(1)
            && let Some(cursor) = self.open(last)?
        {
            cursor.seek_last()?;
        }
        self.settle_backward()
    }

    /// To the next entry.
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.next()?;
        if !cursor.is_positioned() {
            self.settle_forward()
        } else {
            Ok(())
        }
    }

    /// To the previous entry.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.prev()?;
        if !cursor.is_positioned() {
            self.settle_backward()
        } else {
            Ok(())
        }
    }

    /// The rows of the block under the cursor, and the one it stands on.
    #[inline]
    pub fn rows(&self) -> Option<(&Rows, usize)> {
        self.cursor.as_ref().and_then(RunCursor::rows)
    }

    /// Has the processor fetch the key and value of a row that is soon to be read, going forward.
    #[inline]
    pub fn fetch_ahead(&self) {
        // Takes about as long to pass as the memory needs.
        const AHEAD: usize = 16;
        if let Some((rows, row)) = self.rows() {
            rows.fetch(row + AHEAD);
        }
    }

    /// The end of the rows of the block, from the one it stands on, none of which is passed over.
    #[inline]
    pub fn end(&self) -> usize {
        self.cursor.as_ref().map_or(0, RunCursor::end)
    }

    /// To the next row, which the caller knows to be before the [`end`](Self::end).
    #[inline]
    pub fn step(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.step();
        }
    }

    /// To the row before, which the caller knows to be in the block.
    #[inline]
    pub fn step_back(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.step_back();
        }
    }

    /// Moves to `row` of the block under the cursor, or past the block.
    pub fn advance_to(&mut self, row: usize) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.advance_to(row)?;
        if !cursor.is_positioned() {
            self.settle_forward()
        } else {
            Ok(())
        }
    }

    /// The run, the block and the row under the cursor, by their numbers.
    pub fn place(&self) -> Option<(RunId, usize, usize)> {
        let cursor = self.cursor.as_ref().filter(|cursor| cursor.is_positioned())?;
        Some(cursor.place())
    }

    /// The block under the cursor and the row in it.
    #[inline]
    pub fn position(&self) -> Option<(&Arc<ColumnBlock>, usize)> {
        self.cursor.as_ref().and_then(RunCursor::position)
    }

    /// If all rows of the block under the cursor are puts of distinct keys: a sequence number that none of theirs is above.
    pub fn plain(&self) -> Option<SeqNo> {
        self.cursor.as_ref().and_then(RunCursor::plain)
    }

    /// The entry under the cursor; the value is empty in a typed table.
    #[inline]
    pub fn entry(&self) -> Option<EntryRef<'_>> {
        self.cursor.as_ref().and_then(RunCursor::entry)
    }

    /// The key under the cursor.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.cursor.as_ref().and_then(RunCursor::key)
    }
}
