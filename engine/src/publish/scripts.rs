//! How to read a publication: `view.sql` for DuckDB, `read.py` for Python.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;

use super::record::{PublishedFile, Record};
use super::{types, write_file};
use crate::maintenance::read_small;

/// For DuckDB.
pub const VIEW_FILE: &str = "view.sql";
/// For pyarrow and Polars.
pub const PYTHON_FILE: &str = "read.py";

/// Says the same for every publication: the rest is in the record.
const PYTHON: &str = include_str!("read.py");

/// Writes both.
///
/// # Errors
/// `Io`.
pub fn write(storage: &dyn Storage, dir: &Path, record: &Record, table: &str, schema: &TableSchema) -> Result<()> {
    write_file(
        storage,
        &dir.join(VIEW_FILE),
        view(dir, record, table, schema).as_bytes(),
    )?;
    write_file(storage, &dir.join(PYTHON_FILE), PYTHON.as_bytes())
}

/// True if both are there as they would be written.
pub fn are_written(storage: &dyn Storage, dir: &Path, record: &Record, table: &str, schema: &TableSchema) -> bool {
    let holds =
        |file: &str, text: &str| read_small(storage, &dir.join(file)).is_ok_and(|found| *found == *text.as_bytes());
    holds(VIEW_FILE, &view(dir, record, table, schema)) && holds(PYTHON_FILE, PYTHON)
}

/// A name as SQL has it.
pub fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text as SQL has it.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The statement that makes the view.
fn view(dir: &Path, record: &Record, table: &str, schema: &TableSchema) -> String {
    let mut out = format!(
        "-- The table as of write {}, for DuckDB. Made by `kodiak publish`, and made anew by the next one.\n",
        record.sequence
    );
    let files = || record.files.iter().chain(&record.merged);
    if let Some(other) = files().find(|file| file.kind != "parquet") {
        let _ = writeln!(
            out,
            "-- DuckDB reads Parquet only, and {} is a {} file: use read.py, or set format.kind to parquet and compact.",
            other.file, other.kind
        );
        return out;
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let path = |file: &str| text(&dir.join(file).to_string_lossy());
    let mut parts = Vec::new();
    // Nulls have the types of other parts: one has all columns, and comes first.
    let mut plain: BTreeMap<&[String], Vec<String>> = BTreeMap::new();
    for file in files().filter(|file| file.dead.is_none()) {
        plain.entry(&file.lacks).or_default().push(path(&file.file));
    }
    for (lacked, paths) in plain {
        let columns = columns(schema, lacked);
        parts.push(format!("SELECT {columns}\nFROM read_parquet([{}])", paths.join(", ")));
    }
    let with_dead = |file: &PublishedFile| {
        let dead = file.dead.as_deref()?;
        Some(format!(
            "SELECT {}\nFROM read_parquet({}, file_row_number = true) AS data\n\
             ANTI JOIN read_parquet({}) AS dead ON data.file_row_number = dead.\"row\"",
            columns(schema, &file.lacks),
            path(&file.file),
            path(dead)
        ))
    };
    parts.extend(files().filter_map(with_dead));
    let _ = writeln!(
        out,
        "CREATE OR REPLACE VIEW {} AS\n{};",
        name(table),
        parts.join("\nUNION ALL\n")
    );
    out
}

/// What is selected of files that lack these columns.
fn columns(schema: &TableSchema, lacked: &[String]) -> String {
    let fields = schema.columns().fields().iter();
    let columns: Vec<String> = fields
        .map(|field| {
            let name = name(field.name());
            if lacked.contains(field.name()) {
                return format!("NULL AS {name}");
            }
            match types::in_duckdb(field.data_type(), &name) {
                Some(values) => format!("{values} AS {name}"),
                None => name,
            }
        })
        .collect();
    columns.join(", ")
}
