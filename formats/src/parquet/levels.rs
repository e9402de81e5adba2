//! Repetition and definition levels, which tell where the values of nested columns belong.
//!
//! As in Melnik et al., "Dremel: Interactive Analysis of Web-Scale Datasets" (VLDB 2010): a repetition level says in which of the
//! lists around it an entry is a further item (0: it begins a row), a definition level how much of what can be absent is there.
//! Levels are stored in Parquet's hybrid of runs and packed bits.

use arrow::buffer::{BooleanBuffer, NullBuffer};
use kodiak_core::{Error, Result};

use super::plan::Column;
use super::thrift::{Reader, put_varint};
use crate::budget::Budget;

/// Equal levels that are worth a run: fewer are packed.
const RUN: usize = 8;

/// The bits of a level that is at most `max`.
fn width(max: u8) -> usize {
    8 - max.leading_zeros() as usize
}

/// Appends levels of at most `max`, of which there must be some; nothing if that is zero.
pub(super) fn put(levels: &[u8], max: u8, out: &mut Vec<u8>) {
    if max == 0 {
        return;
    }
    let run_from = |at: usize| levels[at..].iter().take_while(|&&level| level == levels[at]).count();
    let mut at = 0;
    while at < levels.len() {
        let run = run_from(at);
        if run >= RUN {
            put_varint(out, (run as u64) << 1);
            out.push(levels[at]);
            at += run;
            continue;
        }
        // Groups of eight up to one that begins a run.
        let start = at;
        while at < levels.len() && (at == start || run_from(at) < RUN) {
            at = (at + 8).min(levels.len());
        }
        put_varint(out, ((at - start).div_ceil(8) as u64) << 1 | 1);
        pack(&levels[start..at], width(max), out);
    }
}

/// Appends groups of eight levels, the least significant bit first; the last group is filled up with zeros.
fn pack(levels: &[u8], width: usize, out: &mut Vec<u8>) {
    for group in levels.chunks(8) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0u64, |bits, (at, &level)| bits | u64::from(level) << (at * width));
        out.extend_from_slice(&bits.to_le_bytes()[..width]);
    }
}

/// Reads `count` levels of at most `max`; `None` if the bytes are not exactly those. The caller has bounded `count`.
pub(super) fn read(bytes: &[u8], count: usize, max: u8) -> Option<Vec<u8>> {
    let mut levels = Vec::with_capacity(count);
    if max == 0 {
        levels.resize(count, 0);
        return bytes.is_empty().then_some(levels);
    }
    let width = width(max);
    let mask = (1u64 << width) - 1;
    let mut reader = Reader::new(bytes);
    while levels.len() < count {
        let head = reader.varint()?;
        let (run, left) = (usize::try_from(head >> 1).ok()?, count - levels.len());
        if run == 0 {
            return None;
        }
        if head & 1 == 0 {
            let level = reader.byte()?;
            if run > left {
                return None;
            }
            levels.resize(levels.len() + run, level);
        } else {
            for group in reader.bytes(run.checked_mul(width)?)?.chunks_exact(width) {
                let mut word = [0; 8];
                word[..width].copy_from_slice(group);
                let mut bits = u64::from_le_bytes(word);
                for _ in 0..(count - levels.len()).min(8) {
                    levels.push((bits & mask) as u8);
                    bits >>= width;
                }
            }
        }
    }
    let most = levels.iter().fold(0, |most, &level| most.max(level));
    (reader.position() == bytes.len() && most <= max).then_some(levels)
}

/// The levels of the entries of a leaf, found to make sense.
#[derive(Debug)]
pub(super) struct Levels {
    repetitions: Vec<u8>,
    definitions: Vec<u8>,
}

impl Levels {
    /// Reads the levels of a page of `rows` rows and `count` entries.
    ///
    /// # Errors
    /// `Corruption` if they are malformed, or contradict each other.
    pub fn read(
        column: &Column,
        repetitions: &[u8],
        definitions: &[u8],
        rows: usize,
        count: usize,
        budget: &mut Budget,
    ) -> Result<Self> {
        budget.take(count, 2)?;
        let wrong = || Error::corruption("a page's levels are malformed");
        let levels = Self {
            repetitions: read(repetitions, count, column.repetition).ok_or_else(wrong)?,
            definitions: read(definitions, count, column.definition).ok_or_else(wrong)?,
        };
        if !levels.are_sound(column, rows) {
            return Err(Error::corruption("a page's levels contradict each other"));
        }
        Ok(levels)
    }

    /// A further item needs a list that has it and one before it, and rows are as many as they should be.
    fn are_sound(&self, column: &Column, rows: usize) -> bool {
        let (mut begun, mut wrong, mut before) = (0, false, 0);
        for (&repetition, &definition) in self.repetitions.iter().zip(&self.definitions) {
            match repetition {
                0 => begun += 1,
                _ => {
                    let item = column.items[usize::from(repetition) - 1];
                    wrong |= definition < item || before < item;
                }
            }
            before = definition;
        }
        // The first entry has nothing before it: it cannot be a further item.
        begun == rows && !wrong
    }

    /// How many entries are values.
    pub fn present(&self, column: &Column) -> usize {
        self.definitions
            .iter()
            .filter(|&&level| level == column.definition)
            .count()
    }

    /// Of each place that something inside `lists` lists has (which have an item from `item` on), whether it is there, which is so
    /// from `present` on.
    pub fn valid(&self, lists: u8, item: u8, present: u8, budget: &mut Budget) -> Result<BooleanBuffer> {
        budget.take(self.definitions.len().div_ceil(8), 1)?;
        let places = self.repetitions.iter().zip(&self.definitions);
        Ok(places
            .filter(|&(&repetition, &definition)| repetition <= lists && definition >= item)
            .map(|(_, &definition)| definition >= present)
            .collect())
    }

    /// As [`valid`](Self::valid), `None` if nothing is absent.
    pub fn nulls(&self, lists: u8, item: u8, present: u8, budget: &mut Budget) -> Result<(usize, Option<NullBuffer>)> {
        let nulls = NullBuffer::new(self.valid(lists, item, present, budget)?);
        Ok((nulls.len(), Some(nulls).filter(|nulls| nulls.null_count() > 0)))
    }

    /// Where the items of each list end, after a zero: of lists inside `lists` others, which have an item from `outer` on, and have
    /// items themselves from `inner` on.
    pub fn ends(&self, lists: u8, outer: u8, inner: u8, budget: &mut Budget) -> Result<Vec<i32>> {
        budget.take(self.definitions.len() + 1, 4)?;
        let mut ends = Vec::new();
        // A page has fewer than 2^31 entries.
        let mut end = 0;
        for (&repetition, &definition) in self.repetitions.iter().zip(&self.definitions) {
            if repetition <= lists && definition >= outer {
                ends.push(end);
            }
            end += i32::from(repetition <= lists + 1 && definition >= inner);
        }
        ends.push(end);
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodiak_core::conformance::format::Draw;

    #[test]
    fn levels_read_back_and_their_bytes_are_golden() {
        let mut bytes = Vec::new();
        put(&[0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0], 2, &mut bytes);
        // A group of eight packed levels, and five more with three bits of filling.
        assert_eq!(bytes, [0b101, 0b1010_0100, 0b1010_1010, 0b1010_1010, 0b0000_0010]);
        bytes.clear();
        put(&[1; 300], 3, &mut bytes);
        assert_eq!(bytes, [0xD8, 0x04, 1]);
        let mut draw = Draw(3);
        for round in 0..500 {
            let max = [1, 2, 3, 4, 7, 8, 31, 200, 255][draw.below(9)];
            let mut levels = Vec::new();
            while levels.len() < round {
                let level = draw.below(usize::from(max) + 1) as u8;
                levels.extend(std::iter::repeat_n(level, draw.below(20)));
            }
            bytes.clear();
            put(&levels, max, &mut bytes);
            assert_eq!(read(&bytes, levels.len(), max).as_ref(), Some(&levels));
            for len in 0..bytes.len() {
                assert_eq!(read(&bytes[..len], levels.len(), max), None, "cut to {len} bytes");
            }
        }
    }

    #[test]
    fn levels_beyond_the_largest_and_empty_runs_are_refused() {
        assert_eq!(read(&[0x04, 3], 2, 2), None);
        assert_eq!(read(&[0x00, 1, 0x04, 1], 2, 2), None);
        assert_eq!(read(&[0x06, 1], 2, 2), None, "more than there are");
        assert_eq!(read(&[0x04, 1, 0], 2, 2), None, "bytes behind");
        assert_eq!(read(&[0], 2, 0), None, "levels where there are none");
    }
}
