//! What is merged: streams of blocks, and what a reader sees of them.

use std::cmp::Ordering;
use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::entry::{MAX_SEQ, prefix_of};
use kodiak_core::keycodec::KeyPlace;
use kodiak_core::{Op, Result, SeqNo};

use super::gather::Gather;
use super::memory::MemoryBlocks;
use crate::range_delete::RangeTombstones;
use crate::run::SortedRunCursor;

/// Where the blocks of a stream come from.
#[allow(
    clippy::large_enum_variant,
    reason = "a read has few; boxing would allocate for each"
)]
pub enum Feed {
    /// A sorted run.
    Run(SortedRunCursor, Last),
    /// A memtable.
    Memory(MemoryBlocks),
}

/// What is known of the last row of a run that is to be read.
#[derive(Default)]
pub enum Last {
    /// Nothing yet.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It is known.
    At {
        /// Its run, block and row.
        place: (RunId, usize, usize),
        /// Its key.
        key: Vec<u8>,
        /// The key of a row before it in the block, and the only sequence number that there is of that, if there is but one.
        only: Option<(Vec<u8>, SeqNo)>,
    },
}

impl Last {
    /// The sequence number from which on versions of a key are looked for.
    fn newest(&self, key: &[u8]) -> SeqNo {
        match self {
            // So they are not looked for in the block before.
            Self::At { only: Some(only), .. } if only.0 == key => only.1,
            _ => MAX_SEQ,
        }
    }
}

impl Feed {
    /// The first half of a seek to the first row from `key` on: what the second one needs is on its way then.
    pub fn approach(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Self::Run(cursor, last) => cursor.approach(key, last.newest(key)),
            Self::Memory(_) => Ok(()),
        }
    }

    /// The second half.
    pub fn land(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Self::Run(cursor, last) => cursor.land(key, last.newest(key)),
            Self::Memory(blocks) => blocks.seek(key),
        }
    }

    /// The block at hand, the row that comes next, and the end of the rows from there on that are not passed over.
    pub fn current(&self) -> Option<(&Arc<ColumnBlock>, usize, usize)> {
        match self {
            Self::Run(cursor, _) => cursor.position().map(|(block, row)| (block, row, cursor.end())),
            Self::Memory(blocks) => blocks.block().map(|block| (block, 0, block.rows())),
        }
    }

    /// If all rows of the block at hand are puts of distinct keys: a sequence number that none of theirs is above.
    pub fn plain(&self) -> Option<SeqNo> {
        match self {
            Self::Run(cursor, _) => cursor.plain(),
            Self::Memory(blocks) => blocks.block()?.plain(),
        }
    }

    /// To `row` of the block at hand, or past it.
    pub fn advance_to(&mut self, row: usize) -> Result<()> {
        match self {
            Self::Run(cursor, _) => cursor.advance_to(row),
            Self::Memory(blocks) => blocks.next(),
        }
    }

    /// True for a run.
    pub fn is_run(&self) -> bool {
        matches!(self, Self::Run(..))
    }

    /// Looks for the last rows before `end`, and moves `from`, which is unknown at first, on to the first of them, but not so far
    /// that there are more than `rows`, or that those of a run are in several blocks.
    pub fn look_back(&mut self, end: Option<&[u8]>, rows: usize, from: &mut Option<Vec<u8>>) -> Result<()> {
        let (cursor, last) = match self {
            Self::Memory(blocks) => return blocks.look_back(end, rows, from),
            Self::Run(cursor, last) => (cursor, last),
        };
        match end {
            Some(end) => cursor.seek_before(end, MAX_SEQ)?,
            None => cursor.seek_last()?,
        }
        *last = Last::Absent;
        if let (Some((block, row)), Some(place)) = (cursor.position(), cursor.place()) {
            let (first, mut first_key, mut key) = (row.saturating_sub(rows - 1), Vec::new(), Vec::new());
            block.copy_key(first, &mut first_key);
            block.copy_key(row, &mut key);
            if from.as_ref().is_none_or(|from| *from < first_key) {
                *from = Some(first_key.clone());
            }
            let only = cursor.is_distinct()?.then(|| (first_key, block.seq(first)));
            *last = Last::At { place, key, only };
        }
        Ok(())
    }

    /// True if the last row that is to be read is known, and before `key`.
    pub fn ends_before(&self, key: &[u8]) -> bool {
        match self {
            Self::Run(_, Last::Absent) => true,
            Self::Run(_, Last::At { key: last, .. }) => last.as_slice() < key,
            _ => false,
        }
    }

    /// True if the last row that is to be read is known, and before row `end` of the block at hand.
    pub fn ends_within(&self, end: usize) -> bool {
        match self {
            Self::Run(cursor, Last::At { place, .. }) => {
                let same_block = |at: (RunId, usize, usize)| (at.0, at.1) == (place.0, place.1);
                place.2 < end && cursor.place().is_some_and(same_block)
            }
            _ => false,
        }
    }
}

/// A source and the stretch of its block that comes next.
pub struct Stream {
    /// Where its blocks come from.
    pub feed: Feed,
    /// The block at hand.
    pub block: Arc<ColumnBlock>,
    /// The row that comes next.
    pub row: usize,
    /// The end of the rows that come next.
    pub end: usize,
    /// Nothing behind `end` is to be read.
    pub last: bool,
    /// All rows of the block are puts of distinct keys, and nothing hides them.
    pub plain: bool,
    /// The beginnings of the keys of the block, if they have been looked at.
    pub prefixes: Vec<u64>,
    /// They have been.
    pub prefixed: bool,
    /// From where on keys have to be compared that begin so.
    pub place: KeyPlace,
    /// The number of the block among those that are gathered, and when it was given.
    pub gathered: Option<(u64, usize)>,
}

impl Stream {
    /// What the key of a row begins with, behind `skip` bytes; `key` is room to make it in.
    #[inline]
    pub fn prefix(&mut self, row: usize, skip: usize, key: &mut Vec<u8>) -> u64 {
        if self.prefixed {
            return self.prefixes[row];
        }
        self.block.copy_key(row, key);
        prefix_of(key.get(skip..).unwrap_or_default())
    }

    /// The end of the rows from the next one on whose keys begin with less than `until`.
    pub fn before(&mut self, until: u64, skip: usize, key: &mut Vec<u8>) -> usize {
        if self.prefix(self.end - 1, skip, key) < until {
            return self.end;
        }
        self.find_prefixes(skip);
        self.row + rows_before(&self.prefixes[self.row..self.end], until)
    }

    /// Looks at what the keys of all rows of the block begin with, behind `skip` bytes.
    #[inline]
    pub fn find_prefixes(&mut self, skip: usize) {
        if !self.prefixed {
            self.place = self.block.prefixes(skip, self.row, &mut self.prefixes);
            self.prefixed = true;
        }
    }

    /// The first row from `row` on that is not before the next key of `other`, and whether it has that key, of the rows whose
    /// prefixes, which are known, are `prefix`, as that of the key; most likely it is one of the next. `rooms` are room to make
    /// keys in.
    pub fn pass_alike(
        &self,
        row: usize,
        prefix: u64,
        (other, next): (&Self, usize),
        rooms: (&mut Vec<u8>, &mut Vec<u8>),
    ) -> (usize, bool) {
        let place = self.place.min(other.place);
        let mut order = |row: usize| {
            let rooms = (&mut *rooms.0, &mut *rooms.1);
            self.block.compare_keys(row, (&other.block, next), place, rooms)
        };
        let first = order(row);
        if first != Ordering::Less {
            return (row, first == Ordering::Equal);
        }
        let mut is_before = |row: usize| self.prefixes[row] == prefix && order(row) == Ordering::Less;
        let (mut low, mut step) = (row + 1, 1);
        while low + step <= self.end && is_before(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = self.end.min(low + step - 1);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let is_same = low < self.end && self.prefixes[low] == prefix && order(low) == Ordering::Equal;
        (low, is_same)
    }

    /// How the next key compares with that of another stream that begins alike, where both are known to.
    pub fn compare_next(&self, other: &Self, rooms: (&mut Vec<u8>, &mut Vec<u8>)) -> Ordering {
        let place = self.place.min(other.place);
        self.block
            .compare_keys(self.row, (&other.block, other.row), place, rooms)
    }

    /// True if a row has the key of the row at hand.
    #[inline]
    pub fn is_same(&self, row: usize, exact: bool) -> bool {
        match exact && self.prefixed {
            true => self.prefixes[row] == self.prefixes[self.row],
            false => self.block.key(row) == self.block.key(self.row),
        }
    }

    /// The number of the block among those that are gathered.
    #[inline]
    pub fn number(&mut self, gather: &mut Gather) -> usize {
        match self.gathered {
            Some((round, number)) if round == gather.round() => number,
            _ => {
                let number = gather.add_block(&self.block);
                self.gathered = Some((gather.round(), number));
                number
            }
        }
    }

    /// Adds rows of the block to what is gathered.
    #[inline]
    pub fn push(&mut self, gather: &mut Gather, from: usize, to: usize) {
        let number = self.number(gather);
        gather.push(number, from, to);
    }
}

/// How many prefixes, which are sorted, are less than `until`; most likely a few.
#[inline]
pub fn rows_before(rows: &[u64], until: u64) -> usize {
    // They are counted, which takes no branch that a processor would have to guess.
    for (number, some) in rows.chunks(8).take(4).enumerate() {
        let before = some.iter().filter(|&&prefix| prefix < until).count();
        if before < some.len() {
            return number * 8 + before;
        }
    }
    let (mut from, mut step) = (rows.len().min(32), 32);
    while from + step < rows.len() && rows[from + step - 1] < until {
        from += step;
        step *= 2;
    }
    let to = rows.len().min(from + step);
    from + rows[from..to].partition_point(|&prefix| prefix < until)
}

/// What a reader sees.
pub struct Sight {
    /// Up to this sequence number.
    pub seq: SeqNo,
    /// Versions older than this have expired.
    pub hidden_below: SeqNo,
    /// Range deletes of all sources.
    pub tombstones: RangeTombstones,
    /// Rows of runs, as far as cursors stand on them, are puts of distinct keys that the reader sees.
    pub distinct: bool,
}

impl Sight {
    /// True if a row of this key was deleted with a range, or has expired.
    pub fn hides(&self, key: &[u8], seq: SeqNo) -> bool {
        seq < self.hidden_below || (!self.tombstones.is_empty() && seq < self.tombstones.covering(key, self.seq))
    }

    /// What the reader gets of a row that is the newest of its key that it may see: the row, if it is a put, nothing for a delete,
    /// or what operands make.
    #[inline]
    pub fn sees(&self, block: &ColumnBlock, row: usize) -> Op {
        let hides = self.hidden_below > 0 || !self.tombstones.is_empty();
        if hides && self.hides(block.key(row), block.seq(row)) {
            return Op::Delete;
        }
        block.op(row)
    }

    /// True if every row of the block at hand is seen, as far as there is no newer version elsewhere.
    pub fn is_plain(&self, feed: &Feed, block: &ColumnBlock) -> bool {
        if !self.tombstones.is_empty() {
            return false;
        }
        if self.distinct && feed.is_run() && self.hidden_below == 0 {
            return true;
        }
        let oldest = || block.seqs().iter().copied().min().unwrap_or(0) as SeqNo;
        feed.plain().is_some_and(|newest| newest <= self.seq)
            && (self.hidden_below == 0 || oldest() >= self.hidden_below)
    }
}
