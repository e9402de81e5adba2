//! Where entries come from: generated, or read from a file.
//!
//! Entries are addressed by number, so that a workload can name a key without keeping the keys, and a model can tell what the
//! value of a key must be from the number of times that it was written.

mod csv_file;
mod flights;
mod key_value;
mod mixing;

use std::path::{Path, PathBuf};

use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

pub use csv_file::CsvFile;
pub use flights::Flights;
pub use key_value::{KeyOrder, KeyValue};
pub(crate) use mixing::mix;

/// A set of entries. Methods append to `out`.
pub trait Dataset: Send + Sync {
    /// How many entries are loaded.
    fn len(&self) -> u64;

    /// True if there is nothing to load.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of entry `index`. Every index has one, and no two have the same: those from [`len`](Self::len) on are for
    /// workloads that insert.
    fn key(&self, index: u64, out: &mut Vec<u8>);

    /// A key that no entry has, near that of entry `index`.
    fn absent_key(&self, index: u64, out: &mut Vec<u8>);

    /// The value of entry `index` after it was overwritten `version` times.
    fn value(&self, index: u64, version: u32, out: &mut Vec<u8>);

    /// One line for reports.
    fn describe(&self) -> String;
}

/// How to make a [`Dataset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSpec {
    /// Generated rows in the shape of the flights that left New York City.
    Flights {
        /// How many.
        rows: u64,
    },
    /// Generated keys and values.
    KeyValue {
        /// How many.
        entries: u64,
        /// Bytes of a key, at least 16.
        key_size: usize,
        /// Bytes of a value.
        value_size: usize,
        /// Ascending or random.
        order: KeyOrder,
    },
    /// The lines of a CSV file with a header.
    Csv {
        /// The file.
        path: PathBuf,
        /// The columns that make up the key; none: the number of the line.
        key: Vec<String>,
    },
}

impl DataSpec {
    /// What `--data` may say: `flights[:ROWS]`, `kv[:ENTRIES]`, `kv-sequential[:ENTRIES]`, or the path of a CSV file.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is none.
    pub fn parse(text: &str, key: &[String]) -> Result<Self> {
        let (name, count) = text
            .split_once(':')
            .map_or((text, None), |(name, count)| (name, Some(count)));
        let generated = |default: u64| match count.map(|count| count.replace('_', "").parse::<u64>()) {
            None => Ok(default),
            Some(Ok(count)) if count > 0 => Ok(count),
            Some(_) => Err(Error::invalid_input(format!(
                "\"{text}\": write a number of entries, as in {name}:100000"
            ))),
        };
        let key_value = |order| {
            Ok(Self::KeyValue {
                entries: generated(DEFAULT_ENTRIES)?,
                key_size: 16,
                value_size: 100,
                order,
            })
        };
        match name {
            "flights" => Ok(Self::Flights {
                rows: generated(DEFAULT_ENTRIES)?,
            }),
            "kv" => key_value(KeyOrder::Random),
            "kv-sequential" => key_value(KeyOrder::Sequential),
            _ => Ok(Self::Csv {
                path: Path::new(text).to_owned(),
                key: key.to_vec(),
            }),
        }
    }

    /// Makes the entries, or reads them.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `InvalidInput` naming the file, and the line or column that cannot be used.
    pub fn open(&self) -> Result<Box<dyn Dataset>> {
        Ok(match self {
            Self::Flights { rows } => Box::new(Flights::new(*rows)),
            Self::KeyValue {
                entries,
                key_size,
                value_size,
                order,
            } => Box::new(KeyValue::new(*entries, *key_size, *value_size, *order)?),
            Self::Csv { path, key } => Box::new(CsvFile::open(path, key)?),
        })
    }
}

impl Default for DataSpec {
    fn default() -> Self {
        Self::Flights { rows: DEFAULT_ENTRIES }
    }
}

/// Entries that are generated where no number is given.
const DEFAULT_ENTRIES: u64 = 100_000;

/// Bytes of all keys and values of a dataset, estimated from a sample.
pub fn estimated_bytes(data: &dyn Dataset) -> u64 {
    const SAMPLE: u64 = 1000;
    if data.is_empty() {
        return 0;
    }
    let step = (data.len() / SAMPLE).max(1);
    let mut bytes = Vec::new();
    let mut sampled = 0;
    for index in (0..data.len()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        data.key(index, &mut bytes);
        data.value(index, 0, &mut bytes);
        sampled += 1;
    }
    bytes.len() as u64 * data.len() / sampled
}

#[cfg(test)]
mod tests;
