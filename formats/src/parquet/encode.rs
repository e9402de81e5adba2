//! From an Arrow column to the bytes of a page.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray};
use arrow::compute;
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Int8Type, Int16Type, UInt8Type, UInt16Type};
use kodiak_core::{Error, Result};

use super::delta;
use super::levels;
use super::plan::{Column, Store, decimal_width, resize_le};
use super::shred::Shredded;
use super::thrift::put_varint;
use crate::packed;

/// What comes before the values of a page, and what the page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    /// Bytes of repetition levels.
    pub repetitions: usize,
    /// Bytes of definition levels.
    pub definitions: usize,
    /// Values, and what stands for those that are absent.
    pub entries: usize,
    /// How many of them are absent.
    pub nulls: usize,
}

/// The values of a column as they are stored: those of a dictionary's rows.
///
/// # Errors
/// `InvalidInput` if the array is not of the column's type.
pub(super) fn plain(column: &Column, array: &ArrayRef) -> Result<ArrayRef> {
    if array.data_type() != &column.declared {
        return Err(wrong_type(column, array));
    }
    packed::unpack(array)
}

/// Replaces `page` with the levels and values of `array`, which are [`plain`], uncompressed.
///
/// # Errors
/// `InvalidInput` if there are nulls where there must not be.
pub(super) fn page(column: &Column, array: &ArrayRef, page: &mut Vec<u8>) -> Result<Levels> {
    page.clear();
    let nulls = array.null_count();
    if nulls > 0 && !column.nullable {
        return Err(unexpected_nulls(column));
    }
    if column.nullable {
        null_flags(array, page);
    }
    let levels = Levels {
        repetitions: 0,
        definitions: page.len(),
        entries: array.len(),
        nulls,
    };
    if nulls == 0 {
        values(column, array, page)?;
    } else {
        // Parquet stores no place for a null: only what is there.
        let present = compute::is_not_null(array)
            .and_then(|keep| compute::filter(array, &keep))
            .map_err(|error| {
                Error::invalid_input(format!("column \"{}\" cannot be stored", column.name)).with_source(error)
            })?;
        values(column, &present, page)?;
    }
    Ok(levels)
}

/// Replaces `page` with the levels and values of what is inside a nested column, uncompressed.
///
/// # Errors
/// `InvalidInput` for values that cannot be stored.
pub(super) fn nested_page(column: &Column, shredded: &Shredded, page: &mut Vec<u8>) -> Result<Levels> {
    page.clear();
    levels::put(&shredded.repetitions, column.repetition, page);
    let repetitions = page.len();
    levels::put(&shredded.definitions, column.definition, page);
    let definitions = page.len() - repetitions;
    values(column, &shredded.values, page)?;
    Ok(Levels {
        repetitions,
        definitions,
        entries: shredded.definitions.len(),
        nulls: shredded.definitions.len() - shredded.values.len(),
    })
}

#[cold]
pub(super) fn wrong_type(column: &Column, array: &ArrayRef) -> Error {
    Error::invalid_input(format!(
        "column \"{}\" has type {}, not {}",
        column.name,
        array.data_type(),
        column.declared
    ))
}

#[cold]
pub(super) fn unexpected_nulls(column: &Column) -> Error {
    Error::invalid_input(format!("column \"{}\" must not hold nulls", column.name))
}

/// Definition levels of one bit in Parquet's hybrid: one run if nothing is null, else the validity bitmap as it is.
fn null_flags(array: &ArrayRef, page: &mut Vec<u8>) {
    match array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        None => {
            put_varint(page, (array.len() as u64) << 1);
            page.push(1);
        }
        Some(nulls) => {
            let groups = array.len().div_ceil(8);
            put_varint(page, (groups as u64) << 1 | 1);
            page.extend_from_slice(&nulls.inner().sliced().as_slice()[..groups]);
            clear_padding(page, array.len());
        }
    }
}

/// Zeroes the bits of the last byte beyond `len`, so that files do not depend on what memory held.
fn clear_padding(page: &mut [u8], len: usize) {
    if let (Some(last), used @ 1..) = (page.last_mut(), len % 8) {
        *last &= (1 << used) - 1;
    }
}

fn values(column: &Column, array: &ArrayRef, page: &mut Vec<u8>) -> Result<()> {
    match column.store {
        Store::Bits => {
            let bits = array.as_boolean().values().sliced();
            page.extend_from_slice(&bits.as_slice()[..array.len().div_ceil(8)]);
            clear_padding(page, array.len());
        }
        Store::Copy(width) => {
            let data = array.to_data();
            page.extend_from_slice(&data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width]);
        }
        Store::Small => small(array, page),
        Store::DecimalInt(width) => {
            decimals(array, width, page, |_| ());
        }
        Store::DecimalBytes(width) => decimals(array, width, page, <[u8]>::reverse),
        Store::Bytes => return bytes(column, array, page),
    }
    Ok(())
}

fn small(array: &ArrayRef, page: &mut Vec<u8>) {
    let count = array.len();
    match array.data_type() {
        DataType::Int8 => delta::encode(
            count,
            array.as_primitive::<Int8Type>().values().iter().map(|&v| v.into()),
            page,
        ),
        DataType::UInt8 => delta::encode(
            count,
            array.as_primitive::<UInt8Type>().values().iter().map(|&v| v.into()),
            page,
        ),
        DataType::Int16 => delta::encode(
            count,
            array.as_primitive::<Int16Type>().values().iter().map(|&v| v.into()),
            page,
        ),
        _ => delta::encode(
            count,
            array.as_primitive::<UInt16Type>().values().iter().map(|&v| v.into()),
            page,
        ),
    }
}

fn decimals(array: &ArrayRef, width: usize, page: &mut Vec<u8>, order: impl Fn(&mut [u8])) {
    let data = array.to_data();
    let from = decimal_width(array.data_type());
    let values = &data.buffers()[0].as_slice()[data.offset() * from..][..data.len() * from];
    page.reserve(data.len() * width);
    for value in values.chunks_exact(from) {
        let start = page.len();
        page.resize(start + width, 0);
        resize_le(value, &mut page[start..]);
        order(&mut page[start..]);
    }
}

fn bytes(column: &Column, array: &ArrayRef, page: &mut Vec<u8>) -> Result<()> {
    match array.data_type() {
        DataType::Binary => byte_array(array.as_binary::<i32>(), page),
        DataType::LargeBinary => byte_array(array.as_binary::<i64>(), page),
        DataType::Utf8 => byte_array(array.as_string::<i32>(), page),
        DataType::LargeUtf8 => byte_array(array.as_string::<i64>(), page),
        other => {
            let plain = if *other == DataType::Utf8View {
                DataType::Utf8
            } else {
                DataType::Binary
            };
            let array = compute::cast(array, &plain).map_err(|error| {
                Error::invalid_input(format!("column \"{}\" cannot be stored", column.name)).with_source(error)
            })?;
            return bytes(column, &array, page);
        }
    }
    Ok(())
}

fn byte_array<T: ByteArrayType>(array: &GenericByteArray<T>, page: &mut Vec<u8>) {
    let offsets = array.value_offsets();
    let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize() as i64);
    delta::encode(array.len(), lengths, page);
    let (start, end) = (offsets[0].as_usize(), offsets[array.len()].as_usize());
    page.extend_from_slice(&array.value_data()[start..end]);
}
