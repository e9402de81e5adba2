//! From an Arrow column to the bytes of a page.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray};
use arrow::compute;
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Int8Type, Int16Type, UInt8Type, UInt16Type};
use kodiak_core::{Error, Result};

use super::delta;
use super::plan::{Column, Store, decimal_width, resize_le};
use super::thrift::put_varint;

/// Definition levels of a page: how many bytes they take, and how many values are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    pub bytes: usize,
    pub nulls: usize,
}

/// Replaces `page` with the levels and values of `array`, uncompressed.
///
/// # Errors
/// `InvalidInput` if the array is not of the column's type, or has nulls where it must not.
pub(super) fn page(column: &Column, array: &ArrayRef, page: &mut Vec<u8>) -> Result<Levels> {
    page.clear();
    if array.data_type() != &column.data_type {
        return Err(Error::invalid_input(format!(
            "column \"{}\" has type {}, not {}",
            column.name,
            array.data_type(),
            column.data_type
        )));
    }
    let nulls = array.null_count();
    if nulls > 0 && !column.nullable {
        return Err(Error::invalid_input(format!(
            "column \"{}\" must not hold nulls",
            column.name
        )));
    }
    if column.nullable {
        levels(array, page);
    }
    let levels = Levels {
        bytes: page.len(),
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

/// Definition levels of one bit in Parquet's hybrid: one run if nothing is null, else the validity bitmap as it is.
fn levels(array: &ArrayRef, page: &mut Vec<u8>) {
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
