//! From an Arrow column to the streams of a stripe.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericByteArray, OffsetSizeTrait};
use arrow::compute;
use arrow::datatypes::{
    ByteArrayType, DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use kodiak_core::{Error, Result};
use orc_rust::proto::ColumnStatistics;
use orc_rust::proto::stream::Kind as StreamKind;

use super::types::{Column, Store};
use super::{rle, stats, times};
use crate::packed;

/// A stream that is not compressed yet.
pub(super) type Stream = (StreamKind, Vec<u8>);

/// What a stripe has of a column, or of what is inside of one.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The column's number.
    pub number: u32,
    pub streams: Vec<Stream>,
    pub stats: ColumnStatistics,
}

/// The streams of a column and of everything inside of it, in the order in which they are to be stored.
///
/// # Errors
/// `InvalidInput` if the array is not of the column's type, or has nulls where it must not.
pub(super) fn column(column: &Column, array: &ArrayRef, out: &mut Vec<Encoded>) -> Result<()> {
    let refuse = |what: &str| Error::invalid_input(format!("column \"{}\" {what}", column.name));
    if array.data_type() != &column.data_type {
        return Err(refuse(&format!(
            "has type {}, not {}",
            array.data_type(),
            column.data_type
        )));
    }
    let mut streams = Vec::with_capacity(3);
    let mut array = packed::unpack(array)?;
    let stats = stats::of(column, &array);
    if array.null_count() > 0 {
        if !column.nullable {
            return Err(refuse("must not hold nulls"));
        }
        let valid = compute::is_not_null(&array).map_err(|error| refuse("cannot be stored").with_source(error))?;
        streams.push((StreamKind::Present, bits(&valid)));
        // What is null has no place in the other streams.
        array = compute::filter(&array, &valid).map_err(|error| refuse("cannot be stored").with_source(error))?;
    }
    let mut children = Vec::new();
    match column.store {
        Store::Struct => children.extend_from_slice(array.as_struct().columns()),
        Store::List => {
            let (lengths, items) = lists(&array);
            let mut bytes = Vec::new();
            rle::put_unsigned(&lengths, &mut bytes);
            streams.push((StreamKind::Length, bytes));
            children = items;
        }
        _ => {
            if column.stored != *array.data_type() {
                array = compute::cast(&array, &column.stored)
                    .map_err(|error| refuse("cannot be stored").with_source(error))?;
            }
            plain(column, &array, &mut streams);
        }
    }
    out.push(Encoded {
        number: column.number,
        streams,
        stats,
    });
    for (child, array) in column.children.iter().zip(&children) {
        self::column(child, array, out)?;
    }
    Ok(())
}

/// How long each list or map is, none of which is null, and what they hold: the items, or the keys and the values.
fn lists(array: &ArrayRef) -> (Vec<i64>, Vec<ArrayRef>) {
    fn of<O: OffsetSizeTrait>(offsets: &[O], children: &[ArrayRef]) -> (Vec<i64>, Vec<ArrayRef>) {
        let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize() as i64);
        let (start, end) = match offsets {
            [first, .., last] => (first.as_usize(), last.as_usize()),
            _ => (0, 0),
        };
        let children = children.iter().map(|child| child.slice(start, end - start));
        (lengths.collect(), children.collect())
    }
    match array.data_type() {
        DataType::LargeList(_) => {
            let array = array.as_list::<i64>();
            of(array.value_offsets(), std::slice::from_ref(array.values()))
        }
        DataType::FixedSizeList(_, size) => {
            let items = array.as_fixed_size_list().values();
            (vec![i64::from(*size); array.len()], vec![ArrayRef::clone(items)])
        }
        DataType::Map(..) => {
            let array = array.as_map();
            of(array.value_offsets(), array.entries().columns())
        }
        _ => {
            let array = array.as_list::<i32>();
            of(array.value_offsets(), std::slice::from_ref(array.values()))
        }
    }
}

/// The streams of plain values, none of which is null.
fn plain(column: &Column, array: &ArrayRef, streams: &mut Vec<Stream>) {
    match column.store {
        Store::Bits => streams.push((StreamKind::Data, bits(array.as_boolean()))),
        Store::Byte => {
            let bytes: Vec<u8> = array
                .as_primitive::<Int8Type>()
                .values()
                .iter()
                .map(|&value| value as u8)
                .collect();
            let mut out = Vec::new();
            rle::put_bytes(&bytes, &mut out);
            streams.push((StreamKind::Data, out));
        }
        Store::Integer => streams.push((StreamKind::Data, integers(array))),
        Store::Raw(width) => {
            let data = array.to_data();
            let bytes = &data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width];
            streams.push((StreamKind::Data, bytes.to_vec()));
        }
        Store::Bytes if column.stored == DataType::Utf8 => bytes(array.as_string::<i32>(), streams),
        Store::Bytes => bytes(array.as_binary::<i32>(), streams),
        Store::Timestamp(unit) => timestamps(unit, &values_of(array), streams),
        Store::Decimal => decimals(array, streams),
        // They have no values of their own.
        Store::Struct | Store::List => {}
    }
}

/// Bits, from the most significant one on, as runs of bytes.
fn bits(array: &BooleanArray) -> Vec<u8> {
    let bits = array.values().sliced();
    let mut bytes: Vec<u8> = bits.as_slice()[..array.len().div_ceil(8)]
        .iter()
        .map(|byte| byte.reverse_bits())
        .collect();
    if let (Some(last), used @ 1..) = (bytes.last_mut(), array.len() % 8) {
        *last &= 0xFF << (8 - used);
    }
    let mut out = Vec::new();
    rle::put_bytes(&bytes, &mut out);
    out
}

fn integers(array: &ArrayRef) -> Vec<u8> {
    let mut out = Vec::new();
    rle::put_signed(&values_of(array), &mut out);
    out
}

/// The values of an array of integers, dates or timestamps.
fn values_of(array: &ArrayRef) -> Vec<i64> {
    fn widen<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Vec<i64> {
        array
            .as_primitive::<T>()
            .values()
            .iter()
            .map(|&value| value.into())
            .collect()
    }
    match array.data_type() {
        DataType::Int16 => widen::<Int16Type>(array),
        DataType::Int32 => widen::<Int32Type>(array),
        DataType::Date32 => widen::<Date32Type>(array),
        DataType::Timestamp(TimeUnit::Second, _) => widen::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => widen::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => widen::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => widen::<TimestampNanosecondType>(array),
        _ => widen::<Int64Type>(array),
    }
}

fn bytes<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>, streams: &mut Vec<Stream>) {
    let offsets = array.value_offsets();
    let lengths: Vec<i64> = offsets.windows(2).map(|pair| i64::from(pair[1] - pair[0])).collect();
    let (start, end) = (offsets[0] as usize, offsets[array.len()] as usize);
    streams.push((StreamKind::Data, array.value_data()[start..end].to_vec()));
    let mut out = Vec::new();
    rle::put_unsigned(&lengths, &mut out);
    streams.push((StreamKind::Length, out));
}

fn timestamps(unit: TimeUnit, values: &[i64], streams: &mut Vec<Stream>) {
    let (seconds, nanos): (Vec<i64>, Vec<i64>) = values.iter().map(|&value| times::split(unit, value)).unzip();
    let mut out = Vec::new();
    rle::put_signed(&seconds, &mut out);
    streams.push((StreamKind::Data, out));
    let mut out = Vec::new();
    rle::put_unsigned(&nanos, &mut out);
    streams.push((StreamKind::Secondary, out));
}

fn decimals(array: &ArrayRef, streams: &mut Vec<Stream>) {
    let array = array.as_primitive::<Decimal128Type>();
    let mut out = Vec::new();
    for &value in array.values() {
        let mut rest = ((value << 1) ^ (value >> 127)) as u128;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    streams.push((StreamKind::Data, out));
    let mut scales = Vec::new();
    rle::put_signed(&vec![i64::from(array.scale()); array.len()], &mut scales);
    streams.push((StreamKind::Secondary, scales));
}
