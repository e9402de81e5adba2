//! What is published of tables, as a reader finds it that knows nothing of the engine: by the record, and as a Delta table.

mod delta;
mod lists;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use kodiak::ErrorKind;
use kodiak::core::SeqNo;
use kodiak::core::storage::Storage;
use kodiak::outside::OutsideFile;
use kodiak::publish::{PUBLISHED_DIR, RECORD_FILE};
pub use lists::files;
use serde_json::Value;

/// So often a publication is read that is being replaced.
const ATTEMPTS: usize = 1000;

/// A publication, with what is in it.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The sequence number that it says it was made at.
    pub sequence: SeqNo,
    /// The table's columns.
    pub columns: Vec<String>,
    /// Its rows, in no order.
    pub rows: Vec<RecordBatch>,
}

/// A table's publications: where they are, and the two ways to read them.
#[derive(Debug, Clone)]
pub struct Found {
    /// The table's name.
    pub table: String,
    /// Its number.
    pub number: u64,
    /// By the record.
    pub record: Publication,
    /// As a Delta table, if it is one. It may be newer than the record by one publication that was cut short.
    pub delta: Option<Publication>,
}

/// Everything that is published of the tables of a database. Files that go while they are read, because a publication is being
/// replaced, are no failure: it is read again then, as its readers must.
///
/// # Errors
/// What is missing, damaged, or not what is said of it.
pub fn read_all(storage: &dyn Storage, db: &Path) -> Result<Vec<Found>, String> {
    let root = db.join(PUBLISHED_DIR);
    let mut all = Vec::new();
    for name in list(storage, &root)? {
        all.extend(read_settled(storage, &root.join(name))?);
    }
    Ok(all)
}

fn read_settled(storage: &dyn Storage, dir: &Path) -> Result<Option<Found>, String> {
    for _ in 0..ATTEMPTS {
        let before = state(storage, dir);
        match read(storage, dir) {
            Err(_) if before.is_err() || state(storage, dir) != before => {}
            found => return found,
        }
    }
    Err(format!("{} is never at rest", dir.display()))
}

/// The record, and the names of all files.
type State = (Option<Vec<u8>>, Vec<String>, Vec<String>);

/// What changes whenever anything in the directory does.
fn state(storage: &dyn Storage, dir: &Path) -> Result<State, String> {
    let record = bytes(storage, &dir.join(RECORD_FILE))?;
    Ok((record, list(storage, dir)?, list(storage, &dir.join(delta::LOG_DIR))?))
}

fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Found>, String> {
    // A publication that was cut short before it was whole for the first time has none.
    let Some(record) = bytes(storage, &dir.join(RECORD_FILE))? else {
        return Ok(None);
    };
    let wrong = |what: String| format!("{}: {what}", dir.display());
    let record: Value = serde_json::from_slice(&record).map_err(|error| wrong(error.to_string()))?;
    let by_record = by_record(storage, dir, &record).map_err(wrong)?;
    let delta = match &record["delta_version"] {
        Value::Null => None,
        version => Some(delta::read(storage, dir, number(version)?).map_err(wrong)?),
    };
    Ok(Some(Found {
        table: text(&record["table"])?.to_owned(),
        number: number(&record["table_number"])?,
        record: by_record,
        delta,
    }))
}

fn by_record(storage: &dyn Storage, dir: &Path, record: &Value) -> Result<Publication, String> {
    let columns = names(&record["columns"])?;
    let mut files = files(storage, dir, record)?;
    files.extend(Some(record["merged"].clone()).filter(|merged| !merged.is_null()));
    let (mut rows, mut whole) = (Vec::new(), None);
    for file in &files {
        let dead = match &file["dead"] {
            Value::Null => BTreeSet::new(),
            dead => dead_rows(storage, &dir.join(text(dead)?))?,
        };
        let told = file.get("dead_rows").map_or(Ok(0), number)?;
        if dead.len() as u64 != told {
            return Err(format!("{} dead rows were found of {file}", dead.len()));
        }
        let described = (number(&file["bytes"])?, number(&file["rows"])?);
        let held = own_names(file, &columns)?;
        let part = alive(storage, dir, text(&file["file"])?, described, &held, &dead)?;
        if let Some(missing) = lacked(&part).find(|name| held.iter().any(|(held, own)| held == *name && own.is_some()))
        {
            return Err(format!("column {missing} is not in {file}"));
        }
        if ["lacks", "defaults", "names", "widened"]
            .iter()
            .all(|told| file.get(*told).is_none())
        {
            whole.get_or_insert_with(|| part.schema());
        }
        let part = match file.get("defaults").map(names).transpose()? {
            Some(defaults) => with_defaults(storage, dir, &record["defaults"], part, &defaults)?,
            None => part,
        };
        rows.push(part);
    }
    let rows = match whole {
        Some(whole) => typed(rows, &whole)?,
        None => return Err("no file has all columns".to_owned()),
    };
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if count as u64 != number(&record["rows"])? {
        return Err(format!("{count} rows were found, of {}", record["rows"]));
    }
    Ok(Publication {
        sequence: number(&record["sequence"])?,
        columns,
        rows,
    })
}

/// The columns that a file lacks: they are of Arrow's type for that.
fn lacked(part: &RecordBatch) -> impl Iterator<Item = &str> {
    let fields = part.schema_ref().fields().iter();
    let lacked = fields.filter(|field| *field.data_type() == DataType::Null);
    lacked.map(|field| field.name().as_str())
}

/// Columns by their names in the table, with their names in a file, unless they are not in it.
type OwnNames = Vec<(String, Option<String>)>;

fn own_names(file: &Value, columns: &[String]) -> Result<OwnNames, String> {
    let absent = |told: &str| file.get(told).map_or(Ok(Vec::new()), names);
    let absent = [absent("lacks")?, absent("defaults")?].concat();
    let own = |name: &String| match file.get("names").and_then(|names| names.get(name)) {
        Some(own) => text(own).map(str::to_owned),
        None => Ok(name.clone()),
    };
    let own = |name: &String| Ok((name.clone(), (!absent.contains(name)).then(|| own(name)).transpose()?));
    columns.iter().map(own).collect()
}

/// A part with the columns that have their default in it.
fn with_defaults(
    storage: &dyn Storage,
    dir: &Path,
    file: &Value,
    part: RecordBatch,
    names: &[String],
) -> Result<RecordBatch, String> {
    let held: OwnNames = names.iter().map(|name| (name.clone(), Some(name.clone()))).collect();
    let row = read_file(storage, &dir.join(text(&file["file"])?), &held)?;
    if row.num_rows() != 1 {
        return Err(format!("{} rows of defaults", row.num_rows()));
    }
    let first = UInt32Array::from_value(0, part.num_rows());
    let column = |(field, column): (&Arc<Field>, &ArrayRef)| match row.column_by_name(field.name()) {
        Some(default) => Ok((field.name().clone(), take(default, &first, None)?)),
        None => Ok((field.name().clone(), Arc::clone(column))),
    };
    let columns = part.schema_ref().fields().iter().zip(part.columns()).map(column);
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>();
    columns
        .and_then(RecordBatch::try_from_iter)
        .map_err(|error| error.to_string())
}

/// The parts of a table with the columns that some lack, or have of narrower types, of those of `whole`.
fn typed(parts: Vec<RecordBatch>, whole: &Schema) -> Result<Vec<RecordBatch>, String> {
    let fields = whole.fields().iter();
    let nullable = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let nullable = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let fill = |part: RecordBatch| -> Result<RecordBatch, String> {
        let pairs = part.columns().iter().zip(nullable.fields());
        let columns = pairs.map(|(column, field)| match column.data_type() {
            DataType::Null => Ok(new_null_array(field.data_type(), column.len())),
            _ => cast(column, field.data_type()),
        });
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&nullable), columns))
            .map_err(|error| error.to_string())
    };
    parts.into_iter().map(fill).collect()
}

fn dead_rows(storage: &dyn Storage, path: &Path) -> Result<BTreeSet<u64>, String> {
    let rows = read_file(storage, path, &[("row".to_owned(), Some("row".to_owned()))])?;
    let rows = rows
        .column(0)
        .as_primitive_opt::<Int64Type>()
        .ok_or("rows are no INT64")?;
    if !rows.values().is_sorted_by(|a, b| a < b) {
        return Err(format!("{}: rows are not ascending", path.display()));
    }
    Ok(rows.values().iter().map(|&row| row as u64).collect())
}

/// The rows of a data file, of which bytes and rows are known, without the dead ones.
fn alive(
    storage: &dyn Storage,
    dir: &Path,
    name: &str,
    (bytes, rows): (u64, u64),
    columns: &[(String, Option<String>)],
    dead: &BTreeSet<u64>,
) -> Result<RecordBatch, String> {
    let path = dir.join(name);
    let len = storage.len(&path).map_err(|error| error.to_string())?;
    if len != Some(bytes) {
        return Err(format!("{name} has {len:?} bytes, and not {bytes}"));
    }
    let all = read_file(storage, &path, columns)?;
    if all.num_rows() as u64 != rows || dead.last().is_some_and(|last| *last >= rows) {
        let last = dead.last();
        return Err(format!(
            "{name} has {} rows, and not {rows}, of which {last:?} is dead",
            all.num_rows()
        ));
    }
    let kept: BooleanArray = (0..rows).map(|row| Some(!dead.contains(&row))).collect();
    filter_record_batch(&all, &kept).map_err(|error| error.to_string())
}

/// All rows of some columns of a file, under their names in the table; those that it does not have are of Arrow's type for that.
fn read_file(storage: &dyn Storage, path: &Path, columns: &[(String, Option<String>)]) -> Result<RecordBatch, String> {
    let failed = |error: kodiak::Error| format!("{}: {error}", path.display());
    let file = OutsideFile::open(storage.open(path).map_err(failed)?).map_err(failed)?;
    let places: Vec<Option<usize>> = columns
        .iter()
        .map(|(_, own)| file.schema().index_of(own.as_ref()?).ok())
        .collect();
    let held: Vec<usize> = places.iter().flatten().copied().collect();
    let fields = places.iter().zip(columns).map(|(place, (name, _))| match place {
        Some(place) => file.schema().field(*place).clone().with_name(name),
        None => Field::new(name, DataType::Null, true),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches: Vec<RecordBatch> = file
        .batches(&held)
        .map_err(failed)?
        .map(|batch| {
            let batch = batch.map_err(failed)?;
            let mut found = batch.columns().iter();
            let columns = places.iter().map(|place| match place {
                Some(_) => found.next().cloned().ok_or_else(|| "a column is missing".to_owned()),
                None => Ok(new_null_array(&DataType::Null, batch.num_rows())),
            });
            RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
                .map_err(|error| error.to_string())
        })
        .collect::<Result<_, String>>()?;
    concat_batches(&schema, &batches).map_err(|error| error.to_string())
}

fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>, String> {
    match storage.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(|error| error.to_string()),
    }
}

/// The bytes of a file, if it is there.
fn bytes(storage: &dyn Storage, path: &Path) -> Result<Option<Vec<u8>>, String> {
    let read = || -> kodiak::Result<Vec<u8>> {
        let file = storage.open(path)?;
        Ok(file.read(0, file.len() as usize)?.to_vec())
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} is no number"))
}

fn names(value: &Value) -> Result<Vec<String>, String> {
    let all = value.as_array().ok_or_else(|| format!("{value} is no list"))?;
    all.iter().map(|name| text(name).map(str::to_owned)).collect()
}
