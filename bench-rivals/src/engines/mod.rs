//! The engines, each behind [`Engine`](crate::engine::Engine).

mod fjall;
mod index;
mod kodiak;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;

use crate::cases::{Job, Measures, run_case};
use crate::engine::Result;

/// What the driver knows of an engine.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in the table.
    pub title: &'static str,
    /// It has a cache whose size can be set.
    pub cache: bool,
    /// It recovers by replaying a log into memory.
    pub log: bool,
    /// Its settings beyond those that all share.
    pub settings: &'static str,
    /// Runs a case.
    pub run: fn(&Job) -> Result<Measures>,
}

/// Every engine, in the order of the table's columns.
pub const ALL: &[&Entry] = &[
    &Entry {
        name: "kodiak",
        title: "Kodiak",
        cache: true,
        log: true,
        settings: "Settings::default() but for memtable.size and cache.capacity; durable: wal.sync = full",
        run: run_case::<kodiak::Kodiak<false>>,
    },
    &Entry {
        name: "kodiak-lz4",
        title: "Kodiak, LZ4",
        cache: true,
        log: true,
        settings: "as Kodiak, but LZ4 on all levels",
        run: run_case::<kodiak::Kodiak<true>>,
    },
    #[cfg(feature = "rocksdb")]
    &Entry {
        name: "rocksdb",
        title: "RocksDB 10",
        cache: true,
        log: true,
        settings: "LZ4 on all levels, full bloom filters of 10 bits per key, 2 background jobs; durable: sync = true",
        run: run_case::<rocksdb::Rocks>,
    },
    &Entry {
        name: "fjall",
        title: "fjall 3.1",
        cache: true,
        log: true,
        settings: "defaults (LZ4 from level 2 down); durable: persist(SyncData) after each write",
        run: run_case::<fjall::Fjall>,
    },
    &Entry {
        name: "bplus",
        title: "Kodiak's B+ tree",
        cache: true,
        log: false,
        settings: "an index on its own: changes are in its pool, or its file, until a commit; durable: commit() after each write",
        run: run_case::<index::Tree<false>>,
    },
    &Entry {
        name: "fractal",
        title: "its fractal tree",
        cache: true,
        log: false,
        settings: "as the B+ tree; the pool has 32 MiB at least",
        run: run_case::<index::Tree<true>>,
    },
    &Entry {
        name: "redb",
        title: "redb 4",
        cache: true,
        log: false,
        settings: "Durability::None, which keeps commits in memory until a durable one; durable: Durability::Immediate",
        run: run_case::<redb::Redb>,
    },
    &Entry {
        name: "sled",
        title: "sled 0.34",
        cache: true,
        log: false,
        settings: "Mode::HighThroughput; buffers reach the system when full or after 500 ms; durable: flush() after each write",
        run: run_case::<sled::Sled>,
    },
    &Entry {
        name: "lmdb",
        title: "LMDB",
        cache: false,
        log: false,
        settings: "NO_SYNC (no WRITE_MAP): pages are written at commit, not synced; durable: without NO_SYNC",
        run: run_case::<lmdb::Lmdb>,
    },
];

/// The engine of a name.
///
/// # Errors
/// An unknown name, listing the known ones.
pub fn find(name: &str) -> Result<&'static Entry> {
    ALL.iter().copied().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|entry| entry.name).collect();
        format!(
            "there is no engine \"{name}\" in this build; the engines are: {}",
            known.join(", ")
        )
        .into()
    })
}
