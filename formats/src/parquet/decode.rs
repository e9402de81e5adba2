//! From the bytes of a page to an Arrow column.
//!
//! The bytes have passed their CRC, so this is about speed first; but every length is checked before it is used, and
//! nothing is allocated that the budget does not allow, since a CRC is no proof of who wrote a file.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, BinaryArray, BooleanArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{ArrowNativeType, DataType};
use kodiak_core::arrays::{primitive, variable};
use kodiak_core::format::Compression;
use kodiak_core::{Error, Result};

use crate::budget::{Budget, spread_offsets};
use crate::{packed, raw};

use super::delta;
use super::levels::Levels;
use super::nulls;
use super::page::PageHeader;
use super::plan::{Column, Store, decimal_width, resize_le};

/// A page taken apart: values not compressed any more, nulls known.
#[derive(Debug)]
pub(super) struct Page {
    rows: usize,
    nulls: Option<NullBuffer>,
    values: Buffer,
    /// Bytes of the values that are present.
    present: usize,
}

impl Page {
    /// Takes apart the page of `column`, which is not inside another one, in `part`, which has to be `rows` long.
    pub fn open(
        column: &Column,
        compression: Compression,
        part: &Buffer,
        rows: usize,
        budget: &mut Budget,
    ) -> Result<Self> {
        let (header, at) = header(column, part, rows)?;
        if header.values != rows || header.repetitions > 0 {
            return Err(Error::corruption("a page has lists where its column has none"));
        }
        if (header.definitions > 0) != column.nullable || (header.nulls > 0 && !column.nullable) {
            return Err(Error::corruption(
                "a page has null flags that its column's type does not allow",
            ));
        }
        let values = values(&header, at, compression, part, budget)?;
        let nulls = match header.nulls {
            0 => None,
            count => Some(nulls::read(&part[at..at + header.definitions], rows, count, budget)?),
        };
        Ok(Self {
            rows,
            nulls,
            values,
            present: rows - header.nulls,
        })
    }

    /// Takes apart the page of `column`, which is inside another one: its values, and the levels that say where they belong.
    pub fn open_nested(
        column: &Column,
        compression: Compression,
        part: &Buffer,
        rows: usize,
        budget: &mut Budget,
    ) -> Result<(Self, Levels)> {
        let (header, at) = header(column, part, rows)?;
        let (repetitions, definitions) = part[at..at + header.levels()].split_at(header.repetitions);
        let levels = Levels::read(column, repetitions, definitions, rows, header.values, budget)?;
        let present = levels.present(column);
        if header.nulls != header.values - present {
            return Err(Error::corruption(format!(
                "a page claims {} values that are absent, of {} with {present} there",
                header.nulls, header.values
            )));
        }
        let item = column.items.last().copied().unwrap_or(0);
        let (places, nulls) = levels.nulls(column.repetition, item, column.definition, budget)?;
        let page = Self {
            rows: places,
            nulls,
            values: values(&header, at, compression, part, budget)?,
            present,
        };
        Ok((page, levels))
    }

    /// The values as an Arrow array.
    pub fn array(self, column: &Column, budget: &mut Budget) -> Result<ArrayRef> {
        let rows = self.rows;
        let plain = self.plain(column, budget)?;
        if column.declared == column.data_type {
            return Ok(plain);
        }
        // An index of at most eight bytes for each row, and the values once more.
        budget.take(rows, 8)?;
        budget.take(plain.get_buffer_memory_size(), 1)?;
        packed::pack(plain, &column.declared)
    }

    fn plain(self, column: &Column, budget: &mut Budget) -> Result<ArrayRef> {
        match column.store {
            Store::Bits => self.bits(budget),
            Store::Copy(width) => {
                self.expect(self.present, width)?;
                let values = match &self.nulls {
                    None => {
                        budget.take(self.rows, width)?;
                        Buffer::from_slice_ref(&self.values)
                    }
                    Some(nulls) => {
                        budget.take(self.rows, width)?;
                        let mut all = MutableBuffer::from_len_zeroed(self.rows * width);
                        nulls::put_in_places(&self.values, width, nulls, &mut all);
                        all.into()
                    }
                };
                self.fixed(&column.data_type, values)
            }
            Store::DecimalInt(width) => {
                self.expect(self.present, width)?;
                let into = decimal_width(&column.data_type);
                let values = self.spread(width, into, budget, resize_le)?;
                self.fixed(&column.data_type, values)
            }
            Store::DecimalBytes(width) => {
                self.expect(self.present, width)?;
                let into = decimal_width(&column.data_type);
                let mut reversed = vec![0; width];
                let values = self.spread(width, into, budget, |from, to| {
                    reversed.copy_from_slice(from);
                    reversed.reverse();
                    resize_le(&reversed, to);
                })?;
                self.fixed(&column.data_type, values)
            }
            Store::Small => self.small(&column.data_type, budget),
            Store::Bytes => self.bytes(&column.data_type, budget),
        }
    }

    /// A column of bytes that is never null.
    pub fn binary(self, budget: &mut Budget) -> Result<BinaryArray> {
        let (offsets, data) = self.offsets(budget)?;
        BinaryArray::try_new(OffsetBuffer::new(offsets.into()), data, self.nulls).map_err(malformed)
    }

    /// A column of 64-bit integers that is never null.
    pub fn longs(&self, budget: &mut Budget) -> Result<ScalarBuffer<i64>> {
        self.expect(self.rows, 8)?;
        budget.take(self.rows, 8)?;
        let (words, _) = self.values.as_chunks::<8>();
        Ok(words
            .iter()
            .map(|word| i64::from_le_bytes(*word))
            .collect::<Vec<_>>()
            .into())
    }

    /// A column of 8-bit integers that is never null.
    pub fn bytes8(&self, budget: &mut Budget) -> Result<ScalarBuffer<i8>> {
        budget.take(self.rows, 1)?;
        Ok(self.integers::<i8>(self.rows)?.into())
    }

    /// So many packed integers, which are all there is.
    fn integers<N: Into<i32> + ArrowNativeType>(&self, count: usize) -> Result<Vec<N>> {
        // What does not fit is told from what comes out, in loops without a way out.
        let (mut out, mut lost) = (Vec::<N>::with_capacity(count), 0);
        let cut = |value: i32| N::usize_as(value as usize);
        let used = delta::decode(&self.values, count, |values| match values {
            delta::Values::Each(values) => {
                out.extend(values.iter().map(|&value| cut(value)));
                lost |= values.iter().fold(0, |lost, &value| lost | (value ^ cut(value).into()));
            }
            delta::Values::Same(value, times) => {
                lost |= value ^ cut(value).into();
                out.resize(out.len() + times, cut(value));
            }
        });
        let good = used == Some(self.values.len()) && lost == 0;
        good.then_some(out)
            .ok_or_else(|| Error::corruption("a page's packed integers are malformed"))
    }

    fn expect(&self, count: usize, width: usize) -> Result<()> {
        if count.checked_mul(width) == Some(self.values.len()) {
            return Ok(());
        }
        Err(Error::corruption(format!(
            "a page has {} bytes for {count} values of {width}",
            self.values.len()
        )))
    }

    /// Places for all rows, each of `into` bytes, filled from the present values of `from` bytes by `put`.
    fn spread(
        &self,
        from: usize,
        into: usize,
        budget: &mut Budget,
        mut put: impl FnMut(&[u8], &mut [u8]),
    ) -> Result<Buffer> {
        budget.take(self.rows, into)?;
        let mut out = MutableBuffer::from_len_zeroed(self.rows * into);
        match &self.nulls {
            None => {
                for (source, target) in self.values.chunks_exact(from).zip(out.chunks_exact_mut(into)) {
                    put(source, target);
                }
            }
            Some(nulls) => {
                for (source, row) in self.values.chunks_exact(from).zip(nulls.valid_indices()) {
                    put(source, &mut out[row * into..][..into]);
                }
            }
        }
        Ok(out.into())
    }

    fn fixed(self, data_type: &DataType, values: Buffer) -> Result<ArrayRef> {
        if data_type.is_primitive()
            && let Some(made) = primitive(data_type, values.clone(), self.rows, self.nulls.clone())
        {
            return made;
        }
        let data = ArrayData::builder(data_type.clone())
            .len(self.rows)
            .nulls(self.nulls)
            .add_buffer(values);
        data.build().map(make_array).map_err(malformed)
    }

    fn bits(self, budget: &mut Budget) -> Result<ArrayRef> {
        self.expect(self.present.div_ceil(8), 1)?;
        let bits = BooleanBuffer::new(self.values.clone(), 0, self.present);
        budget.take(self.rows.div_ceil(8), 1)?;
        let bits = match &self.nulls {
            // Copied: a cached block must not keep a whole page for a few bits.
            None => BooleanBuffer::new(Buffer::from_slice_ref(&self.values), 0, self.rows),
            Some(nulls) => {
                let mut present = bits.iter();
                nulls
                    .iter()
                    .map(|valid| valid && present.next().unwrap_or(false))
                    .collect()
            }
        };
        Ok(Arc::new(BooleanArray::new(bits, self.nulls)))
    }

    fn small(self, data_type: &DataType, budget: &mut Budget) -> Result<ArrayRef> {
        match data_type {
            DataType::Int8 => self.small_of::<i8>(data_type, budget),
            DataType::UInt8 => self.small_of::<u8>(data_type, budget),
            DataType::Int16 => self.small_of::<i16>(data_type, budget),
            _ => self.small_of::<u16>(data_type, budget),
        }
    }

    fn bytes(self, data_type: &DataType, budget: &mut Budget) -> Result<ArrayRef> {
        let large = matches!(data_type, DataType::LargeUtf8 | DataType::LargeBinary);
        let plain = match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            _ => DataType::Binary,
        };
        let (offsets, data) = self.offsets(budget)?;
        if large {
            budget.take(self.rows + 1, 8)?;
        } else if plain != *data_type {
            budget.take(self.rows, 16)?;
        }
        let made = variable(&plain, Buffer::from_vec(offsets), data, self.nulls);
        let array = made.unwrap_or_else(|| Err(Error::corruption("a page of bytes has no such type")))?;
        if plain == *data_type {
            Ok(array)
        } else {
            compute::cast(&array, data_type).map_err(malformed)
        }
    }

    /// Offsets of all rows (a null has length zero), and the bytes, which are not copied.
    fn offsets(&self, budget: &mut Budget) -> Result<(Vec<i32>, Buffer)> {
        budget.take(self.rows + 1, 4)?;
        let mut offsets: Vec<i32> = Vec::with_capacity(self.rows + 1);
        offsets.push(0);
        let (mut end, mut signs) = (0u64, 0);
        let used = delta::decode(&self.values, self.present, |lengths| match lengths {
            delta::Values::Each(lengths) => {
                signs |= lengths.iter().fold(0, |signs, &len| signs | len);
                offsets.extend(lengths.iter().map(|&len| {
                    end = end.wrapping_add(len as u64);
                    end as i32
                }));
            }
            delta::Values::Same(len, times) => {
                let start = end as i32;
                signs |= len;
                offsets.extend((1..=times as i32).map(|many| start.wrapping_add(many.wrapping_mul(len))));
                end = end.wrapping_add((len as u64).wrapping_mul(times as u64));
            }
        });
        let Some(start) = used.filter(|&used| signs >= 0 && end == (self.values.len() - used) as u64) else {
            return Err(Error::corruption("a page's lengths do not add up to its bytes"));
        };
        if end > i32::MAX as u64 {
            return Err(Error::corruption(format!(
                "a page has {end} bytes in one column, more than offsets can tell"
            )));
        }
        if let Some(nulls) = &self.nulls {
            offsets = spread_offsets(&offsets, nulls);
        }
        Ok((offsets, self.values.slice(start)))
    }

    fn small_of<N: Into<i32> + ArrowNativeType>(self, data_type: &DataType, budget: &mut Budget) -> Result<ArrayRef> {
        budget.take(self.rows, size_of::<N>())?;
        let present = self.integers::<N>(self.present)?;
        let values = match &self.nulls {
            None => present,
            Some(nulls) => {
                let mut all = vec![N::default(); self.rows];
                nulls::put_in_places(&present, 1, nulls, &mut all);
                all
            }
        };
        self.fixed(data_type, Buffer::from_vec(values))
    }
}

/// Reads the header of the page of `column`, and where it ends.
fn header(column: &Column, part: &Buffer, rows: usize) -> Result<(PageHeader, usize)> {
    let (header, at) = PageHeader::read(part)?;
    if at + header.compressed != part.len() || header.rows != rows || header.encoding != column.store.encoding() {
        return Err(Error::corruption(format!(
            "a page of {} bytes, {} rows and encoding {} stands where one of {} bytes, {rows} rows and encoding {} should",
            header.compressed,
            header.rows,
            header.encoding,
            part.len().saturating_sub(at),
            column.store.encoding()
        )));
    }
    Ok((header, at))
}

/// The values of a page whose header ends at `at`, not compressed any more.
fn values(
    header: &PageHeader,
    at: usize,
    compression: Compression,
    part: &Buffer,
    budget: &mut Budget,
) -> Result<Buffer> {
    let start = at + header.levels();
    if !header.is_compressed {
        return Ok(part.slice(start));
    }
    let len = header.uncompressed - header.levels();
    budget.take(len, 1)?;
    Ok(Buffer::from_vec(raw::decompress(compression, &part[start..], len)?))
}

fn malformed(error: arrow::error::ArrowError) -> Error {
    Error::corruption("a page's values are malformed").with_source(error)
}
