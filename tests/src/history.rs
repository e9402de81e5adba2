//! Histories: the operations that a test carries out, and the file that keeps them for a replay.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use kodiak::Settings;
use serde::{Deserialize, Serialize};

/// A key, written in hexadecimal digits in a replay file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Key(pub Vec<u8>);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let byte = |at: usize| {
            digits
                .get(at..at + 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        bytes
            .map(Key)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{digits}\" is not hexadecimal")))
    }
}

/// A value, by its length and a seed from which its bytes follow: half of them repeat, so that compression has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Bytes.
    pub len: u32,
    /// What they follow from.
    pub seed: u32,
}

impl Value {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut state = u64::from(self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..self.len)
            .map(|at| {
                if at % 16 < 8 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                }
                (state >> 32) as u8
            })
            .collect()
    }
}

/// What a write does to its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Gives a key a value.
    Put(Key, Value),
    /// Takes the value of a key away.
    Delete(Key),
    /// Takes the values from the first key up to, but without, the second away.
    DeleteRange(Key, Key),
    /// Adds an operand; skipped in a table without merge operator.
    Merge(Key, Value),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The table, by its place in [`TABLES`](crate::model::TABLES).
    pub table: usize,
    /// What it does.
    pub change: Change,
}

/// A scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanOp {
    /// The table.
    pub table: usize,
    /// The snapshot to read at.
    pub at: Option<usize>,
    /// Lower bound.
    pub start: Bound<Key>,
    /// Upper bound.
    pub end: Bound<Key>,
    /// Instead of the bounds: keys that begin with this.
    pub prefix: Option<Key>,
    /// Backward.
    pub reverse: bool,
    /// Entries read at most.
    pub limit: usize,
    /// After so many entries, a seek to this key.
    pub seek: Option<(usize, Key)>,
    /// Blocks go into the cache.
    pub fill_cache: bool,
    /// Read through `next_ref` instead of the iterator.
    pub borrowed: bool,
}

/// One operation of a history. What makes no sense at some moment (a table that does not exist, say) is skipped, so that any
/// part of a history is a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// One write by itself.
    Write(Write),
    /// Several writes that take effect together.
    Batch(Vec<Write>),
    /// A point read.
    Get {
        /// The table.
        table: usize,
        /// The snapshot to read at.
        at: Option<usize>,
        /// The key.
        key: Key,
    },
    /// Several point reads at one moment.
    MultiGet {
        /// The table.
        table: usize,
        /// The keys.
        keys: Vec<Key>,
    },
    /// A range of entries.
    Scan(ScanOp),
    /// Takes a snapshot into a slot, replacing the one there.
    Snapshot(usize),
    /// Drops the snapshot of a slot.
    DropSnapshot(usize),
    /// Syncs the log.
    Sync,
    /// Flushes every table.
    Flush,
    /// Flushes, and merges every table into one sorted run.
    Compact,
    /// Flushes, and merges what a table has from the first key up to, but without, the second.
    CompactRange {
        /// The table.
        table: usize,
        /// The range.
        range: (Key, Key),
    },
    /// Waits until background work is done.
    WaitIdle,
    /// Changes the columns of a typed table; skipped for others.
    Alter {
        /// The table.
        table: usize,
        /// What is changed follows from it.
        what: usize,
    },
    /// Creates a secondary index of a table, or drops it if it is there.
    Index {
        /// The table.
        table: usize,
        /// By what follows from it.
        what: usize,
    },
    /// A table chooses its indexes anew; skipped where the pool of the settings is too small for them.
    Choose {
        /// The table.
        table: usize,
        /// What it chooses follows from it.
        what: usize,
    },
    /// Compares what the indexes of a table find with a scan of it.
    ReadIndexes {
        /// The table.
        table: usize,
        /// The snapshot to read at.
        at: Option<usize>,
    },
    /// Closes and opens again, by `close` or by dropping every handle.
    Reopen {
        /// By `close`.
        explicit: bool,
    },
    /// The process dies, and another one opens the database.
    Kill,
    /// The power fails. So many percent of what was not synced survive.
    PowerLoss {
        /// The percentage.
        survival: u8,
        /// What decides which.
        seed: u64,
    },
    /// Creates a table.
    CreateTable(usize),
    /// Drops a table.
    DropTable(usize),
    /// Puts in ascending order of keys, past the log.
    Ingest {
        /// The table.
        table: usize,
        /// What to put; of a key that comes twice the last value.
        entries: Vec<(Key, Value)>,
    },
    /// Opens the last checkpoint, if there is one, compares it with what it was made of, and makes another.
    Checkpoint,
    /// Adds a backup.
    Backup,
    /// Restores one of the last backups and compares it with what it was made of.
    Restore(usize),
    /// The clock goes on by so many ticks.
    Advance(u64),
}

/// What a failing test leaves behind: the settings, and the operations that are still needed to fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    /// What went wrong.
    pub failure: String,
    /// The settings, as TOML.
    pub settings: String,
    /// The operations.
    pub ops: Vec<Op>,
}

impl Replay {
    /// Writes the file and tells its path. It goes into the directory that `KODIAK_REPLAY_DIR` names, or the system's for
    /// temporary files.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, name: &str) -> std::io::Result<PathBuf> {
        let dir = std::env::var_os("KODIAK_REPLAY_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("kodiak-replay-{name}.json"));
        std::fs::write(
            &path,
            serde_json::to_string_pretty(self).map_err(std::io::Error::other)?,
        )?;
        Ok(path)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` for a file of another form.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(std::io::Error::other)
    }

    /// The settings.
    ///
    /// # Errors
    /// As [`Settings::from_toml`].
    pub fn settings(&self) -> kodiak::Result<Settings> {
        Settings::from_toml(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_file_gives_back_what_was_saved() {
        let ops: Vec<Op> = crate::generate::Generator::new(1).take(500).collect();
        let replay = Replay {
            failure: "none".to_owned(),
            settings: Settings::default().to_toml(),
            ops,
        };
        let text = serde_json::to_string(&replay).expect("serialises");
        let again: Replay = serde_json::from_str(&text).expect("parses");
        assert_eq!(again.ops, replay.ops);
        assert_eq!(again.settings().expect("valid"), Settings::default());
    }
}
