//! Going forward over stretches of rows that need no closer look.

use std::ops::Range;
use std::sync::Arc;

use kodiak_core::SeqNo;
use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::{compare, wide_prefix_of};

use super::{MergedCursor, Source};
use crate::run::Rows;

impl MergedCursor {
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
            return Some((block, row, self.before_second(rows, row + 1..end)));
        }
        if let Some(entry) = self.second().and_then(Source::entry) {
            let last = (block.key(end - 1), block.seq(end - 1));
            if compare(last, (entry.key, entry.seq)).is_gt() {
                // The cursor's own row is before every other source's.
                end = block.lower_bound_after(row, entry.key, entry.seq);
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
            let mut stop = self.before_second(rows, row + 1..cursor.end());
            if let Some(end) = end {
                stop = before(rows, row..stop, wide_prefix_of(end), || Some(end));
            }
            return stop - row;
        }
        if rows.plain().is_none_or(|newest| newest > seq) {
            return 0;
        }
        // Another source may have an older version of the row under the cursor.
        let mut stop = self.before_second(rows, row..rows.len());
        if let Some(end) = end {
            stop = before(rows, row..stop, wide_prefix_of(end), || Some(end));
        }
        stop - row
    }

    /// The end of the rows of `range` that come before the second source's entry, going forward.
    #[inline]
    fn before_second(&self, rows: &Rows, range: Range<usize>) -> usize {
        let Some(second) = self.second() else { return range.end };
        before(rows, range, self.tournament.second().prefix, || second.key())
    }
}

/// The end of the rows of `range` that come before `key`, of which `prefix` is the beginning, or of all if there is no such key. It
/// is found from the start: all of a few are likely, and of many none or a few; where it is many, all.
#[inline]
fn before<'k>(rows: &Rows, range: Range<usize>, prefix: u128, key: impl Fn() -> Option<&'k [u8]>) -> usize {
    const FEW: usize = 8;
    const MANY: usize = 32;
    let is_before = |row: usize| {
        let own = rows.key(row);
        let own_prefix = wide_prefix_of(own);
        own_prefix < prefix || own_prefix == prefix && key().is_none_or(|key| own < key)
    };
    if range.len() <= FEW && (range.is_empty() || is_before(range.end - 1)) {
        return range.end;
    }
    let (mut low, mut step) = (range.start, 1);
    while low + step <= range.end && is_before(low + step - 1) {
        low += step;
        step *= 2;
        if step == MANY && is_before(range.end - 1) {
            return range.end;
        }
    }
    let mut high = range.end.min(low + step - 1);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
