//! The key of a row in a key-value table.

use std::fmt::Write;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kodiak::{Error, Result};

use super::schema::column_index;

/// Makes keys of rows: the texts of some columns joined by `/`, or the number of the row.
#[derive(Debug)]
pub struct RowKeys {
    schema: SchemaRef,
    columns: Vec<usize>,
}

impl RowKeys {
    /// Keys of the columns named; of none, row numbers of ten digits.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown column, listing the known ones.
    pub fn new(schema: SchemaRef, names: &[String]) -> Result<Self> {
        let columns = names
            .iter()
            .map(|name| column_index(&schema, name))
            .collect::<Result<_>>()?;
        Ok(Self { schema, columns })
    }

    /// Appends the key of each row of `batch`, the first of which is row `first` of the file (counted from 1), to `keys`.
    ///
    /// # Errors
    /// `InvalidInput` naming row and column if the value is missing.
    pub fn of(&self, batch: &RecordBatch, first: u64, keys: &mut Vec<String>) -> Result<()> {
        if self.columns.is_empty() {
            keys.extend((first..).take(batch.num_rows()).map(|row| format!("{row:010}")));
            return Ok(());
        }
        let start = keys.len();
        keys.resize(start + batch.num_rows(), String::new());
        for (nth, &column) in self.columns.iter().enumerate() {
            let array = batch.column(column);
            let cannot = |error| {
                let name = self.schema.field(column).name();
                Error::invalid_input(format!("column \"{name}\" cannot be a key")).with_source(error)
            };
            let format = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(cannot)?;
            for (row, key) in keys[start..].iter_mut().enumerate() {
                if array.is_null(row) {
                    let (row, name) = (first + row as u64, self.schema.field(column).name());
                    return Err(Error::invalid_input(format!(
                        "row {row}: key column \"{name}\" has no value"
                    )));
                }
                if nth > 0 {
                    key.push('/');
                }
                // Writing to a string fails only if the value cannot be shown.
                write!(key, "{}", format.value(row))
                    .map_err(|error| Error::invalid_input("a key cannot be shown").with_source(error))?;
            }
        }
        Ok(())
    }
}
