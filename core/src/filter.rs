//! Filters: what tells, without reading it, that a run cannot hold a key.

use std::fmt::Debug;

use arrow::buffer::Buffer;

use crate::Result;
use crate::options::Options;
use crate::registry::{Component, impl_factory};

/// The hash that filters are built from: XXH3 (64 bits, seed 0) of the user key, or of its prefix. Stable for ever.
#[inline]
pub fn hash_key(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// A built filter over a set of hashes.
pub trait Filter: Send + Sync + Debug {
    /// False only if `hash` was certainly not among those that the filter was built from.
    fn may_contain(&self, hash: u64) -> bool;

    /// Bytes of memory that it keeps.
    fn memory(&self) -> usize;
}

/// What a filter can do.
#[derive(Debug, Clone, Copy)]
pub struct FilterCapabilities {
    /// Any number of bits per key can be asked for, so that bits can be allotted per level (Monkey). False: the size is
    /// given by the structure.
    pub adjustable_bits: bool,
    /// Bits per key at which it is usually run.
    pub typical_bits_per_key: f64,
    /// Cache lines touched by a probe.
    pub cache_lines_per_probe: &'static str,
}

impl FilterCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("adjustable_bits", self.adjustable_bits.to_string()),
            ("typical_bits_per_key", self.typical_bits_per_key.to_string()),
            ("cache_lines_per_probe", self.cache_lines_per_probe.to_owned()),
        ]
    }
}

/// Builds and opens filters of one kind.
#[derive(Debug)]
pub struct FilterFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What its filters can do.
    pub capabilities: FilterCapabilities,
    /// Builds a filter over `hashes` (any order, duplicates allowed) with about `bits_per_key` bits for each, in a stable
    /// serialised form with a version byte (see `docs/formats/filters.md`). `None` if a filter would not help (no bits, no
    /// keys).
    #[allow(
        clippy::type_complexity,
        reason = "spelled out, the signature says more than a name would"
    )]
    pub build: fn(options: &Options, hashes: &[u64], bits_per_key: f64) -> Result<Option<Vec<u8>>>,
    /// Opens the serialised form, without copying where it can; the caller has verified its checksum.
    ///
    /// # Errors
    /// `Corruption` for bytes that `build` does not produce; `Unsupported` for a newer version.
    pub open: fn(bytes: Buffer) -> Result<Box<dyn Filter>>,
    /// The false positive rate to expect at `bits_per_key`, between 0 and 1.
    pub false_positive_rate: fn(bits_per_key: f64) -> f64,
}

impl_factory!(FilterFactory, "filter");
