//! Reports of a [`Comparison`]: tables for people and for Markdown pages, JSON for programs.

mod numbers;
mod tables;

use kodiak::{Error, Result};

use crate::comparison::Comparison;

pub use tables::Style;

/// Tables, one below the other: each workload in detail, what was taken, and the throughput of all workloads.
pub fn tables(comparison: &Comparison, style: Style) -> String {
    tables::render(comparison, style)
}

/// Everything that was measured, as JSON. Latencies are in nanoseconds, sizes in bytes.
///
/// # Errors
/// None for a comparison that was made by this crate.
pub fn json(comparison: &Comparison) -> Result<String> {
    serde_json::to_string_pretty(comparison)
        .map_err(|error| Error::invalid_input("the comparison cannot be written as JSON").with_source(error))
}
