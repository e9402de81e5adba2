//! The key of a row in a key-value table.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kodiak::{Error, Result};

use super::schema::column_index;

/// Makes keys of rows: the texts of some columns joined by `/`, or the number of the row.
#[derive(Debug)]
pub struct RowKeys {
    schema: SchemaRef,
    columns: Vec<usize>,
    /// The columns hold JSON.
    json: bool,
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
        Ok(Self {
            schema,
            columns,
            json: false,
        })
    }

    /// Keys of columns that hold the JSON of values: those of texts are the texts.
    pub fn of_json(mut self) -> Self {
        self.json = true;
        self
    }

    /// The rows whose keys lack a value, and the column that does.
    pub fn missing(&self, rows: &RecordBatch) -> Vec<(usize, String)> {
        let null = |row: usize| {
            let column = self.columns.iter().find(|&&column| rows.column(column).is_null(row))?;
            Some((row, self.schema.field(*column).name().clone()))
        };
        (0..rows.num_rows()).filter_map(null).collect()
    }

    /// The keys of rows, given the numbers that they have in the file.
    ///
    /// # Errors
    /// `InvalidInput` naming a column that cannot be shown.
    pub fn of(&self, rows: &RecordBatch, numbers: &[u64]) -> Result<Vec<String>> {
        if self.columns.is_empty() {
            return Ok(numbers.iter().map(|row| format!("{row:010}")).collect());
        }
        let mut keys = vec![String::new(); rows.num_rows()];
        for (nth, &column) in self.columns.iter().enumerate() {
            let array = match self.json {
                true => &unquoted(rows.column(column)),
                false => rows.column(column),
            };
            let cannot = |error| {
                let name = self.schema.field(column).name();
                Error::invalid_input(format!("column \"{name}\" cannot be a key")).with_source(error)
            };
            let format = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(cannot)?;
            for (row, key) in keys.iter_mut().enumerate() {
                if nth > 0 {
                    key.push('/');
                }
                // Writing to a string fails only if the value cannot be shown.
                write!(key, "{}", format.value(row))
                    .map_err(|error| Error::invalid_input("a key cannot be shown").with_source(error))?;
            }
        }
        Ok(keys)
    }
}

/// The texts that JSON texts are, and other JSON as it is.
fn unquoted(json: &ArrayRef) -> ArrayRef {
    let text = |json: &str| match json.starts_with('"') {
        true => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
        false => json.to_owned(),
    };
    let texts = json.as_string::<i32>().iter().map(|json| json.map(text));
    Arc::new(texts.collect::<StringArray>())
}
