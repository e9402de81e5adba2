//! Single values as bytes that compare as the values do, and the bounds of columns in that form.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, GenericByteArray, PrimitiveArray,
    downcast_primitive_array,
};
use arrow::compute::{max, max_boolean, max_fixed_size_binary, min, min_boolean, min_fixed_size_binary};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, ByteArrayType, DataType};

use super::view::{Physical, physical, plain};
use super::{Part, decode, encode};
use crate::entry::{prefix_at, prefix_end};
use crate::{Error, Result};

/// Bytes of a value that [`Bounds`] keep; what is longer is cut, and the upper bound rounded up.
pub const BOUND_BYTES: usize = 32;

/// What is known of the values of a column in some rows: as [`ordered_value`] makes them, so that bytes are compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Rows that are null.
    pub nulls: u32,
    /// No value is below the first, and none above the second; `None` if all rows are null, or if nothing is known of the
    /// others.
    pub range: Option<(Vec<u8>, Vec<u8>)>,
}

/// A lone ascending key column without nulls.
fn part(data_type: &DataType) -> Part {
    let plain = plain(data_type);
    let physical = physical(plain);
    Part {
        index: 0,
        name: String::new(),
        declared: data_type.clone(),
        plain: plain.clone(),
        physical,
        nullable: false,
        descending: false,
        tail: matches!(physical, Some(Physical::Var { .. })),
    }
}

/// True if values of this type have an order: those that a key may have.
pub fn is_ordered(data_type: &DataType) -> bool {
    physical(plain(data_type)).is_some()
}

/// True if [`ordered_value`] leaves the bytes of values of this type as they are.
pub fn is_ordered_as_bytes(data_type: &DataType) -> bool {
    matches!(physical(plain(data_type)), Some(Physical::Var { .. }))
}

/// The value in `row` as bytes that compare as the values of its type do; `None` for a null. The encoding is that of a key of
/// one ascending column without nulls (`docs/formats/keys.md`).
///
/// # Errors
/// `InvalidInput` for a type without an order.
pub fn ordered_value(array: &ArrayRef, row: usize) -> Result<Option<Vec<u8>>> {
    let part = part(array.data_type());
    let values = unpacked(&part, &array.slice(row, 1))?;
    if values.is_null(0) {
        return Ok(None);
    }
    let mut out = Vec::new();
    encode::value(&part, &values, &mut out)?;
    Ok(Some(out))
}

/// The values of what [`ordered_value`] made, one for each of `encoded`.
///
/// # Errors
/// `Corruption` for bytes that it does not make.
pub fn from_ordered(data_type: &DataType, encoded: &BinaryArray) -> Result<ArrayRef> {
    let mut columns = decode::columns(&[part(plain(data_type))], encoded)?;
    columns.pop().ok_or_else(|| Error::corruption("a column is missing"))
}

/// The bounds of a column's values; `None` for a type without an order.
///
/// # Errors
/// `InvalidInput` for a dictionary that cannot be unpacked.
pub fn bounds(column: &ArrayRef) -> Result<Option<Bounds>> {
    let part = part(column.data_type());
    if part.physical.is_none() {
        return Ok(None);
    }
    let values = unpacked(&part, column)?;
    let nulls = u32::try_from(values.null_count()).unwrap_or(u32::MAX);
    if values.null_count() == values.len() {
        return Ok(Some(Bounds { nulls, range: None }));
    }
    if let Some((low, high)) = text_extremes(&values) {
        let range = Some(cut(low, high));
        return Ok(Some(Bounds { nulls, range }));
    }
    let range = extremes(&values)
        .map(|(low, high)| -> Result<_> {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            encode::value(&part, &low, &mut from)?;
            encode::value(&part, &high, &mut to)?;
            Ok(cut(from, to))
        })
        .transpose()?;
    Ok(Some(Bounds { nulls, range }))
}

/// The values, out of a dictionary or view.
fn unpacked(part: &Part, array: &ArrayRef) -> Result<ArrayRef> {
    if part.plain == part.declared {
        return Ok(Arc::clone(array));
    }
    arrow::compute::cast(array, &part.plain).map_err(|error| {
        let message = format!("values of type {} cannot be unpacked", part.declared);
        Error::invalid_input(message).with_source(error)
    })
}

/// Bounds of at most [`BOUND_BYTES`] each, unless there is no such upper bound.
fn cut(mut from: Vec<u8>, to: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    from.truncate(BOUND_BYTES);
    let shorter = to.get(..BOUND_BYTES).filter(|_| to.len() > BOUND_BYTES);
    let to = shorter.and_then(prefix_end).unwrap_or(to);
    (from, to)
}

/// The smallest and the largest value of another plain column, as arrays of one value.
fn extremes(values: &ArrayRef) -> Option<(ArrayRef, ArrayRef)> {
    let array = values.as_ref();
    downcast_primitive_array! {
        array => {
            Some((one_of(array, min(array)?), one_of(array, max(array)?)))
        }
        DataType::Boolean => {
            let (low, high) = (min_boolean(array.as_boolean())?, max_boolean(array.as_boolean())?);
            Some((Arc::new(BooleanArray::from(vec![low])), Arc::new(BooleanArray::from(vec![high]))))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            let one = |value: &[u8]| FixedSizeBinaryArray::try_from_iter(std::iter::once(value)).ok();
            let (low, high) = (one(min_fixed_size_binary(array)?)?, one(max_fixed_size_binary(array)?)?);
            Some((Arc::new(low), Arc::new(high)))
        }
        _ => None
    }
}

/// The smallest and the largest value of a column of variable width; `None` for others.
fn text_extremes(values: &ArrayRef) -> Option<(Vec<u8>, Vec<u8>)> {
    match values.data_type() {
        DataType::Utf8 => extreme_texts(values.as_string::<i32>()),
        DataType::LargeUtf8 => extreme_texts(values.as_string::<i64>()),
        DataType::Binary => extreme_texts(values.as_binary::<i32>()),
        DataType::LargeBinary => extreme_texts(values.as_binary::<i64>()),
        _ => None,
    }
}

/// Bytes of a value's [`head`] that are its own.
const HEAD: usize = 8;

/// What a value begins with, and how long it is, as far as [`HEAD`] bytes tell. Heads compare as values do; values with the same one
/// are the same, unless they are longer than it is.
#[inline(always)]
fn head(bytes: &[u8], from: usize, to: usize) -> u128 {
    u128::from(prefix_at(bytes, from, to)) << 8 | (to - from).min(HEAD + 1) as u128
}

/// Arrow's kernels compare whole values, once for each of both.
fn extreme_texts<T: ByteArrayType>(array: &GenericByteArray<T>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (offsets, bytes) = (array.value_offsets(), array.value_data());
    let place = |row: usize| (offsets[row].as_usize(), offsets[row + 1].as_usize());
    let head_of = |(from, to): (usize, usize)| head(bytes, from, to);
    let widen = |(low, high): (u128, u128), head: u128| (low.min(head), high.max(head));
    let none = (u128::MAX, 0);
    let (low, high) = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        // Without a branch, as nobody could guess it.
        None => offsets.windows(2).fold(none, |both, pair| {
            widen(both, head_of((pair[0].as_usize(), pair[1].as_usize())))
        }),
        Some(nulls) => nulls
            .valid_indices()
            .fold(none, |both, row| widen(both, head_of(place(row)))),
    };
    let rows = || (0..array.len()).filter(|&row| array.is_valid(row)).map(place);
    let alike = |head: u128| {
        let alike = rows().filter(move |&place| head_of(place) == head);
        alike.map(|(from, to)| &bytes[from..to])
    };
    let whole = |head: u128| {
        ((head >> 8) as u64)
            .to_be_bytes()
            .get(..(head & 0xFF) as usize)
            .map(<[u8]>::to_vec)
    };
    Some((
        whole(low).or_else(|| alike(low).min().map(<[u8]>::to_vec))?,
        whole(high).or_else(|| alike(high).max().map(<[u8]>::to_vec))?,
    ))
}

/// A value as an array of the type of `like`, decimal places and time zone included.
fn one_of<T: ArrowPrimitiveType>(like: &PrimitiveArray<T>, value: T::Native) -> ArrayRef {
    let one = PrimitiveArray::<T>::from_iter_values([value]);
    Arc::new(one.with_data_type(like.data_type().clone()))
}

#[cfg(test)]
mod tests;
