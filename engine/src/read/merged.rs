//! One ordered cursor over many: memtables and sorted runs.

mod backward;

use std::ops::Range;
use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::{EntryCursor, MAX_SEQ, compare, wide_prefix_of};
use kodiak_core::{EntryRef, Result, SeqNo, Slice};

use super::Account;
use crate::run::{Rows, SortedRunCursor};

/// Something that a merged cursor reads from.
#[allow(
    clippy::large_enum_variant,
    reason = "a scan has few; boxing would allocate for each"
)]
pub enum Source {
    /// A memtable.
    Memory(Box<dyn EntryCursor>),
    /// A sorted run.
    Run(SortedRunCursor),
}

impl Source {
    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        match self {
            Self::Memory(cursor) => cursor.entry(),
            Self::Run(cursor) => cursor.entry(),
        }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(cursor) => cursor.entry().map(|entry| entry.key),
            Self::Run(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        match self {
            Self::Memory(cursor) => cursor.next(),
            Self::Run(cursor) => cursor.next(),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        match self {
            Self::Memory(cursor) => cursor.prev(),
            Self::Run(cursor) => cursor.prev(),
        }
    }
}

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
/// The sources that have entries left form a binary heap by their current entry. Of a few the first is found by looking at
/// all of them, which takes no branch that a processor would have to guess; with one source nothing is compared.
pub struct MergedCursor {
    sources: Vec<Source>,
    heap: Vec<Head>,
    reverse: bool,
    account: Account,
    /// Rows of runs are puts of distinct keys.
    distinct: bool,
}

#[inline]
fn order_of(key: &[u8], reverse: bool) -> u128 {
    let prefix = wide_prefix_of(key);
    if reverse { !prefix } else { prefix }
}

/// A source in the heap, with the beginning of its current key: most comparisons need no more of it.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Inverted for a cursor that goes backward, so that the smallest comes first.
    prefix: u128,
    source: u32,
}

/// So many sources, and fewer, are no heap: only the first has its place.
const FEW: usize = 8;

impl MergedCursor {
    /// A cursor that is not positioned.
    pub fn new(sources: Vec<Source>, reverse: bool) -> Self {
        Self {
            heap: Vec::with_capacity(sources.len()),
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
        self.heap.clear();
        self.heap
            .extend((0..).zip(&self.sources).filter_map(|(source, cursor)| {
                let prefix = order_of(cursor.key()?, self.reverse);
                Some(Head { prefix, source })
            }));
        if self.heap.len() > FEW {
            for position in (0..self.heap.len() / 2).rev() {
                self.sift_down(position);
            }
        } else {
            self.first_to_front();
        }
        Ok(())
    }

    /// True if the entry of `left` comes before that of `right`.
    #[inline]
    fn before(&self, left: Head, right: Head) -> bool {
        left.prefix < right.prefix || left.prefix == right.prefix && self.before_in_full(left, right)
    }

    fn before_in_full(&self, left: Head, right: Head) -> bool {
        let (Some(a), Some(b)) = (self.entry_of(left), self.entry_of(right)) else {
            return false;
        };
        let order = compare((a.key, a.seq), (b.key, b.seq));
        if self.reverse { order.is_gt() } else { order.is_lt() }
    }

    #[inline]
    fn entry_of(&self, head: Head) -> Option<EntryRef<'_>> {
        self.sources[head.source as usize].entry()
    }

    #[inline]
    fn top(&self) -> Option<&Source> {
        self.heap.first().map(|head| &self.sources[head.source as usize])
    }

    #[inline]
    fn top_mut(&mut self) -> Option<&mut Source> {
        self.heap.first().map(|head| &mut self.sources[head.source as usize])
    }

    #[inline]
    fn sift_down(&mut self, mut position: usize) {
        loop {
            let mut child = 2 * position + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.before(self.heap[child + 1], self.heap[child]) {
                child += 1;
            }
            if !self.before(self.heap[child], self.heap[position]) {
                return;
            }
            self.heap.swap(position, child);
            position = child;
        }
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
        match self.top() {
            // Versions in memtables are newer, and come first.
            Some(Source::Run(_)) if self.distinct => self.advance(),
            _ => self.pass_key(key),
        }
    }

    /// Passes every version of the key under the cursor, which it puts into `key`.
    #[inline]
    pub fn pass_key(&mut self, key: &mut Vec<u8>) -> Result<()> {
        let Some(current) = self.top().and_then(Source::key) else {
            return Ok(());
        };
        key.clear();
        key.extend_from_slice(current);
        // The one in the heap may be that of an earlier row: `step` leaves it.
        let prefix = order_of(key, self.reverse);
        loop {
            self.advance()?;
            let same = self
                .heap
                .first()
                .is_some_and(|head| head.prefix == prefix && self.top().and_then(Source::key) == Some(key));
            if !same {
                return Ok(());
            }
        }
    }

    #[inline]
    fn settle_top(&mut self) {
        let Some(head) = self.heap.first_mut() else { return };
        match self.sources[head.source as usize].key() {
            Some(key) => head.prefix = order_of(key, self.reverse),
            None => {
                self.heap.swap_remove(0);
            }
        }
        if self.heap.len() > FEW {
            self.sift_down(0);
        } else {
            self.first_to_front();
        }
    }

    /// Swaps the source that comes first with the one in front, as far as there are any.
    #[inline]
    fn first_to_front(&mut self) {
        let Some((front, others)) = self.heap.split_first() else {
            return;
        };
        let (mut first, mut least, mut tie) = (0, front.prefix, false);
        for (index, other) in (1..).zip(others) {
            let less = other.prefix < least;
            tie = !less & (tie | (other.prefix == least));
            first = if less { index } else { first };
            least = if less { other.prefix } else { least };
        }
        if tie {
            for index in first + 1..self.heap.len() {
                let (left, right) = (self.heap[index], self.heap[first]);
                if left.prefix == least && self.before_in_full(left, right) {
                    first = index;
                }
            }
        }
        self.heap.swap(0, first);
    }

    /// The sources besides the front one among which the second is.
    #[inline]
    fn next_ones(&self) -> impl Iterator<Item = &Head> {
        let heap = &self.heap;
        let end = if heap.len() > FEW { 3 } else { heap.len() };
        heap[..end].iter().skip(1)
    }

    /// The key of the source that comes second.
    #[inline]
    fn next_key(&self) -> Option<&[u8]> {
        let mut ones = self.next_ones();
        let mut second = *ones.next()?;
        for &other in ones {
            if self.before(other, second) {
                second = other;
            }
        }
        self.sources[second.source as usize].key()
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

    /// With the cursor on a run going forward: the end of the stretch of rows in its block, from the current one on, that
    /// come before the current entry of every other source. At least one past the current row.
    pub fn stretch(&self) -> Option<(&Arc<ColumnBlock>, usize, usize)> {
        let Some(Source::Run(cursor)) = self.top() else {
            return None;
        };
        let (block, row) = cursor.position()?;
        let mut end = cursor.end();
        if self.distinct {
            let (rows, row) = cursor.rows()?;
            let end = self.next_key().map_or(end, |key| before(rows, row + 1..end, key));
            return Some((block, row, end));
        }
        for &other in self.next_ones() {
            if let Some(entry) = self.entry_of(other) {
                let last = (block.key(end - 1), block.seq(end - 1));
                if compare(last, (entry.key, entry.seq)).is_gt() {
                    // The cursor's own row is before every other source's.
                    end = block.lower_bound_after(row, entry.key, entry.seq);
                }
            }
        }
        Some((block, row, end))
    }

    /// With the cursor on a run going forward: how many rows from the current one on are what any reader at `seq` or later
    /// sees of their keys, come before every other source's next key, and lie below `end`. 0 if nothing is known.
    pub fn plain_rows(&self, seq: SeqNo, end: Option<&[u8]>) -> usize {
        let Some(Source::Run(cursor)) = self.top() else {
            return 0;
        };
        let Some((rows, row)) = cursor.rows() else { return 0 };
        if self.distinct {
            let mut stop = cursor.end();
            for key in self.next_key().into_iter().chain(end) {
                stop = before(rows, row..stop, key);
            }
            return stop.saturating_sub(row);
        }
        if rows.plain().is_none_or(|newest| newest > seq) {
            return 0;
        }
        let keys = self
            .next_ones()
            .filter_map(|other| self.sources[other.source as usize].key());
        let mut stop = rows.len();
        for key in keys.chain(end) {
            if stop > row && rows.key(stop - 1) >= key {
                stop = rows.lower_bound(key, MAX_SEQ);
            }
        }
        stop.saturating_sub(row)
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

    /// To the next row in the cursor's direction, of which [`plain_rows`](Self::plain_rows) or
    /// [`plain_rows_back`](Self::plain_rows_back) has told.
    #[inline]
    pub fn step(&mut self) {
        let reverse = self.reverse;
        match self.top_mut() {
            Some(Source::Run(cursor)) if reverse => cursor.step_back(),
            Some(Source::Run(cursor)) => cursor.step(),
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

/// The end of the rows of `range` that come before `key`, found from its start: all of them, none or a few are likely.
#[inline]
fn before(rows: &Rows, range: Range<usize>, key: &[u8]) -> usize {
    if range.is_empty() || rows.key(range.end - 1) < key {
        return range.end;
    }
    let (mut low, mut step) = (range.start, 1);
    // Of the rows from `low` on, that at `high` does not come before.
    let mut high = range.end - 1;
    while low < high {
        let probe = (low + step - 1).min(high - 1);
        if rows.key(probe) < key {
            low = probe + 1;
            step *= 2;
        } else {
            high = probe;
            step = 1.max(step / 2);
        }
    }
    low
}

#[cfg(test)]
mod tests;
