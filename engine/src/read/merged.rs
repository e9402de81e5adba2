//! One ordered cursor over many: memtables and sorted runs.

mod backward;
mod forward;
mod passing;
mod source;

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::compare;
use kodiak_core::{EntryRef, Result, SeqNo, Slice};

use super::Account;
use super::tournament::{Head, Tournament};
use crate::run::Rows;
pub use source::Source;
use source::order_of;

/// Where a merged cursor begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// At or after `(key, seq)` going forward; before it going backward.
    At(&'a [u8], SeqNo),
    /// At the very beginning going forward, at the very end going backward.
    Edge,
}

/// Entries of all sources in one order, in one direction.
///
/// A [`Tournament`] says whose entry is the current one, and whose is next among the other sources: as long as the current
/// source stays before that, no more than the beginnings of two keys are compared.
pub struct MergedCursor {
    sources: Vec<Source>,
    tournament: Tournament,
    reverse: bool,
    account: Account,
    /// Rows of runs are puts of distinct keys.
    distinct: bool,
}

/// True if the entry of `left` comes before that of `right`; those of sources that have none come last.
fn before_in_full(sources: &[Source], reverse: bool, left: Head, right: Head) -> bool {
    let entry = |head: Head| sources.get(head.source as usize).and_then(Source::entry);
    let (Some(a), Some(b)) = (entry(left), entry(right)) else {
        return entry(left).is_some();
    };
    let order = compare((a.key, a.seq), (b.key, b.seq));
    if reverse { order.is_gt() } else { order.is_lt() }
}

impl MergedCursor {
    /// A cursor that is not positioned.
    pub fn new(sources: Vec<Source>, reverse: bool) -> Self {
        Self {
            tournament: Tournament::with_capacity(sources.len()),
            sources,
            reverse,
            account: Account::default(),
            distinct: false,
        }
    }

    /// What it costs is put down to `account`.
    pub fn accounted(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Says that the rows of all runs, as far as cursors stand on them, are puts of distinct keys that any reader of the cursor's
    /// sees, unless it is told of newer versions by a memtable, range deletes or expiry.
    pub fn distinct(mut self, distinct: bool) -> Self {
        self.distinct = distinct;
        self
    }

    /// The sources, not positioned yet, and the account, for those who merge otherwise.
    pub fn into_parts(self) -> (Vec<Source>, Account) {
        (self.sources, self.account)
    }

    /// As it was said to [`distinct`](Self::distinct).
    #[inline]
    pub fn is_distinct(&self) -> bool {
        self.distinct
    }

    /// Positions every source and the merged cursor.
    pub fn start(&mut self, start: Start<'_>) -> Result<()> {
        self.account.search();
        if let (Start::At(key, seq), false) = (start, self.reverse) {
            // All of them first, so that the processor waits for their memory at once.
            for source in &mut self.sources {
                if let Source::Run(cursor) = source {
                    cursor.approach(key, seq)?;
                }
            }
        }
        for source in &mut self.sources {
            match (source, start, self.reverse) {
                (Source::Memory(cursor), Start::At(key, seq), false) => cursor.seek(key, seq)?,
                (Source::Memory(cursor), Start::At(key, seq), true) => cursor.seek_before(key, seq)?,
                (Source::Memory(cursor), Start::Edge, false) => cursor.seek_first()?,
                (Source::Memory(cursor), Start::Edge, true) => cursor.seek_last()?,
                (Source::Run(cursor), Start::At(key, seq), false) => cursor.land(key, seq)?,
                (Source::Run(cursor), Start::At(key, seq), true) => cursor.seek_before(key, seq)?,
                (Source::Run(cursor), Start::Edge, false) => cursor.seek_first()?,
                (Source::Run(cursor), Start::Edge, true) => cursor.seek_last()?,
            }
        }
        let (sources, reverse) = (&self.sources, self.reverse);
        let prefix = |source: u32| order_of(sources[source as usize].key(), reverse);
        let before = |left, right| before_in_full(sources, reverse, left, right);
        // The oldest rows come last, and are most of all.
        let apart = matches!(sources.last(), Some(Source::Run(_)));
        self.tournament.start(sources.len(), apart, prefix, before);
        Ok(())
    }

    #[inline]
    fn top(&self) -> Option<&Source> {
        self.sources.get(self.tournament.first().source as usize)
    }

    #[inline]
    fn top_mut(&mut self) -> Option<&mut Source> {
        self.sources.get_mut(self.tournament.first().source as usize)
    }

    /// The source whose entry follows the current one, unless that source has another one before it.
    #[inline]
    fn second(&self) -> Option<&Source> {
        self.sources.get(self.tournament.second().source as usize)
    }

    /// To the following entry in the cursor's direction.
    #[inline]
    pub fn advance(&mut self) -> Result<()> {
        self.account.rows += 1;
        let reverse = self.reverse;
        let Some(source) = self.top_mut() else { return Ok(()) };
        if reverse {
            source.prev()?
        } else {
            source.next()?
        }
        self.settle_top();
        Ok(())
    }

    /// Passes every version of the key under the cursor, of which `key` is the place to keep it.
    #[inline]
    pub fn leave_key(&mut self, key: &mut Vec<u8>) -> Result<()> {
        match self.on_only_version() {
            true => self.advance(),
            false => self.pass_key(key),
        }
    }

    /// True if it is known, by no more than a look, that no other source has a version of the key under the cursor, nor the same one another.
    #[inline]
    fn on_only_version(&self) -> bool {
        let Some(Source::Run(cursor)) = self.top() else {
            return false;
        };
        // Versions in memtables are newer, and come first.
        if self.distinct {
            return true;
        }
        // The next block may begin with an older version of this one's last key.
        let alone = |(rows, row): (&Rows, usize)| {
            rows.plain().is_some()
                && row + 1 < rows.len()
                && self.tournament.second().prefix != order_of(Some(rows.key(row)), self.reverse)
        };
        cursor.rows().is_some_and(alone)
    }

    /// Passes every version of the key under the cursor, which it puts into `key`.
    #[inline]
    pub fn pass_key(&mut self, key: &mut Vec<u8>) -> Result<()> {
        if self.in_field() {
            return self.pass_in_field(key, |_, _| false).map(drop);
        }
        let Some(current) = self.top().and_then(Source::key) else {
            return Ok(());
        };
        key.clear();
        key.extend_from_slice(current);
        // That of the tournament may be of an earlier row: `step` leaves it.
        let prefix = order_of(Some(key), self.reverse);
        loop {
            self.advance()?;
            if self.tournament.first().prefix != prefix || self.top().and_then(Source::key) != Some(key) {
                return Ok(());
            }
        }
    }

    #[inline]
    fn settle_top(&mut self) {
        let (sources, reverse) = (&self.sources, self.reverse);
        let Some(source) = sources.get(self.tournament.first().source as usize) else {
            return;
        };
        let before = |left, right| before_in_full(sources, reverse, left, right);
        self.tournament.advance(order_of(source.key(), reverse), before);
    }

    /// The entry under the cursor; in a typed table the value of a run's row is empty (see [`value`](Self::value)).
    #[inline]
    pub fn entry(&self) -> Option<EntryRef<'_>> {
        self.top().and_then(Source::entry)
    }

    /// The key under the cursor.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.top().and_then(Source::key)
    }

    /// The key and value under the cursor, as [`entry`](Self::entry) has them.
    #[inline]
    pub fn key_value(&self) -> Option<(&[u8], &[u8])> {
        match self.top()? {
            Source::Memory(cursor) => cursor.entry().map(|entry| (entry.key, entry.value)),
            Source::Run(cursor) => cursor.rows().map(|(rows, row)| rows.key_value(row)),
        }
    }

    /// The block and row under the cursor, if it stands on a run.
    #[inline]
    pub fn position(&self) -> Option<(&Arc<ColumnBlock>, usize)> {
        match self.top() {
            Some(Source::Run(cursor)) => cursor.position(),
            _ => None,
        }
    }

    /// The value under the cursor: shared with the block of a run, copied from a memtable.
    pub fn value(&self) -> Result<Option<Slice>> {
        match self.top() {
            Some(Source::Run(cursor)) => match cursor.position() {
                Some((block, row)) => block.value(row).map(Some),
                None => Ok(None),
            },
            Some(Source::Memory(cursor)) => Ok(cursor.entry().map(|entry| Slice::copy_from(entry.value))),
            None => Ok(None),
        }
    }

    /// True if the row under the cursor, which the cursor came to from an earlier key, is known to be what readers at `seq` or
    /// later see of its key: a put. It takes no look at the row.
    #[inline]
    pub fn on_put(&self, seq: SeqNo) -> bool {
        match self.top() {
            Some(Source::Run(cursor)) => cursor
                .rows()
                .and_then(|(rows, _)| rows.plain())
                .is_some_and(|newest| newest <= seq),
            _ => false,
        }
    }

    /// Has the processor fetch a row that is soon to be read, if the cursor, going forward, is on a run.
    #[inline]
    pub fn fetch_ahead(&self) {
        if let Some(Source::Run(cursor)) = self.top() {
            cursor.fetch_ahead();
        }
    }

    /// To the next row in the cursor's direction, of which [`plain_rows`](Self::plain_rows) or
    /// [`plain_rows_back`](Self::plain_rows_back) has told.
    #[inline]
    pub fn step(&mut self) {
        let reverse = self.reverse;
        match self.top_mut() {
            Some(Source::Run(cursor)) if reverse => cursor.step_back(),
            Some(Source::Run(cursor)) => {
                cursor.step();
                cursor.fetch_ahead();
            }
            _ => {}
        }
    }

    /// Moves on to `row` of the block under the cursor (a run, going forward), or past the block.
    pub fn advance_to(&mut self, row: usize) -> Result<()> {
        if let Some(Source::Run(cursor)) = self.top_mut() {
            cursor.advance_to(row)?;
            self.settle_top();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
