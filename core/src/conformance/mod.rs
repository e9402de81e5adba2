//! What every implementation of a trait must pass. Each family's own tests run its suite for every entry of its `ALL`.

pub mod bench;
mod extent;

pub mod format;

pub mod compaction;

pub mod filter;
pub mod index;
pub mod storage;

pub mod memtable;

pub mod wal;

pub use extent::extent;
