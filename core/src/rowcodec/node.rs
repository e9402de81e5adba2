//! From a column, perhaps nested, to the bytes of its values.

use arrow::array::{Array, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use crate::keycodec::view::{Bytes, View};
use crate::varint::{put_bytes, put_u64};

/// A column ready to be encoded row by row.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A column of type null.
    Null,
    /// Booleans, numbers, texts, bytes.
    Plain(View<'a>),
    /// `indexes` into `values`.
    Dictionary { indexes: View<'a>, values: Box<Node<'a>> },
    /// Lists and maps: the items of row i are those from offset i to offset i + 1.
    List {
        offsets: Offsets<'a>,
        nulls: Option<&'a NullBuffer>,
        items: Box<Node<'a>>,
    },
    /// Lists of `size` items each.
    FixedList {
        size: usize,
        nulls: Option<&'a NullBuffer>,
        items: Box<Node<'a>>,
    },
    /// Its fields.
    Struct {
        nulls: Option<&'a NullBuffer>,
        fields: Vec<Node<'a>>,
    },
}

/// Offsets of lists.
#[derive(Debug)]
pub(super) enum Offsets<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
}

impl Offsets<'_> {
    #[inline]
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }
}

impl<'a> Node<'a> {
    /// `None` for a type that cannot be encoded.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        let nulls = array.nulls();
        let list = |offsets, items| {
            Some(Self::List {
                offsets,
                nulls,
                items: Box::new(Self::new(items)?),
            })
        };
        match array.data_type() {
            DataType::Null => Some(Self::Null),
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                list(Offsets::Small(array.value_offsets()), array.values())
            }
            DataType::LargeList(_) => {
                let array = array.as_list::<i64>();
                list(Offsets::Large(array.value_offsets()), array.values())
            }
            DataType::Map(..) => {
                let array = array.as_map();
                list(Offsets::Small(array.value_offsets()), array.entries())
            }
            DataType::FixedSizeList(_, size) => {
                let items = Box::new(Self::new(array.as_fixed_size_list().values())?);
                Some(Self::FixedList {
                    size: usize::try_from(*size).ok()?,
                    nulls,
                    items,
                })
            }
            DataType::Struct(_) => {
                let fields = array.as_struct().columns().iter().map(|column| Self::new(column));
                Some(Self::Struct {
                    nulls,
                    fields: fields.collect::<Option<_>>()?,
                })
            }
            DataType::Dictionary(..) => {
                let array = array.as_any_dictionary();
                let values = Box::new(Self::new(array.values())?);
                Some(Self::Dictionary {
                    indexes: View::new(array.keys())?,
                    values,
                })
            }
            _ => View::new(array).map(Self::Plain),
        }
    }

    /// True if the row is null.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Plain(view) => view.is_null(row),
            Self::Dictionary { indexes, values } => indexes.is_null(row) || values.is_null(index(indexes, row)),
            Self::List { nulls, .. } | Self::FixedList { nulls, .. } | Self::Struct { nulls, .. } => {
                nulls.is_some_and(|nulls| nulls.is_null(row))
            }
        }
    }

    /// Appends the value of a row that is not null.
    #[inline]
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Plain(view) => match &view.bytes {
                Bytes::Bool(values) => out.push(u8::from(values.value(row))),
                Bytes::Fixed { .. } => out.extend_from_slice(view.value(row)),
                _ => put_bytes(out, view.value(row)),
            },
            Self::Dictionary { indexes, values } => values.put(index(indexes, row), out),
            Self::List { offsets, items, .. } => {
                let range = offsets.range(row);
                put_u64(out, range.len() as u64);
                items.put_all(range, out);
            }
            Self::FixedList { size, items, .. } => items.put_all(row * size..(row + 1) * size, out),
            Self::Struct { fields, .. } => {
                put_nulls(fields.len(), |field| fields[field].is_null(row), out);
                for field in fields.iter().filter(|field| !field.is_null(row)) {
                    field.put(row, out);
                }
            }
        }
    }

    fn put_all(&self, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
        put_nulls(rows.len(), |item| self.is_null(rows.start + item), out);
        for row in rows.filter(|&row| !self.is_null(row)) {
            self.put(row, out);
        }
    }
}

/// The index that a dictionary has at a row that is not null: a little-endian integer, never negative.
#[inline]
fn index(indexes: &View<'_>, row: usize) -> usize {
    indexes
        .value(row)
        .iter()
        .rev()
        .fold(0, |index, &byte| index << 8 | usize::from(byte))
}

/// Appends a bitmap of `count` bits, lowest first, set where `is_null`.
#[inline]
pub(super) fn put_nulls(count: usize, is_null: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
    for start in (0..count).step_by(8) {
        let bits = (start..count.min(start + 8)).fold(0, |bits, item| bits | u8::from(is_null(item)) << (item - start));
        out.push(bits);
    }
}
