//! Cursors over sorted runs, which are made of several runs that do not overlap.

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::{EntryRef, Result, SeqNo};

use super::cursor::RunCursor;
use super::lazy::Run;
use super::pruning::Pruning;
use super::rows::Rows;
use super::wanted::Wanted;
use super::writer::DISTINCT;
use crate::deletion::Passing;
use crate::version::{At, SortedRun, Span};

/// A cursor over runs that do not overlap, in key order.
#[derive(Debug)]
pub struct SortedRunCursor {
    runs: SortedRun,
    /// Those of them that it reads.
    span: Span,
    /// The run of `cursor`.
    at: At,
    cursor: Option<RunCursor>,
    fill_cache: bool,
    wanted: Wanted,
    once: bool,
    pruning: Option<Pruning>,
    passing: Option<Passing>,
}

impl SortedRunCursor {
    /// A cursor over runs in key order, not positioned.
    pub fn new(runs: Vec<Arc<Run>>, fill_cache: bool) -> Self {
        let runs = SortedRun::in_order(0, runs);
        let all = runs.all();
        Self::within(runs, all, fill_cache)
    }

    /// A cursor over some of the runs.
    pub fn within(runs: SortedRun, span: Span, fill_cache: bool) -> Self {
        Self {
            runs,
            span,
            at: span.from,
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
        self.span.is_empty()
    }

    fn open(&mut self, at: Option<At>) -> Result<Option<&mut RunCursor>> {
        let run = match at {
            Some(at) => self.runs.run(at)?.map(|run| (at, run)),
            None => None,
        };
        let Some((at, run)) = run else {
            self.cursor = None;
            return Ok(None);
        };
        if self.cursor.is_none() || self.at != at {
            self.cursor = None;
            let reader = run.reader()?;
            let projection = self.wanted.of_run(reader.schema());
            let left_out = match &self.pruning {
                Some(pruning) => {
                    let next = self.runs.after(at, self.span.to)?;
                    let next = next.map_or(Ok(None), |next| self.runs.run(next))?;
                    pruning.blocks(&reader, next)?
                }
                None => None,
            };
            let pass = self.passing.as_ref().and_then(|passing| passing.in_run(run.id()));
            let cursor = RunCursor::new(reader, self.fill_cache, projection).leaving_out(left_out);
            self.cursor = Some(cursor.once(self.once).passing(pass));
            self.at = at;
        }
        Ok(self.cursor.as_mut())
    }

    fn settle_forward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_positioned()) {
            let next = self.runs.after(self.at, self.span.to)?;
            if let Some(cursor) = self.open(next)? {
                cursor.seek_first()?;
            }
        }
        Ok(())
    }

    fn settle_backward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_positioned()) {
            let before = self.runs.before(self.at, self.span.from)?;
            if let Some(cursor) = self.open(before)? {
                cursor.seek_last()?;
            }
        }
        Ok(())
    }

    /// The first half of a [`seek`](Self::seek), as [`RunCursor::approach`].
    pub fn approach(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let first = self.runs.first_candidate(key)?.max(self.span.from);
        let first = self.runs.settle(first, self.span.to)?;
        match self.open(first)? {
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
        let end = self.runs.beginning_after(key)?.min(self.span.to);
        let last = self.runs.before(end, self.span.from)?;
        if let Some(cursor) = self.open(last)? {
            cursor.seek_before(key, seq)?;
        }
        self.settle_backward()
    }

    /// To the first entry.
    pub fn seek_first(&mut self) -> Result<()> {
        let first = self.runs.settle(self.span.from, self.span.to)?;
        if let Some(cursor) = self.open(first)? {
            cursor.seek_first()?;
        }
        self.settle_forward()
    }

    /// To the last entry.
    pub fn seek_last(&mut self) -> Result<()> {
        let last = self.runs.before(self.span.to, self.span.from)?;
        if let Some(cursor) = self.open(last)? {
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

    /// Has the processor fetch all but the value of the row of the block that `place` makes of the current one, if there is such a row.
    #[inline]
    pub fn fetch_version(&self, place: impl Fn(usize) -> usize) {
        if let Some((rows, row)) = self.rows() {
            rows.fetch_version(place(row));
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

    /// True if the run under the cursor is known to hold no more than one version of each key.
    pub fn is_distinct(&self) -> Result<bool> {
        let Some(run) = self.runs.run(self.at)? else {
            return Ok(false);
        };
        let reader = run.reader()?;
        let mut properties = reader.sidecar().meta().properties.iter();
        Ok(properties.any(|(name, _)| name == DISTINCT))
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
