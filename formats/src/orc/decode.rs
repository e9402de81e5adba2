//! From the streams of a stripe to Arrow columns. Lengths are checked before they are used, and nothing is allocated
//! beyond the budget.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray,
    make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{ArrowNativeType, DataType, Decimal128Type, ToByteSlice};
use kodiak_core::format::Compression;
use kodiak_core::{Error, Result};
use orc_rust::proto::StripeFooter;
use orc_rust::proto::stream::Kind as StreamKind;
use prost::Message;

use super::chunks;
use super::rle;
use super::times;
use super::types::{Column, Store};
use crate::budget::Budget;
use crate::{nest, packed};

/// The streams of one stripe.
#[derive(Debug)]
pub(super) struct Stripe {
    rows: usize,
    compression: Compression,
    data: Buffer,
    /// `(column, kind, offset, length)`, in the order in which they lie.
    streams: Vec<(u32, i32, usize, usize)>,
}

impl Stripe {
    /// Reads the stripe's footer and finds its streams in `data`.
    pub fn open(
        compression: Compression,
        data: &Buffer,
        footer: &Buffer,
        rows: usize,
        budget: &mut Budget,
    ) -> Result<Self> {
        let footer = chunks::read(compression, footer.clone(), budget)?;
        // Decoded messages are larger than their bytes, but not by more than this.
        budget.take(footer.len(), 32)?;
        let footer = StripeFooter::decode(footer.as_slice())
            .map_err(|error| Error::corruption("the footer of an ORC stripe is malformed").with_source(error))?;
        let mut streams = Vec::with_capacity(footer.streams.len());
        let mut at = 0usize;
        for stream in &footer.streams {
            let len = usize::try_from(stream.length()).unwrap_or(usize::MAX);
            streams.push((stream.column(), stream.kind.unwrap_or_default(), at, len));
            at = at.checked_add(len).filter(|&end| end <= data.len()).ok_or_else(|| {
                Error::corruption(format!(
                    "the streams of an ORC stripe go beyond its {} bytes",
                    data.len()
                ))
            })?;
        }
        if at != data.len() {
            return Err(Error::corruption(format!(
                "the streams of an ORC stripe have {at} bytes of its {}",
                data.len()
            )));
        }
        Ok(Self {
            rows,
            compression,
            data: data.clone(),
            streams,
        })
    }

    fn find(&self, column: u32, kind: StreamKind, budget: &mut Budget) -> Result<Option<Buffer>> {
        let wanted = (column, kind as i32);
        match self.streams.iter().find(|stream| (stream.0, stream.1) == wanted) {
            Some(&(_, _, at, len)) => {
                chunks::read(self.compression, self.data.slice_with_length(at, len), budget).map(Some)
            }
            None => Ok(None),
        }
    }

    fn get(&self, column: u32, kind: StreamKind, budget: &mut Budget) -> Result<Buffer> {
        // A stream without bytes may be left out.
        Ok(self.find(column, kind, budget)?.unwrap_or_default())
    }

    /// A column of 64-bit integers that is never null.
    pub fn longs(&self, number: u32, budget: &mut Budget) -> Result<ScalarBuffer<i64>> {
        let data = self.get(number, StreamKind::Data, budget)?;
        integers(&data, self.rows, true, budget).map(Into::into)
    }

    /// A column of 8-bit integers that is never null.
    pub fn bytes8(&self, number: u32, budget: &mut Budget) -> Result<ScalarBuffer<i8>> {
        let data = self.get(number, StreamKind::Data, budget)?;
        budget.take(self.rows, 2)?;
        let bytes = rle::read_bytes(&data, self.rows).ok_or_else(malformed)?;
        Ok(bytes.into_iter().map(|byte| byte as i8).collect::<Vec<_>>().into())
    }

    /// A column of bytes that is never null.
    pub fn binary(&self, number: u32, budget: &mut Budget) -> Result<BinaryArray> {
        let (offsets, data) = self.offsets(number, self.rows, None, budget)?;
        BinaryArray::try_new(offsets, data, None).map_err(unfit)
    }

    /// Any column.
    pub fn array(&self, column: &Column, budget: &mut Budget) -> Result<ArrayRef> {
        self.part(column, self.rows, budget)
    }

    /// A column, or what is inside of one, of which there are so many.
    pub(super) fn part(&self, column: &Column, rows: usize, budget: &mut Budget) -> Result<ArrayRef> {
        let nulls = match self.find(column.number, StreamKind::Present, budget)? {
            Some(stream) if column.nullable => Some(NullBuffer::new(bits(&stream, rows, budget)?)),
            Some(_) => return Err(Error::corruption("a column that cannot be null has null flags")),
            None => None,
        };
        let values = Values {
            stripe: self,
            column,
            rows,
            present: rows - nulls.as_ref().map_or(0, NullBuffer::null_count),
            nulls,
        };
        let array = match column.store {
            Store::Struct | Store::List => return values.nested(budget),
            Store::Bytes => values.byte_array(budget)?,
            _ => values.fixed(budget)?,
        };
        if array.data_type() == &column.data_type {
            return Ok(array);
        }
        budget.take(rows, 16)?;
        let plain = match &column.data_type {
            DataType::Dictionary(_, values) => {
                budget.take(array.get_buffer_memory_size(), 1)?;
                values.as_ref()
            }
            plain => plain,
        };
        let array: ArrayRef = match plain {
            DataType::FixedSizeBinary(len) => {
                let values = array.as_binary::<i32>();
                budget.take(rows, usize::try_from(*len).unwrap_or_default())?;
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.iter(), *len).map_err(unfit)?)
            }
            _ => compute::cast_with_options(
                &array,
                plain,
                &compute::CastOptions {
                    safe: false,
                    ..Default::default()
                },
            )
            .map_err(unfit)?,
        };
        packed::pack(array, &column.data_type)
    }

    /// Offsets of all rows (a null has length zero), and the bytes, which are not copied.
    fn offsets(
        &self,
        number: u32,
        rows: usize,
        nulls: Option<&NullBuffer>,
        budget: &mut Budget,
    ) -> Result<(OffsetBuffer<i32>, Buffer)> {
        let lengths = self.get(number, StreamKind::Length, budget)?;
        let data = self.get(number, StreamKind::Data, budget)?;
        let present = rows - nulls.map_or(0, NullBuffer::null_count);
        budget.take(rows + 1, 8)?;
        let mut offsets: Vec<i32> = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let (mut end, mut wrong) = (0u64, false);
        let read = rle::read(&lengths, present, false, |len| {
            wrong |= len as u64 > i32::MAX as u64;
            end = end.wrapping_add(len as u64);
            offsets.push(end as i32);
        });
        if read.is_none() || wrong || end != data.len() as u64 || end > i32::MAX as u64 {
            return Err(Error::corruption(
                "the lengths of an ORC column do not add up to its bytes",
            ));
        }
        if let Some(nulls) = nulls {
            offsets = crate::budget::spread_offsets(&offsets, nulls);
        }
        Ok((OffsetBuffer::new(offsets.into()), data))
    }
}

/// The values of a column, or of what is inside of one.
struct Values<'a> {
    stripe: &'a Stripe,
    column: &'a Column,
    rows: usize,
    nulls: Option<NullBuffer>,
    /// Rows that are not null.
    present: usize,
}

impl Values<'_> {
    fn get(&self, kind: StreamKind, budget: &mut Budget) -> Result<Buffer> {
        self.stripe.get(self.column.number, kind, budget)
    }

    fn nested(self, budget: &mut Budget) -> Result<ArrayRef> {
        let column = self.column;
        if column.store == Store::Struct {
            let read = |child| {
                let member = self.stripe.part(child, self.present, budget)?;
                nest::spread(member, 1, self.nulls.as_ref(), budget)
            };
            let members = column.children.iter().map(read).collect::<Result<Vec<_>>>()?;
            return nest::structs(&column.data_type, members, self.nulls, self.rows);
        }
        let lengths = integers(&self.get(StreamKind::Length, budget)?, self.present, false, budget)?;
        let (ends, items) = nest::ends(&lengths, self.nulls.as_ref(), budget)?;
        let read = |child| self.stripe.part(child, items, budget);
        let children = column.children.iter().map(read).collect::<Result<Vec<_>>>()?;
        nest::lists(&column.data_type, ends, children, self.nulls, budget)
    }

    fn byte_array(self, budget: &mut Budget) -> Result<ArrayRef> {
        let nulls = self.nulls;
        let (offsets, data) = self
            .stripe
            .offsets(self.column.number, self.rows, nulls.as_ref(), budget)?;
        Ok(match self.column.stored {
            DataType::Utf8 => Arc::new(StringArray::try_new(offsets, data, nulls).map_err(unfit)?),
            _ => Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(unfit)?),
        })
    }

    fn fixed(self, budget: &mut Budget) -> Result<ArrayRef> {
        let (column, present, nulls) = (self.column, self.present, self.nulls.clone());
        let data = self.get(StreamKind::Data, budget)?;
        let values = match column.store {
            Store::Bits => {
                let values = bits(&data, present, budget)?;
                let values = match &nulls {
                    None => values,
                    Some(nulls) => {
                        let mut present = values.iter();
                        nulls
                            .iter()
                            .map(|valid| valid && present.next().unwrap_or(false))
                            .collect()
                    }
                };
                return Ok(Arc::new(BooleanArray::new(values, nulls)));
            }
            Store::Byte => {
                budget.take(present, 1)?;
                let bytes = rle::read_bytes(&data, present).ok_or_else(malformed)?;
                self.spread(&bytes, 1, nulls.as_ref(), budget)?
            }
            Store::Raw(width) => {
                if present.checked_mul(width) != Some(data.len()) {
                    return Err(malformed());
                }
                self.spread(&data, width, nulls.as_ref(), budget)?
            }
            Store::Decimal => return self.decimals(&data, budget),
            Store::Timestamp(_) => {
                let values = self.timestamps(&data, budget)?;
                self.spread(values.to_byte_slice(), 8, nulls.as_ref(), budget)?
            }
            _ => {
                let values = integers(&data, present, true, budget)?;
                match column.stored {
                    DataType::Int16 => {
                        self.spread(&narrow::<i16, 2>(&values, i16::to_le_bytes)?, 2, nulls.as_ref(), budget)?
                    }
                    DataType::Int64 => self.spread(values.to_byte_slice(), 8, nulls.as_ref(), budget)?,
                    _ => self.spread(&narrow::<i32, 4>(&values, i32::to_le_bytes)?, 4, nulls.as_ref(), budget)?,
                }
            }
        };
        let data = ArrayData::builder(column.stored.clone())
            .len(self.rows)
            .nulls(nulls)
            .add_buffer(values);
        data.build().map(make_array).map_err(unfit)
    }

    /// Puts values of `width` bytes in their rows.
    fn spread(&self, values: &[u8], width: usize, nulls: Option<&NullBuffer>, budget: &mut Budget) -> Result<Buffer> {
        budget.take(self.rows, width)?;
        let Some(nulls) = nulls else {
            return Ok(Buffer::from_slice_ref(values));
        };
        let mut out = MutableBuffer::from_len_zeroed(self.rows * width);
        for (value, row) in values.chunks_exact(width).zip(nulls.valid_indices()) {
            out[row * width..][..width].copy_from_slice(value);
        }
        Ok(out.into())
    }

    fn timestamps(&self, data: &Buffer, budget: &mut Budget) -> Result<Vec<i64>> {
        let Store::Timestamp(unit) = self.column.store else {
            return Err(malformed());
        };
        let count = self.present;
        let units = times::per_second(unit);
        let seconds = integers(data, count, true, budget)?;
        let nanos = integers(&self.get(StreamKind::Secondary, budget)?, count, false, budget)?;
        let before = match self.stripe.find(self.column.number, times::MARKS, budget)? {
            Some(stream) => Some(bits(&stream, count, budget)?),
            None => None,
        };
        budget.take(count, 8)?;
        let mut out = Vec::with_capacity(count);
        for (row, (&second, &nano)) in seconds.iter().zip(&nanos).enumerate() {
            let marked = before.as_ref().is_some_and(|before| before.value(row));
            let (second, nano) = times::joined(second, nano, marked).ok_or_else(malformed)?;
            let value = i128::from(second) * i128::from(units) + i128::from(nano / (1_000_000_000 / units));
            out.push(i64::try_from(value).map_err(|_| malformed())?);
        }
        Ok(out)
    }

    fn decimals(self, data: &Buffer, budget: &mut Budget) -> Result<ArrayRef> {
        let DataType::Decimal128(precision, scale) = self.column.stored else {
            return Err(malformed());
        };
        let count = self.present;
        let scales = integers(&self.get(StreamKind::Secondary, budget)?, count, true, budget)?;
        if scales.iter().any(|&stored| stored != i64::from(scale)) {
            return Err(Error::corruption("a decimal has another scale than its column"));
        }
        budget.take(count, 16)?;
        let mut values: Vec<i128> = Vec::with_capacity(count);
        let mut bytes = data.iter();
        for _ in 0..count {
            let (mut value, mut shift) = (0u128, 0);
            loop {
                let byte = *bytes.next().filter(|_| shift < 128).ok_or_else(malformed)?;
                value |= u128::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            values.push((value >> 1) as i128 ^ -((value & 1) as i128));
        }
        if bytes.next().is_some() {
            return Err(malformed());
        }
        let values = self.spread(values.to_byte_slice(), 16, self.nulls.as_ref(), budget)?;
        let array = PrimitiveArray::<Decimal128Type>::try_new(ScalarBuffer::new(values, 0, self.rows), self.nulls);
        let array = array
            .and_then(|array| array.with_precision_and_scale(precision, scale))
            .map_err(unfit)?;
        Ok(Arc::new(array))
    }
}

fn integers(bytes: &[u8], count: usize, signed: bool, budget: &mut Budget) -> Result<Vec<i64>> {
    budget.take(count, 8)?;
    let mut out = Vec::with_capacity(count);
    rle::read(bytes, count, signed, |value| out.push(value)).ok_or_else(malformed)?;
    Ok(out)
}

fn narrow<T: TryFrom<i64> + ArrowNativeType, const N: usize>(
    values: &[i64],
    bytes: fn(T) -> [u8; N],
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(values.len() * N);
    for &value in values {
        out.extend_from_slice(&bytes(T::try_from(value).map_err(|_| malformed())?));
    }
    Ok(out)
}

/// Bits from the most significant one on, as runs of bytes.
fn bits(bytes: &[u8], count: usize, budget: &mut Budget) -> Result<BooleanBuffer> {
    budget.take(count.div_ceil(8), 2)?;
    let mut bytes = rle::read_bytes(bytes, count.div_ceil(8)).ok_or_else(malformed)?;
    bytes.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    Ok(BooleanBuffer::new(Buffer::from_vec(bytes), 0, count))
}

fn malformed() -> Error {
    Error::corruption("a stream of an ORC stripe is malformed, or not of the kind that Kodiak writes")
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::corruption("the values of an ORC column are malformed").with_source(error)
}
