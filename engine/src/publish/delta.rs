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
mod last;
mod vectors;

use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use serde_json::{Value, json};

use super::record::{Checkpoint, PublishedFile, Record};
use super::{types, write_file};
use crate::settings::DeltaTables;
use header::{metadata, protocol};
use last::{FileFacts, Last, facts, files_of};
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
