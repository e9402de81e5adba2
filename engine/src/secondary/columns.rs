//! The columns that indexes need of rows, wherever these lie. No others are decoded.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use kodiak_core::Result;
use kodiak_core::block::ColumnBlock;

use super::codec::IndexCodec;
use crate::typed::{Columns, Target, some_columns};

/// The columns that some indexes need of rows of `target`.
pub(super) fn needed<'c>(target: &Target, codecs: impl IntoIterator<Item = &'c IndexCodec>) -> Result<Columns> {
    let places = places(target, codecs);
    Columns::new(target.clone(), Some(&[]), &places, false)
}

/// Their places in the table's schema, ascending.
fn places<'c>(target: &Target, codecs: impl IntoIterator<Item = &'c IndexCodec>) -> Vec<usize> {
    if target.schema().is_key_value() {
        // Extractors look at all there is.
        return vec![0, 1];
    }
    let mut places: Vec<usize> = codecs.into_iter().flat_map(IndexCodec::places).copied().collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// The table's own columns, as far as they are [`needed`], of a block that has been decoded to them at least.
///
/// # Errors
/// Those of bringing them to the schema.
pub(super) fn of_block(needed: &Columns, block: &ColumnBlock) -> Result<Vec<ArrayRef>> {
    let columns = (0..needed.indexes().len()).map(|position| needed.of_block(block, position));
    let columns = columns.collect::<Result<_>>()?;
    Ok(spread(needed.target(), block.keys(), needed.indexes(), columns))
}

/// The table's own columns, as far as they are [`needed`], of rows with these keys that have been gathered.
pub(super) fn of_batch(needed: &Columns, keys: &BinaryArray, rows: &RecordBatch) -> Vec<ArrayRef> {
    spread(needed.target(), keys, needed.indexes(), rows.columns().to_vec())
}

/// The table's own columns, as far as some indexes need them, of encoded rows.
///
/// # Errors
/// `Corruption` for bytes that are no rows of the table.
pub(super) fn of_rows<'c>(
    target: &Target,
    codecs: impl IntoIterator<Item = &'c IndexCodec>,
    keys: &BinaryArray,
    rows: &BinaryArray,
) -> Result<Vec<ArrayRef>> {
    let places = places(target, codecs);
    let columns = some_columns(target, keys, rows, Some(&places))?;
    Ok(spread(target, keys, &places, columns))
}

/// Columns at their places among all of the table; the keys stand where there is none.
fn spread(target: &Target, keys: &BinaryArray, places: &[usize], columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
    let keys: ArrayRef = Arc::new(keys.clone());
    let mut own = vec![keys; target.schema().columns().fields().len()];
    for (&place, column) in places.iter().zip(columns) {
        own[place] = column;
    }
    own
}
