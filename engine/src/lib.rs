//! An embeddable LSM storage engine in which every part can be exchanged.
//!
//! ```
//! # fn main() -> kodiak::Result<()> {
//! # let dir = tempfile::tempdir().map_err(|error| kodiak::Error::new(kodiak::ErrorKind::Io, error.to_string()))?;
//! let db = kodiak::Db::open(dir.path(), kodiak::Settings::default())?;
//! let users = db.create_table("users", kodiak::TableSchema::key_value())?;
//! users.put(b"ada", b"countess")?;
//! users.put(b"bob", b"builder")?;
//! for item in users.scan(b"a"..b"c")? {
//!     let (key, value) = item?;
//!     println!("{} {}", key.escape_ascii(), value.escape_ascii());
//! }
//! let mut batch = db.batch();
//! batch.put(&users, b"cem", b"poet").delete(&users, b"bob");
//! db.write(batch)?;
//! let snapshot = db.snapshot();
//! users.delete(b"ada")?;
//! assert!(users.get(b"ada")?.is_none());
//! assert!(users.get_at(&snapshot, b"ada")?.is_some());
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! One [`Settings`] value, read from a TOML file or made in code, picks memtable, log, block format, filter and compaction
//! policy; [`Components`] holds what there is to pick from and takes components from outside.

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod compact;
pub mod components;
mod db;
mod deletion;
mod exact;
pub mod inspect;
pub mod maintenance;
pub mod manifest;
mod merge;
mod primary;
pub mod publish;
mod range_delete;
mod read;
mod run;
pub mod secondary;
pub mod settings;
mod side_by_side;
pub mod sidecar;
mod typed;
mod version;

/// The Arrow that record batches and schemas are of. A program's own dependency on it must be of the same major version.
pub use arrow;
pub use components::{Components, export, outside};
pub use db::{
    Builder, Db, IndexOptions, LevelStats, RangeSize, ScanOptions, Snapshot, StallCause, Stats, Table, TableOptions,
    TableStats, WorkStats, WriteBatch,
};
pub use kodiak_core as core;
pub use kodiak_core::schema::TableSchema;
pub use kodiak_core::wal::{RecoveryMode, SyncMode, WalStats};
pub use kodiak_core::{Error, ErrorKind, KeyRange, Result, Slice};
pub use kodiak_storage::{LocalStorage, MemoryStorage};
pub use merge::{Append, Counter, LastNonNull, MergeOperator, MergeOperators};
pub use read::{Scan, ScanBounds};
pub use run::{CacheStats, ReadStats};
pub use secondary::{
    IndexBatches, IndexDefinition, IndexEntries, IndexRead, KeyExtractor, SecondaryStats, StoredDefinition,
};
pub use settings::Settings;
pub use typed::{Alteration, Batches, Column, Fitting, Literal, Misfit, Predicate, Read, col};
