//! Going backward over stretches of rows that need no closer look.

use std::ops::Range;

use super::{MergedCursor, Source};
use crate::run::Rows;

impl MergedCursor {
    /// Goes the other way from the next start on.
    pub fn turn(&mut self) {
        self.reverse = !self.reverse;
    }

    /// With the cursor on a run going backward, come from a later key: how many rows, the current one and those before it, are what any
    /// reader at `seq` or later sees of their keys, come after every other source's next key, and are not below `start`. 0 if
    /// nothing is known.
    pub fn plain_rows_back(&self, seq: u64, start: &[u8]) -> usize {
        let Some(Source::Run(cursor)) = self.top() else {
            return 0;
        };
        // Rows that are dead by bitmap are passed one by one.
        let Some((rows, row)) = cursor.rows().filter(|_| !self.distinct) else {
            return 0;
        };
        // The block before may end with newer versions of the key that this one begins with.
        if row == 0 || rows.plain().is_none_or(|newest| newest > seq) {
            return 0;
        }
        // With the same key in another source, it is not known which version counts.
        let first = match self.second().and_then(Source::key) {
            Some(other) => last_ones(rows, 1..row + 1, |key| key > other && key >= start),
            None => last_ones(rows, 1..row + 1, |key| key >= start),
        };
        row + 1 - first
    }
}

/// Where the last rows of `range` begin that all have keys that are `wanted`, of rows whose keys rise: all, none or a few are likely.
#[inline]
fn last_ones(rows: &Rows, range: Range<usize>, wanted: impl Fn(&[u8]) -> bool) -> usize {
    if wanted(rows.key(range.start)) {
        return range.start;
    }
    // The row at `low` is not among them, those from `high` on are.
    let (mut low, mut high, mut step) = (range.start, range.end, 1);
    while low + 1 < high {
        let probe = high.saturating_sub(step).max(low + 1);
        if wanted(rows.key(probe)) {
            high = probe;
            step *= 2;
        } else {
            low = probe;
            step = 1.max(step / 2);
        }
    }
    high
}
