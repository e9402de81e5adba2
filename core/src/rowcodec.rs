//! Value bytes of a typed table: its non-key columns, as the log and the memtables hold them.

use arrow::array::{ArrayRef, BinaryArray};

use crate::schema::TableSchema;
use crate::{Error, ErrorKind, Result};

/// Encodes the non-key columns of a row as bytes and back.
#[derive(Debug, Clone)]
pub struct RowCodec {
    _schema: TableSchema,
}

impl RowCodec {
    /// Checks that every value column can be encoded.
    ///
    /// # Errors
    /// `InvalidInput` naming column and type.
    pub fn check(_schema: &TableSchema) -> Result<()> {
        Ok(())
    }

    /// The codec of a table.
    pub fn new(schema: &TableSchema) -> Self {
        Self { _schema: schema.clone() }
    }

    /// Appends the bytes of one row, given the table's own columns (all of them, in the order of the schema).
    ///
    /// # Errors
    /// `InvalidInput` if a column has another type than the schema says.
    pub fn encode(&self, _columns: &[ArrayRef], _row: usize, _out: &mut Vec<u8>) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "rows of this table cannot be encoded"))
    }

    /// The non-key columns of encoded rows, in the order of [`TableSchema::value_columns`]; a null row (a delete) becomes
    /// null in every column.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub fn decode(&self, _rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        Err(Error::new(ErrorKind::Unsupported, "rows of this table cannot be decoded"))
    }
}
