//! Where imported rows go.

use arrow::record_batch::RecordBatch;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use kodiak::{Db, Error, ErrorKind, Result, Table};

use super::keys::RowKeys;

/// Writes rows to a table.
pub struct Sink<'t> {
    db: &'t Db,
    table: &'t Table,
    keys: RowKeys,
    rows: u64,
    /// Room for the keys and JSON lines of a batch.
    key_texts: Vec<String>,
    lines: Vec<u8>,
}

impl<'t> Sink<'t> {
    /// Rows to `table`, a key-value table: the value of a key is its row as a JSON object, missing values as null.
    ///
    /// # Errors
    /// `Unsupported` for a table of another kind.
    pub fn new(db: &'t Db, table: &'t Table, keys: RowKeys) -> Result<Self> {
        if !table.schema().is_key_value() {
            let message = format!(
                "table \"{}\" has columns of its own: import into a key-value table",
                table.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Self {
            db,
            table,
            keys,
            rows: 0,
            key_texts: Vec::new(),
            lines: Vec::new(),
        })
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
        self.key_texts.clear();
        self.keys.of(batch, self.rows + 1, &mut self.key_texts)?;
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
