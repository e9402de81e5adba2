//! What is measured. A case is what one child process does; it yields one or more numbers.

mod fill;
mod mixed;
mod read;
mod ycsb;

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::data::{KEY_LEN, Rng, check_value, fill_value};
use crate::engine::{Engine, OpenOptions, Reader, Result};

/// What a child is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The engine's name.
    pub engine: String,
    /// What to do.
    pub kind: Kind,
    /// The store's directory.
    pub dir: PathBuf,
    /// Keys loaded or to load.
    pub keys: u64,
    /// Bytes of a value.
    pub value_len: usize,
    /// Bytes of a memtable.
    pub memtable: u64,
    /// Bytes of the engine's cache.
    pub cache: u64,
    /// Every write is synced.
    pub durable: bool,
    /// Seed of what is random in the run.
    pub seed: u64,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Prepares the store that reading cases use: random order, batches of 1000, drained, closed.
    Load,
    /// Prepares a store whose log has not been flushed, and dies.
    LoadLog,
    /// Puts in ascending key order.
    SequentialFill,
    /// Puts in random key order.
    RandomFill,
    /// Batches of 100 in random key order.
    BatchFill,
    /// Puts, each synced.
    SyncedFill,
    /// Two threads put.
    ParallelFill,
    /// Puts on existing keys.
    Overwrite,
    /// Gets of existing keys.
    ReadHit,
    /// Gets of absent keys.
    ReadMiss,
    /// Two threads get existing keys.
    ParallelRead,
    /// Seeks and reads so many entries.
    Seek(u32),
    /// Reads everything, with empty and with filled caches.
    Scan,
    /// Gets beside a writer.
    ReadWhileWriting,
    /// Deletes 90 %, then reads the survivors.
    Delete,
    /// A core workload of YCSB: `'a'` to `'f'`.
    Ycsb(char),
    /// Opens a store whose log must be replayed.
    Recovery,
}

/// Numbers that a case yields, by name.
pub type Measures = Vec<(String, f64)>;

impl Job {
    /// Bytes of all live entries.
    pub fn data(&self) -> u64 {
        self.keys * (KEY_LEN + self.value_len) as u64
    }

    /// How many operations a case makes that may make any number: enough to take a while with few keys, and not for ever with
    /// many.
    pub fn operations(&self) -> u64 {
        self.keys.max((self.keys * 20).min(200_000)).min(2_000_000)
    }

    fn open<E: Engine>(&self) -> Result<E> {
        let options = OpenOptions {
            memtable: self.memtable,
            cache: self.cache,
            data: self.data(),
            durable: self.durable,
        };
        E::open(&self.dir, &options)
    }

    fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }
}

/// Runs a case with an engine.
///
/// # Errors
/// Those of the engine; a value, an order or a count that is wrong.
pub fn run_case<E: Engine>(job: &Job) -> Result<Measures> {
    match job.kind {
        Kind::Load => fill::load::<E>(job),
        Kind::LoadLog => fill::load_log::<E>(job),
        Kind::SequentialFill | Kind::RandomFill | Kind::BatchFill => fill::fill::<E>(job),
        Kind::SyncedFill => fill::synced::<E>(job),
        Kind::ParallelFill => fill::parallel::<E>(job),
        Kind::Overwrite => fill::overwrite::<E>(job),
        Kind::ReadHit => read::hits::<E>(job),
        Kind::ReadMiss => read::misses::<E>(job),
        Kind::ParallelRead => read::parallel::<E>(job),
        Kind::Seek(entries) => read::seeks::<E>(job, u64::from(entries)),
        Kind::Scan => read::scan_all::<E>(job),
        Kind::ReadWhileWriting => mixed::read_while_writing::<E>(job),
        Kind::Delete => mixed::delete::<E>(job),
        Kind::Ycsb(workload) => ycsb::run::<E>(job, workload),
        Kind::Recovery => mixed::recovery::<E>(job),
    }
}

fn measure(name: &str, value: f64) -> (String, f64) {
    (name.to_owned(), value)
}

/// Operations per second since `start`.
fn rate(operations: u64, start: Instant) -> f64 {
    operations as f64 / start.elapsed().as_secs_f64().max(1e-9)
}

#[cold]
fn wrong(what: &str, key: &[u8]) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{what} for key {}", key.escape_ascii()).into()
}

/// A buffer that values are made in.
struct Values(Vec<u8>);

impl Values {
    fn new(job: &Job) -> Self {
        Self(vec![0; job.value_len])
    }

    #[inline]
    fn of(&mut self, key: &[u8], version: u64) -> &[u8] {
        fill_value(key, version, &mut self.0);
        &self.0
    }
}

/// Reads a key that has a value and checks it; its version.
#[inline]
fn read<R: Reader>(reader: &R, key: &[u8], len: usize) -> Result<u64> {
    match reader.get(key, |value| check_value(key, value, len))? {
        Some(Some(version)) => Ok(version),
        Some(None) => Err(wrong("a wrong value", key)),
        None => Err(wrong("no value", key)),
    }
}

/// Reads up to `limit` entries from `start` on and checks order and values; how many there were.
#[inline]
fn scan<R: Reader>(reader: &R, start: &[u8], limit: u64, len: usize) -> Result<u64> {
    let mut seen = 0;
    let mut last = [0; KEY_LEN];
    let mut mistake = None;
    reader.scan(start, |key, value| {
        if check_value(key, value, len).is_none() {
            mistake = Some(wrong("a wrong value", key));
            return false;
        }
        // Keys are 16 bytes here: checked with the value.
        let ascending = if seen == 0 { key >= start } else { key > last.as_slice() };
        if !ascending {
            mistake = Some(wrong("not in order", key));
            return false;
        }
        last.copy_from_slice(key);
        seen += 1;
        seen < limit
    })?;
    match mistake {
        Some(mistake) => Err(mistake),
        None => Ok(seen),
    }
}
