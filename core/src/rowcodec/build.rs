//! From the bytes of values back to a column, perhaps nested.

use arrow::array::{ArrayData, ArrayRef, BooleanBufferBuilder, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;

use super::OpenRow;
use super::validity::Validity;
use crate::arrays::{primitive, variable};
use crate::keycodec::view::{Physical, plain, stored};
use crate::varint::Reader;
use crate::{Error, ErrorKind, Result};

/// A column being decoded. Nothing is believed of the bytes: Arrow's own validation runs over the finished column.
#[derive(Debug)]
pub(super) struct Builder {
    valid: Validity,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Null,
    Bool(BooleanBufferBuilder),
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    Var {
        large: bool,
        ends: Vec<i64>,
        bytes: Vec<u8>,
    },
    List {
        large: bool,
        ends: Vec<i64>,
        items: Box<Builder>,
    },
    FixedList {
        size: usize,
        items: Box<Builder>,
    },
    Struct(Vec<Builder>),
}

/// Rows for which room is made at once; more are made room for as they come.
const MOST_ROWS_AT_ONCE: usize = 1 << 16;

impl Builder {
    /// A builder of a column of `data_type` for about `rows` rows.
    pub fn new(data_type: &DataType, rows: usize) -> Result<Self> {
        let rows = rows.min(MOST_ROWS_AT_ONCE);
        let starts = || {
            let mut ends = Vec::with_capacity(rows + 1);
            ends.push(0);
            ends
        };
        let unsupported = || {
            Error::new(
                ErrorKind::Unsupported,
                format!("values of type {data_type} cannot be decoded"),
            )
        };
        let values = match plain(data_type) {
            DataType::Null => Values::Null,
            DataType::List(field) | DataType::Map(field, _) => {
                let items = Box::new(Self::new(field.data_type(), 0)?);
                Values::List {
                    large: false,
                    ends: starts(),
                    items,
                }
            }
            DataType::LargeList(field) => {
                let items = Box::new(Self::new(field.data_type(), 0)?);
                Values::List {
                    large: true,
                    ends: starts(),
                    items,
                }
            }
            DataType::FixedSizeList(field, size) => {
                let size = usize::try_from(*size).map_err(|_| unsupported())?;
                Values::FixedList {
                    size,
                    items: Box::new(Self::new(field.data_type(), 0)?),
                }
            }
            DataType::Struct(fields) => Values::Struct(
                fields
                    .iter()
                    .map(|field| Self::new(field.data_type(), rows))
                    .collect::<Result<_>>()?,
            ),
            other => match stored(other).ok_or_else(unsupported)? {
                Physical::Bool => Values::Bool(BooleanBufferBuilder::new(rows)),
                Physical::Fixed { width, .. } => Values::Fixed {
                    width,
                    bytes: Vec::with_capacity(rows * width.min(16)),
                },
                Physical::Var { large } => Values::Var {
                    large,
                    ends: starts(),
                    bytes: Vec::with_capacity(rows * 8),
                },
            },
        };
        Ok(Self {
            valid: Validity::default(),
            values,
        })
    }

    /// Appends the values that rows have in a column, which come next in each.
    ///
    /// # Errors
    /// The row that has none, and why.
    pub fn push_column(&mut self, rows: &mut [OpenRow<'_>], column: usize) -> Result<(), (usize, Error)> {
        match &mut self.values {
            Values::Fixed { width: 4, bytes } => fixed::<4>(&mut self.valid, bytes, rows, column),
            Values::Fixed { width: 8, bytes } => fixed::<8>(&mut self.valid, bytes, rows, column),
            Values::Var { ends, bytes, .. } => {
                let mut valid = 0;
                for (row, open) in rows.iter_mut().enumerate() {
                    if open.is_null(column) {
                        self.valid.append_n(std::mem::take(&mut valid), true);
                        self.valid.append(false);
                    } else {
                        bytes.extend_from_slice(open.values.bytes().map_err(|error| (row, error))?);
                        valid += 1;
                    }
                    ends.push(bytes.len() as i64);
                }
                self.valid.append_n(valid, true);
                Ok(())
            }
            _ => {
                for (row, open) in rows.iter_mut().enumerate() {
                    if open.is_null(column) {
                        self.push_null();
                    } else {
                        self.push(&mut open.values).map_err(|error| (row, error))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Appends a null.
    #[inline]
    pub fn push_null(&mut self) {
        self.valid.append(false);
        match &mut self.values {
            Values::Null => {}
            Values::Bool(values) => values.append(false),
            Values::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
            Values::Var { ends, bytes, .. } => ends.push(bytes.len() as i64),
            Values::List { ends, items, .. } => ends.push(items.valid.len as i64),
            Values::FixedList { size, items } => (0..*size).for_each(|_| items.push_null()),
            Values::Struct(fields) => fields.iter_mut().for_each(Self::push_null),
        }
    }

    /// Appends the value that comes next in `reader`.
    #[inline]
    pub fn push(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.valid.append(true);
        match &mut self.values {
            Values::Null => return Err(Error::corruption("a value where there can only be nulls")),
            Values::Bool(values) => match reader.u8()? {
                byte @ 0..=1 => values.append(byte == 1),
                byte => return Err(Error::corruption(format!("{byte} is not a boolean"))),
            },
            Values::Fixed { width: 8, bytes } => bytes.extend_from_slice(&reader.u64_le()?.to_le_bytes()),
            Values::Fixed { width: 4, bytes } => bytes.extend_from_slice(&reader.u32_le()?.to_le_bytes()),
            Values::Fixed { width, bytes } => bytes.extend_from_slice(reader.take(*width)?),
            Values::Var { ends, bytes, .. } => {
                bytes.extend_from_slice(reader.bytes()?);
                ends.push(bytes.len() as i64);
            }
            Values::List { ends, items, .. } => {
                // Each item takes at least a bit, so what is left bounds their number.
                let count = reader.len(reader.remaining().saturating_mul(8))?;
                items.push_all(count, reader)?;
                ends.push(items.valid.len as i64);
            }
            Values::FixedList { size, items } => items.push_all(*size, reader)?,
            Values::Struct(fields) => {
                let nulls = reader.take(fields.len().div_ceil(8))?;
                for (index, field) in fields.iter_mut().enumerate() {
                    field.push_unless(is_set(nulls, index), reader)?;
                }
            }
        }
        Ok(())
    }

    /// Passes over the value that comes next in `reader`.
    #[inline]
    pub fn skip(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        match &self.values {
            Values::Fixed { width, .. } => reader.take(*width).map(drop),
            Values::Var { .. } => reader.bytes().map(drop),
            _ => self.push(reader),
        }
    }

    fn push_all(&mut self, count: usize, reader: &mut Reader<'_>) -> Result<()> {
        let nulls = reader.take(count.div_ceil(8))?;
        (0..count).try_for_each(|index| self.push_unless(is_set(nulls, index), reader))
    }

    fn push_unless(&mut self, null: bool, reader: &mut Reader<'_>) -> Result<()> {
        if null {
            self.push_null();
            Ok(())
        } else {
            self.push(reader)
        }
    }

    /// The finished column, of `data_type`.
    pub fn finish(mut self, data_type: &DataType) -> Result<ArrayRef> {
        let plain_type = plain(data_type);
        let column = match self.leaf(plain_type) {
            Some(column) => column.map_err(|error| Error::corruption("it holds invalid values").with_source(error))?,
            None => make_array(self.data(plain_type)?),
        };
        if plain_type == data_type {
            return Ok(column);
        }
        let message = format!("the values do not fit {data_type}");
        arrow::compute::cast(&column, data_type)
            .map_err(|error| Error::new(ErrorKind::Unsupported, message).with_source(error))
    }

    /// The finished column, of `data_type`, if that is a type without children.
    fn leaf(&mut self, data_type: &DataType) -> Option<Result<ArrayRef>> {
        let rows = self.valid.len;
        let mut nulls = || self.valid.finish();
        match &mut self.values {
            Values::Fixed { bytes, .. } if data_type.is_primitive() => {
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                primitive(data_type, bytes, rows, nulls())
            }
            Values::Var { large, ends, bytes } => match offsets(*large, std::mem::take(ends)) {
                Ok(offsets) => variable(data_type, offsets, Buffer::from_vec(std::mem::take(bytes)), nulls()),
                Err(error) => Some(Err(error)),
            },
            _ => None,
        }
    }

    fn data(mut self, data_type: &DataType) -> Result<ArrayData> {
        let rows = self.valid.len;
        let nulls = self.valid.finish();
        let data = ArrayData::builder(data_type.clone()).len(rows);
        let data = match self.values {
            Values::Null => return Ok(ArrayData::new_null(data_type, rows)),
            Values::Bool(mut values) => data.add_buffer(values.finish().into_inner()),
            // Copied, because Arrow wants primitive values aligned and a vector of bytes need not be.
            Values::Fixed { bytes, .. } => data.add_buffer(Buffer::from(bytes.as_slice())),
            Values::Var { large, ends, bytes } => data
                .add_buffer(offsets(large, ends)?)
                .add_buffer(Buffer::from_vec(bytes)),
            Values::List { large, ends, items } => data
                .add_buffer(offsets(large, ends)?)
                .add_child_data(items.child(data_type)?),
            Values::FixedList { items, .. } => data.add_child_data(items.child(data_type)?),
            Values::Struct(builders) => {
                let DataType::Struct(fields) = data_type else {
                    return Err(Error::corruption("not a struct"));
                };
                let children = builders.into_iter().zip(fields);
                let children = children.map(|(builder, field)| Ok(builder.finish(field.data_type())?.to_data()));
                data.child_data(children.collect::<Result<_>>()?)
            }
        };
        data.nulls(nulls)
            .build()
            .map_err(|error| Error::corruption("it holds invalid values").with_source(error))
    }

    /// The items of a list of type `list`.
    fn child(self, list: &DataType) -> Result<ArrayData> {
        match list {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => Ok(self.finish(field.data_type())?.to_data()),
            other => Err(Error::corruption(format!("{other} is not a list"))),
        }
    }
}

/// Appends the values of a column of numbers of `W` bytes.
fn fixed<const W: usize>(
    valid: &mut Validity,
    bytes: &mut Vec<u8>,
    rows: &mut [OpenRow<'_>],
    column: usize,
) -> Result<(), (usize, Error)> {
    bytes.reserve(rows.len() * W);
    let mut values = 0;
    for (row, open) in rows.iter_mut().enumerate() {
        let mut value = [0; W];
        if open.is_null(column) {
            valid.append_n(std::mem::take(&mut values), true);
            valid.append(false);
        } else {
            value.copy_from_slice(open.values.take(W).map_err(|error| (row, error))?);
            values += 1;
        }
        bytes.extend_from_slice(&value);
    }
    valid.append_n(values, true);
    Ok(())
}

#[inline]
fn is_set(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

fn offsets(large: bool, ends: Vec<i64>) -> Result<Buffer> {
    if large {
        return Ok(Buffer::from_vec(ends));
    }
    let small: Result<Vec<i32>, _> = ends.into_iter().map(i32::try_from).collect();
    small
        .map(Buffer::from_vec)
        .map_err(|_| Error::corruption("more values than 32-bit offsets can count"))
}
