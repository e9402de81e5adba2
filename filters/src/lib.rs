//! Filters that tell, without reading it, that a run cannot hold a key.
//!
//! Each filter is built from 64-bit hashes of keys ([`hash_key`](kodiak_core::filter::hash_key)) and keeps a stable
//! serialised form, which `open` uses without decoding it (see `docs/formats/filters.md`).

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod binary_fuse;
mod blocked_bloom;
mod bloom;
mod none;
mod ribbon;
mod trailer;

use kodiak_core::filter::FilterFactory;

/// Every filter. The first is the default.
pub const ALL: &[&FilterFactory] = &[
    // One cache line for each probe, and any number of bits.
    &blocked_bloom::FACTORY,
    // The textbook, for comparison: a cache line for each probed bit.
    &bloom::FACTORY,
    // Nearly the fewest bits, for slower building and probing.
    &ribbon::FACTORY,
    // Three bytes for each probe, and a fixed rate.
    &binary_fuse::FACTORY,
    // What filters cost, and what they save.
    &none::FACTORY,
];

#[cfg(test)]
mod tests {
    /// Bytes as hexadecimal digits, for golden tests.
    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_filter_conforms() {
        for factory in super::ALL {
            kodiak_core::conformance::filter::check(factory);
        }
    }
}
