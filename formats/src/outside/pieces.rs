//! From the columns of someone's block to batches of bounded size.
//!
//! A few bytes of a file can stand for very many: a dictionary's value that each row names, views into the same bytes. Such
//! columns stay views until they are cut into pieces of which it is known how large they become.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, FieldRef, SchemaRef, StringViewType};
use arrow::error::ArrowError;
use kodiak_core::{Error, Result};

use super::MAX_DECODED;
use crate::nest;

/// Rows of a piece, at most.
const ROWS: usize = 8192;
/// Bytes at which a piece is cut, unless it is a single row.
const BYTES: usize = 32 << 20;
/// The deepest nesting of a column.
const MAX_DEPTH: usize = 64;

/// The type in which columns of a type are handed out, or `None` if they are not.
pub(super) fn offered(data_type: &DataType) -> Option<DataType> {
    offered_at(data_type, 0)
}

fn offered_at(data_type: &DataType, depth: usize) -> Option<DataType> {
    match data_type {
        _ if depth > MAX_DEPTH => None,
        DataType::Struct(fields) if fields.is_empty() => None,
        DataType::Dictionary(_, values) if !values.is_nested() => offered_at(values, depth + 1),
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => None,
        other => with_inner(other, &|inner| offered_at(inner, depth + 1)),
    }
}

/// The type in which a column is kept until it is cut: texts are views.
pub(super) fn kept(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => kept(values),
        other => with_inner(other, &|inner| Some(kept(inner))).unwrap_or_else(|| other.clone()),
    }
}

/// The type with other types inside; `None` if there are none for them, or it is of a nested kind that is not read.
fn with_inner(data_type: &DataType, of: &dyn Fn(&DataType) -> Option<DataType>) -> Option<DataType> {
    let field = |field: &FieldRef| -> Option<FieldRef> {
        Some(Arc::new(field.as_ref().clone().with_data_type(of(field.data_type())?)))
    };
    Some(match data_type {
        DataType::List(item) => DataType::List(field(item)?),
        DataType::LargeList(item) => DataType::LargeList(field(item)?),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item)?, *size),
        DataType::Map(entries, sorted) => DataType::Map(field(entries)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Option<Vec<_>>>()?.into()),
        nested if nested.is_nested() => return None,
        plain => plain.clone(),
    })
}

/// A block that is cut into pieces.
pub(super) struct Pieces {
    columns: Vec<ArrayRef>,
    rows: usize,
    at: usize,
}

impl Pieces {
    pub fn new(block: &RecordBatch) -> Result<Self> {
        let columns = block.columns().iter().map(plain).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            columns,
            rows: block.num_rows(),
            at: 0,
        })
    }

    /// The next piece, with the types of `schema`.
    pub fn next(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let mut rows = ROWS.min(self.rows - self.at);
        if rows == 0 {
            return Ok(None);
        }
        let mut bytes = self.bytes(rows);
        while rows > 1 && bytes > BYTES {
            rows /= 2;
            bytes = self.bytes(rows);
        }
        if bytes > MAX_DECODED {
            return Err(Error::corruption(format!("one row has {bytes} bytes")));
        }
        let columns = self
            .columns
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| cut(column, self.at, rows, field.data_type(), None))
            .collect::<Result<Vec<_>>>()?;
        self.at += rows;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
            .map(Some)
            .map_err(unfit)
    }

    /// Bytes that the next rows take once they are cut.
    fn bytes(&self, rows: usize) -> usize {
        let of = |column: &ArrayRef| bytes(column.as_ref(), self.at, rows);
        self.columns.iter().map(of).fold(0, usize::saturating_add)
    }
}

/// Bytes of `count` values from `at` on.
fn bytes(column: &dyn Array, at: usize, count: usize) -> usize {
    fn of_items<O: OffsetSizeTrait>(offsets: &[O], items: &dyn Array, at: usize, count: usize) -> usize {
        let (start, end) = (offsets[at].as_usize(), offsets[at + count].as_usize());
        bytes(items, start, end - start).saturating_add((count + 1) * size_of::<O>())
    }
    match column.data_type() {
        DataType::Utf8View => lengths::<StringViewType>(column, at, count),
        DataType::BinaryView => lengths::<BinaryViewType>(column, at, count),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            of_items(lists.value_offsets(), lists.values(), at, count)
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            of_items(lists.value_offsets(), lists.values(), at, count)
        }
        DataType::Map(..) => {
            let maps = column.as_map();
            of_items(maps.value_offsets(), maps.entries(), at, count)
        }
        DataType::FixedSizeList(..) => {
            let lists = column.as_fixed_size_list();
            let size = lists.value_length() as usize;
            bytes(lists.values(), at * size, count * size)
        }
        DataType::Struct(_) => {
            let members = column.as_struct().columns().iter();
            members
                .map(|member| bytes(member, at, count))
                .fold(count, usize::saturating_add)
        }
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(usize::MAX).saturating_mul(count),
        other => other.primitive_width().unwrap_or(4).saturating_mul(count),
    }
}

fn lengths<T: ByteViewType>(column: &dyn Array, at: usize, count: usize) -> usize {
    let views = &column.as_byte_view::<T>().views()[at..at + count];
    // A view's length is in its lowest bits; an offset or a view lies beside it.
    views
        .iter()
        .map(|view| 16 + *view as u32 as usize)
        .fold(0, usize::saturating_add)
}

/// `count` values from `at` on as the type `wanted`, which differs by views alone. What is null in `around` is so here, too: decoders
/// may leave it out where the file's schema says that there are no nulls.
fn cut(column: &ArrayRef, at: usize, count: usize, wanted: &DataType, around: Option<&NullBuffer>) -> Result<ArrayRef> {
    let own = column.nulls().map(|nulls| nulls.slice(at, count));
    let nulls = || NullBuffer::union(own.as_ref(), around);
    Ok(match wanted {
        DataType::List(item) => Arc::new(cut_list(column.as_list_opt::<i32>(), at, count, item, nulls())?),
        DataType::LargeList(item) => Arc::new(cut_list(column.as_list_opt::<i64>(), at, count, item, nulls())?),
        DataType::Map(entries, sorted) => {
            let maps = column.as_map_opt().ok_or_else(other_type)?;
            let (offsets, start, items) = rebased(maps.value_offsets(), at, count);
            let all: ArrayRef = Arc::new(maps.entries().clone());
            let all = cut(&all, start, items, entries.data_type(), None)?.as_struct().clone();
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, all, nulls(), *sorted).map_err(unfit)?)
        }
        DataType::FixedSizeList(item, size) => {
            let lists = column.as_fixed_size_list_opt().ok_or_else(other_type)?;
            let (width, nulls) = (usize::try_from(*size).unwrap_or_default(), nulls());
            let hidden = nulls.as_ref().map(|nulls| nulls.expand(width));
            let items = cut(
                lists.values(),
                at * width,
                count * width,
                item.data_type(),
                hidden.as_ref(),
            )?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *size, items, nulls).map_err(unfit)?)
        }
        DataType::Struct(fields) => {
            let members = column
                .as_struct_opt()
                .ok_or_else(other_type)?
                .columns()
                .iter()
                .zip(fields);
            let nulls = nulls();
            let members = members.map(|(member, field)| cut(member, at, count, field.data_type(), nulls.as_ref()));
            let members = members.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), members, nulls, count).map_err(unfit)?)
        }
        plain if plain == column.data_type() => column.slice(at, count),
        plain => cast(&column.slice(at, count), plain).map_err(unfit)?,
    })
}

fn cut_list<O: OffsetSizeTrait>(
    lists: Option<&GenericListArray<O>>,
    at: usize,
    count: usize,
    item: &FieldRef,
    nulls: Option<NullBuffer>,
) -> Result<GenericListArray<O>> {
    let lists = lists.ok_or_else(other_type)?;
    let (offsets, start, items) = rebased(lists.value_offsets(), at, count);
    let items = cut(lists.values(), start, items, item.data_type(), None)?;
    GenericListArray::try_new(Arc::clone(item), offsets, items, nulls).map_err(unfit)
}

/// The offsets of `count` lists from `at` on, from zero; where their items begin, and how many they are.
fn rebased<O: OffsetSizeTrait>(offsets: &[O], at: usize, count: usize) -> (OffsetBuffer<O>, usize, usize) {
    let these = &offsets[at..=at + count];
    let first = these[0];
    let rebased: Vec<O> = these.iter().map(|&offset| offset - first).collect();
    let items = rebased[count].as_usize();
    (OffsetBuffer::new(rebased.into()), first.as_usize(), items)
}

/// A column without dictionaries.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    match nest::has_dictionaries(column.data_type()) {
        true => nest::rebuilt(column, &mut unpacked),
        false => Ok(Arc::clone(column)),
    }
}

/// The rows of a dictionary, texts as views into its values; other columns as they are.
fn unpacked(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(dictionary) = column.as_any_dictionary_opt() else {
        return Ok(Arc::clone(column));
    };
    let values = dictionary.values();
    let view = kept(values.data_type());
    let values = match view == *values.data_type() {
        true => Arc::clone(values),
        false => cast(values, &view).map_err(unfit)?,
    };
    let each = match values.data_type() {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(usize::MAX),
        plain => plain.primitive_width().unwrap_or(16),
    };
    if each.saturating_mul(column.len()) > MAX_DECODED {
        return Err(Error::corruption(format!(
            "{} rows of {} are more than is allowed",
            column.len(),
            values.data_type()
        )));
    }
    take(&values, dictionary.keys(), None).map_err(unfit)
}

#[cold]
fn other_type() -> Error {
    Error::corruption("a block's columns have other types than the file says")
}

fn unfit(error: ArrowError) -> Error {
    Error::corruption("a block's columns make no sense").with_source(error)
}
