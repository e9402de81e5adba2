//! From the columns of someone's block to batches of bounded size.
//!
//! A few bytes of a file can stand for very many: a dictionary's value that each row names, views into the same bytes. Such
//! columns stay views until they are cut into pieces of which it is known how large they become.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, take};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, Field, Schema, SchemaRef, StringViewType};
use kodiak_core::{Error, Result};

use super::MAX_DECODED;

/// Rows of a piece, at most.
const ROWS: usize = 8192;
/// Bytes at which a piece is cut, unless it is a single row.
const BYTES: usize = 32 << 20;

/// The type in which columns of a type are handed out, or `None` if they are not.
pub(super) fn offered(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(..)) => offered(values),
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => None,
        other if other.is_nested() => None,
        other => Some(other.clone()),
    }
}

/// The type in which a column is kept until it is cut, if it is another one.
pub(super) fn kept(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        _ => None,
    }
}

/// A block that is cut into pieces.
pub(super) struct Pieces {
    block: RecordBatch,
    at: usize,
    /// Rows of a piece with the widest of the columns.
    rows: usize,
}

impl Pieces {
    pub fn new(block: RecordBatch) -> Result<Self> {
        let rows = block.num_rows();
        let columns = block
            .columns()
            .iter()
            .map(|column| plain(column, rows))
            .collect::<Result<Vec<_>>>()?;
        let fields: Vec<Field> = columns
            .iter()
            .zip(block.schema_ref().fields())
            .map(|(column, field)| Field::new(field.name(), column.data_type().clone(), true))
            .collect();
        let widest = columns.iter().map(|column| width(column.data_type())).max();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let block =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(unfit)?;
        Ok(Self {
            block,
            at: 0,
            rows: (BYTES / widest.unwrap_or(1).max(1)).clamp(1, ROWS),
        })
    }

    /// The next piece, with the types of `schema`.
    pub fn next(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let mut rows = self.rows.min(self.block.num_rows() - self.at);
        if rows == 0 {
            return Ok(None);
        }
        while rows > 1 && self.view_bytes(rows) > BYTES {
            rows /= 2;
        }
        let bytes = self.view_bytes(rows);
        if bytes > MAX_DECODED {
            return Err(Error::corruption(format!("one row has {bytes} bytes")));
        }
        let piece = self.block.slice(self.at, rows);
        self.at += rows;
        let columns = piece
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()).map_err(unfit),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
            .map(Some)
            .map_err(unfit)
    }

    /// Bytes of the views of the next rows.
    fn view_bytes(&self, rows: usize) -> usize {
        let of = |column: &ArrayRef| match column.data_type() {
            DataType::Utf8View => lengths::<StringViewType>(column, self.at, rows),
            DataType::BinaryView => lengths::<BinaryViewType>(column, self.at, rows),
            _ => 0,
        };
        self.block.columns().iter().map(of).fold(0, usize::saturating_add)
    }
}

fn lengths<T: ByteViewType>(column: &ArrayRef, at: usize, rows: usize) -> usize {
    let views = &column.as_byte_view::<T>().views()[at..at + rows];
    // A view's length is in its lowest bits.
    views.iter().map(|view| *view as u32 as usize).sum()
}

/// A column without its dictionary.
fn plain(column: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let DataType::Dictionary(_, values) = column.data_type() else {
        return Ok(Arc::clone(column));
    };
    let dictionary = column.as_any_dictionary();
    let taken = match kept(values) {
        Some(view) => cast(dictionary.values(), &view).map_err(unfit)?,
        None => Arc::clone(dictionary.values()),
    };
    if width(taken.data_type()).saturating_mul(rows) > MAX_DECODED {
        return Err(Error::corruption(format!(
            "{rows} rows of {} are more than is allowed",
            taken.data_type()
        )));
    }
    take(&taken, dictionary.keys(), None).map_err(unfit)
}

/// Bytes of a value that lie in the column itself.
fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(usize::MAX),
        DataType::Utf8View | DataType::BinaryView => 16,
        other => other.primitive_width().unwrap_or(1),
    }
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::corruption("a block's columns make no sense").with_source(error)
}
