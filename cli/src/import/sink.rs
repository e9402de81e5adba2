//! Where imported rows go.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use kodiak::{Db, Error, ErrorKind, Fitting, Misfit, Result, Table, WriteBatch};

use super::json::{as_texts, parsed};
use super::keys::RowKeys;
use super::rows::{Chunk, Reject};
use crate::bytes::from_hex;
use crate::export::JsonWriter;

/// What rows become.
pub enum Layout {
    /// Rows of a table with columns.
    Typed,
    /// Keys and values of a key-value table, as they are.
    Entries,
    /// JSON objects in a key-value table, missing values as null.
    Objects(RowKeys),
}

/// Writes rows to a table.
pub struct Sink<'t> {
    db: &'t Db,
    table: &'t Table,
    layout: Layout,
    /// The columns that are written, and how others become them; `None` if rows have them already.
    target: SchemaRef,
    fitting: Option<Fitting>,
    /// The file has nothing but texts.
    texts: bool,
}

impl<'t> Sink<'t> {
    /// Rows to a table, with the columns of `target`. In text files, binary values are hexadecimal digits if `hex`.
    pub fn new(db: &'t Db, table: &'t Table, layout: Layout, target: SchemaRef, texts: bool, hex: bool) -> Self {
        let fitting = match layout {
            Layout::Typed => Fitting::new(&table.schema()),
            Layout::Entries | Layout::Objects(_) => Fitting::columns(Arc::clone(&target)),
        };
        let fitting = match (texts, hex) {
            (false, _) => fitting,
            (true, false) => fitting.parsing(),
            (true, true) => fitting.parsing().reading_binary(from_hex),
        };
        Self {
            db,
            table,
            layout,
            target,
            fitting: Some(fitting),
            texts,
        }
    }

    /// Rows have the columns of the target already, and hold the JSON of their values.
    pub fn keeping_json(mut self) -> Self {
        self.fitting = None;
        if let Layout::Objects(keys) = self.layout {
            self.layout = Layout::Objects(keys.of_json());
        }
        self
    }

    /// Checks that a file with these columns can be written.
    ///
    /// # Errors
    /// `InvalidInput` naming the column.
    pub fn check(&self, columns: &Schema) -> Result<()> {
        match &self.fitting {
            Some(fitting) if self.texts => {
                let names = columns.fields().iter().map(|field| field.name());
                fitting.check(&as_texts(names, &self.target))
            }
            Some(fitting) => fitting.check(columns),
            None => Ok(()),
        }
    }

    /// A batch with the rows of a chunk. Those that cannot be written become rejects of the chunk.
    ///
    /// # Errors
    /// `InvalidInput` if that is not about single rows.
    pub fn batch(&self, chunk: &mut Chunk) -> Result<(WriteBatch, u64)> {
        let Some(rows) = chunk.rows.take() else {
            return Ok((self.db.batch(), 0));
        };
        let mut rows = self.fit(rows, chunk)?;
        let mut batch = self.fill(&rows, &chunk.numbers)?;
        if let Err(error) = batch.check() {
            if error.kind() != ErrorKind::InvalidInput {
                return Err(error);
            }
            // Some are above the limits: which?
            let mut wrong = Vec::new();
            for row in 0..rows.num_rows() {
                let one = self.fill(&rows.slice(row, 1), &chunk.numbers[row..=row])?;
                if let Err(error) = one.check() {
                    wrong.push((row, None, error.message().to_owned()));
                }
            }
            rows = without(&rows, &wrong, chunk)?;
            batch = self.fill(&rows, &chunk.numbers)?;
        }
        Ok((batch, rows.num_rows() as u64))
    }

    /// The rows with the target's columns.
    fn fit(&self, rows: RecordBatch, chunk: &mut Chunk) -> Result<RecordBatch> {
        let rows = match self.texts && self.fitting.is_some() {
            true => {
                let (parsed, wrong) = self.parse_nested(rows)?;
                without(&parsed, &wrong, chunk)?
            }
            false => rows,
        };
        let rows = match &self.fitting {
            Some(fitting) => {
                let lacking = chunk
                    .lacking
                    .iter()
                    .map(|(name, rows)| (name.clone(), rows.clone().into()));
                let (fitted, misfits) = fitting.fit_without(&rows, &lacking.collect::<Vec<_>>())?;
                let wrong = misfits.into_iter().map(|misfit| {
                    let reason = self.lacks_key(&rows, &misfit).unwrap_or(misfit.reason);
                    (misfit.row, Some(misfit.column), reason)
                });
                reject(chunk, &wrong.collect::<Vec<_>>());
                fitted
            }
            None => rows,
        };
        let Layout::Objects(keys) = &self.layout else {
            return Ok(rows);
        };
        let missing = "it has no value, and is part of the key";
        let wrong = keys
            .missing(&rows)
            .into_iter()
            .map(|(row, column)| (row, Some(column), missing.to_owned()));
        without(&rows, &wrong.collect::<Vec<_>>(), chunk)
    }

    /// What to say of a row that lacks a value of its key.
    fn lacks_key(&self, rows: &RecordBatch, misfit: &Misfit) -> Option<String> {
        let schema = self.table.schema();
        let index = schema.columns().index_of(&misfit.column).ok()?;
        let lacks = rows.column_by_name(&misfit.column)?.is_null(misfit.row);
        (matches!(self.layout, Layout::Typed) && schema.is_key_column(index) && lacks).then(|| {
            format!(
                "it has no value, and is part of the key (a table made with --key \"{} null\" takes such rows)",
                misfit.column
            )
        })
    }

    /// Columns of texts that are JSON, where the target has lists, structs or maps: what a CSV file has.
    fn parse_nested(&self, rows: RecordBatch) -> Result<(RecordBatch, Vec<Wrong>)> {
        let names = rows.schema_ref().fields().iter().map(|field| field.name());
        let shapes = as_texts(names, &self.target);
        if shapes.fields() == rows.schema_ref().fields() {
            return Ok((rows, Vec::new()));
        }
        let mut wrong: Vec<Wrong> = Vec::new();
        let mut columns = Vec::new();
        for (field, column) in shapes.fields().iter().zip(rows.columns()) {
            if field.data_type() == column.data_type() {
                columns.push(Arc::clone(column));
                continue;
            }
            let (parsed, unfit) = parsed(column, field.data_type())?;
            let unfit = unfit.into_iter();
            wrong.extend(unfit.map(|(row, reason)| (row, Some(field.name().clone()), reason)));
            columns.push(parsed);
        }
        wrong.sort();
        wrong.dedup_by_key(|wrong| wrong.0);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok((
            RecordBatch::try_new_with_options(shapes, columns, &options).map_err(unfit)?,
            wrong,
        ))
    }

    fn fill(&self, rows: &RecordBatch, numbers: &[u64]) -> Result<WriteBatch> {
        let mut batch = self.db.batch();
        match &self.layout {
            Layout::Typed => {
                batch.insert(self.table, rows);
            }
            Layout::Entries => {
                let columns = rows.columns().iter().map(|column| cast(column, &DataType::LargeBinary));
                let columns = columns.collect::<Result<Vec<_>, _>>().map_err(unfit)?;
                let (keys, values) = (columns[0].as_binary::<i64>(), columns[1].as_binary::<i64>());
                for row in 0..rows.num_rows() {
                    batch.put(self.table, keys.value(row), values.value(row));
                }
            }
            Layout::Objects(keys) => {
                let texts = keys.of(rows, numbers)?;
                if self.fitting.is_none() {
                    let names = json_names(rows.schema_ref())?;
                    for (row, key) in texts.iter().enumerate() {
                        batch.put(self.table, key, object(rows, row, &names));
                    }
                    return Ok(batch);
                }
                let mut lines = Vec::new();
                let mut writer = JsonWriter::new(&mut lines);
                writer.write(rows, numbers.first().copied().unwrap_or_default())?;
                writer.finish()?;
                // A line break within a text is escaped in JSON: every one here ends a row.
                for (key, line) in texts.iter().zip(lines.split(|&byte| byte == b'\n')) {
                    batch.put(self.table, key, line);
                }
            }
        }
        Ok(batch)
    }
}

/// The names of columns as JSON.
fn json_names(columns: &Schema) -> Result<Vec<String>> {
    let names = columns.fields().iter().map(|field| serde_json::to_string(field.name()));
    names
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid_input("a name cannot be written as JSON").with_source(error))
}

/// The object of a row whose columns are called these and hold JSON.
fn object(rows: &RecordBatch, row: usize, names: &[String]) -> String {
    let mut object = String::from("{");
    for (column, name) in rows.columns().iter().zip(names) {
        if object.len() > 1 {
            object.push(',');
        }
        let json = column.as_string::<i32>();
        let value = if json.is_null(row) { "null" } else { json.value(row) };
        object.extend([name, ":", value]);
    }
    object.push('}');
    object
}

/// A row that cannot be written, by its place in a batch; the column at fault; and what is wrong.
type Wrong = (usize, Option<String>, String);

/// The rows of a batch but for these, which become rejects.
fn without(rows: &RecordBatch, wrong: &[Wrong], chunk: &mut Chunk) -> Result<RecordBatch> {
    if wrong.is_empty() {
        return Ok(rows.clone());
    }
    reject(chunk, wrong);
    keep(rows, &wrong.iter().map(|wrong| wrong.0).collect::<Vec<_>>())
}

fn keep(rows: &RecordBatch, gone: &[usize]) -> Result<RecordBatch> {
    let mut fits = vec![true; rows.num_rows()];
    gone.iter().for_each(|&row| fits[row] = false);
    filter_record_batch(rows, &BooleanArray::from(fits)).map_err(unfit)
}

/// The places of rows that are left when others are gone.
fn kept(rows: usize, gone: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut fits = vec![true; rows];
    gone.for_each(|row| fits[row] = false);
    (0..rows).filter(|&row| fits[row]).collect()
}

/// Moves rows from those of a chunk to its rejects.
fn reject(chunk: &mut Chunk, wrong: &[Wrong]) {
    if wrong.is_empty() {
        return;
    }
    for (row, column, reason) in wrong {
        chunk.rejects.push(Reject {
            line: chunk.lines[*row],
            column: column.clone(),
            reason: reason.clone(),
            text: chunk.texts.get(*row).cloned(),
        });
    }
    let left = kept(chunk.numbers.len(), wrong.iter().map(|wrong| wrong.0));
    chunk.numbers = left.iter().map(|&row| chunk.numbers[row]).collect();
    chunk.lines = left.iter().map(|&row| chunk.lines[row]).collect();
    if !chunk.texts.is_empty() {
        chunk.texts = left.iter().map(|&row| std::mem::take(&mut chunk.texts[row])).collect();
    }
    for (_, rows) in &mut chunk.lacking {
        *rows = left.iter().map(|&row| rows[row]).collect();
    }
    chunk.rejects.sort_by_key(|reject| reject.line);
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::invalid_input("the rows cannot be written").with_source(error)
}
