//! The engine's numbers for the `metrics` facade. What is counted elsewhere is told as it stands after each flush and compaction,
//! and whenever the program asks for statistics.

use std::collections::HashMap;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;

use super::stall::StallCause;
use super::stats::Stats;

/// Handles, fetched once.
pub(super) struct Facade {
    pub user_bytes: Counter,
    pub user_writes: Counter,
    pub flush_seconds: Histogram,
    pub flush_bytes: Counter,
    pub compaction_seconds: Histogram,
    pub compaction_read_bytes: Counter,
    pub compaction_written_bytes: Counter,
    pub stall_seconds: [Histogram; 3],
    pub publication_seconds: Histogram,
    pub publication_failures: Counter,
    state: Mutex<StateFacade>,
}

/// What is told as it stands.
struct StateFacade {
    gets: Counter,
    runs_searched: Counter,
    runs_excluded: Counter,
    cache_hits: Counter,
    cache_misses: Counter,
    cache_bytes: Gauge,
    memory_bytes: Gauge,
    open_runs: Gauge,
    snapshots: Gauge,
    /// By name; those that were dropped tell zeros once more.
    tables: HashMap<String, TableFacade>,
}

struct TableFacade {
    memtable_bytes: Gauge,
    /// Runs and bytes of each level.
    levels: Vec<(Gauge, Gauge)>,
}

impl Facade {
    pub fn new() -> Self {
        Self {
            user_bytes: counter!("kodiak_user_written_bytes"),
            user_writes: counter!("kodiak_user_writes"),
            flush_seconds: histogram!("kodiak_flush_seconds"),
            flush_bytes: counter!("kodiak_flush_written_bytes"),
            compaction_seconds: histogram!("kodiak_compaction_seconds"),
            compaction_read_bytes: counter!("kodiak_compaction_read_bytes"),
            compaction_written_bytes: counter!("kodiak_compaction_written_bytes"),
            publication_seconds: histogram!("kodiak_publication_seconds"),
            publication_failures: counter!("kodiak_publication_failures_total"),
            stall_seconds: StallCause::ALL.map(|cause| histogram!("kodiak_stall_seconds", "cause" => cause.name())),
            state: Mutex::new(StateFacade::new()),
        }
    }

    /// Tells how things stand.
    pub fn tell(&self, stats: &Stats) {
        self.state.lock().tell(stats);
    }
}

impl StateFacade {
    fn new() -> Self {
        Self {
            gets: counter!("kodiak_run_gets_total"),
            runs_searched: counter!("kodiak_runs_searched_total"),
            runs_excluded: counter!("kodiak_runs_excluded_total"),
            cache_hits: counter!("kodiak_cache_hits_total"),
            cache_misses: counter!("kodiak_cache_misses_total"),
            cache_bytes: gauge!("kodiak_cache_bytes"),
            memory_bytes: gauge!("kodiak_memory_bytes"),
            open_runs: gauge!("kodiak_open_runs"),
            snapshots: gauge!("kodiak_snapshots"),
            tables: HashMap::new(),
        }
    }

    fn tell(&mut self, stats: &Stats) {
        self.gets.absolute(stats.reads.gets);
        self.runs_searched.absolute(stats.reads.runs);
        self.runs_excluded.absolute(stats.reads.excluded);
        self.cache_hits.absolute(stats.cache.hits);
        self.cache_misses.absolute(stats.cache.misses);
        self.cache_bytes.set(stats.cache.used as f64);
        self.memory_bytes.set(stats.memory_bytes() as f64);
        self.open_runs.set(stats.open_runs as f64);
        self.snapshots.set(stats.snapshots as f64);
        self.tables.retain(|name, known| {
            let there = stats.tables.iter().any(|table| table.name == *name);
            if !there {
                known.tell(0, &[]);
            }
            there
        });
        for table in &stats.tables {
            let levels: Vec<_> = table.levels.iter().map(|level| (level.runs, level.bytes)).collect();
            let known = self.tables.entry(table.name.clone());
            let known = known.or_insert_with(|| TableFacade::new(&table.name));
            known.grow(&table.name, levels.len());
            known.tell(table.memtable_bytes, &levels);
        }
    }
}

impl TableFacade {
    fn new(table: &str) -> Self {
        Self {
            memtable_bytes: gauge!("kodiak_memtable_bytes", "table" => table.to_owned()),
            levels: Vec::new(),
        }
    }

    fn grow(&mut self, table: &str, levels: usize) {
        for level in self.levels.len()..levels {
            let labels = [("table", table.to_owned()), ("level", level.to_string())];
            let runs = gauge!("kodiak_level_runs", &labels);
            self.levels.push((runs, gauge!("kodiak_level_bytes", &labels)));
        }
    }

    /// Levels that are not given are empty.
    fn tell(&self, memtable_bytes: u64, levels: &[(usize, u64)]) {
        self.memtable_bytes.set(memtable_bytes as f64);
        for (index, (runs, bytes)) in self.levels.iter().enumerate() {
            let (own_runs, own_bytes) = levels.get(index).copied().unwrap_or_default();
            runs.set(own_runs as f64);
            bytes.set(own_bytes as f64);
        }
    }
}
