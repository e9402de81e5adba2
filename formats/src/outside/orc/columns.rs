//! From the streams of a stripe to columns.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use kodiak_core::{Error, ErrorKind, Result};
use orc_rust::proto::column_encoding::Kind as Encoding;
use orc_rust::proto::stream::Kind as Stream;
use orc_rust::proto::r#type::Kind;

use super::ints;
use super::{Column, Stripe};
use crate::budget::{Budget, spread_offsets};
use crate::nest;
use crate::orc::times;
use crate::outside::pieces::kept;

/// One column, or what is inside of one, while it is read.
pub(super) struct Reader<'a> {
    stripe: &'a Stripe,
    column: &'a Column,
    budget: &'a mut Budget,
    rows: usize,
    nulls: Option<NullBuffer>,
    /// Values that are not null.
    present: usize,
}

impl<'a> Reader<'a> {
    /// So many rows of a column.
    pub fn read(stripe: &'a Stripe, column: &'a Column, rows: usize, budget: &'a mut Budget) -> Result<ArrayRef> {
        let mut reader = Self {
            stripe,
            column,
            budget,
            rows,
            nulls: None,
            present: rows,
        };
        if let Some(stream) = stripe.stream(column.id, Stream::Present, reader.budget)? {
            let bits = reader.bits(&stream, rows)?;
            let nulls = NullBuffer::new(bits);
            reader.present = rows - nulls.null_count();
            reader.nulls = Some(nulls);
        }
        reader.column()
    }

    fn column(&mut self) -> Result<ArrayRef> {
        match self.column.kind {
            Kind::Boolean => {
                let data = self.get(Stream::Data)?;
                let values = self.bits(&data, self.present)?;
                let mut values = values.iter();
                let spread: BooleanBuffer = match &self.nulls {
                    None => values.collect(),
                    Some(nulls) => nulls
                        .iter()
                        .map(|valid| valid && values.next().unwrap_or(false))
                        .collect(),
                };
                Ok(Arc::new(BooleanArray::new(spread, self.nulls.clone())))
            }
            Kind::Byte => {
                let data = self.get(Stream::Data)?;
                self.budget.take(self.present, 2)?;
                let bytes = ints::read_bytes(&data, self.present).ok_or_else(malformed)?;
                let values = bytes.into_iter().map(|byte| byte as i8).collect();
                Ok(Arc::new(Int8Array::new(
                    self.spread(values)?.into(),
                    self.nulls.clone(),
                )))
            }
            Kind::Short => {
                let values = self.narrow(|value| i16::try_from(value).ok())?;
                Ok(Arc::new(Int16Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Int => {
                let values = self.narrow(|value| i32::try_from(value).ok())?;
                Ok(Arc::new(Int32Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Date => {
                let values = self.narrow(|value| i32::try_from(value).ok())?;
                Ok(Arc::new(Date32Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Long => {
                let values = self.narrow(Some)?;
                Ok(Arc::new(Int64Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Float => {
                let values = self.raw(f32::from_le_bytes)?;
                Ok(Arc::new(Float32Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Double => {
                let values = self.raw(f64::from_le_bytes)?;
                Ok(Arc::new(Float64Array::new(values.into(), self.nulls.clone())))
            }
            Kind::Timestamp | Kind::TimestampInstant => self.timestamps(),
            Kind::Decimal => self.decimals(),
            Kind::List | Kind::Map => self.lists(),
            Kind::Struct => self.structs(),
            _ => self.bytes(),
        }
    }

    fn structs(&mut self) -> Result<ArrayRef> {
        let mut members = Vec::with_capacity(self.column.children.len());
        for child in &self.column.children {
            let member = Reader::read(self.stripe, child, self.present, self.budget)?;
            members.push(nest::spread(member, 1, self.nulls.as_ref(), self.budget)?);
        }
        let DataType::Struct(fields) = &self.column.data_type else {
            return Err(malformed());
        };
        let data_type = DataType::Struct(renewed(fields, &members));
        nest::structs(&data_type, members, self.nulls.clone(), self.rows)
    }

    fn lists(&mut self) -> Result<ArrayRef> {
        let lengths = self.integers(Stream::Length, self.present, false)?;
        let (ends, items) = nest::ends(&lengths, self.nulls.as_ref(), self.budget)?;
        let mut children = Vec::with_capacity(2);
        for child in &self.column.children {
            children.push(Reader::read(self.stripe, child, items, self.budget)?);
        }
        let data_type = match &self.column.data_type {
            DataType::Map(entries, sorted) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(malformed());
                };
                let of = DataType::Struct(renewed(fields, &children));
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(of)), *sorted)
            }
            DataType::List(item) => {
                let item = renewed(&Fields::from(vec![Arc::clone(item)]), &children);
                DataType::List(Arc::clone(item.first().ok_or_else(malformed)?))
            }
            _ => return Err(malformed()),
        };
        nest::lists(&data_type, ends, children, self.nulls.clone(), self.budget)
    }

    fn get(&mut self, stream: Stream) -> Result<Buffer> {
        // A stream without bytes may be left out.
        Ok(self
            .stripe
            .stream(self.column.id, stream, self.budget)?
            .unwrap_or_default())
    }

    fn encoding(&self) -> Encoding {
        self.stripe.encoding(self.column.id)
    }

    fn integers(&mut self, stream: Stream, count: usize, signed: bool) -> Result<Vec<i64>> {
        let data = self.get(stream)?;
        // A run may go a little beyond.
        self.budget.take(count + 512, 8)?;
        match self.encoding() {
            Encoding::DirectV2 | Encoding::DictionaryV2 => ints::read_v2(&data, count, signed),
            Encoding::Direct | Encoding::Dictionary => ints::read_v1(&data, count, signed),
        }
        .ok_or_else(malformed)
    }

    fn narrow<T: Copy + Default>(&mut self, narrow: impl Fn(i64) -> Option<T>) -> Result<Vec<T>> {
        let values = self.integers(Stream::Data, self.present, true)?;
        let values = values
            .into_iter()
            .map(narrow)
            .collect::<Option<Vec<T>>>()
            .ok_or_else(malformed)?;
        self.spread(values)
    }

    fn raw<T: Copy + Default, const N: usize>(&mut self, value: fn([u8; N]) -> T) -> Result<Vec<T>> {
        let data = self.get(Stream::Data)?;
        let (values, _) = data.as_chunks::<N>();
        let values = values.get(..self.present).ok_or_else(malformed)?;
        self.budget.take(self.present, N)?;
        self.spread(values.iter().map(|bytes| value(*bytes)).collect())
    }

    fn bits(&mut self, stream: &[u8], count: usize) -> Result<BooleanBuffer> {
        let len = count.div_ceil(8);
        self.budget.take(len + 130, 2)?;
        let mut bytes = ints::read_bytes(stream, len).ok_or_else(malformed)?;
        bytes.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        Ok(BooleanBuffer::new(Buffer::from_vec(bytes), 0, count))
    }

    /// Room for nulls.
    fn spread<T: Copy + Default>(&mut self, values: Vec<T>) -> Result<Vec<T>> {
        let Some(nulls) = &self.nulls else { return Ok(values) };
        self.budget.take(nulls.len(), size_of::<T>())?;
        let mut values = values.into_iter();
        let place = |valid: bool| {
            if valid {
                values.next().unwrap_or_default()
            } else {
                T::default()
            }
        };
        Ok(nulls.iter().map(place).collect())
    }

    fn timestamps(&mut self) -> Result<ArrayRef> {
        let instant = self.column.kind == Kind::TimestampInstant;
        if !instant && !["", "UTC", "GMT", "Etc/UTC", "Etc/GMT"].contains(&self.stripe.zone.as_str()) {
            let message = format!(
                "times were written in the time zone {}: write them in UTC",
                self.stripe.zone
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let seconds = self.integers(Stream::Data, self.present, true)?;
        let nanos = self.integers(Stream::Secondary, self.present, false)?;
        // What earlier versions of Kodiak marked in their files: see `docs/formats/orc.md`.
        let before = match self.stripe.stream(self.column.id, times::MARKS, self.budget)? {
            Some(stream) => Some(self.bits(&stream, self.present)?),
            None => None,
        };
        let DataType::Timestamp(unit, _) = self.column.data_type else {
            return Err(malformed());
        };
        let units = times::per_second(unit);
        let value = |(index, (second, nano)): (usize, (i64, i64))| {
            let marked = before.as_ref().is_some_and(|before| before.value(index));
            let (second, nano) = times::joined(second, nano, marked).ok_or_else(malformed)?;
            let per_unit = 1_000_000_000 / units;
            let value = i128::from(second) * i128::from(units) + i128::from(nano / per_unit);
            let value = i64::try_from(value).ok().filter(|_| nano % per_unit == 0);
            value.ok_or_else(|| {
                let message = "a time is in nanoseconds and another one not between the years 1678 and 2261, or the file does not say in its \
                               statistics that it is not: no type holds both";
                Error::new(ErrorKind::Unsupported, message)
            })
        };
        let values = seconds.into_iter().zip(nanos).enumerate().map(value);
        let values = self.spread(values.collect::<Result<Vec<i64>>>()?)?;
        let array = Int64Array::new(values.into(), self.nulls.clone());
        cast(&array, &self.column.data_type).map_err(unfit)
    }

    fn decimals(&mut self) -> Result<ArrayRef> {
        let DataType::Decimal128(precision, scale) = self.column.data_type else {
            return Err(malformed());
        };
        let data = self.get(Stream::Data)?;
        self.budget.take(self.present, 16)?;
        let mut values = ints::read_wide(&data, self.present).ok_or_else(malformed)?;
        let scales = self.integers(Stream::Secondary, self.present, true)?;
        for (value, stored) in values.iter_mut().zip(scales) {
            let shift = i64::from(scale) - stored;
            let factor = u32::try_from(shift.unsigned_abs())
                .ok()
                .and_then(|shift| 10i128.checked_pow(shift));
            let scaled = factor.and_then(|factor| match shift {
                0.. => value.checked_mul(factor),
                _ => (*value % factor == 0).then(|| *value / factor),
            });
            *value = scaled.ok_or_else(|| Error::corruption("a decimal has more digits than its column"))?;
        }
        let array = Decimal128Array::new(self.spread(values)?.into(), self.nulls.clone());
        let array = array.with_precision_and_scale(precision, scale).map_err(unfit)?;
        array.validate_decimal_precision(precision).map_err(unfit)?;
        Ok(Arc::new(array))
    }

    /// Text and binary.
    fn bytes(&mut self) -> Result<ArrayRef> {
        match self.encoding() {
            Encoding::Direct | Encoding::DirectV2 => {
                let (offsets, data) = self.values(self.present, Stream::Data)?;
                let offsets = match &self.nulls {
                    Some(nulls) => {
                        self.budget.take(nulls.len() + 1, 4)?;
                        spread_offsets(&offsets, nulls)
                    }
                    None => offsets,
                };
                self.array(offsets, data, self.nulls.clone())
            }
            Encoding::Dictionary | Encoding::DictionaryV2 => {
                let count = self.stripe.dictionary_len(self.column.id);
                let (offsets, data) = self.values(count, Stream::DictionaryData)?;
                let dictionary = self.array(offsets, data, None)?;
                let keys = self.integers(Stream::Data, self.present, false)?;
                let key = |key: i64| u32::try_from(key).ok().filter(|&key| (key as usize) < count);
                let keys = keys
                    .into_iter()
                    .map(key)
                    .collect::<Option<Vec<u32>>>()
                    .ok_or_else(malformed)?;
                let keys = UInt32Array::new(self.spread(keys)?.into(), self.nulls.clone());
                let view = kept(&self.column.data_type);
                self.budget.take(keys.len(), 16)?;
                take(&cast(&dictionary, &view).map_err(unfit)?, &keys, None).map_err(unfit)
            }
        }
    }

    /// Where `count` values begin and end in their bytes.
    fn values(&mut self, count: usize, stream: Stream) -> Result<(Vec<i32>, Buffer)> {
        let lengths = self.integers(Stream::Length, count, false)?;
        let data = self.get(stream)?;
        self.budget.take(count + 1, 4)?;
        let mut offsets = Vec::with_capacity(count + 1);
        let mut end = 0u64;
        offsets.push(0);
        for len in lengths {
            end = u64::try_from(len)
                .ok()
                .and_then(|len| end.checked_add(len))
                .ok_or_else(malformed)?;
            offsets.push(i32::try_from(end).map_err(|_| malformed())?);
        }
        match usize::try_from(end).ok().filter(|&end| end <= data.len()) {
            Some(end) => Ok((offsets, data.slice_with_length(0, end))),
            None => Err(Error::corruption(
                "the lengths of a column's values go beyond its bytes",
            )),
        }
    }

    fn array(&self, offsets: Vec<i32>, data: Buffer, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(match self.column.data_type {
            DataType::Utf8 => Arc::new(StringArray::try_new(offsets, data, nulls).map_err(unfit)?),
            _ => Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(unfit)?),
        })
    }
}

/// The fields with the types that were read: texts are views if they come of a dictionary.
fn renewed(fields: &Fields, found: &[ArrayRef]) -> Fields {
    let renewed = |(field, of): (&FieldRef, &ArrayRef)| field.as_ref().clone().with_data_type(of.data_type().clone());
    fields.iter().zip(found).map(renewed).collect::<Vec<Field>>().into()
}

fn malformed() -> Error {
    Error::corruption("a stream is malformed or cut short")
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::corruption("the values of a column are malformed").with_source(error)
}
