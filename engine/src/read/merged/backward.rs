//! Going backward over stretches of rows that need no closer look.

use std::ops::Range;

use kodiak_core::entry::wide_prefix_of;
use kodiak_core::{Op, SeqNo};

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
    pub fn plain_rows_back(&self, seq: SeqNo, start: &[u8]) -> usize {
        let Some(Source::Run(cursor)) = self.top() else {
            return 0;
        };
        let Some((rows, row)) = cursor.rows() else { return 0 };
        let from = if self.distinct {
            // Rows that are dead by bitmap are passed one by one.
            row
        } else if rows.plain().is_some_and(|newest| newest <= seq) {
            // The block before may end with newer versions of the key that this one begins with.
            1
        } else {
            return 0;
        };
        // With the same key in another source, it is not known which version counts.
        let first = match self.second() {
            Some(second) => {
                let prefix = !self.tournament.second().prefix;
                let is_after = |key: &[u8]| {
                    let own = wide_prefix_of(key);
                    own > prefix || own == prefix && second.key().is_none_or(|other| key > other)
                };
                last_ones(rows, from..row + 1, is_after)
            }
            None => from,
        };
        let first = match start {
            [] => first,
            start => last_ones(rows, first..row + 1, |key| key >= start),
        };
        row + 1 - first
    }

    /// With the cursor going backward, where a key's oldest version comes first: true if the source that follows has a newer version of the current
    /// entry's key by which readers at `seq` see nothing of that entry.
    pub fn is_superseded(&self, seq: SeqNo) -> bool {
        let (Some(second), Some(key)) = (self.second(), self.key()) else {
            return false;
        };
        if !self.tournament.second().prefix != wide_prefix_of(key) || second.key() != Some(key) {
            return false;
        }
        // Sequence numbers and operations of a run are memory that nothing else may have fetched.
        if let Source::Run(cursor) = second
            && let Some(newest) = cursor.rows().and_then(|(rows, _)| rows.plain())
            && newest <= seq
        {
            return true;
        }
        second
            .entry()
            .is_some_and(|newer| newer.seq <= seq && newer.op != Op::Merge)
    }
}

/// Where the last rows of `range` begin that all have keys that are `wanted`, of rows whose keys rise. It is found from the end: all of a few are
/// likely, and of many none or a few; where it is many, all.
#[inline]
fn last_ones(rows: &Rows, range: Range<usize>, wanted: impl Fn(&[u8]) -> bool) -> usize {
    const FEW: usize = 8;
    const MANY: usize = 32;
    let is_wanted = |row: usize| wanted(rows.key(row));
    if range.len() <= FEW && (range.is_empty() || is_wanted(range.start)) {
        return range.start;
    }
    let (mut high, mut step) = (range.end, 1);
    while high - range.start >= step && is_wanted(high - step) {
        high -= step;
        step *= 2;
        if step == MANY && is_wanted(range.start) {
            return range.start;
        }
    }
    // Those from `high` on are wanted, and those below `low` are not.
    let mut low = (high + 1).saturating_sub(step).max(range.start);
    while low < high {
        let middle = low.midpoint(high);
        if is_wanted(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}
