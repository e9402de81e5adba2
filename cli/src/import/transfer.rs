//! Rows on their way from a file to a table, batch by batch; and what is told of them when they are there, or when it ended early.

use std::path::Path;

use kodiak::{Db, Result, ScanOptions, Table};

use super::rejects::Rejects;
use super::resume::Progress;
use super::rows::Position;
use super::sink::Sink;
use super::source::Progressing;

/// An import that is under way.
pub struct Transfer<'a> {
    pub db: &'a Db,
    /// The file, as the user names it.
    pub file: &'a Path,
    pub sink: Sink<'a>,
    pub rejects: Rejects,
    /// `None` if the file cannot be read again.
    pub progress: Option<Progress>,
    /// How far it is: what is before it is in the table, or rejected.
    pub at: Position,
    /// Rows that were written to the table.
    pub imported: u64,
}

impl Transfer<'_> {
    /// Takes all rows to the table.
    ///
    /// # Errors
    /// Those of reading and writing; `InvalidInput` for a row that cannot be imported, unless those are let through.
    pub fn carry(&mut self, rows: &mut Progressing) -> Result<()> {
        while let Some(mut chunk) = rows.next()? {
            let (mut batch, count) = self.sink.batch(&mut chunk)?;
            let rejected = self.rejects.write(&chunk.rejects);
            rejected.map_err(|error| error.with_file(self.file))?;
            if let Some(progress) = &mut self.progress {
                progress.record(self.db, &mut batch, chunk.position, self.rejects.done())?;
            }
            self.db.write(batch)?;
            self.imported += count;
            self.at = chunk.position;
        }
        Ok(())
    }

    /// What an import that failed has left, and how to go on; `None` if it has left nothing.
    ///
    /// `place` is what rows are counted by, and `numbered` are rows whose keys are their numbers.
    pub fn left(&self, place: &str, numbered: bool) -> Option<String> {
        if self.at.row == 0 {
            return None;
        }
        let next = match place {
            "line" => self.at.line,
            _ => self.at.row + 1,
        };
        let again = match numbered {
            true => "drop the table and import it again",
            false => "import it again, which replaces them",
        };
        let on = match self.progress {
            Some(_) => format!("--resume goes on there; if the file is changed, {again}"),
            None => format!("what is read only once cannot be gone on with: {again}"),
        };
        Some(format!("the rows before {place} {next} are imported: {on}"))
    }
}

/// Removes a table that was made for a file of which no row is in it, since reading it failed: the next attempt may want another
/// schema.
pub fn take_back(db: &Db, table: &str) {
    if db.table(table).and_then(|table| table.is_empty()).unwrap_or(false) {
        // Why it failed is told already.
        let _ = db.drop_table(table);
    }
}

/// How many rows a table has.
///
/// # Errors
/// Those of reading.
pub fn count_rows(table: &Table) -> Result<u64> {
    let schema = table.schema();
    let mut rows = 0;
    if schema.is_key_value() {
        let mut scan = table.scan_with(ScanOptions::new(..).without_cache())?;
        while scan.next_ref()?.is_some() {
            rows += 1;
        }
        return Ok(rows);
    }
    let fields = schema.columns().fields();
    let key = schema.key().iter().map(|key| fields[key.index].name().clone());
    let read = table.read().without_cache().project(key.collect::<Vec<_>>());
    for batch in read.batches()? {
        rows += batch?.num_rows() as u64;
    }
    Ok(rows)
}

/// Says how many rows of an import replaced others.
pub fn tell_replaced(count: u64) -> String {
    match count {
        0 => "none of them replaced another".to_owned(),
        1 => "1 of them replaced one before it that had its key".to_owned(),
        count => format!("{count} of them replaced ones before them that had their keys"),
    }
}
