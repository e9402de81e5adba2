//! Block formats: Feather, Parquet, ORC and rows.
//!
//! One file per format with its `FACTORY`, and one line of [`ALL`] here. Every entry passes the suite in
//! `kodiak_core::conformance::format` for every compression that it declares (`tests/conformance.rs`).

use kodiak_core::format::FormatFactory;

/// Every format. The order is that of the documentation tables; the first is the default.
pub const ALL: &[&FormatFactory] = &[];
