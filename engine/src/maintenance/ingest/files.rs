//! Ingestion of files that others wrote.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use kodiak_core::schema::{OP_COLUMN, SEQ_COLUMN, TableSchema};
use kodiak_core::{Error, ErrorKind, Op, Result};

use super::rows::Rows;
use super::{Ingested, Ingestion};
use crate::components::outside::{OutsideBatches, OutsideFile};
use crate::db::Table;
use crate::typed::Fitting;

impl Table {
    /// Ingests Feather (Arrow IPC), Parquet and ORC files, by whomever they were written, as [`ingest`](Self::ingest) does
    /// entries: all of them become visible together, or none. Their rows must ascend by primary key, within each file and
    /// from each file to the next. What kind a file is, its first bytes tell.
    ///
    /// A typed table takes files with its columns, in any order, found by name; a column that has a default may be missing, and
    /// holds that then. Types may differ if every value of the file is
    /// one that the table's type holds exactly (a dictionary or another width, say). A key-value table takes files with two
    /// columns of binary or text: `key` and `value`, or whatever they are called, the first being the key. Both take data
    /// files of Kodiak's own, which also have `_seq` and `_op`: of each key the newest version counts, and a deleted key
    /// has none. (Range deletes are not in data files but in sidecars, and are not seen.)
    ///
    /// Files are read from the database's storage. Nothing in them is trusted; a damaged file is an error. Symbolic links are
    /// not followed.
    ///
    /// # Errors
    /// `InvalidInput` naming file, row and column for rows that do not fit, or keys that do not ascend; `Corruption` naming the
    /// file for a damaged one; `Unsupported` for what cannot be read; otherwise as [`ingest`](Self::ingest). Nothing is
    /// visible then.
    pub fn ingest_files<P: AsRef<Path>>(&self, files: impl IntoIterator<Item = P>) -> Result<Ingested> {
        let mut ingestion = Ingestion::begin(&self.open.shared, &self.inner)?;
        for path in files {
            let path = path.as_ref();
            let mut row = 0;
            self.ingest_file(&mut ingestion.rows, path, &mut row).map_err(|error| {
                let error = match row {
                    0 => error,
                    row => Error::new(error.kind(), format!("row {row}: {}", told(&error))),
                };
                error.with_file(path)
            })?;
        }
        ingestion.commit()
    }

    /// `row` is the row at fault, from 1, if an error is about one.
    fn ingest_file(&self, ingestion: &mut Rows<'_>, path: &Path, row: &mut u64) -> Result<()> {
        let file = OutsideFile::open(self.open.shared.storage.open(path)?)?;
        let layout = Layout::of(ingestion.common.target.schema(), file.schema())?;
        let batches = file.batches(&layout.columns)?;
        let before = ingestion.entries;
        layout.ingest(ingestion, batches, row).map_err(|error| {
            // The rows of a later file may lie before those of an earlier one.
            match before > 0 && error.kind() == ErrorKind::InvalidInput && ingestion.entries == before {
                true => {
                    let message = format!("{} (files must follow each other; or ingest one by one)", told(&error));
                    Error::new(error.kind(), message)
                }
                false => error,
            }
        })
    }
}

/// What an error says, with the cause that it was wrapped around.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{}: {source}", error.message()),
        None => error.message().to_owned(),
    }
}

/// How the columns of a file become rows of a table.
struct Layout {
    /// The columns that are read, by index: the table's, then `_op` of a run.
    columns: Vec<usize>,
    /// Of a typed table.
    fitting: Option<Fitting>,
    /// The file is a run.
    run: bool,
    /// Columns of the table that a run has nulls in where a row was deleted, and nowhere else.
    required: Vec<usize>,
}

impl Layout {
    fn of(schema: &TableSchema, file: &Schema) -> Result<Self> {
        let typed = |name: &str, data_type: DataType| {
            let index = file.index_of(name).ok();
            index.filter(|&index| *file.field(index).data_type() == data_type)
        };
        let (seq, op) = (typed(SEQ_COLUMN, DataType::Int64), typed(OP_COLUMN, DataType::Int8));
        let hidden: Vec<usize> = seq.zip(op).map_or(Vec::new(), |(seq, op)| vec![seq, op]);
        let mut columns: Vec<usize> = (0..file.fields().len())
            .filter(|index| !hidden.contains(index))
            .collect();
        let given = file
            .project(&columns)
            .map_err(|error| Error::invalid_input("the file's columns").with_source(error))?;
        let (fitting, required) = match schema.is_key_value() {
            true => {
                key_value(&given, &mut columns)?;
                (None, Vec::new())
            }
            false => {
                let (fitting, required) = fitting(schema, &given, !hidden.is_empty())?;
                (Some(fitting), required)
            }
        };
        columns.extend(hidden.last());
        Ok(Self {
            columns,
            fitting,
            run: !hidden.is_empty(),
            required,
        })
    }

    fn ingest(&self, ingestion: &mut Rows<'_>, batches: OutsideBatches, row: &mut u64) -> Result<()> {
        let mut versions = Versions::default();
        let mut first = 1;
        for batch in batches {
            let batch = batch?;
            let own: Vec<usize> = (0..batch.num_columns() - usize::from(self.run)).collect();
            versions.ops = self.run.then(|| Arc::clone(batch.column(own.len())));
            let rows = batch
                .project(&own)
                .map_err(|error| Error::corruption("the file's columns").with_source(error))?;
            match &self.fitting {
                None => key_value_rows(ingestion, &mut versions, &rows, first, row)?,
                Some(fitting) => self.typed_rows(fitting, ingestion, &mut versions, (&rows, first), row)?,
            }
            first += batch.num_rows() as u64;
            // A batch that cannot be read is no row's fault.
            *row = 0;
        }
        Ok(())
    }

    fn typed_rows(
        &self,
        fitting: &Fitting,
        ingestion: &mut Rows<'_>,
        versions: &mut Versions,
        (rows, first): (&RecordBatch, u64),
        row: &mut u64,
    ) -> Result<()> {
        let (rows, misfits) = fitting.fit(rows)?;
        if let Some(misfit) = misfits.first() {
            *row = first + misfit.row as u64;
            return Err(Error::invalid_input(format!(
                "column \"{}\": {}",
                misfit.column, misfit.reason
            )));
        }
        if !self.run {
            return ingestion.push_columns(&rows).map_err(|(at, error)| {
                *row = at.map_or(0, |at| first + at as u64);
                error
            });
        }
        let target = ingestion.common.target.clone();
        let codecs = target.codecs();
        let keys = codecs.key.encode(rows.columns())?;
        let encoder = codecs.row.encoder(rows.columns())?;
        let mut value = Vec::new();
        for index in 0..rows.num_rows() {
            *row = first + index as u64;
            if !versions.counts(index, keys.value(index))? {
                continue;
            }
            if let Some(&column) = self.required.iter().find(|&&column| rows.column(column).is_null(index)) {
                let name = rows.schema_ref().field(column).name();
                return Err(Error::invalid_input(format!(
                    "column \"{name}\": it has no value, and must have one"
                )));
            }
            value.clear();
            encoder.encode(index, &mut value);
            ingestion.push_row(keys.value(index), &value)?;
        }
        Ok(())
    }
}

/// How a file's columns become a typed table's, and which of them a run has nulls in although the table has none.
fn fitting(schema: &TableSchema, given: &Schema, run: bool) -> Result<(Fitting, Vec<usize>)> {
    let own = schema.columns();
    let mut names: Vec<&str> = given.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid_input(format!(
            "the file has two columns \"{}\"",
            pair[0]
        )));
    }
    let absent = |field: &Field| given.index_of(field.name()).is_err();
    for (index, field) in own.fields().iter().enumerate() {
        if absent(field) && schema.initial(index)?.is_none() {
            return Err(Error::invalid_input(format!(
                "the file has no column \"{}\", which the table has without a default; its columns are: {}",
                field.name(),
                names.join(", ")
            )));
        }
    }
    let required: Vec<usize> = schema
        .value_columns()
        .filter(|&index| run && !own.field(index).is_nullable() && !absent(own.field(index)))
        .collect();
    let fitting = Fitting::new(schema).allowing_nulls(&required);
    fitting.check(given).map(|()| (fitting, required))
}

/// Checks that `given` are a key and a value, and puts the key first.
fn key_value(given: &Schema, columns: &mut [usize]) -> Result<()> {
    let refuse = |what: &str| {
        let columns: Vec<String> = given
            .fields()
            .iter()
            .map(|field| format!("\"{}\" {}", field.name(), field.data_type()))
            .collect();
        Error::invalid_input(format!(
            "{what}: a key-value table takes a key and a value, both binary or text; the file has {}",
            columns.join(", ")
        ))
    };
    let [first, second] = columns else {
        return Err(refuse(&format!("{} columns", columns.len())));
    };
    if given.fields().iter().any(|field| !binary_or_text(field.data_type())) {
        return Err(refuse("a column of another type"));
    }
    if given.field(0).name() == "value" && given.field(1).name() == "key" {
        std::mem::swap(first, second);
    }
    Ok(())
}

fn binary_or_text(of: &DataType) -> bool {
    use DataType as D;
    matches!(
        of,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) | D::Utf8 | D::LargeUtf8 | D::Utf8View
    )
}

fn key_value_rows(
    ingestion: &mut Rows<'_>,
    versions: &mut Versions,
    rows: &RecordBatch,
    first: u64,
    row: &mut u64,
) -> Result<()> {
    let mut columns = Vec::with_capacity(2);
    for (column, name) in rows.columns().iter().zip(["key", "value"]) {
        if let Some(null) = (0..column.len()).find(|&row| column.is_null(row)) {
            *row = first + null as u64;
            return Err(Error::invalid_input(format!(
                "the {name} has no value, and must have one"
            )));
        }
        let binary = |error| Error::invalid_input(format!("the {name} is no binary")).with_source(error);
        columns.push(cast(column, &DataType::LargeBinary).map_err(binary)?);
    }
    let (keys, values) = (columns[0].as_binary::<i64>(), columns[1].as_binary::<i64>());
    for index in 0..rows.num_rows() {
        *row = first + index as u64;
        if versions.counts(index, keys.value(index))? {
            ingestion.push_row(keys.value(index), values.value(index))?;
        }
    }
    Ok(())
}

/// Which rows of a run are the newest of their keys.
#[derive(Default)]
struct Versions {
    /// `_op` of the batch, if the file is a run.
    ops: Option<ArrayRef>,
    last: Option<Vec<u8>>,
}

impl Versions {
    /// True if this row is the value of its key.
    fn counts(&mut self, row: usize, key: &[u8]) -> Result<bool> {
        let Some(ops) = &self.ops else { return Ok(true) };
        // The newest version comes first.
        match &mut self.last {
            Some(last) if last.as_slice() == key => return Ok(false),
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.last = Some(key.to_vec()),
        }
        if ops.is_null(row) {
            return Err(Error::invalid_input("column \"_op\" has no value"));
        }
        match Op::from_byte(ops.as_primitive::<Int8Type>().value(row) as u8)? {
            Op::Put => Ok(true),
            Op::Delete => Ok(false),
            Op::Merge | Op::RangeDelete => {
                let message =
                    "a merge operand, whose value depends on older runs: compact the table that the file is of";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}
