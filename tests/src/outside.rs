//! Components from outside Kodiak, one for each trait: simple, and right. What is wrong on purpose is in [`wrong`].

pub mod filter;
pub mod format;
pub mod index;
pub mod memtable;
pub mod policy;
pub mod storage;
pub mod wal;
pub mod wrong;
