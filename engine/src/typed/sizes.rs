//! How many bytes the rows of a block take, about.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::DataType;
use kodiak_core::block::{ColumnBlock, Values};

/// Bytes of a block's columns of variable width that are cheap to tell: enough to see that rows are large.
pub fn value_bytes(block: &ColumnBlock) -> usize {
    match block.values() {
        Values::Binary(values) => span(values.value_offsets()),
        Values::Columns(batch, _) => batch.columns().iter().map(data_bytes).sum(),
        Values::Absent => 0,
    }
}

/// Bytes that the rows of a column take, about; of nested columns only what is at the top.
fn data_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8 => span(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(column.as_string::<i64>().value_offsets()),
        DataType::Binary => span(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(column.as_binary::<i64>().value_offsets()),
        other => column.len() * other.primitive_width().unwrap_or(8),
    }
}

fn span<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
    match offsets {
        [first, .., last] => last.as_usize() - first.as_usize(),
        _ => 0,
    }
}

/// Bytes that a row of a typed block takes beside its key, about.
pub fn row_bytes(block: &ColumnBlock) -> usize {
    value_bytes(block).saturating_sub(span(block.keys().value_offsets())) / block.rows()
}
