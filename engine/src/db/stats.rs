//! What a database consists of and what it has done.

use std::fmt;
use std::sync::atomic::Ordering;

use kodiak_core::index::IndexStats;
use kodiak_core::wal::WalStats;

use super::counters::Work;
use super::shared::Shared;
use super::stall::StallCause;
use crate::publish::PublicationStats;
use crate::run::{CacheStats, ReadStats};
use crate::secondary::SecondaryStats;

/// One level of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// One kind of background work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// A snapshot of a database's figures; counters begin at its opening. Its [`Display`](fmt::Display) is the report that
/// `kodiak stats` prints.
#[derive(Debug, Clone, Default)]
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
        let tables = shared.all_tables().into_iter().map(|table| {
            let view = table.view.load();
            let levels = view.version.levels.iter().map(|level| {
                let mut stats = LevelStats {
                    sorted_runs: level.sorted_runs.len(),
                    ..LevelStats::default()
                };
                for run in level.sorted_runs.iter().flat_map(|sorted| sorted.runs()) {
                    stats.runs += 1;
                    stats.bytes += run.bytes();
                    stats.entries += run.meta().entries;
                    stats.tombstones += run.meta().tombstones + run.meta().range_deletes;
                    let dead = view.version.dead.as_ref().and_then(|vectors| vectors.of(run.id()));
                    stats.dead += dead.map_or(0, |dead| dead.count());
                }
                stats
            });
            TableStats {
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
        });
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

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(
                f,
                "table {}: {} entries in memory ({}), {} memtables to flush",
                table.name,
                table.memtable_entries,
                human(table.memtable_bytes),
                table.frozen
            )?;
            for (level, stats) in table.levels.iter().enumerate().filter(|(_, stats)| stats.runs > 0) {
                writeln!(
                    f,
                    "  level {level}: {} runs in {} sorted runs, {}, {} entries, {} tombstones",
                    stats.runs,
                    stats.sorted_runs,
                    human(stats.bytes),
                    stats.entries,
                    stats.tombstones
                )?;
            }
            for secondary in &table.secondary {
                let (exact, index) = (if secondary.exact { ", exact" } else { "" }, &secondary.index);
                writeln!(
                    f,
                    "  index {}: {}{exact}, {}, {} written in {} commits; {} reads found {} rows, looked up {}, met {} void entries",
                    secondary.name,
                    secondary.kind,
                    human(index.used_bytes),
                    human(index.write_bytes),
                    index.commits,
                    secondary.reads,
                    secondary.found,
                    secondary.looked_up,
                    secondary.void
                )?;
            }
            if let Some((kind, index)) = &table.index {
                writeln!(
                    f,
                    "  primary index: {kind}, {}, {} written in {} commits, {} of {} reads of nodes from memory",
                    human(index.used_bytes),
                    human(index.write_bytes),
                    index.commits,
                    index.hits,
                    index.hits + index.misses
                )?;
            }
            if table.deletion_vectors {
                let sum = |of: fn(&LevelStats) -> u64| table.levels.iter().map(of).sum::<u64>();
                let (dead, entries) = (sum(|level| level.dead), sum(|level| level.entries));
                let share = 100.0 * dead as f64 / entries.max(1) as f64;
                writeln!(
                    f,
                    "  deletion vectors: {dead} of {entries} entries are dead ({share:.1} %)"
                )?;
            }
            if let Some(publication) = &table.publication {
                let state = match (&publication.failure, publication.due) {
                    (Some(failure), _) => format!("the last attempt failed: {failure}"),
                    (None, true) => "behind".to_owned(),
                    (None, false) => "up to date".to_owned(),
                };
                writeln!(f, "  publication: {state}, {} made", publication.publications)?;
            }
        }
        let amplification = self
            .write_amplification()
            .map_or("-".to_owned(), |factor| format!("{factor:.2}"));
        writeln!(
            f,
            "written: {} in {} operations",
            human(self.user_bytes),
            self.user_writes
        )?;
        writeln!(f, "write amplification: {amplification}")?;
        writeln!(
            f,
            "log: {} records, {}, {} syncs, {} segments, {} failures",
            self.wal.records,
            human(self.wal.bytes),
            self.wal.syncs,
            self.wal.segments,
            self.wal.failures
        )?;
        for (name, work) in [("flushes", &self.flushes), ("compactions", &self.compactions)] {
            writeln!(
                f,
                "{name}: {}, {} read, {} written, {:.3} s",
                work.jobs,
                human(work.bytes_read),
                human(work.bytes_written),
                work.nanos as f64 / 1e9
            )?;
        }
        writeln!(f, "runs moved: {}", self.moves)?;
        writeln!(
            f,
            "reads: {} runs searched, {} passed over by filters; {} blocks, {} of them in mapped files; {} left out by their statistics",
            self.reads.runs,
            self.reads.excluded,
            self.blocks_read(),
            self.reads.mapped_blocks,
            self.reads.left_out_blocks
        )?;
        let cache = &self.cache;
        let asked = (cache.hits + cache.misses).max(1) as f64;
        writeln!(
            f,
            "cache: {} of {} in {} blocks, {:.1} % hits of {}",
            human(cache.used),
            human(cache.capacity),
            cache.blocks,
            100.0 * cache.hits as f64 / asked,
            cache.hits + cache.misses
        )?;
        writeln!(
            f,
            "memory: {} of {}",
            human(self.memory_bytes()),
            human(self.memory_budget)
        )?;
        writeln!(
            f,
            "open runs: {}, snapshots: {}, last sequence number: {}",
            self.open_runs, self.snapshots, self.last_seq
        )?;
        for (cause, count, nanos) in &self.stalls {
            writeln!(f, "stalls by {}: {count}, {:.3} s", cause.name(), *nanos as f64 / 1e9)?;
        }
        Ok(())
    }
}

/// Bytes in the largest unit of which there is at least one.
fn human(bytes: u64) -> String {
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    match ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].get(power as usize) {
        Some(unit) if power > 0 => format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * power)) as f64),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_told_in_units_that_fit() {
        let told = [0, 1023, 1024, 1536, 5 << 20, 3 << 40, u64::MAX].map(super::human);
        assert_eq!(
            told,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB", "16.0 EiB"]
        );
    }
}
