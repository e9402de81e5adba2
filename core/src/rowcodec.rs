//! Value bytes of a typed table: its non-key columns, as the log and the memtables hold them.
//!
//! The encoding is described in `docs/formats/rows.md` and never changes meaning: the number of columns, a bitmap of nulls,
//! then each value that is not null. A row with fewer columns than the table is read with nulls for the rest. Rows of a table
//! that has been altered begin with the number of the schema that they are of.

mod build;
mod decoder;
mod node;
#[cfg(test)]
mod tests;
mod validity;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::datatypes::{DataType, FieldRef};

use crate::keycodec::view::{plain, stored};
use crate::schema::TableSchema;
use crate::varint::{Reader, put_u64};
use crate::{Error, Result};
use build::Builder;
pub use decoder::RowDecoder;
use node::Node;

/// Encodes the non-key columns of a row as bytes and back.
#[derive(Debug, Clone)]
pub struct RowCodec {
    /// The non-key columns with their indexes in the table's schema.
    columns: Arc<[(usize, FieldRef)]>,
    /// Of the schema within its table.
    number: u32,
}

/// Encodes rows of one batch: the columns are looked up once, not for every row.
#[derive(Debug)]
pub struct RowEncoder<'a> {
    columns: Vec<Node<'a>>,
    number: u32,
}

/// The number of the schema that an encoded row is of.
///
/// # Errors
/// `Corruption` for bytes that no row begins with.
#[inline]
pub fn row_schema(row: &[u8]) -> Result<u32> {
    // A row without columns is this byte alone.
    if row.len() < 2 || row[0] != 0 {
        return Ok(0);
    }
    match Reader::new(&row[1..]).len(u32::MAX as usize)? {
        0 => Err(Error::corruption("a row names no schema")),
        number => Ok(number as u32),
    }
}

/// The bytes of the only value of a column, which is not null; `None` for a type that cannot be stored.
pub(crate) fn encode_value(column: &ArrayRef) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Node::new(column)?.put(0, &mut out);
    Some(out)
}

/// The column of one value that [`encode_value`] has encoded.
///
/// # Errors
/// `Corruption` for other bytes.
pub(crate) fn decode_value(bytes: &[u8], data_type: &DataType) -> Result<ArrayRef> {
    let mut builder = Builder::new(data_type, 1)?;
    let mut reader = Reader::new(bytes);
    builder.push(&mut reader)?;
    if !reader.is_empty() {
        return Err(Error::corruption("a value is followed by more bytes"));
    }
    builder.finish(data_type)
}

impl RowCodec {
    /// Checks that every value column can be encoded.
    ///
    /// # Errors
    /// `InvalidInput` naming column and type.
    pub fn check(schema: &TableSchema) -> Result<()> {
        for index in schema.value_columns() {
            let field = schema.columns().field(index);
            if let Some(unknown) = unsupported(field.data_type()) {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" has type {}, and values of type {unknown} cannot be stored",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(())
    }

    /// The codec of a table.
    pub fn new(schema: &TableSchema) -> Self {
        let fields = schema.columns().fields();
        Self {
            columns: schema
                .value_columns()
                .map(|index| (index, Arc::clone(&fields[index])))
                .collect(),
            number: schema.number(),
        }
    }

    /// The number of the schema whose rows it encodes.
    #[inline]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Appends the bytes of one row, given the table's own columns (all of them, in the order of the schema).
    ///
    /// For many rows of one batch, take an [`encoder`](Self::encoder).
    ///
    /// # Errors
    /// `InvalidInput` if a column has another type than the schema says.
    pub fn encode(&self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.encoder(columns)?.encode(row, out);
        Ok(())
    }

    /// An encoder of the rows of `columns`: the table's own, all of them, in the order of the schema.
    ///
    /// # Errors
    /// `InvalidInput` if a column is missing or has another type than the schema says.
    pub fn encoder<'a>(&self, columns: &'a [ArrayRef]) -> Result<RowEncoder<'a>> {
        let nodes = self.columns.iter().map(|(index, field)| {
            let column = columns.get(*index).ok_or_else(|| {
                Error::invalid_input(format!(
                    "column \"{}\" is missing: {} columns given",
                    field.name(),
                    columns.len()
                ))
            })?;
            if !column.data_type().equals_datatype(field.data_type()) {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" has type {}, the schema says {}",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                )));
            }
            Node::new(column).ok_or_else(|| {
                let message = format!(
                    "column \"{}\" of type {} cannot be stored",
                    field.name(),
                    field.data_type()
                );
                Error::invalid_input(message)
            })
        });
        Ok(RowEncoder {
            columns: nodes.collect::<Result<_>>()?,
            number: self.number,
        })
    }

    /// The non-key columns of encoded rows, in the order of [`TableSchema::value_columns`]; a null row (a delete) becomes
    /// null in every column.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce, rows of another schema of the table among them. `Unsupported` if a
    /// column is a dictionary whose key type cannot count its values.
    pub fn decode(&self, rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        Ok(self.decode_some(rows, &|_| true)?.into_iter().flatten().collect())
    }

    /// As [`decode`](Self::decode), but only of the columns that are `wanted` by their indexes in the table's schema. What
    /// follows the last of them in a row is not looked at.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_some(&self, rows: &BinaryArray, wanted: &dyn Fn(usize) -> bool) -> Result<Vec<Option<ArrayRef>>> {
        let wanted: Vec<bool> = self.columns.iter().map(|(index, _)| wanted(*index)).collect();
        let behind = wanted.iter().rposition(|&wanted| wanted).map_or(0, |last| last + 1);
        let mut open = (0..rows.len())
            .map(|row| self.open(rows, row))
            .collect::<Result<Vec<_>>>()?;
        let mut columns: Vec<Option<ArrayRef>> = Vec::with_capacity(self.columns.len());
        for (position, (_, field)) in self.columns[..behind].iter().enumerate() {
            let named = |error: Error| named(field, error);
            let mut builder = Builder::new(field.data_type(), rows.len()).map_err(named)?;
            let read = builder.push_column(&mut open, position);
            read.map_err(|(row, error)| named(error).with_offset(row as u64))?;
            columns.push(match wanted[position] {
                true => Some(builder.finish(field.data_type()).map_err(named)?),
                false => None,
            });
        }
        columns.resize(self.columns.len(), None);
        if behind < self.columns.len() {
            return Ok(columns);
        }
        match open.iter().position(|open| !open.values.is_empty()) {
            Some(row) => Err(too_long(row, &open[row])),
            None => Ok(columns),
        }
    }

    fn open<'a>(&self, rows: &'a BinaryArray, row: usize) -> Result<OpenRow<'a>> {
        if rows.is_null(row) {
            return Ok(OpenRow {
                columns: 0,
                nulls: &[],
                values: Reader::new(&[]),
            });
        }
        self.open_bytes(rows.value(row), row)
    }

    #[inline]
    fn open_bytes<'a>(&self, bytes: &'a [u8], row: usize) -> Result<OpenRow<'a>> {
        let mut values = Reader::new(bytes);
        let number = row_schema(bytes)?;
        if number != self.number {
            let message = format!(
                "a row is of schema {number} of its table where one of schema {} is expected",
                self.number
            );
            return Err(Error::corruption(message).with_offset(row as u64));
        }
        if number > 0 {
            values.u8()?;
            values.u64()?;
        }
        let columns = values.len(self.columns.len())?;
        let nulls = values.take(columns.div_ceil(8))?;
        Ok(OpenRow { columns, nulls, values })
    }
}

#[cold]
fn named(field: &FieldRef, error: Error) -> Error {
    let message = format!("column \"{}\": {}", field.name(), error.message());
    Error::new(error.kind(), message).with_source(error)
}

#[cold]
fn too_long(row: usize, open: &OpenRow<'_>) -> Error {
    Error::corruption(format!("row {row} has {} bytes too many", open.values.remaining()))
}

/// A row in the course of being decoded.
struct OpenRow<'a> {
    columns: usize,
    nulls: &'a [u8],
    values: Reader<'a>,
}

impl OpenRow<'_> {
    #[inline]
    fn is_null(&self, column: usize) -> bool {
        column >= self.columns || self.nulls[column / 8] >> (column % 8) & 1 == 1
    }
}

impl RowEncoder<'_> {
    /// Appends the bytes of one row.
    ///
    /// # Panics
    /// If the batch has no such row.
    #[inline]
    pub fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.number > 0 {
            out.push(0);
            put_u64(out, u64::from(self.number));
        }
        put_u64(out, self.columns.len() as u64);
        node::put_nulls(self.columns.len(), |column| self.columns[column].is_null(row), out);
        for column in &self.columns {
            if !column.is_null(row) {
                column.put(row, out);
            }
        }
    }
}

/// The type within `data_type` that cannot be encoded, if there is one.
fn unsupported(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Null => None,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => unsupported(field.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unsupported(field.data_type())),
        DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(..)) => unsupported(values),
        other => stored(plain(other)).is_none().then_some(other),
    }
}
