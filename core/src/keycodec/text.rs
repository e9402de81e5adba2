//! Key columns of texts and bytes.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::Part;
use super::encode::{END_BYTES, ENDING, VALUE, put_text};
use super::heads::Heads;
use crate::entry::{behind, prefix_at};

/// A key column of texts or bytes with offsets of 32 bits, ascending, without nulls.
#[derive(Debug, Clone)]
pub(super) struct TextPart {
    /// One more than there are rows.
    offsets: ScalarBuffer<i32>,
    bytes: Buffer,
    /// A byte says that it is no null.
    marked: bool,
    /// Nothing follows it.
    pub(super) tail: bool,
}

impl TextPart {
    /// A column that is plain and of the part's type; `None` if it is of another kind.
    pub(super) fn new(part: &Part, array: &ArrayRef) -> Option<Self> {
        if part.descending || array.null_count() > 0 {
            return None;
        }
        let (offsets, bytes) = match array.data_type() {
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                (array.offsets().inner().clone(), array.values().clone())
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                (array.offsets().inner().clone(), array.values().clone())
            }
            _ => return None,
        };
        Some(Self {
            offsets,
            bytes,
            marked: part.nullable,
            tail: part.tail,
        })
    }

    /// How many values there are.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// How many bytes a value takes at most, if there are no zeros in it.
    pub(super) fn most_bytes(&self) -> usize {
        let longest = self
            .offsets
            .windows(2)
            .fold(0, |longest, pair| longest.max(pair[1] - pair[0]));
        let ends = if self.tail { 0 } else { END_BYTES };
        longest as usize + ends + usize::from(self.marked)
    }

    #[inline]
    pub(super) fn value(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// How the value of a row compares with one of another column of the same part.
    #[inline]
    pub(super) fn compare(&self, row: usize, other: &Self, with: usize) -> Ordering {
        let head = |part: &Self, row: usize| {
            let (from, to) = (part.offsets[row] as usize, part.offsets[row + 1] as usize);
            (prefix_at(&part.bytes, from, to), to - from)
        };
        let (one, two) = (head(self, row), head(other, with));
        // Of values that are not longer than what is known of them the shorter one is less.
        match one.0 == two.0 && one.1.max(two.1) > 8 {
            true => self.value(row).cmp(other.value(with)),
            false => one.cmp(&two),
        }
    }

    /// How many bytes the value of a row takes in `key`, the rest of an encoded key, if that is easily seen to begin with it.
    #[inline]
    pub(super) fn len_in(&self, row: usize, key: &[u8]) -> Option<usize> {
        let value = self.value(row);
        let rest = key.strip_prefix(value)?;
        let found = !self.marked && !self.tail && rest.starts_with(&ENDING) && !value.contains(&0);
        found.then_some(value.len() + END_BYTES)
    }

    /// Appends the value of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.marked {
            out.push(VALUE);
        }
        match self.tail {
            true => out.extend_from_slice(self.value(row)),
            false => put_text(self.value(row), out),
        }
    }

    /// Adds what values have behind their first `skip` bytes, which are those of `row`. False, and nothing, if there are zeros in
    /// them that take two bytes in a key.
    pub(super) fn add_heads(&self, skip: usize, row: usize, heads: &mut Heads<'_>) -> bool {
        let mark = usize::from(self.marked && skip == 0);
        let skip = skip.saturating_sub(usize::from(self.marked));
        let skipped = self.value(row).get(..skip);
        if skipped.is_none_or(|skipped| !self.tail && skipped.contains(&0)) {
            return false;
        }
        let ends = if self.tail { mark } else { mark + END_BYTES };
        let len = |pair: &[i32]| (pair[1] - pair[0]) as usize;
        let first = len(&self.offsets[..2]);
        // Loops without a way out, which the compiler can make ones of vectors.
        let differ = self
            .offsets
            .windows(2)
            .fold(0, |differ, pair| differ | len(pair) ^ first);
        let words = match differ {
            0 => self.words_of_alike(first, skip),
            _ => self.words(skip),
        };
        let Some(mut words) = words else { return false };
        if mark > 0 {
            words.iter_mut().for_each(|word| *word = VALUE_FIRST | *word >> 8);
        }
        if differ == 0 {
            heads.add_alike(first - skip + ends, words.into_iter());
        } else {
            let lens = self
                .offsets
                .windows(2)
                .map(|pair| len(pair).saturating_sub(skip) + ends);
            heads.add_each(words.into_iter().zip(lens));
        }
        true
    }

    /// What values begin with, behind their first `skip` bytes; `None` if there are zeros in it that take two bytes in a key.
    fn words(&self, skip: usize) -> Option<Vec<u64>> {
        let (mut words, mut zeros) = (Vec::with_capacity(self.rows()), 0);
        for pair in self.offsets.windows(2) {
            let (from, to) = (pair[0] as usize + skip, pair[1] as usize);
            let word = prefix_at(&self.bytes, from, to);
            zeros |= has_zero(word | behind(to.saturating_sub(from)));
            words.push(word);
        }
        (zeros == 0 || self.tail).then_some(words)
    }

    /// The same, of values that are all `len` bytes long.
    fn words_of_alike(&self, len: usize, skip: usize) -> Option<Vec<u64>> {
        if len == skip {
            return Some(vec![0; self.rows()]);
        }
        let start = self.offsets[0] as usize;
        let values = &self.bytes[start..start + len * self.rows()];
        let words = match len - skip {
            1 => words::<1>(values, len, skip),
            2 => words::<2>(values, len, skip),
            3 => words::<3>(values, len, skip),
            4 => words::<4>(values, len, skip),
            5 => words::<5>(values, len, skip),
            6 => words::<6>(values, len, skip),
            7 => words::<7>(values, len, skip),
            _ => words::<8>(values, len, skip),
        };
        let behind = behind(len - skip);
        let zeros = words.iter().fold(0, |zeros, word| zeros | has_zero(word | behind));
        (zeros == 0 || self.tail).then_some(words)
    }
}

/// `N` bytes of each value, which are all `len` bytes long, behind its first `skip`.
fn words<const N: usize>(values: &[u8], len: usize, skip: usize) -> Vec<u64> {
    let word = |some: &[u8; N]| {
        let mut word = [0; 8];
        word[..N].copy_from_slice(some);
        u64::from_be_bytes(word)
    };
    if len == N {
        // A loop without a look at each length.
        return values.as_chunks::<N>().0.iter().map(word).collect();
    }
    let some = values.chunks_exact(len).filter_map(|value| value[skip..].first_chunk());
    some.map(word).collect()
}

/// A byte that says that a value is there, at the front of a word.
const VALUE_FIRST: u64 = (VALUE as u64) << 56;

/// Not zero if one of the bytes of a word is.
#[inline]
fn has_zero(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}
