//! Which rows of a page have a value, and where that goes.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;
use kodiak_core::{Error, Result};

use super::thrift::Reader;
use crate::budget::Budget;

/// Reads definition levels of one bit: runs of equal levels, and groups of eight packed ones.
pub(super) fn read(levels: &[u8], rows: usize, count: usize, budget: &mut Budget) -> Result<NullBuffer> {
    budget.take(rows.div_ceil(8), 1)?;
    let wrong = || Error::corruption("a page's null flags are malformed");
    let mut bits = BooleanBufferBuilder::new(rows);
    let mut reader = Reader::new(levels);
    while bits.len() < rows {
        let head = reader.varint().ok_or_else(wrong)?;
        let left = rows - bits.len();
        let run = usize::try_from(head >> 1).map_err(|_| wrong())?;
        if head & 1 == 0 {
            let level = reader.byte().filter(|&level| level <= 1).ok_or_else(wrong)?;
            if run == 0 || run > left {
                return Err(wrong());
            }
            bits.append_n(run, level == 1);
        } else {
            let packed = reader
                .bytes(run)
                .filter(|packed| !packed.is_empty())
                .ok_or_else(wrong)?;
            bits.append_packed_range(0..left.min(packed.len() * 8), packed);
        }
    }
    let nulls = NullBuffer::new(bits.finish());
    if reader.position() != levels.len() || nulls.null_count() != count {
        return Err(wrong());
    }
    Ok(nulls)
}

/// Puts values that are there, of `width` items each and as many as are valid, in the places of their rows.
pub(super) fn put_in_places<T: Copy>(present: &[T], width: usize, nulls: &NullBuffer, all: &mut [T]) {
    let mut rest = present;
    // A copy for each stretch of them: most are longer than one.
    for (from, to) in nulls.valid_slices() {
        let (some, others) = rest.split_at((to - from) * width);
        all[from * width..to * width].copy_from_slice(some);
        rest = others;
    }
}
