//! The search for a key in a block.

use super::{ColumnBlock, Keyed};
use crate::entry::{SeqNo, prefix_of};

impl ColumnBlock {
    /// The first row at or after `(key, seq)`; [`rows`](Self::rows) if all are before.
    ///
    /// Probes compare eight bytes after the prefix that all keys share, and the rest only where those are equal; the outcome
    /// is selected rather than branched on, as no predictor knows it.
    pub fn lower_bound(&self, key: &[u8], seq: SeqNo) -> usize {
        let probe = match self.probe(key, seq) {
            Ok(probe) => probe,
            Err(row) => return row,
        };
        let (mut base, mut size) = (0, self.rows());
        while size > 1 {
            let half = size / 2;
            base = std::hint::select_unpredictable(probe.before(base + half), base + half, base);
            size -= half;
        }
        base + usize::from(probe.before(base))
    }

    /// As [`lower_bound`](Self::lower_bound), where it is known that the rows up to `row` are before `(key, seq)`, and likely
    /// that not many more are.
    pub fn lower_bound_after(&self, row: usize, key: &[u8], seq: SeqNo) -> usize {
        let probe = match self.probe(key, seq) {
            Ok(probe) => probe,
            Err(row) => return row,
        };
        let (mut low, mut step) = (row + 1, 1);
        while low + step <= self.rows() && probe.before(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = self.rows().min(low + step - 1);
        while low < high {
            let middle = low.midpoint(high);
            if probe.before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Rows are compared with a key by this; if the key lacks what all keys begin with, the place that it has is told.
    #[inline]
    fn probe<'a>(&'a self, key: &'a [u8], seq: SeqNo) -> Result<Probe<'a>, usize> {
        let Keyed { keys, shared } = self.keyed();
        let prefix = &keys.value(0)[..*shared];
        match key.strip_prefix(prefix) {
            None => Err(if key < prefix { 0 } else { self.rows() }),
            Some(rest) => Ok(Probe {
                block: self,
                shared: *shared,
                offsets: keys.value_offsets(),
                data: keys.value_data(),
                rest,
                head: prefix_of(rest),
                seq,
            }),
        }
    }
}

/// A key and sequence number to be looked for.
struct Probe<'a> {
    block: &'a ColumnBlock,
    /// The length of the prefix that all keys share.
    shared: usize,
    offsets: &'a [i32],
    data: &'a [u8],
    /// What follows the prefix that all keys share, and the first eight bytes of it.
    rest: &'a [u8],
    head: u64,
    seq: SeqNo,
}

impl Probe<'_> {
    #[inline(always)]
    fn before(&self, row: usize) -> bool {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        // Were the rows not sorted, a key might be shorter than the shared prefix; it then counts as empty.
        let suffix = self.data.get(start + self.shared..end).unwrap_or(&[]);
        let probe = prefix_of(suffix);
        if probe == self.head {
            suffix
                .cmp(self.rest)
                .then_with(|| self.seq.cmp(&self.block.seq(row)))
                .is_lt()
        } else {
            probe < self.head
        }
    }
}
