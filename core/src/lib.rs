//! The traits of Kodiak and the types they speak in.
//!
//! This crate knows no implementation. Each family of exchangeable parts has one module here: the trait, what an
//! implementation promises, what it may decline to do (its *capabilities*), and the factory through which the settings
//! file finds it by name.
//!
//! | family | trait | factory |
//! |---|---|---|
//! | memtables | [`Memtable`](memtable::Memtable) | [`MemtableFactory`](memtable::MemtableFactory) |
//! | block formats | [`BlockFormat`](format::BlockFormat) | [`FormatFactory`](format::FormatFactory) |
//! | write-ahead logs | [`Wal`](wal::Wal) | [`WalFactory`](wal::WalFactory) |
//! | filters | [`Filter`](filter::Filter) | [`FilterFactory`](filter::FilterFactory) |
//! | indexes | [`Index`](index::Index) | [`IndexFactory`](index::IndexFactory) |
//! | compaction policies | [`CompactionPolicy`](compaction::CompactionPolicy) | [`PolicyFactory`](compaction::PolicyFactory) |
//! | storage | [`Storage`](storage::Storage) | given to the builder as an object |
//!
//! With the feature `conformance` it also holds the suites that every implementation must pass.

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod arrays;
pub mod batch;
pub mod block;
pub mod compaction;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod entry;
pub mod error;
pub mod filter;
pub mod format;
pub mod index;
mod key_range;
pub mod keycodec;
pub mod memory;
pub mod memtable;
pub mod options;
pub mod prefetch;
pub mod registry;
pub mod rowcodec;
pub mod schema;
pub mod slice;
pub mod storage;
pub mod varint;
pub mod wal;

pub use entry::{EntryRef, Op, SeqNo};
pub use error::{Error, ErrorKind, Result, shown_key};
pub use key_range::KeyRange;
pub use slice::Slice;
