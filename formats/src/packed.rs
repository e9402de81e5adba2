//! Dictionaries, which data files of Parquet and ORC hold as their values: what may be in them, and the way there and back.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::DataType;
use kodiak_core::{Error, Result};

/// Columns may be nested so deep: readers recurse.
pub(crate) const DEPTH: usize = 16;

/// The type of the values of a dictionary with this `index`, as columns of it are stored; `nested` if it lies within other columns.
///
/// # Errors
/// Why it cannot be stored.
pub(crate) fn stored<'a>(index: &DataType, values: &'a DataType, nested: bool) -> Result<&'a DataType, String> {
    use DataType as D;
    if nested && matches!(index, D::Int8 | D::UInt8 | D::Int16 | D::UInt16) {
        return Err(format!(
            "the values of a block may be more than a nested dictionary's index of type {index} counts; use Int32"
        ));
    }
    match values {
        D::Boolean | D::Duration(_) | D::Interval(_) | D::Dictionary(..) | D::Null => Err(format!(
            "dictionaries of {values} are not made again; use {values} itself"
        )),
        nested if nested.is_nested() => Err(format!(
            "dictionaries of nested values are not stored; use {nested} itself"
        )),
        plain => Ok(plain),
    }
}

/// The values of a dictionary's rows; other arrays as they are.
///
/// # Errors
/// `InvalidInput` for values that cannot be taken out.
pub(crate) fn unpack(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)
            .map_err(|error| Error::invalid_input("a dictionary cannot be taken apart").with_source(error)),
        _ => Ok(ArrayRef::clone(array)),
    }
}

/// The rows as the dictionary `wanted`; as they are if it is none.
///
/// # Errors
/// `Corruption` for more values than the dictionary's index counts.
pub(crate) fn pack(array: ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array);
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&array, wanted, &strict)
        .map_err(|error| Error::corruption(format!("values cannot become {wanted}")).with_source(error))
}
