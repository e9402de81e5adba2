//! How to read a publication: `view.sql` for DuckDB, `read.py` for Python.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;

use super::columns::Layout;
use super::record::{PublishedFile, Record};
use super::{types, write_file};
use crate::db::TableInner;
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
pub fn write(
    storage: &dyn Storage,
    dir: &Path,
    record: &Record,
    table: &TableInner,
    schema: &TableSchema,
) -> Result<()> {
    write_file(
        storage,
        &dir.join(VIEW_FILE),
        view(dir, record, table, schema).as_bytes(),
    )?;
    write_file(storage, &dir.join(PYTHON_FILE), PYTHON.as_bytes())
}

/// True if both are there as they would be written.
pub fn are_written(
    storage: &dyn Storage,
    dir: &Path,
    record: &Record,
    table: &TableInner,
    schema: &TableSchema,
) -> bool {
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

/// Why there is no view of a publication.
pub fn why_no_view(record: &Record) -> Option<String> {
    let other = record
        .files
        .iter()
        .chain(&record.merged)
        .find(|file| file.kind != "parquet")?;
    Some(format!(
        "DuckDB reads Parquet only, and {} is a {} file",
        other.file, other.kind
    ))
}

/// The statement that makes the view.
fn view(dir: &Path, record: &Record, table: &TableInner, schema: &TableSchema) -> String {
    let mut out = format!(
        "-- The table as of write {}, for DuckDB. Made by `kodiak publish`, and made anew by the next one.\n",
        record.sequence
    );
    let files = || record.files.iter().chain(&record.merged);
    if let Some(why) = why_no_view(record) {
        let _ = writeln!(out, "-- {why}: use read.py, or set format.kind to parquet and compact.");
        return out;
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut parts = Vec::new();
    // Nulls and narrower types become those of other parts: one has all columns, and comes first, since it names no schema.
    let mut alike: BTreeMap<(bool, Option<u32>), Vec<&PublishedFile>> = BTreeMap::new();
    for file in files() {
        alike.entry((file.dead.is_some(), file.schema)).or_default().push(file);
    }
    // The column that tells from which file a row is must not be mistaken for one of the table, present or past.
    let schemas = table.schemas.all();
    let mut names = schemas.iter().flat_map(|version| version.schema.columns().fields());
    let apart = names.any(|field| field.name().eq_ignore_ascii_case("filename"));
    for ((dead, _), alike) in &alike {
        match dead {
            true if apart => parts.extend(
                alike
                    .iter()
                    .map(|file| part(record, schema, &dir, std::slice::from_ref(file))),
            ),
            _ => parts.push(part(record, schema, &dir, alike)),
        }
    }
    let _ = writeln!(
        out,
        "CREATE OR REPLACE VIEW {} AS\n{};",
        name(&table.name),
        parts.join("\nUNION ALL\n")
    );
    out
}

/// The statement for the rows of files of one layout, all of which have dead rows, or none.
fn part(record: &Record, schema: &TableSchema, dir: &Path, files: &[&PublishedFile]) -> String {
    let path = |file: &str| text(&dir.join(file).to_string_lossy());
    let paths: Vec<String> = files.iter().map(|file| path(&file.file)).collect();
    let paths = paths.join(", ");
    let dead: Vec<String> = files.iter().filter_map(|file| file.dead.as_deref()).map(path).collect();
    let layout = files.first().map(|file| file.layout.clone()).unwrap_or_default();
    let columns = columns(schema, &layout);
    let mut part = match dead.as_slice() {
        [] => format!("SELECT {columns}\nFROM read_parquet([{paths}]) AS _data"),
        [dead] => format!(
            "SELECT {columns}\nFROM read_parquet([{paths}], file_row_number = true) AS _data\n\
             ANTI JOIN read_parquet({dead}) AS _dead ON _data.file_row_number = _dead.\"row\""
        ),
        // Both begin with the number of the run. One join is planned and run much faster than one for each file.
        dead => {
            let run = |of: &str| format!("split_part(parse_filename({of}.filename), '.', 1)");
            format!(
                "SELECT {columns}\nFROM read_parquet([{paths}], file_row_number = true, filename = true) AS _data\n\
                 ANTI JOIN read_parquet([{}], filename = true) AS _dead\n\
                 ON _data.file_row_number = _dead.\"row\" AND {} = {}",
                dead.join(", "),
                run("_data"),
                run("_dead")
            )
        }
    };
    if let (false, Some(defaults)) = (layout.defaults.is_empty(), &record.defaults) {
        let _ = write!(part, "\nCROSS JOIN read_parquet({}) AS _defaults", path(&defaults.file));
    }
    part
}

/// What is selected of files in which columns lie so.
fn columns(schema: &TableSchema, layout: &Layout) -> String {
    let fields = schema.columns().fields().iter();
    let columns: Vec<String> = fields
        .map(|field| {
            let quoted = name(field.name());
            if layout.lacks.contains(field.name()) {
                return format!("NULL AS {quoted}");
            }
            let (values, of) = if layout.defaults.contains(field.name()) {
                (format!("_defaults.{quoted}"), Some(field.data_type().clone()))
            } else {
                let own = layout.names.get(field.name()).unwrap_or(field.name());
                let of = match layout.widened.get(field.name()) {
                    Some(told) => types::named(told),
                    None => Some(field.data_type().clone()),
                };
                (format!("_data.{}", name(own)), of)
            };
            let values = of.and_then(|of| types::in_duckdb(&of, &values)).unwrap_or(values);
            format!("{values} AS {quoted}")
        })
        .collect();
    columns.join(", ")
}
