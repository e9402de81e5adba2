//! Keys whose columns are short, encoded eight bytes at a time.
//!
//! Columns that have at most eight bytes together are first put into one word for each row, in loops that the compiler can make ones
//! of vectors; then each row takes a few stores, each of which writes over what the one before has written too much.

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::fixed;
use super::heads::{Filled, HEAD, Heads};
use super::unmade::KeyColumn;

/// Some columns: what they are in each row, at the front of a word, and how many bytes that is.
struct Group {
    words: Vec<u64>,
    filled: Filled,
    /// No row has more bytes.
    most: usize,
}

/// The keys of `rows` rows; `None` if a value may take more than eight bytes, or is not kept as it is.
pub(super) fn encode(columns: &[KeyColumn], rows: usize) -> Option<BinaryArray> {
    if rows == 0 {
        return None;
    }
    let mut groups: Vec<Group> = Vec::new();
    for column in columns {
        let most = column.most_bytes().filter(|&most| most <= HEAD)?;
        if most == 0 {
            continue;
        }
        let mut group = match groups.pop_if(|group| group.most + most <= HEAD) {
            Some(group) => group,
            None => Group {
                words: Vec::with_capacity(rows),
                filled: Filled::Alike(0),
                most: 0,
            },
        };
        let mut heads = Heads::new(&mut group.words, group.filled);
        if !column.add_words(&mut heads) {
            return None;
        }
        group.filled = heads.finish();
        group.most += most;
        groups.push(group);
    }
    let alike = |group: &Group| match &group.filled {
        Filled::Alike(bytes) => Some(*bytes),
        Filled::Each(_) => None,
    };
    match groups.iter().map(alike).sum::<Option<usize>>() {
        Some(width) => alike_keys(&groups, width, rows),
        None => keys(&groups, rows),
    }
}

/// Keys that are all `width` bytes long.
fn alike_keys(groups: &[Group], width: usize, rows: usize) -> Option<BinaryArray> {
    i32::try_from(rows.checked_mul(width)?).ok()?;
    let mut out = vec![0; rows * width + HEAD];
    for row in 0..rows {
        let mut at = row * width;
        for group in groups {
            put(&mut out, at, group.words[row]);
            at += group.most;
        }
    }
    out.truncate(rows * width);
    let offsets = fixed::offsets(width, rows);
    Some(BinaryArray::new(offsets, Buffer::from_vec(out), None))
}

fn keys(groups: &[Group], rows: usize) -> Option<BinaryArray> {
    let most: usize = groups.iter().map(|group| group.most).sum();
    i32::try_from(rows.checked_mul(most)?).ok()?;
    let (mut out, mut at) = (vec![0; rows * most + HEAD], 0);
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0);
    for row in 0..rows {
        for group in groups {
            put(&mut out, at, group.words[row]);
            at += match &group.filled {
                Filled::Alike(bytes) => *bytes,
                Filled::Each(filled) => usize::from(filled[row]),
            };
        }
        offsets.push(at as i32);
    }
    out.truncate(at);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Some(BinaryArray::new(offsets, Buffer::from_vec(out), None))
}

#[inline(always)]
fn put(out: &mut [u8], at: usize, word: u64) {
    out[at..at + HEAD].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, Int8Array, StringArray};

    use super::super::tests::{Random, TYPES, codec_of, column};
    use super::super::{Keys, encode};

    #[test]
    fn keys_are_what_columns_are_encoded_to_one_by_one() {
        const ROWS: usize = 40;
        let mut random = Random(9);
        let (mut alike, mut others) = (0, 0);
        for _ in 0..3000 {
            let count = 1 + random.below(5) as usize;
            let nullable: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
            let descending: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
            let columns: Vec<ArrayRef> = (0..count)
                .map(|index| {
                    let data_type = &TYPES[random.below(TYPES.len() as u64) as usize];
                    let with_nulls = nullable[index] && random.below(3) == 0;
                    column(data_type, ROWS, with_nulls, &mut random).slice(3, ROWS - 5)
                })
                .collect();
            let codec = codec_of(&columns, &nullable, &descending);
            let Keys::Unmade(keys) = codec.keys(|index| columns.get(index)).expect("keys") else {
                continue;
            };
            let Some(words) = super::encode(keys.columns(), keys.rows()) else {
                continue;
            };
            let values = codec
                .parts
                .iter()
                .map(|part| part.values(&columns[part.index]).expect("plain"));
            let expected = encode::columns(&codec.parts, &values.collect::<Vec<_>>()).expect("keys");
            assert_eq!(words, expected, "{columns:?}");
            match words
                .offsets()
                .windows(2)
                .all(|pair| pair[1] - pair[0] == words.value_length(0))
            {
                true => alike += 1,
                false => others += 1,
            }
        }
        assert!(alike > 50 && others > 20, "{alike} and {others} were encoded so");
    }

    #[test]
    fn the_last_keys_may_end_in_nothing() {
        let numbers: ArrayRef = Arc::new(Int8Array::from(vec![1, 2, 3]));
        for texts in [["", "", ""], ["a", "abcdef", ""], ["", "a", "abcdefg"]] {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            // A text by itself is its key.
            let both = vec![Arc::clone(&numbers), Arc::clone(&texts)];
            for columns in [both, vec![Arc::clone(&numbers), Arc::clone(&numbers), texts]] {
                let plain = vec![false; columns.len()];
                let codec = codec_of(&columns, &plain, &plain);
                let Keys::Unmade(keys) = codec.keys(|index| columns.get(index)).expect("keys") else {
                    panic!("plain columns are not encoded at once");
                };
                let expected = encode::columns(&codec.parts, &columns).expect("keys");
                assert_eq!(
                    super::encode(keys.columns(), keys.rows()),
                    Some(expected),
                    "{columns:?}"
                );
            }
        }
    }
}
