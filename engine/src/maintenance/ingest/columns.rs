//! Rows that are ingested as columns: each is looked at for its key, and copied with its column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use kodiak_core::block::{ColumnBlock, Values};
use kodiak_core::entry::prefix_at;
use kodiak_core::{Error, Op, Result};

use super::rows::{Rows, disorder};
use crate::db::check_limits;
use crate::secondary::check_ingested;

/// Rows after which it is looked whether the run is large enough.
const STRETCH: usize = 8192;

impl Rows<'_> {
    /// Adds rows that have the table's own columns, keys ascending, all of them or none.
    ///
    /// # Errors
    /// The row at fault, and what is wrong with it; those of writing, of no row.
    pub(super) fn push_columns(&mut self, rows: &RecordBatch) -> Result<(), (Option<usize>, Error)> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let keys = self.common.target.codecs().key.encode(rows.columns());
        self.push_keyed(keys.map_err(|error| (None, error))?, rows)
    }

    /// Adds rows that are not none, whose keys are these.
    ///
    /// # Errors
    /// As [`push_columns`](Self::push_columns).
    pub(super) fn push_keyed(&mut self, keys: BinaryArray, rows: &RecordBatch) -> Result<(), (Option<usize>, Error)> {
        self.check_order(&keys)?;
        self.push_ordered(keys, rows)
    }

    /// As [`push_keyed`](Self::push_keyed), of keys that ascend from those of the rows before on.
    pub(super) fn push_ordered(&mut self, keys: BinaryArray, rows: &RecordBatch) -> Result<(), (Option<usize>, Error)> {
        self.check_sizes(&keys, rows)?;
        self.push_checked(keys, rows).map_err(|error| (None, error))
    }

    fn check_order(&self, keys: &BinaryArray) -> Result<(), (Option<usize>, Error)> {
        let first = self.last.as_deref().is_some_and(|last| last >= keys.value(0));
        match if first { Some(0) } else { first_not_rising(keys) } {
            None => Ok(()),
            Some(row) => {
                let before = match row {
                    0 => self.last.as_deref(),
                    _ => Some(keys.value(row - 1)),
                };
                let same = before == Some(keys.value(row));
                Err((Some(row), disorder(self.entries + row as u64, same)))
            }
        }
    }

    /// Limits are of encoded rows; of rows that are far from them nothing needs to be encoded.
    fn check_sizes(&self, keys: &BinaryArray, rows: &RecordBatch) -> Result<(), (Option<usize>, Error)> {
        let longest = keys
            .value_offsets()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .enumerate();
        if let Some((row, _)) = longest.max_by_key(|(_, len)| *len) {
            check_ingested(self.common.table, keys.value(row))
                .map_err(|error| (Some(row), self.placed(row as u64, error)))?;
        }
        let (max_key, max_value) = self.common.limits;
        // No encoding takes more than a byte for a bit, and a few for the length of each value.
        let bytes: usize = rows.columns().iter().map(slice_bytes).sum();
        let bound = (bytes as u64)
            .saturating_mul(16)
            .saturating_add(64 * rows.num_columns() as u64);
        let keys_fit = keys.value_data().len() as u64 <= max_key;
        if keys_fit && bound <= max_value {
            return Ok(());
        }
        let encoder = match self.common.table.key_value {
            true => None,
            false => {
                let encoder = self.common.target.codecs().row.encoder(rows.columns());
                Some(encoder.map_err(|error| (None, error))?)
            }
        };
        let mut value = Vec::new();
        for row in 0..keys.len() {
            value.clear();
            let value = match &encoder {
                Some(encoder) => {
                    encoder.encode(row, &mut value);
                    value.as_slice()
                }
                None => rows.column(1).as_binary::<i32>().value(row),
            };
            check_limits(self.common.table, Op::Put, keys.value(row), value, self.common.limits)
                .map_err(|error| (Some(row), self.placed(row as u64, error)))?;
        }
        Ok(())
    }

    fn push_checked(&mut self, keys: BinaryArray, rows: &RecordBatch) -> Result<()> {
        let count = keys.len();
        let values = match self.common.table.key_value {
            true => Values::Binary(rows.column(1).as_binary::<i32>().clone()),
            false => Values::Columns(rows.clone(), Arc::clone(&self.common.target.codecs().row)),
        };
        let seqs = ScalarBuffer::from(vec![self.common.seq as i64; count]);
        let ops = ScalarBuffer::from(vec![Op::Put as i8; count]);
        let last = keys.value(count - 1).to_vec();
        let block = Arc::new(ColumnBlock::new(keys, seqs, ops, values)?);
        let row_bytes = rows.columns().iter().map(slice_bytes).sum::<usize>() / count + 1;
        let run_size = self.common.shared.settings.compaction.target_run_size;
        let stretch = STRETCH.min(run_size as usize / row_bytes).max(1);
        for from in (0..count).step_by(stretch) {
            let to = count.min(from + stretch);
            self.writer()?.push_rows(&block, from, to)?;
        }
        self.entries += count as u64;
        self.last = Some(last);
        Ok(())
    }
}

/// The first row whose key is the same as the one before it, or comes before that.
pub(super) fn first_not_rising(keys: &BinaryArray) -> Option<usize> {
    let bytes = keys.value_data();
    // Most keys differ in what they begin with.
    let head_of = |pair: &[i32]| {
        let (from, to) = (pair[0] as usize, pair[1] as usize);
        (prefix_at(bytes, from, to), prefix_at(bytes, to.min(from + 8), to))
    };
    let mut heads = keys.value_offsets().windows(2).map(head_of);
    let mut before = heads.next()?;
    let falls = |(at, head): (usize, (u64, u64))| {
        let least = std::mem::replace(&mut before, head);
        least >= before && keys.value(at) >= keys.value(at + 1)
    };
    heads.enumerate().map(falls).position(|falls| falls).map(|at| at + 1)
}

/// The bytes that an array refers to, about.
pub(super) fn slice_bytes(array: &ArrayRef) -> usize {
    let data = array.to_data();
    data.get_slice_memory_size()
        .unwrap_or_else(|_| array.get_array_memory_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_does_not_rise_is_found() {
        let long = [b"same beginning, " as &[u8], b"same beginning, and more"];
        let texts: Vec<&[u8]> = [
            b"" as &[u8],
            b"\0",
            b"a",
            b"a\0",
            b"eight by",
            b"eight by\0",
            b"eight byte",
        ]
        .into_iter()
        .chain(long)
        .collect();
        for left in 0..texts.len() {
            for right in 0..texts.len() {
                let pair = [texts[left], texts[right]];
                let keys = BinaryArray::from_iter_values(pair);
                let expected = (left >= right).then_some(1);
                assert_eq!(first_not_rising(&keys), expected, "{pair:?}");
                // And behind others, in a part of an array.
                let keys = BinaryArray::from_iter_values([&[0xFF], &[] as &[u8]].into_iter().chain(pair));
                let fell = if left == 0 { Some(1) } else { expected.map(|at| at + 1) };
                assert_eq!(first_not_rising(&keys.slice(1, 3)), fell, "{pair:?}");
            }
        }
        assert_eq!(first_not_rising(&BinaryArray::from_iter_values(texts)), None);
    }
}
