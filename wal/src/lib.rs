//! Write-ahead logs.
//!
//! All kinds but `none` write the same segments (`docs/formats/wal.md`), so that each can replay what another has written.
//! Besides the factories this crate offers the reader of a single segment, and the dump of a log's history.

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod blocks;
mod company;
mod dump;
mod files;
pub mod format;
mod head;
mod mapped;
mod metrics;
mod none;
pub mod reader;
mod replay;
mod rescue;
mod segment;
mod staging;

use kodiak_core::wal::WalFactory;

pub use dump::{DumpLine, dump};

/// Every log.
pub const ALL: &[&WalFactory] = &[
    // First, so the default: the cheapest append in the default sync mode.
    &mapped::FACTORY,
    // Needs nothing but positioned writes.
    &segment::FACTORY,
    // Last: it keeps nothing.
    &none::FACTORY,
];
