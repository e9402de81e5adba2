//! What a database consists of and what it has done.

mod report;

use std::sync::atomic::Ordering;

use kodiak_core::index::IndexStats;
use kodiak_core::wal::WalStats;
use serde::Serialize;

use super::counters::Work;
use super::shared::Shared;
use super::stall::StallCause;
use super::table_state::TableInner;
use crate::publish::PublicationStats;
use crate::run::{CacheStats, ReadStats};
use crate::secondary::SecondaryStats;

/// One level of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LevelStats {
    /// Sorted runs: what a scan merges.
    pub sorted_runs: usize,
    /// Runs (data files).
    pub runs: usize,
    /// Bytes of data files and sidecars.
    pub bytes: u64,
    /// Rows, tombstones included.
    pub entries: u64,
    /// Point tombstones and range deletes.
    pub tombstones: u64,
    /// Rows that are dead, deletes included: 0 without deletion vectors.
    pub dead: u64,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableStats {
    /// Its name.
    pub name: String,
    /// From level 0 down.
    pub levels: Vec<LevelStats>,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
    /// Entries in memtables.
    pub memtable_entries: u64,
    /// Memtables that wait for their flush.
    pub frozen: usize,
    /// Its primary index, if it has one: the kind, and numbers about it.
    pub index: Option<(String, IndexStats)>,
    /// Its secondary indexes.
    pub secondary: Vec<SecondaryStats>,
    /// Whether it has deletion vectors.
    pub deletion_vectors: bool,
    /// What was published of it in the background, with the setting `publish.continuous`.
    pub publication: Option<PublicationStats>,
}

impl TableStats {
    pub(crate) fn of(table: &TableInner) -> Self {
        let view = table.view.load();
        let levels = view.version.levels.iter().map(|level| {
            let totals = level.totals();
            // Where there are vectors, all runs have been read.
            let vectors = view.version.dead.iter();
            let runs = || level.sorted_runs.iter().flat_map(|sorted| sorted.known_runs());
            let dead = vectors.flat_map(|vectors| runs().filter_map(|run| vectors.of(run.id())));
            LevelStats {
                sorted_runs: level.sorted_runs.len(),
                runs: totals.runs as usize,
                bytes: totals.bytes,
                entries: totals.entries,
                tombstones: totals.tombstones.saturating_add(totals.range_deletes),
                dead: dead.map(|dead| dead.count()).sum(),
            }
        });
        Self {
            name: table.name.clone(),
            levels: levels.collect(),
            memtable_bytes: view.slots().map(|slot| slot.memory() as u64).sum(),
            memtable_entries: view.slots().map(|slot| slot.entries.len() as u64).sum(),
            frozen: view.frozen.len(),
            index: table.primary.stats(),
            secondary: table.secondary.stats(&view.secondary),
            deletion_vectors: view.version.dead.is_some(),
            publication: table.continuous.stats(&view.version),
        }
    }

    /// The sorted runs of all levels: so many a scan merges, besides the memtables, and so many may hold a version of a key.
    pub fn sorted_runs(&self) -> usize {
        self.levels.iter().map(|level| level.sorted_runs).sum()
    }

    /// Bytes of runs for each byte of the deepest level that has any, which holds the oldest version of everything: what newer
    /// versions, deletes and rows that are only in upper levels take is above 1. `None` without runs.
    pub fn space_amplification(&self) -> Option<f64> {
        let all: u64 = self.levels.iter().map(|level| level.bytes).sum();
        let deepest = self.levels.iter().rev().find(|level| level.bytes > 0)?;
        Some(all as f64 / deepest.bytes as f64)
    }
}

/// One kind of background work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WorkStats {
    /// Jobs done.
    pub jobs: u64,
    /// Bytes of runs read.
    pub bytes_read: u64,
    /// Bytes of runs written.
    pub bytes_written: u64,
    /// Time spent, nanoseconds.
    pub nanos: u64,
}

impl WorkStats {
    fn of(work: &Work) -> Self {
        Self {
            jobs: work.jobs.load(Ordering::Relaxed),
            bytes_read: work.bytes_read.load(Ordering::Relaxed),
            bytes_written: work.bytes_written.load(Ordering::Relaxed),
            nanos: work.nanos.load(Ordering::Relaxed),
        }
    }
}

/// A snapshot of a database's figures; counters begin at its opening. Its [`Display`](std::fmt::Display) is the report that
/// `kodiak stats` prints.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    /// The tables, by number.
    pub tables: Vec<TableStats>,
    /// Bytes of batches written.
    pub user_bytes: u64,
    /// Operations written.
    pub user_writes: u64,
    /// The log.
    pub wal: WalStats,
    /// Flushes.
    pub flushes: WorkStats,
    /// Compactions.
    pub compactions: WorkStats,
    /// Runs moved to another level without rewriting.
    pub moves: u64,
    /// What reads have touched, and compactions as far as they read in mapped files.
    pub reads: ReadStats,
    /// The block cache.
    pub cache: CacheStats,
    /// Open runs.
    pub open_runs: usize,
    /// Snapshots held.
    pub snapshots: usize,
    /// For each cause: how often writers waited, and for how long (nanoseconds).
    pub stalls: Vec<(StallCause, u64, u64)>,
    /// The sequence number of the newest visible write.
    pub last_seq: u64,
    /// Bytes of index nodes in memory.
    pub index_memory: u64,
    /// The memory budget, bytes.
    pub memory_budget: u64,
}

impl Stats {
    pub(crate) fn collect(shared: &Shared) -> Self {
        let tables = shared.all_tables().into_iter().map(|table| TableStats::of(&table));
        Self {
            tables: tables.collect(),
            user_bytes: shared.counters.user_bytes.sum(),
            user_writes: shared.counters.user_writes.sum(),
            wal: shared.wal.as_ref().map(|wal| wal.stats()).unwrap_or_default(),
            flushes: WorkStats::of(&shared.counters.flushes),
            compactions: WorkStats::of(&shared.counters.compactions),
            moves: shared.counters.moves.load(Ordering::Relaxed),
            reads: shared.cache.reads.stats(),
            cache: shared.cache.stats(),
            open_runs: shared.open_runs.len(),
            snapshots: shared.snapshots.len(),
            stalls: shared.stalls.totals(),
            last_seq: shared.visible(),
            index_memory: shared.index_pools.used() + shared.secondary_pools.used(),
            memory_budget: shared.settings.memory_budget(),
        }
    }

    /// Bytes of all runs, and of indexes as far as they are in use.
    pub fn disk_bytes(&self) -> u64 {
        let levels = self.tables.iter().flat_map(|table| &table.levels);
        levels.map(|level| level.bytes).sum::<u64>() + self.indexes().map(|index| index.used_bytes).sum::<u64>()
    }

    /// Numbers about all index files.
    fn indexes(&self) -> impl Iterator<Item = &IndexStats> {
        self.tables.iter().flat_map(|table| {
            let primary = table.index.iter().map(|(_, index)| index);
            primary.chain(table.secondary.iter().map(|secondary| &secondary.index))
        })
    }

    /// Bytes of memtables, cache and index nodes.
    pub fn memory_bytes(&self) -> u64 {
        let memtables: u64 = self.tables.iter().map(|table| table.memtable_bytes).sum();
        memtables + self.cache.used + self.index_memory
    }

    /// Blocks that were looked into, in the cache or in mapped files.
    pub fn blocks_read(&self) -> u64 {
        self.cache.hits + self.cache.misses + self.reads.mapped_blocks
    }

    /// How many runs a point read that memtables did not answer had to search, on average; `None` before there was one.
    pub fn read_amplification(&self) -> Option<f64> {
        (self.reads.gets > 0).then(|| self.reads.runs as f64 / self.reads.gets as f64)
    }

    /// Bytes written to disk (log, flushes, compactions, indexes) for each byte that the program wrote; `None` before it
    /// wrote any.
    pub fn write_amplification(&self) -> Option<f64> {
        let written = self.wal.bytes
            + self.flushes.bytes_written
            + self.compactions.bytes_written
            + self.indexes().map(|index| index.write_bytes).sum::<u64>();
        (self.user_bytes > 0).then(|| written as f64 / self.user_bytes as f64)
    }
}
