//! Columns of plain types, which most are, straight from their buffers.

use arrow::array::ArrayRef;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;
use kodiak_core::arrays::{primitive, variable};
use kodiak_core::{Error, Result};

use super::shape::{Shape, mismatch};

/// A column of `rows` rows of which `nulls` are null, of a type without children; `None` for other types. `buffer` has the
/// buffers of the column by their numbers.
///
/// # Errors
/// `Corruption` if lengths, offsets, number of nulls or, for text, the encoding are wrong.
pub(super) fn column(
    shape: &Shape,
    data_type: &DataType,
    (rows, nulls): (usize, usize),
    buffer: impl Fn(usize) -> Buffer,
) -> Option<Result<ArrayRef>> {
    let offsets = match shape {
        Shape::Fixed(_) | Shape::Bits => 0,
        Shape::Variable32 => 4,
        Shape::Variable64 => 8,
        _ => return None,
    };
    let valid = match nulls {
        0 => None,
        _ => match validity(data_type, (rows, nulls), buffer(0)) {
            Ok(valid) => Some(valid),
            Err(error) => return Some(Err(error)),
        },
    };
    let values = buffer(1);
    let made = match offsets {
        0 => primitive(data_type, values, rows, valid),
        width if values.len() / width != rows + 1 || !values.len().is_multiple_of(width) => {
            return Some(Err(mismatch(data_type, "values")));
        }
        _ => variable(data_type, values, buffer(2), valid),
    };
    let wrong = |error: Error| mismatch(data_type, "values").with_source(error);
    made.map(|made| made.map_err(wrong))
}

fn validity(data_type: &DataType, (rows, nulls): (usize, usize), bits: Buffer) -> Result<NullBuffer> {
    if bits.len() < rows.div_ceil(8) {
        return Err(mismatch(data_type, "validity bits"));
    }
    let valid = NullBuffer::new(BooleanBuffer::new(bits, 0, rows));
    match valid.null_count() == nulls {
        true => Ok(valid),
        false => Err(mismatch(data_type, "number of nulls")),
    }
}
