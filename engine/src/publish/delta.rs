//! A Delta table over the published Parquet files, with deletion vectors for their dead rows.
//!
//! Follows the Delta transaction log protocol (github.com/delta-io/delta, PROTOCOL.md): one JSON file for each publication, with a
//! checkpoint when those since the last one, ten at least, have as many bytes as that. Of the log Kodiak reads only versions that a publication has left that was cut short before its
//! record was written.
//!
//! The log asks of readers to know deletion vectors only while some file has one. A publication that has the first of them raises
//! the protocol. One that has none any more lowers it again, with a checkpoint of the same version, so that who reads on from there
//! meets no trace of them; as that lists every file, it waits for a checkpoint that is due anyway unless much has changed.

mod checkpoint;
mod header;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};
use serde_json::{Value, json};

use super::record::{Checkpoint, PublishedFile, Record};
use super::{types, write_file};
use crate::maintenance::read_small;
use crate::settings::DeltaTables;
use header::{metadata, protocol};
pub use vectors::{Vector, vector};

/// The directory of the log.
pub const LOG_DIR: &str = "_delta_log";

/// Why there is to be no Delta table, although there can be one, if so many files have columns that are not found by their names.
pub fn unwanted(wanted: DeltaTables, otherwise: usize) -> Option<String> {
    match wanted {
        DeltaTables::Never => Some("publish.delta is \"never\"".to_owned()),
        DeltaTables::Auto if otherwise > 0 => Some(format!(
            "{otherwise} files are older than names, types or defaults of columns, for which Delta tables have no words that their readers \
             know: compact the table, or set publish.delta to \"always\""
        )),
        _ => None,
    }
}

/// Adds the publication to the log: what it has and the last one had not, and the other way round. Where there cannot be a
/// Delta table, or is to be none (the record says why), [`clean`] removes the last one's, once the record does not name it any more.
///
/// # Errors
/// `Io`; `Corruption` for a version of a publication that was cut short that cannot be read.
pub fn commit(
    storage: &dyn Storage,
    dir: &Path,
    known: Option<&Record>,
    record: &mut Record,
    schema: &TableSchema,
) -> Result<()> {
    let log = dir.join(LOG_DIR);
    let columns = match check(record).and_then(|()| columns(schema)) {
        Ok(columns) => columns,
        Err(why) => {
            record.why_no_delta = Some(why);
            return Ok(());
        }
    };
    if record.why_no_delta.is_some() {
        return Ok(());
    }
    record.delta_schema = Some(json!({"type": "struct", "fields": columns}).to_string());
    let last = match known {
        Some(known) => Last::find(storage, &log, known)?,
        None => None,
    };
    if last.is_none() {
        super::remove_dir(storage, &log)?;
    }
    storage.create_dir_all(&log)?;
    storage.sync_dir(dir)?;
    let millis = record.published_micros / 1000;
    let mut lines: Vec<Value> = vec![json!({"commitInfo": {
        "timestamp": millis,
        "operation": "WRITE",
        "engineInfo": concat!("kodiak ", env!("CARGO_PKG_VERSION")),
        "kodiakSequence": record.sequence,
    }})];
    let version = last.as_ref().map_or(0, |last| last.version + 1);
    let (removed, added) = match (&last, known) {
        (Some(last), Some(known)) => last.changes(known, record),
        _ => (Vec::new(), files_of(record).map(facts).collect()),
    };
    lines.extend(removed.iter().map(|file| remove(file, millis)));
    lines.extend(added.iter().map(|file| json!({"add": add(file, millis)})));
    let mut last_checkpoint = last.as_ref().map_or_else(Checkpoint::default, |last| last.checkpoint);
    let due = version >= last_checkpoint.version + checkpoint::INTERVAL
        && last_checkpoint.bytes_since >= last_checkpoint.bytes;
    let affordable = due || lines.len() as u64 * checkpoint::INTERVAL >= files_of(record).count() as u64;
    let told = last.as_ref().is_some_and(|last| last.vectors);
    let vectors = files_of(record).any(|file| file.vector.is_some()) || told && !affordable;
    record.delta_vectors = Some(vectors);
    if last.is_none_or(|last| last.schema != record.delta_schema || last.vectors != vectors) {
        // Files that do not read as this schema says have been rewritten, and are removed above.
        lines.splice(1..1, [protocol(schema, vectors), metadata(record)]);
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_file(storage, &log.join(file_name(version)), text.as_bytes())?;
    record.delta_version = Some(version);
    last_checkpoint.bytes_since += text.len() as u64;
    if due || told && !vectors {
        let adds = files_of(record).map(|file| json!({"add": add(&facts(file), millis)}));
        let header = [protocol(schema, vectors), metadata(record)];
        let actions: Vec<Value> = header.into_iter().chain(adds).collect();
        last_checkpoint = Checkpoint {
            version,
            bytes: checkpoint::write(storage, &log, version, &actions)?,
            bytes_since: 0,
        };
    }
    record.delta_checkpoint = last_checkpoint;
    Ok(())
}

/// Removes what is superseded of the log, now that the record names the newest version: all of it if there is no Delta table any
/// more; else, after a checkpoint, what lies before the checkpoint before that.
///
/// # Errors
/// `Io`.
pub fn clean(storage: &dyn Storage, dir: &Path, record: &Record) -> Result<()> {
    let log = dir.join(LOG_DIR);
    match record.delta_version {
        None => super::remove_dir(storage, &log),
        Some(version) if version == record.delta_checkpoint.version => checkpoint::clean(storage, &log),
        Some(_) => Ok(()),
    }
}

/// What the log knows a file by: its path and deletion vector.
type Key = (String, Option<String>);

/// What the log says of a file.
#[derive(Clone)]
struct FileFacts {
    path: String,
    bytes: u64,
    rows: u64,
    vector: Option<Value>,
}

fn facts(file: &PublishedFile) -> FileFacts {
    FileFacts {
        path: file.file.clone(),
        bytes: file.bytes,
        rows: file.rows,
        vector: descriptor(file),
    }
}

fn key(file: &PublishedFile) -> Key {
    (file.file.clone(), encoded(file).cloned())
}

fn encoded(file: &PublishedFile) -> Option<&String> {
    file.vector.as_ref().map(|vector| &vector.encoded)
}

/// The files that the table has according to a record.
fn files_of(record: &Record) -> impl Iterator<Item = &PublishedFile> {
    record.data_files().chain(&record.merged)
}

/// Those of `record` that another one has not, or with another deletion vector.
fn files_without(record: &Record, other: &Record) -> Vec<FileFacts> {
    let same = |one: &PublishedFile, other: &PublishedFile| one.file == other.file && encoded(one) == encoded(other);
    let of_runs = record.files.iter().filter(|(run, file)| {
        let other = other.files.get(run);
        other.is_none_or(|other| !Arc::ptr_eq(other, file) && !same(other, file))
    });
    let merged = record.merged.iter().filter(|file| {
        let other = other.merged.as_ref();
        other.is_none_or(|other| !same(other, file))
    });
    let files = of_runs.map(|(_, file)| &**file).chain(merged);
    files.map(facts).collect()
}

/// The newest version that the log has.
struct Last {
    version: u64,
    /// Its files, if it is not the version of the record.
    left: Option<BTreeMap<Key, FileFacts>>,
    /// `None` if it is not known.
    schema: Option<String>,
    /// Readers must know deletion vectors.
    vectors: bool,
    checkpoint: Checkpoint,
}

impl Last {
    /// The version of a record, or one that a publication has left that was cut short before its record was written; `None` if
    /// there is no such log.
    fn find(storage: &dyn Storage, log: &Path, known: &Record) -> Result<Option<Self>> {
        let Some(version) = known.delta_version else {
            return Ok(None);
        };
        if storage.len(&log.join(file_name(version)))?.is_none() {
            return Ok(None);
        }
        let mut last = Self {
            version,
            left: None,
            schema: known.delta_schema.clone(),
            // As versions of Kodiak that did not note it had it.
            vectors: known.delta_vectors.unwrap_or(true),
            checkpoint: known.delta_checkpoint,
        };
        while storage.len(&log.join(file_name(last.version + 1)))?.is_some() {
            let path = log.join(file_name(last.version + 1));
            let bytes = read_small(storage, &path)?;
            let known_files = || files_of(known).map(|file| (key(file), facts(file))).collect();
            let mut files = last.left.take().unwrap_or_else(known_files);
            last.apply(&mut files, &bytes).map_err(|error| error.with_file(&path))?;
            last.left = Some(files);
            last.version += 1;
            last.schema = None;
            last.checkpoint.bytes_since += bytes.len() as u64;
        }
        Ok(Some(last))
    }

    /// What is gone since, and what has come, in `record`, which follows on `known`.
    fn changes(&self, known: &Record, record: &Record) -> (Vec<FileFacts>, Vec<FileFacts>) {
        let Some(left) = &self.left else {
            return (files_without(known, record), files_without(record, known));
        };
        let now: BTreeSet<Key> = files_of(record).map(key).collect();
        let gone = left.iter().filter(|(key, _)| !now.contains(*key));
        let come = files_of(record).filter(|file| !left.contains_key(&key(file)));
        (gone.map(|(_, file)| file.clone()).collect(), come.map(facts).collect())
    }

    fn apply(&mut self, files: &mut BTreeMap<Key, FileFacts>, version: &[u8]) -> Result<()> {
        let damaged = || Error::corruption("it is no version of a Delta table");
        for line in version.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let action: Value = serde_json::from_slice(line).map_err(|error| damaged().with_source(error))?;
            if let Some(protocol) = action.get("protocol") {
                self.vectors = header::asks_for_vectors(protocol);
            }
            let (file, added) = match (action.get("add"), action.get("remove")) {
                (Some(file), _) => (file, true),
                (None, Some(file)) => (file, false),
                (None, None) => continue,
            };
            let path = file["path"].as_str().ok_or_else(damaged)?.to_owned();
            let vector = file.get("deletionVector").cloned();
            let encoded = vector.as_ref().and_then(|vector| vector["pathOrInlineDv"].as_str());
            let key = (path.clone(), encoded.map(str::to_owned));
            if added {
                let facts = FileFacts {
                    path,
                    bytes: file["size"].as_u64().ok_or_else(damaged)?,
                    // Only read to be removed again.
                    rows: 0,
                    vector,
                };
                files.insert(key, facts);
            } else {
                files.remove(&key);
            }
        }
        Ok(())
    }
}

/// The name of a version's file.
fn file_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// Why there can be no Delta table of these files, if there cannot.
fn check(record: &Record) -> Result<(), String> {
    match files_of(record).find(|file| file.kind != "parquet") {
        Some(other) => Err(format!(
            "{} is a {} file, and Delta tables are made of Parquet files",
            other.file, other.kind
        )),
        None => Ok(()),
    }
}

/// The columns as Delta's schemas have them, or why there can be no Delta table.
pub fn columns(schema: &TableSchema) -> Result<Vec<Value>, String> {
    if let Some([one, other]) = types::alike(schema.columns().fields()) {
        return Err(format!(
            "the names \"{one}\" and \"{other}\" differ in capital letters only, which Delta tables do not tell from small ones"
        ));
    }
    let field = |(index, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
        let kind = types::in_delta(field.data_type()).ok_or_else(|| {
            format!(
                "column \"{}\" has type {}, for which Delta tables have none",
                field.name(),
                field.data_type()
            )
        })?;
        // The rows of deletes, which the vectors hide, have nulls in all columns but the key's: readers check before they hide.
        let nullable = field.is_nullable() || !schema.is_key_column(index);
        Ok(json!({"name": field.name(), "type": kind, "nullable": nullable, "metadata": {}}))
    };
    schema.columns().fields().iter().enumerate().map(field).collect()
}

fn descriptor(file: &PublishedFile) -> Option<Value> {
    let vector = file.vector.as_ref()?;
    Some(json!({
        "storageType": "u",
        "pathOrInlineDv": vector.encoded,
        "offset": 1,
        "sizeInBytes": vector.bytes,
        "cardinality": vector.rows,
    }))
}

fn add(file: &FileFacts, millis: u64) -> Value {
    let mut action = json!({
        "path": file.path,
        "partitionValues": {},
        "size": file.bytes,
        "modificationTime": millis,
        "dataChange": true,
        "stats": json!({"numRecords": file.rows, "tightBounds": false}).to_string(),
    });
    if let Some(vector) = &file.vector {
        action["deletionVector"] = vector.clone();
    }
    action
}

fn remove(file: &FileFacts, millis: u64) -> Value {
    let mut action = json!({
        "path": file.path,
        "deletionTimestamp": millis,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": file.bytes,
    });
    if let Some(vector) = &file.vector {
        action["deletionVector"] = vector.clone();
    }
    json!({"remove": action})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;

    #[test]
    fn types_that_delta_does_not_have_are_told() {
        assert_eq!(types::in_delta(&DataType::Int8), Some("byte".into()));
        assert_eq!(
            types::in_delta(&DataType::Decimal128(12, 2)),
            Some("decimal(12,2)".into())
        );
        let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, true)));
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(
            types::in_delta(&list(words)),
            Some(json!({"type": "array", "elementType": "string", "containsNull": true}))
        );
        assert_eq!(types::in_delta(&list(DataType::UInt8)), None);
        for none in [
            DataType::UInt8,
            DataType::Float16,
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Rome".into())),
        ] {
            assert_eq!(types::in_delta(&none), None, "{none}");
        }
    }
}
