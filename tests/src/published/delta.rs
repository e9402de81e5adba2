//! The published Delta table, by its log and deletion vectors alone (github.com/delta-io/delta, PROTOCOL.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow_json::LineDelimitedWriter;
use bytes::Bytes;
use kodiak::core::storage::Storage;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use roaring::RoaringTreemap;
use serde_json::Value;

use super::{Publication, alive, bytes, lacked, list, names, number, text, typed};

/// The directory of the log.
pub const LOG_DIR: &str = "_delta_log";
/// What a deletion vector begins with.
const MAGIC: u32 = 1_681_511_377;

/// The state of a table after some versions.
#[derive(Debug, Default)]
struct State {
    /// `add` actions, by path and deletion vector.
    files: BTreeMap<(String, String), Value>,
    columns: Vec<String>,
    /// What the newest version was made at, once a version has told it.
    sequence: u64,
    told: bool,
    /// Readers are asked to know deletion vectors.
    vectors: bool,
}

/// Reads the newest version of the table, which must be `known` or come after it.
///
/// # Errors
/// What is missing, damaged, or against the protocol.
pub fn read(storage: &dyn Storage, dir: &Path, known: u64) -> Result<Publication, String> {
    let log = dir.join(LOG_DIR);
    let versions: BTreeSet<u64> = list(storage, &log)?
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
        .collect();
    let newest = *versions.last().ok_or("the Delta log is empty")?;
    // Publications that failed before their records were written have left versions.
    if newest < known {
        return Err(format!("the Delta table is at version {newest}, the record at {known}"));
    }
    let (mut state, first) = State::begin(storage, &log)?;
    for version in first..=newest {
        let name = format!("{version:020}.json");
        let version = bytes(storage, &log.join(&name))?.ok_or_else(|| format!("{name} is missing"))?;
        state.apply(&version).map_err(|error| format!("{name}: {error}"))?;
    }
    if !state.told {
        // The newest version is that of the checkpoint.
        let name = format!("{newest:020}.json");
        let version = bytes(storage, &log.join(&name))?.ok_or_else(|| format!("{name} is missing"))?;
        let info = version.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let info: Value = serde_json::from_slice(info).map_err(|error| error.to_string())?;
        state.sequence = number(&info["commitInfo"]["kodiakSequence"])?;
    }
    let held: Vec<_> = state
        .columns
        .iter()
        .map(|name| (name.clone(), Some(name.clone())))
        .collect();
    let mut rows = Vec::new();
    for add in state.files.values() {
        let stats: Value = serde_json::from_str(text(&add["stats"])?).map_err(|error| error.to_string())?;
        let dead = match &add["deletionVector"] {
            Value::Null => BTreeSet::new(),
            descriptor => vector(storage, dir, descriptor)?,
        };
        let described = (number(&add["size"])?, number(&stats["numRecords"])?);
        rows.push(alive(storage, dir, text(&add["path"])?, described, &held, &dead)?);
    }
    // Older files lack columns; there is one that has them all.
    let whole = rows.iter().find(|part| lacked(part).next().is_none());
    let whole = whole.ok_or("no file has all columns")?.schema();
    Ok(Publication {
        sequence: state.sequence,
        columns: state.columns,
        rows: typed(rows, &whole)?,
    })
}

/// What tells files of a state apart.
fn key(action: &Value) -> Result<(String, String), String> {
    let vector = action["deletionVector"]["pathOrInlineDv"].as_str().unwrap_or_default();
    Ok((text(&action["path"])?.to_owned(), vector.to_owned()))
}

impl State {
    /// By the last checkpoint, or from the first version; and the version that follows.
    fn begin(storage: &dyn Storage, log: &Path) -> Result<(Self, u64), String> {
        let mut state = Self::default();
        let Some(last) = bytes(storage, &log.join("_last_checkpoint"))? else {
            return Ok((state, 0));
        };
        let last: Value = serde_json::from_slice(&last).map_err(|error| error.to_string())?;
        let version = number(&last["version"])?;
        let name = format!("{version:020}.checkpoint.parquet");
        let file = bytes(storage, &log.join(&name))?.ok_or_else(|| format!("{name} is missing"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        if number(&last["sizeInBytes"])? != file.len() as u64 {
            return Err(wrong(&"it has another size than _last_checkpoint says"));
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).map_err(|error| wrong(&error))?;
        let mut lines = LineDelimitedWriter::new(Vec::new());
        let mut rows = 0;
        for batch in reader.build().map_err(|error| wrong(&error))? {
            let batch = batch.map_err(|error| wrong(&error))?;
            rows += batch.num_rows() as u64;
            lines.write(&batch).map_err(|error| wrong(&error))?;
        }
        lines.finish().map_err(|error| wrong(&error))?;
        if number(&last["size"])? != rows {
            return Err(wrong(&format!("it has {rows} actions, against {last}")));
        }
        state.apply(&lines.into_inner()).map_err(|error| wrong(&error))?;
        if number(&last["numOfAddFiles"])? != state.files.len() as u64 || state.columns.is_empty() {
            return Err(wrong(&"it lacks files or columns"));
        }
        Ok((state, version + 1))
    }

    /// Applies a version's actions: removals first, since their order means nothing.
    fn apply(&mut self, version: &[u8]) -> Result<(), String> {
        let lines = version.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let actions: Vec<Value> = lines
            .map(|line| serde_json::from_slice(line).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        for remove in actions.iter().filter_map(|action| action.get("remove")) {
            if self.files.remove(&key(remove)?).is_none() {
                return Err(format!("it removes what is not there: {remove}"));
            }
        }
        for action in &actions {
            if let Some(add) = action.get("add") {
                if self.files.insert(key(add)?, add.clone()).is_some() {
                    return Err(format!("it adds what is there: {add}"));
                }
            } else if let Some(metadata) = action.get("metaData") {
                let schema: Value =
                    serde_json::from_str(text(&metadata["schemaString"])?).map_err(|error| error.to_string())?;
                let fields = schema["fields"].as_array().ok_or("a schema without fields")?.iter();
                self.columns = names(&Value::Array(fields.map(|field| field["name"].clone()).collect()))?;
            } else if let Some(protocol) = action.get("protocol") {
                let features = protocol["readerFeatures"].as_array().into_iter().flatten();
                self.vectors = features.into_iter().any(|feature| feature == "deletionVectors");
            } else if let Some(info) = action.get("commitInfo") {
                self.sequence = number(&info["kodiakSequence"])?;
                self.told = true;
            }
        }
        if !self.vectors && self.files.keys().any(|(_, vector)| !vector.is_empty()) {
            return Err("a file has a deletion vector, which the protocol does not have".to_owned());
        }
        let paths: BTreeSet<&String> = self.files.keys().map(|(path, _)| path).collect();
        if paths.len() != self.files.len() {
            return Err("a file is there twice, with different deletion vectors".to_owned());
        }
        Ok(())
    }
}

/// The rows of a deletion vector in a file of its own.
fn vector(storage: &dyn Storage, dir: &Path, descriptor: &Value) -> Result<BTreeSet<u64>, String> {
    let id = decode(text(&descriptor["pathOrInlineDv"])?).ok_or("a path that is not Z85")?;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    let name = format!("deletion_vector_{}.bin", parts.join("-"));
    let stored = bytes(storage, &dir.join(&name))?.ok_or_else(|| format!("{name} is missing"))?;
    let damaged = || format!("{name} is damaged");
    let at = number(&descriptor["offset"])? as usize;
    let len = number(&descriptor["sizeInBytes"])? as usize;
    let word = |at: usize| -> Option<[u8; 4]> { stored.get(at..at + 4)?.try_into().ok() };
    let data = stored.get(at + 4..at + 4 + len).ok_or_else(damaged)?;
    let framed = word(at).map(u32::from_be_bytes) == Some(len as u32)
        && word(at + 4).map(u32::from_le_bytes) == Some(MAGIC)
        && word(at + 4 + len).map(u32::from_be_bytes) == Some(crc32fast::hash(data));
    if !framed || stored.first() != Some(&1) {
        return Err(damaged());
    }
    let rows = RoaringTreemap::deserialize_from(&data[4..]).map_err(|error| format!("{name}: {error}"))?;
    if rows.len() != number(&descriptor["cardinality"])? {
        return Err(format!("{name} has {} rows, against {descriptor}", rows.len()));
    }
    Ok(rows.iter().collect())
}

/// The bytes of a text in Z85 (rfc.zeromq.org/spec/32).
fn decode(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut out = Vec::new();
    for group in text.as_bytes().chunks(5) {
        let digit = |number: u32, byte: &u8| Some(number * 85 + DIGITS.find(char::from(*byte))? as u32);
        out.extend_from_slice(&group.iter().try_fold(0, digit)?.to_be_bytes());
    }
    Some(out)
}
