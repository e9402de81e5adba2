//! Block formats: Feather, Parquet, ORC and rows.
//!
//! One file per format with its `FACTORY`, and one line of [`ALL`] here. Every entry passes the suite in
//! `kodiak_core::conformance::format` for every compression that it declares (`tests/conformance.rs`).
//!
//! What formats share: `sink` sums up the parts of a file as they are written, `file` reads ranges of a file of which
//! nothing is known, `columns` makes a block of decoded columns under a projection, `compress` and `raw`
//! (with frames of their own, and without) compress and bound what is decoded, `budget` bounds it for a whole block, `packed`
//! takes dictionaries apart and makes them again, `nest` makes room for nulls in nested columns.

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod budget;
mod columns;
mod compress;
pub mod export;
pub mod feather;
mod file;
mod nest;
pub mod orc;
pub mod outside;
mod packed;
pub mod parquet;
mod raw;
pub mod row;
mod sink;

use kodiak_core::format::FormatFactory;

/// Every format. The order is that of the documentation tables; the first is the default.
pub const ALL: &[&FormatFactory] = &[
    // Read in place and written without encoding: the fastest, and open.
    &feather::FACTORY,
    // Written once and read by everything else; point reads go straight to the pages.
    &parquet::FACTORY,
    // For those who live with ORC: readable by fewer tools, and it holds fewer types.
    &orc::FACTORY,
    // Kodiak's own: the yardstick for the others, so it comes last.
    &row::FACTORY,
];
