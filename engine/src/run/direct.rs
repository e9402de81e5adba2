//! Blocks searched where they lie in a mapped file.
//!
//! An uncompressed key-value block of a format with random access consists of six arrays in the mapped file. A
//! [`DirectBlock`] is where they are, in one cache line ([`Slot`]), so that a point read touches little beside the bytes it needs: the
//! row is found by interpolation between the first and the last key (keys are often spread evenly within a block), then by
//! widening steps from there.

mod ahead;

use std::cmp::Ordering;
use std::num::NonZeroU32;
use std::sync::OnceLock;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use kodiak_core::block::{ColumnBlock, FoundVersion, Values};
use kodiak_core::entry::{common_prefix, prefix_of};
use kodiak_core::{EntryRef, Op, Result, SeqNo, Slice};

use crate::primary::locator::Locator;

/// Where the arrays of a block are in the mapped file: 56 bytes, so that with the lock of its slot it fills a cache line.
/// Positions are relative to `base`.
#[derive(Debug, Clone)]
pub struct DirectBlock {
    /// In units of [`UNIT`] bytes.
    base: u32,
    rows: NonZeroU32,
    keys: Column,
    values: Column,
    seqs: u32,
    ops: u32,
    /// Eight bytes after the shared prefix of the first and of the last key.
    first: u64,
    last: u64,
    /// The length of the prefix that all keys share (16 bits), and [`plain`](Self::plain) (48 bits).
    packed: u64,
}

/// The place of a block that is looked at when it is first needed; `None` in it if it cannot be searched in the map.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Slot(pub OnceLock<Option<DirectBlock>>);

const _: () = assert!(size_of::<Slot>() == 64);

/// Arrow aligns the arrays that it writes to this many bytes.
const UNIT: usize = 64;
/// The place of `plain` for blocks that are not.
const NOT_PLAIN: u64 = (1 << 48) - 1;

/// A binary array: its bytes, and where each value is in them.
#[derive(Debug, Clone, Copy)]
struct Column {
    data: u32,
    /// [`FIXED`](Self::FIXED) and the length of every value, or else the position of the offsets.
    layout: u32,
}

impl Column {
    const FIXED: u32 = 1 << 31;

    /// The column whose bytes and offsets are at these positions; `None` if they are too far away.
    fn new(column: &BinaryArray, data: usize, offsets: usize) -> Option<Self> {
        let data = u32::try_from(data).ok()?;
        let ends = column.value_offsets();
        let len = ends.get(1)?.checked_sub(ends[0])?;
        let fixed = (0i64..)
            .zip(ends)
            .all(|(row, &end)| i64::from(end) == row * i64::from(len));
        let layout = if fixed {
            Self::FIXED | u32::try_from(len).ok()?
        } else {
            u32::try_from(offsets).ok().filter(|at| at & Self::FIXED == 0)?
        };
        Some(Self { data, layout })
    }

    /// The start of a value in `map`, and its length. Values of one length take no look at the offsets.
    #[inline]
    fn value(self, map: &[u8], base: usize, row: usize) -> (usize, usize) {
        let data = base + self.data as usize;
        if self.layout & Self::FIXED != 0 {
            let len = (self.layout & !Self::FIXED) as usize;
            return (data + row * len, len);
        }
        let at = base + self.layout as usize + 4 * row;
        let (from, to) = (number(&map[at..at + 4]), number(&map[at + 4..at + 8]));
        (data + from as usize, to.saturating_sub(from) as usize)
    }

    /// The column as an array that refers to the map.
    fn array(self, map: &Buffer, base: usize, rows: usize) -> BinaryArray {
        let (first, _) = self.value(map, base, 0);
        let (last, len) = self.value(map, base, rows - 1);
        let offsets = if self.layout & Self::FIXED != 0 {
            OffsetBuffer::from_repeated_length(len, rows)
        } else {
            OffsetBuffer::new(scalar(map, base + self.layout as usize, rows + 1))
        };
        BinaryArray::new(offsets, map.slice_with_length(first, last + len - first), None)
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

impl DirectBlock {
    /// The places of `block`'s arrays in `map`; `None` if one of them is not there.
    pub fn new(block: &ColumnBlock, map: &Buffer) -> Option<Self> {
        let Values::Binary(values) = block.values() else {
            return None;
        };
        let keys = block.keys();
        let place = |address: *const u8, len: usize| {
            let start = (address as usize).checked_sub(map.as_ptr() as usize)?;
            (start.checked_add(len)? <= map.len()).then_some(start)
        };
        let rows = block.rows();
        let places = [
            place(keys.value_offsets().as_ptr().cast(), (rows + 1) * 4)?,
            place(keys.value_data().as_ptr(), *keys.value_offsets().last()? as usize)?,
            place(values.value_offsets().as_ptr().cast(), (rows + 1) * 4)?,
            place(values.value_data().as_ptr(), *values.value_offsets().last()? as usize)?,
            place(block.seqs().as_ptr().cast(), rows * 8)?,
            place(block.ops().as_ptr().cast(), rows)?,
        ];
        let base = *places.iter().min()? / UNIT;
        let relative = |index: usize| places[index] - base * UNIT;
        let (first, last) = (block.key(0), block.key(rows - 1));
        let shared = common_prefix(first, last).min(usize::from(u16::MAX));
        let plain = block.plain().filter(|&seq| seq < NOT_PLAIN).unwrap_or(NOT_PLAIN);
        Some(Self {
            base: u32::try_from(base).ok()?,
            rows: NonZeroU32::new(u32::try_from(rows).ok()?)?,
            keys: Column::new(keys, relative(1), relative(0))?,
            values: Column::new(values, relative(3), relative(2))?,
            seqs: u32::try_from(relative(4)).ok()?,
            ops: u32::try_from(relative(5)).ok()?,
            first: prefix_of(&first[shared..]),
            last: prefix_of(&last[shared..]),
            packed: shared as u64 | plain << 16,
        })
    }

    /// How many rows it has.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows.get() as usize
    }

    /// If all rows are puts of distinct keys, the newest of their sequence numbers.
    #[inline]
    pub fn plain(&self) -> Option<SeqNo> {
        let seq = self.packed >> 16;
        (seq != NOT_PLAIN).then_some(seq)
    }

    #[inline]
    fn base(&self) -> usize {
        self.base as usize * UNIT
    }

    #[inline]
    fn op(&self, map: &[u8], row: usize) -> Op {
        // The block's operations were checked when its place was noted.
        match map[self.base() + self.ops as usize + row] {
            0 => Op::Put,
            1 => Op::Delete,
            _ => Op::Merge,
        }
    }

    /// The key of a row.
    #[inline]
    pub fn key<'m>(&self, map: &'m [u8], row: usize) -> &'m [u8] {
        let (start, len) = self.keys.value(map, self.base(), row);
        &map[start..start + len]
    }

    #[inline]
    fn seq(&self, map: &[u8], row: usize) -> SeqNo {
        let at = self.base() + self.seqs as usize + 8 * row;
        match map[at..at + 8].first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => 0,
        }
    }

    /// The newest version of `key` not newer than `seq`; without its own sequence number unless it is to be `dated` (see
    /// [`version`](Self::version)).
    #[inline]
    pub fn find(&self, map: &Buffer, key: &[u8], seq: SeqNo, dated: bool) -> Result<Option<FoundVersion>> {
        let row = self.lower_bound(map.as_slice(), key, seq);
        Ok(self.version(map, row, key, dated))
    }

    /// The version in a row that a primary index has located. Nothing but its value's place is looked at, except in builds with
    /// debug assertions; `None` if there is no such row.
    #[inline]
    pub fn located(&self, map: &Buffer, key: &[u8], locator: &Locator) -> Option<FoundVersion> {
        let row = locator.row as usize;
        if cfg!(debug_assertions) {
            let found = self.version(map, row, key, true);
            return found.filter(|found| found.seq == locator.seq && found.op == locator.op);
        }
        if row >= self.rows() {
            return None;
        }
        let (start, len) = self.values.value(map.as_slice(), self.base(), row);
        Some(FoundVersion {
            seq: locator.seq,
            op: locator.op,
            row,
            value: Slice::of(map, start, len),
        })
    }

    /// The version in a row, if there is such a row and it is one of `key`. Unless it is to be `dated`, a put may have the
    /// newest sequence number of the block instead of its own, which would be one more place in memory to wait for.
    #[inline]
    pub fn version(&self, map: &Buffer, row: usize, key: &[u8], dated: bool) -> Option<FoundVersion> {
        let bytes = map.as_slice();
        if row >= self.rows() || self.key(bytes, row) != key {
            return None;
        }
        let (start, len) = self.values.value(bytes, self.base(), row);
        let (seq, op) = match self.plain() {
            Some(newest) if !dated => (newest, Op::Put),
            Some(_) => (self.seq(bytes, row), Op::Put),
            None => (self.seq(bytes, row), self.op(bytes, row)),
        };
        Some(FoundVersion {
            seq,
            op,
            row,
            value: Slice::of(map, start, len),
        })
    }

    /// The entry of a row.
    #[inline]
    pub fn entry<'m>(&self, map: &'m [u8], row: usize) -> EntryRef<'m> {
        let (key, value) = self.key_value(map, row);
        EntryRef {
            key,
            seq: self.seq(map, row),
            op: self.op(map, row),
            value,
        }
    }

    /// The key and value of a row, without a look at the rest of it.
    #[inline]
    pub fn key_value<'m>(&self, map: &'m [u8], row: usize) -> (&'m [u8], &'m [u8]) {
        let (start, len) = self.values.value(map, self.base(), row);
        (self.key(map, row), &map[start..start + len])
    }

    /// The first row at or after `(key, seq)`; the number of rows if all are before.
    #[inline]
    pub fn lower_bound(&self, map: &[u8], key: &[u8], seq: SeqNo) -> usize {
        let shared = usize::from(self.packed as u16);
        let prefix = &self.key(map, 0)[..shared];
        let Some(rest) = key.strip_prefix(prefix) else {
            return if key < prefix { 0 } else { self.rows() };
        };
        let head = prefix_of(rest);
        if head < self.first {
            return 0;
        }
        if head > self.last {
            return self.rows();
        }
        // Then any version of the key is old enough, and its sequence number need not be looked at.
        let newest_will_do = self.plain().is_some_and(|newest| newest <= seq);
        let before = |row: usize| {
            let suffix = &self.key(map, row)[shared..];
            let probe = prefix_of(suffix);
            if probe != head {
                return probe < head;
            }
            match suffix.cmp(rest) {
                // Versions of a key come newest first.
                Ordering::Equal => !newest_will_do && self.seq(map, row) > seq,
                order => order.is_lt(),
            }
        };
        let (low, high) = self.surround(head, &before);
        partition(low, high, before)
    }

    /// Where the interpolation puts a key with this prefix, which is between those of the first and the last key.
    #[inline]
    fn guess(&self, head: u64) -> usize {
        let span = (self.last - self.first) as f64;
        let share = if span > 0.0 {
            (head - self.first) as f64 / span
        } else {
            0.0
        };
        ((share * (self.rows() - 1) as f64) as usize).min(self.rows() - 1)
    }

    /// Rows between which the first one not `before` lies (or the end), by interpolation and widening steps.
    #[inline]
    fn surround(&self, head: u64, before: &impl Fn(usize) -> bool) -> (usize, usize) {
        let (rows, guess) = (self.rows(), self.guess(head));
        let mut step = 4;
        if before(guess) {
            let mut low = guess + 1;
            while low + step < rows && before(low + step) {
                low += step + 1;
                step *= 2;
            }
            (low, (low + step).min(rows))
        } else {
            let mut high = guess;
            while high > step && !before(high - step) {
                high -= step;
                step *= 2;
            }
            (high.saturating_sub(step), high)
        }
    }

    /// The block as columns that refer to the map.
    ///
    /// # Panics
    /// If the mapped file has changed since the block was checked.
    pub fn columns(&self, map: &Buffer) -> ColumnBlock {
        let (rows, base) = (self.rows(), self.base());
        let keys = self.keys.array(map, base, rows);
        let values = self.values.array(map, base, rows);
        let seqs = scalar(map, base + self.seqs as usize, rows);
        let ops = scalar(map, base + self.ops as usize, rows);
        ColumnBlock::new(keys, seqs, ops, Values::Binary(values))
            .expect("the block was checked when its place was noted")
            .with_memory(0)
    }
}

/// `len` numbers at byte `start` of `map`, which the format has aligned.
fn scalar<T: arrow::datatypes::ArrowNativeType>(map: &Buffer, start: usize, len: usize) -> ScalarBuffer<T> {
    ScalarBuffer::new(map.slice_with_length(start, len * size_of::<T>()), 0, len)
}

/// The first row in `low..high` that is not `before`, or `high`.
#[inline]
fn partition(mut low: usize, mut high: usize, before: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
