//! Streams whose next keys begin alike.

use std::cmp::Ordering;

use kodiak_core::{Op, Result};

use super::{Gather, Merge};

impl Merge {
    /// Takes the newest row that is seen of the least key of several streams, whose next keys all begin so.
    pub(super) fn take_tied(&mut self, least: u64, gather: &mut Gather) -> Result<()> {
        self.tied.clear();
        let heads = self.heads.iter().enumerate();
        self.tied
            .extend(heads.filter(|(_, head)| **head == least).map(|(stream, _)| stream));
        if !self.exact {
            self.keep_least();
        }
        let mut newest = (self.tied[0], 0);
        for &tied in &self.tied {
            let stream = &self.streams[tied];
            let seq = stream.block.seq(stream.row);
            if seq > self.sight.seq {
                let next = stream.row + 1;
                self.account.rows += 1;
                return self.advance(tied, next, false);
            }
            if seq >= newest.1 {
                newest = (tied, seq);
            }
        }
        let stream = &mut self.streams[newest.0];
        let row = stream.row;
        match self.sight.sees(&stream.block, row) {
            Op::Put => {
                let updated = stream.number(gather);
                // Most likely the next rows come from the longest one as well.
                let left = |tied: &&usize| self.streams[**tied].end - self.streams[**tied].row;
                match self.tied.iter().max_by_key(left) {
                    Some(&over) if over != newest.0 => {
                        let over = &mut self.streams[over];
                        let number = over.number(gather);
                        gather.push_over((number, over.row), (updated, row));
                    }
                    _ => gather.push(updated, row, row + 1),
                }
            }
            Op::Merge => {
                let key = stream.block.key(row).to_vec();
                return self.merge_operands(&key, gather);
            }
            Op::Delete | Op::RangeDelete => {}
        }
        // From the last on, because a stream without rows gives its place to the last one.
        while let Some(tied) = self.tied.pop() {
            let stream = &self.streams[tied];
            let mut next = stream.row + 1;
            while !stream.plain && next < stream.end && stream.is_same(next, self.exact) {
                next += 1;
            }
            self.account.rows += (next - stream.row) as u64;
            self.advance(tied, next, true)?;
        }
        Ok(())
    }

    /// Keeps those of the tied streams whose next key is the least one.
    fn keep_least(&mut self) {
        for &tied in &self.tied {
            self.streams[tied].find_prefixes(self.skip);
        }
        let (streams, key, other) = (&self.streams, &mut self.key, &mut self.other);
        let mut order = |one: usize, with: usize| streams[one].compare_next(&streams[with], (&mut *key, &mut *other));
        let mut least = self.tied[0];
        for &tied in &self.tied[1..] {
            if order(tied, least) == Ordering::Less {
                least = tied;
            }
        }
        self.tied.retain(|&tied| order(tied, least) == Ordering::Equal);
    }
}
