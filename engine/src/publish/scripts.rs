//! How to read a publication: `view.sql` for DuckDB, `read.py` for Python.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;

use super::beside::defaults_of;
use super::columns::Layout;
use super::record::Record;
use super::{lists, types, write_file};
use crate::db::TableInner;
use crate::maintenance::read_small;

/// For DuckDB.
pub const VIEW_FILE: &str = "view.sql";
/// For pyarrow and Polars.
pub const PYTHON_FILE: &str = "read.py";

/// Columns that DuckDB has besides those of files: which row of which file it is.
const OF_DUCKDB: [&str; 2] = ["file_row_number", "filename"];

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
        .data_files()
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
        "-- The table as of write {}, for DuckDB. Made by `kodiak publish`, and made anew by the next one. Paths\n\
         -- are absolute: if the database was moved, publish again, or replace them by the directory that this file is in.\n",
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
        let data = sources.file(&merged.file);
        parts.push(part(&sources, schema, (schema, &merged.layout), &data, None));
    }
    let mut alike: BTreeMap<(bool, Option<u32>), &Layout> = BTreeMap::new();
    for file in record.data_files() {
        alike.entry((file.dead.is_some(), file.schema)).or_insert(&file.layout);
    }
    let mut types = String::new();
    for (number, (&(dead, of), layout)) in (1..).zip(&alike) {
        let data = sources.list(&mut types, "data", number, (dead, of));
        let dead = dead.then(|| sources.list(&mut types, "dead", number, (dead, of)));
        let found = of.and_then(|of| table.schemas.find(of).ok());
        let held = found.as_ref().map_or(schema, |version| &version.schema);
        parts.push(part(&sources, schema, (held, layout), &data, dead));
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

/// The statement for the rows of files of one schema, which have the columns of `held`, and in which those of `schema` lie as the layout
/// says; `data` their paths, `dead` the files of their dead rows, if they have any.
fn part(
    sources: &Sources<'_>,
    schema: &TableSchema,
    (held, layout): (&TableSchema, &Layout),
    data: &str,
    dead: Option<String>,
) -> String {
    let default = defaults_of(&sources.record.files);
    let columns = columns(schema, (held, layout), &default);
    // By their places, since DuckDB does not tell capital letters from small ones.
    let alias = aliases("c", held.columns().fields().len());
    let mut part = match dead {
        None => format!("SELECT {columns}\nFROM read_parquet({data}) AS _data({alias})"),
        // Both names begin with the number of the run. One join is planned and run much faster than one for each file.
        Some(dead) => {
            let run = |of: &str| format!("split_part(parse_filename({of}.filename), '.', 1)");
            // From version 1.3 on DuckDB has these columns without being asked for them, and only so besides others of the same name.
            let mut names = held.columns().fields().iter().map(|field| field.name());
            let taken = names.any(|name| OF_DUCKDB.iter().any(|own| name.eq_ignore_ascii_case(own)));
            let asked: String = match taken {
                true => String::new(),
                false => OF_DUCKDB.iter().map(|own| format!(", {own} = true")).collect(),
            };
            format!(
                "SELECT {columns}\nFROM read_parquet({data}{asked}) AS _data({alias})\n\
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
            "\nCROSS JOIN read_parquet({}) AS _defaults({})",
            sources.file(&defaults.file),
            aliases("d", default.len())
        );
    }
    part
}

/// Names for so many columns.
fn aliases(prefix: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|place| format!("{prefix}{place}")).collect();
    names.join(", ")
}

/// What is selected of files in which columns lie so; the file of defaults has the columns `default`, in the order of the table.
fn columns(schema: &TableSchema, (held, layout): (&TableSchema, &Layout), default: &BTreeSet<&str>) -> String {
    let fields = schema.columns().fields();
    let columns = fields.iter().enumerate().map(|(index, field)| {
        let quoted = name(field.name());
        if layout.lacks.contains(field.name()) {
            return format!("NULL AS {quoted}");
        }
        let (values, of) = if layout.defaults.contains(field.name()) {
            let before = fields[..index].iter();
            let place = before.filter(|field| default.contains(field.name().as_str())).count();
            (format!("_defaults.d{place}"), Some(field.data_type().clone()))
        } else {
            let of = match layout.widened.get(field.name()) {
                Some(told) => types::named(told),
                None => Some(field.data_type().clone()),
            };
            let place = held.index_of_number(schema.column_number(index)).unwrap_or(index);
            (format!("_data.c{place}"), of)
        };
        let values = of.and_then(|of| types::in_duckdb(&of, &values)).unwrap_or(values);
        format!("{values} AS {quoted}")
    });
    columns.collect::<Vec<_>>().join(", ")
}
