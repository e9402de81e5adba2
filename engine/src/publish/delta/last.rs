//! The newest version of the log, and how the next one differs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};
use serde_json::Value;

use super::{descriptor, file_name, header};
use crate::maintenance::read_small;
use crate::publish::record::{Checkpoint, PublishedFile, Record};

/// What the log knows a file by: its path and deletion vector.
type Key = (String, Option<String>);

/// What the log says of a file.
#[derive(Clone)]
pub struct FileFacts {
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    pub vector: Option<Value>,
}

/// What the log is to say of a file.
pub fn facts(file: &PublishedFile) -> FileFacts {
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
pub fn files_of(record: &Record) -> impl Iterator<Item = &PublishedFile> {
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
pub struct Last {
    pub version: u64,
    /// Its files, if it is not the version of the record.
    left: Option<BTreeMap<Key, FileFacts>>,
    /// `None` if it is not known.
    pub schema: Option<String>,
    /// Readers must know deletion vectors.
    pub vectors: bool,
    pub checkpoint: Checkpoint,
}

impl Last {
    /// The version of a record, or one that a publication has left that was cut short before its record was written; `None` if
    /// there is no such log.
    pub fn find(storage: &dyn Storage, log: &Path, known: &Record) -> Result<Option<Self>> {
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
    pub fn changes(&self, known: &Record, record: &Record) -> (Vec<FileFacts>, Vec<FileFacts>) {
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
