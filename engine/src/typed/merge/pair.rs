//! Two streams of which neither has anything to be looked at beside keys: where a table was updated, most of a merge.

use kodiak_core::{Error, Result};

use super::{Gather, Merge};
use crate::typed::streams::rows_before;

impl Merge {
    /// True if two streams can be merged by [`take_pair`](Self::take_pair).
    #[inline]
    pub(super) fn is_plain_pair(&self, one: usize, other: usize) -> bool {
        self.streams[one].plain && self.streams[other].plain
    }

    /// Takes rows of two streams, at most `room` of them, while they begin with less than `limit`, what the others begin with, and
    /// until one of the blocks ends. Where both have a key, the row of the one is put in the place of the other's.
    pub(super) fn take_pair(
        &mut self,
        (one, other): (usize, usize),
        limit: Option<u64>,
        gather: &mut Gather,
        room: usize,
    ) -> Result<()> {
        let exact = self.exact;
        let left = |stream: usize| self.streams[stream].end - self.streams[stream].row;
        // The longer one is searched for what comes next in the shorter one.
        let (long, short) = if left(one) >= left(other) {
            (one, other)
        } else {
            (other, one)
        };
        let streams = self.streams.get_disjoint_mut([long, short]);
        let [ahead, update] = streams.map_err(|_| Error::corruption("a stream is merged with itself"))?;
        let (number, updates) = (ahead.number(gather), update.number(gather));
        ahead.find_prefixes(self.skip);
        update.find_prefixes(self.skip);
        let (keys, newer) = (&ahead.prefixes, &update.prefixes);
        let (mut row, mut next, mut replaced) = (ahead.row, update.row, 0);
        let (end, full) = (ahead.end, gather.rows() + room);
        for &key in &newer[update.row..update.end] {
            let until = limit.map_or(key, |limit| limit.min(key));
            let halted = limit == Some(until);
            let mut stop = row + rows_before(&keys[row..end], until);
            let mut same = !halted && stop < end && keys[stop] == key;
            if same && !exact {
                // What keys begin with does not tell them apart.
                let rooms = (&mut self.key, &mut self.other);
                (stop, same) = ahead.pass_alike(stop, key, (update, next), rooms);
            }
            let to = stop.min(row + (full - gather.rows()));
            if row < to {
                gather.push(number, row, to);
                row = to;
            }
            if row == end || gather.rows() == full || halted {
                break;
            }
            if !same {
                gather.push(updates, next, next + 1);
            } else if update.block.seq(next) >= ahead.block.seq(row) {
                gather.push_over((number, row), (updates, next));
                (row, replaced) = (row + 1, replaced + 1);
            } else {
                gather.push(number, row, row + 1);
                (row, replaced) = (row + 1, replaced + 1);
            }
            next += 1;
            if row == end {
                break;
            }
        }
        self.account.rows += 2 * replaced;
        // The last one first, because a stream without rows gives its place to the last one.
        let mut moves = [(long, row), (short, next)];
        moves.sort_unstable();
        for (stream, row) in moves.into_iter().rev() {
            if self.streams[stream].row < row {
                self.advance(stream, row, true)?;
            }
        }
        Ok(())
    }
}
