//! Where imported rows go.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::record_batch::RecordBatch;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use kodiak::{Db, Error, Result, Table};

use super::keys::RowKeys;

/// Writes rows to a table.
pub struct Sink<'t> {
    db: &'t Db,
    table: &'t Table,
    /// Of a key-value table.
    keys: Option<RowKeys>,
    rows: u64,
    /// Room for the keys and JSON lines of a batch.
    key_texts: Vec<String>,
    lines: Vec<u8>,
}

impl<'t> Sink<'t> {
    /// Rows to a table with columns of its own: those of the file are found by name.
    pub fn typed(db: &'t Db, table: &'t Table) -> Self {
        Self::new(db, table, None)
    }

    /// Rows to a key-value table: the value of a key is its row as a JSON object, missing values as null.
    pub fn key_value(db: &'t Db, table: &'t Table, keys: RowKeys) -> Self {
        Self::new(db, table, Some(keys))
    }

    fn new(db: &'t Db, table: &'t Table, keys: Option<RowKeys>) -> Self {
        Self {
            db,
            table,
            keys,
            rows: 0,
            key_texts: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes all rows of `batch` at once.
    ///
    /// # Errors
    /// `InvalidInput` naming the row; those of writing.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(keys) = &self.keys else {
            self.table.insert(&conform(self.table, batch, self.rows + 1)?)?;
            self.rows += batch.num_rows() as u64;
            return Ok(());
        };
        self.key_texts.clear();
        keys.of(batch, self.rows + 1, &mut self.key_texts)?;
        self.lines.clear();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut self.lines);
        let unwritable = |error| Error::invalid_input("a row cannot be written as JSON").with_source(error);
        writer.write(batch).and_then(|()| writer.finish()).map_err(unwritable)?;
        drop(writer);
        let mut write = self.db.batch();
        // A line break within a text is escaped in JSON: every one here ends a row.
        for (key, line) in self.key_texts.iter().zip(self.lines.split(|&byte| byte == b'\n')) {
            write.put(self.table, key, line);
        }
        self.db.write(write)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

/// The rows of `batch`, the first of which is row `first` of the file, as rows of the table: columns by name, of its types,
/// nulls where the file has no such column.
fn conform(table: &Table, batch: &RecordBatch, first: u64) -> Result<RecordBatch> {
    let schema = table.schema().columns();
    if let Some(unknown) = batch
        .schema()
        .fields()
        .iter()
        .find(|field| schema.index_of(field.name()).is_err())
    {
        let known: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::invalid_input(format!(
            "table \"{}\" has no column \"{}\"; its columns are: {}",
            table.name(),
            unknown.name(),
            known.join(", ")
        )));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let column = match batch.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(column) => cast_with_options(column, field.data_type(), &options).map_err(|error| {
                let (last, name) = (first + batch.num_rows() as u64 - 1, field.name());
                let message = format!(
                    "rows {first} to {last}: column \"{name}\" cannot become {}",
                    field.data_type()
                );
                Error::invalid_input(message).with_source(error)
            })?,
        };
        if let Some(row) = (0..column.len()).find(|&row| !field.is_nullable() && column.is_null(row)) {
            let what = if table.schema().is_key_column(index) {
                "key column"
            } else {
                "column"
            };
            let message = format!("row {}: {what} \"{}\" has no value", first + row as u64, field.name());
            return Err(Error::invalid_input(message));
        }
        columns.push(column);
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Error::invalid_input("the rows do not fit the table").with_source(error))
}
