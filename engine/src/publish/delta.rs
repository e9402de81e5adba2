//! A Delta table over the published Parquet files, with deletion vectors for their dead rows.
//!
//! Follows the Delta transaction log protocol (github.com/delta-io/delta, PROTOCOL.md): one JSON file for each publication, reader
//! version 3 with the feature `deletionVectors`. Kodiak writes the log and never reads it. Vectors are 64-bit roaring bitmaps in
//! their portable form (github.com/RoaringBitmap/RoaringFormatSpec), each in a file of its own.

use std::path::Path;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::{PublishedFile, Record};
use super::{types, write_file};

/// The directory of the log.
pub const LOG_DIR: &str = "_delta_log";
/// Publications after which the log begins anew, so that it stays short.
const LONGEST_LOG: u64 = 1000;
/// What a stored vector begins with.
const MAGIC: u32 = 1_681_511_377;

/// A stored deletion vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    /// Its file in the directory.
    pub file: String,
    /// The random part of the file's name, as the log has it.
    pub encoded: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
}

/// Stores the vector of ascending `rows`.
///
/// # Errors
/// `Io`.
pub fn vector(storage: &dyn Storage, dir: &Path, rows: &[u32]) -> Result<Option<Vector>> {
    let mut id = [storage.random().to_be_bytes(), storage.random().to_be_bytes()].concat();
    // A random UUID, as RFC 9562 marks them.
    id[6] = id[6] & 0x0F | 0x40;
    id[8] = id[8] & 0x3F | 0x80;
    let mut data = MAGIC.to_le_bytes().to_vec();
    data.extend_from_slice(&bitmap(rows));
    let mut bytes = vec![1];
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(&crc32fast::hash(&data).to_be_bytes());
    let file = format!("deletion_vector_{}.bin", uuid(&id));
    write_file(storage, &dir.join(&file), &bytes)?;
    Ok(Some(Vector {
        file,
        encoded: base85(&id),
        bytes: data.len() as u64,
        rows: rows.len() as u64,
    }))
}

fn uuid(id: &[u8]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Z85 (rfc.zeromq.org/spec/32) of a multiple of four bytes.
fn base85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut out = String::new();
    for chunk in bytes.chunks_exact(4) {
        let number = chunk.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
        for power in (0..5).rev() {
            out.push(char::from(DIGITS[(number / 85u32.pow(power) % 85) as usize]));
        }
    }
    out
}

/// The portable form of the 64-bit roaring bitmap of ascending numbers.
fn bitmap(rows: &[u32]) -> Vec<u8> {
    /// More numbers than this in a container are bits.
    const ARRAY: usize = 4096;
    const NO_RUNS: u32 = 12346;
    let containers: Vec<&[u32]> = rows.chunk_by(|a, b| a >> 16 == b >> 16).collect();
    let mut out = 1u64.to_le_bytes().to_vec();
    out.extend_from_slice(&0u32.to_le_bytes());
    let start = out.len();
    out.extend_from_slice(&NO_RUNS.to_le_bytes());
    out.extend_from_slice(&(containers.len() as u32).to_le_bytes());
    for container in &containers {
        out.extend_from_slice(&((container[0] >> 16) as u16).to_le_bytes());
        out.extend_from_slice(&((container.len() - 1) as u16).to_le_bytes());
    }
    let mut offset = out.len() - start + 4 * containers.len();
    for container in &containers {
        out.extend_from_slice(&(offset as u32).to_le_bytes());
        offset += if container.len() > ARRAY {
            8192
        } else {
            2 * container.len()
        };
    }
    for container in &containers {
        if container.len() > ARRAY {
            let mut bits = [0u8; 8192];
            for row in container.iter() {
                bits[(row & 0xFFFF) as usize / 8] |= 1 << (row % 8);
            }
            out.extend_from_slice(&bits);
        } else {
            for row in container.iter() {
                out.extend_from_slice(&(*row as u16).to_le_bytes());
            }
        }
    }
    out
}

/// Adds the publication to the log: what it has and the last one had not, and the other way round. Where there cannot be a
/// Delta table, there is none.
///
/// # Errors
/// `Io`.
pub fn commit(
    storage: &dyn Storage,
    dir: &Path,
    known: Option<&Record>,
    record: &mut Record,
    schema: &TableSchema,
) -> Result<()> {
    let log = dir.join(LOG_DIR);
    let columns = match columns(record, schema) {
        Ok(columns) => columns,
        Err(why) => {
            record.why_no_delta = Some(why);
            return super::remove_dir(storage, &log);
        }
    };
    let last = known.and_then(|known| Some((known, known.delta_version?)));
    let next = last.map_or(0, |(_, version)| version + 1);
    // A publication that was cut short may have left a version that no record knows.
    let intact = last.is_none_or(|(_, version)| {
        storage
            .len(&log.join(file_name(version)))
            .is_ok_and(|len| len.is_some())
    }) && storage.len(&log.join(file_name(next)))?.is_none();
    let last = last.filter(|(_, version)| intact && *version < LONGEST_LOG);
    let version = last.map_or(0, |(_, version)| version + 1);
    if last.is_none() {
        super::remove_dir(storage, &log)?;
    }
    storage.create_dir_all(&log)?;
    storage.sync_dir(dir)?;
    let mut lines: Vec<Value> = vec![json!({"commitInfo": {
        "timestamp": record.published_micros / 1000,
        "operation": "WRITE",
        "engineInfo": concat!("kodiak ", env!("CARGO_PKG_VERSION")),
        "kodiakSequence": record.sequence,
    }})];
    record.delta_schema = Some(json!({"type": "struct", "fields": columns}).to_string());
    if last.is_none_or(|(known, _)| known.delta_schema != record.delta_schema) {
        // Files that are not as this schema says have been rewritten, and are removed below.
        lines.push(protocol(schema));
        lines.push(metadata(record));
    }
    let files =
        |record: &Record| -> Vec<PublishedFile> { record.files.iter().chain(&record.merged).cloned().collect() };
    let before = last.map_or_else(Vec::new, |(known, _)| files(known));
    let now = files(record);
    let same = |a: &PublishedFile, b: &PublishedFile| a.file == b.file && a.vector == b.vector;
    for gone in before.iter().filter(|old| now.iter().all(|new| !same(old, new))) {
        lines.push(remove(gone, record.published_micros / 1000));
    }
    for new in now.iter().filter(|new| before.iter().all(|old| !same(old, new))) {
        lines.push(add(new, record.published_micros / 1000));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_file(storage, &log.join(file_name(version)), text.as_bytes())?;
    record.delta_version = Some(version);
    Ok(())
}

fn file_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// The columns as Delta's schemas have them, or why there can be no Delta table.
fn columns(record: &Record, schema: &TableSchema) -> Result<Vec<Value>, String> {
    if let Some(other) = record
        .files
        .iter()
        .chain(&record.merged)
        .find(|file| file.kind != "parquet")
    {
        return Err(format!(
            "{} is a {} file, and Delta tables are made of Parquet files",
            other.file, other.kind
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

fn protocol(schema: &TableSchema) -> Value {
    let mut features = vec!["deletionVectors"];
    let fields = schema.columns().fields();
    if fields.iter().any(|field| types::has_local_times(field.data_type())) {
        features.push("timestampNtz");
    }
    json!({"protocol": {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": features,
        "writerFeatures": features,
    }})
}

fn metadata(record: &Record) -> Value {
    // The same for every publication of the table.
    let id = format!("{}{:016x}", record.database, record.table_number);
    let id: Vec<u8> = id
        .bytes()
        .map(|digit| char::from(digit).to_digit(16).unwrap_or(0) as u8)
        .collect();
    let id: Vec<u8> = id
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    json!({"metaData": {
        "id": uuid(&id),
        "name": record.table,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": record.delta_schema,
        "partitionColumns": [],
        "configuration": {"delta.enableDeletionVectors": "true"},
        "createdTime": record.published_micros / 1000,
    }})
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

fn add(file: &PublishedFile, millis: u64) -> Value {
    let mut action = json!({
        "path": file.file,
        "partitionValues": {},
        "size": file.bytes,
        "modificationTime": millis,
        "dataChange": true,
        "stats": json!({"numRecords": file.rows, "tightBounds": false}).to_string(),
    });
    if let Some(vector) = descriptor(file) {
        action["deletionVector"] = vector;
    }
    json!({"add": action})
}

fn remove(file: &PublishedFile, millis: u64) -> Value {
    let mut action = json!({
        "path": file.file,
        "deletionTimestamp": millis,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": file.bytes,
    });
    if let Some(vector) = descriptor(file) {
        action["deletionVector"] = vector;
    }
    json!({"remove": action})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;

    #[test]
    fn bitmaps_are_in_the_portable_form() {
        let hex = |rows: &[u32]| -> String { bitmap(rows).iter().map(|byte| format!("{byte:02x}")).collect() };
        let small = "0100000000000000000000003a30000001000000000001001000000002000500";
        assert_eq!(hex(&[2, 5]), small);
        let many: Vec<u32> = (0..5000).map(|row| row * 3).chain([70_000]).collect();
        let bytes = bitmap(&many);
        // Head, two containers with their offsets, bits, one number.
        assert_eq!(bytes.len(), 12 + 8 + 2 * 8 + 8192 + 2);
        assert_eq!(bytes[36] & 0b1111, 0b1001, "rows 0 and 3");
        assert_eq!(bytes[bytes.len() - 2..], 4464u16.to_le_bytes());
    }

    #[test]
    fn names_are_encoded_as_the_protocol_says() {
        // The example of Z85's specification.
        assert_eq!(base85(&[0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B]), "HelloWorld");
        let id: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&id), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

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
