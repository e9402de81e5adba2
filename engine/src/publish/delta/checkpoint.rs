//! Checkpoints of the log: what all versions up to one come to, in one Parquet file, so that a reader needs that and the versions
//! since.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow_json::ReaderBuilder;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};
use serde_json::{Value, json};

use super::file_name;
use crate::components::export::parquet_bytes;
use crate::publish::write_file;

/// Versions from one checkpoint to the next, at least: as many as the protocol's own writers let pass.
pub const INTERVAL: u64 = 10;
/// What an old checkpoint's name ends with.
const SUFFIX: &str = ".checkpoint.parquet";
/// The file that tells readers of the newest checkpoint.
const LAST: &str = "_last_checkpoint";

/// Writes the checkpoint of a version with these actions: protocol, metadata and the files there are. Files that were removed are
/// left out, since nobody has to keep them for them to be removed later. Returns how many bytes it has.
///
/// # Errors
/// `Io`.
pub fn write(storage: &dyn Storage, log: &Path, version: u64, actions: &[Value]) -> Result<u64> {
    let wrong = |error| Error::corruption("the checkpoint of a Delta table cannot be made").with_source(error);
    let decode = || {
        let builder = ReaderBuilder::new(Arc::new(schema())).with_batch_size(actions.len().max(1));
        let mut decoder = builder.build_decoder()?;
        decoder.serialize(actions)?;
        decoder.flush()
    };
    let rows = decode()
        .map_err(wrong)?
        .ok_or_else(|| Error::corruption("the checkpoint of a Delta table is empty"))?;
    let bytes = parquet_bytes(&rows)?;
    write_file(storage, &log.join(format!("{version:020}{SUFFIX}")), &bytes)?;
    let last = json!({
        "version": version,
        "size": actions.len(),
        "sizeInBytes": bytes.len(),
        "numOfAddFiles": actions.iter().filter(|action| action.get("add").is_some()).count(),
    });
    write_file(storage, &log.join(LAST), last.to_string().as_bytes())?;
    Ok(bytes.len() as u64)
}

/// Removes versions and checkpoints before the last checkpoint but one: a reader that has begun with that one ends.
///
/// # Errors
/// `Io`.
pub fn clean(storage: &dyn Storage, log: &Path) -> Result<()> {
    let names = storage.list(log)?;
    let checkpoints = names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok());
    let mut checkpoints: Vec<u64> = checkpoints.collect();
    checkpoints.sort_unstable();
    let [.., kept, _] = checkpoints[..] else {
        return Ok(());
    };
    for name in &names {
        // Also what a crash has left of one that was about to be written.
        let plain = name.strip_suffix(".new").unwrap_or(name);
        let version = plain.strip_suffix(SUFFIX).or_else(|| plain.strip_suffix(".json"));
        let version: Option<u64> = version.and_then(|version| version.parse().ok());
        // Names as they are written here, and nothing else that may lie there.
        let own = |version: u64| plain == file_name(version) || plain == format!("{version:020}{SUFFIX}");
        if version.is_some_and(|version| version < kept && own(version)) {
            storage.remove(&log.join(name))?;
        }
    }
    Ok(())
}

/// The columns of a checkpoint: one for each kind of action, of which each row has one.
fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let object = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let texts = |name: &str| Field::new(name, DataType::List(Arc::new(text("element"))), true);
    let map = |name: &str| {
        let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        let entries = Field::new("key_value", DataType::Struct(entry), false);
        Field::new(name, DataType::Map(Arc::new(entries), false), true)
    };
    let vector = vec![
        text("storageType"),
        text("pathOrInlineDv"),
        int("offset"),
        int("sizeInBytes"),
        long("cardinality"),
    ];
    Schema::new(vec![
        object(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                Field::new("dataChange", DataType::Boolean, true),
                text("stats"),
                object("deletionVector", vector),
            ],
        ),
        object(
            "metaData",
            vec![
                text("id"),
                text("name"),
                object("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        object(
            "protocol",
            vec![
                int("minReaderVersion"),
                int("minWriterVersion"),
                texts("readerFeatures"),
                texts("writerFeatures"),
            ],
        ),
    ])
}
