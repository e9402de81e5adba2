//! How to read a publication: `view.sql` for DuckDB, `read.py` for Python.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;

use super::columns::Layout;
use super::record::{PublishedFile, Record};
use super::{lists, types, write_file};
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
    match holds(storage, &dir.join(PYTHON_FILE), PYTHON) {
        true => Ok(()),
        false => write_file(storage, &dir.join(PYTHON_FILE), PYTHON.as_bytes()),
    }
}

/// True if a file is there as it would be written.
fn holds(storage: &dyn Storage, path: &Path, text: &str) -> bool {
    read_small(storage, path).is_ok_and(|found| *found == *text.as_bytes())
}

/// True if both are there as they would be written.
pub fn are_written(
    storage: &dyn Storage,
    dir: &Path,
    record: &Record,
    table: &TableInner,
    schema: &TableSchema,
) -> bool {
    holds(storage, &dir.join(VIEW_FILE), &view(dir, record, table, schema))
        && holds(storage, &dir.join(PYTHON_FILE), PYTHON)
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
    if let Some(why) = why_no_view(record) {
        let _ = writeln!(out, "-- {why}: use read.py, or set format.kind to parquet and compact.");
        return out;
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let sources = Sources {
        record,
        table: &table.name,
        dir: &dir,
    };
    let mut parts = Vec::new();
    // Nulls and narrower types become those of other parts: one has all columns, and comes first.
    if let Some(merged) = &record.merged {
        parts.push(part(&sources, schema, merged, &sources.file(&merged.file), None));
    }
    let mut alike: BTreeMap<(bool, Option<u32>), Vec<&PublishedFile>> = BTreeMap::new();
    for file in &record.files {
        alike.entry((file.dead.is_some(), file.schema)).or_default().push(file);
    }
    // The column that tells from which file a row is must not be mistaken for one of the table, present or past.
    let schemas = table.schemas.all();
    let mut names = schemas.iter().flat_map(|version| version.schema.columns().fields());
    let apart = names.any(|field| field.name().eq_ignore_ascii_case("filename"));
    let mut types = String::new();
    for (number, (&(dead, of), alike)) in (1..).zip(&alike) {
        if dead && apart {
            for file in alike {
                let rows = file.dead.as_ref().map(|dead| (sources.file(dead), false));
                parts.push(part(&sources, schema, file, &sources.file(&file.file), rows));
            }
            continue;
        }
        let data = sources.list(&mut types, "data", number, (dead, of));
        let rows = dead.then(|| (sources.list(&mut types, "dead", number, (dead, of)), true));
        parts.extend(alike.first().map(|file| part(&sources, schema, file, &data, rows)));
    }
    if !types.is_empty() {
        let _ = writeln!(out, "{}{types}DROP VIEW {};", sources.listed(), sources.lines());
    }
    let _ = writeln!(
        out,
        "CREATE OR REPLACE VIEW {} AS\n{};",
        name(&table.name),
        parts.join("\nUNION ALL\n")
    );
    out
}

/// Where the view has its files from: a few by their names, and the data files from the record's lists, so that the statements are not longer
/// of more files. What a function reads must be known when the view is read, which no subquery is; the values of a type are.
struct Sources<'r> {
    record: &'r Record,
    table: &'r str,
    dir: &'r Path,
}

impl Sources<'_> {
    /// The path of a file.
    fn file(&self, file: &str) -> String {
        text(&self.dir.join(file).to_string_lossy())
    }

    /// The view of the lines that count, while the types are made.
    fn lines(&self) -> String {
        format!("temp.{}", name(&format!("{} files", self.table)))
    }

    /// The statement that makes that view.
    fn listed(&self) -> String {
        let lists: Vec<String> = self.record.lists.iter().map(|list| self.file(&list.file)).collect();
        let columns = lists::COLUMNS.map(|column| {
            let kind = match column {
                "run" | "publication" => "UBIGINT",
                _ => "VARCHAR",
            };
            format!("'{column}': '{kind}'")
        });
        format!(
            "CREATE OR REPLACE TEMP VIEW {} AS\nSELECT * FROM read_csv([{}], auto_detect = false, header = true, delim = ',', quote = '', \
             escape = '',\ncolumns = {{{}}})\nQUALIFY row_number() OVER (PARTITION BY \"run\" ORDER BY publication DESC) = 1;\n",
            name(&format!("{} files", self.table)),
            lists.join(", "),
            columns.join(", ")
        )
    }

    /// Adds the statements that make a type of the paths in one column, `data` or `dead`, of the files of one schema that have dead rows, or none;
    /// returns the list of these.
    fn list(&self, types: &mut String, column: &str, number: usize, (dead, schema): (bool, Option<u32>)) -> String {
        let kind = name(&format!("{} {column} {number}", self.table));
        let paths = format!(
            "{} || {}",
            text(&format!("{}/", self.dir.display())),
            if column == "data" { "file" } else { "dead" }
        );
        let has = if dead { "IS NOT NULL" } else { "IS NULL" };
        let schema = schema.map_or("IS NULL".to_owned(), |schema| format!("= '{schema}'"));
        let _ = write!(
            types,
            "DROP TYPE IF EXISTS {kind};\nCREATE TYPE {kind} AS ENUM (SELECT {paths} FROM {}\n\
             WHERE file IS NOT NULL AND dead {has} AND \"schema\" {schema} ORDER BY \"run\");\n",
            self.lines()
        );
        format!("enum_range(NULL::{kind})")
    }
}

/// The statement for the rows of files of the layout of one; `data` their paths. `dead` the files of their dead rows, if they have any, and
/// whether these are of several files.
fn part(
    sources: &Sources<'_>,
    schema: &TableSchema,
    file: &PublishedFile,
    data: &str,
    dead: Option<(String, bool)>,
) -> String {
    let layout = &file.layout;
    let columns = columns(schema, layout);
    let mut part = match dead {
        None => format!("SELECT {columns}\nFROM read_parquet({data}) AS _data"),
        Some((dead, false)) => format!(
            "SELECT {columns}\nFROM read_parquet({data}, file_row_number = true) AS _data\n\
             ANTI JOIN read_parquet({dead}) AS _dead ON _data.file_row_number = _dead.\"row\""
        ),
        // Both begin with the number of the run. One join is planned and run much faster than one for each file.
        Some((dead, true)) => {
            let run = |of: &str| format!("split_part(parse_filename({of}.filename), '.', 1)");
            format!(
                "SELECT {columns}\nFROM read_parquet({data}, file_row_number = true, filename = true) AS _data\n\
                 ANTI JOIN read_parquet({dead}, filename = true) AS _dead\n\
                 ON _data.file_row_number = _dead.\"row\" AND {} = {}",
                run("_data"),
                run("_dead")
            )
        }
    };
    if let (false, Some(defaults)) = (layout.defaults.is_empty(), &sources.record.defaults) {
        let _ = write!(
            part,
            "\nCROSS JOIN read_parquet({}) AS _defaults",
            sources.file(&defaults.file)
        );
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
