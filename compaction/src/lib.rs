//! Compaction policies: pure decisions over the shape of a version.
//!
//! A policy is put together from small parts, so that the whole design space (trigger x layout x granularity x movement;
//! Sarkar et al., "Constructing and Analyzing the LSM Compaction Design Space", VLDB 2021) can be spanned by combining
//! them: `trigger` says when something is due, `layout` how large each level should be, `movement` which run goes first,
//! and `pick` turns a choice into a plan that keeps newer versions above older ones. [`model`] predicts what a layout costs.

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod layout;
mod leveled;
pub mod model;
mod movement;
mod pick;
mod tiered;
mod trigger;

use kodiak_core::compaction::PolicyFactory;

/// Every policy. The first is the default.
pub const ALL: &[&PolicyFactory] = &[
    // Fewest runs to search and least space: right unless writes dominate.
    &leveled::FACTORY,
    // Least write amplification, at the price of reads and space.
    &tiered::FACTORY,
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_policy_conforms() {
        for factory in super::ALL {
            kodiak_core::conformance::compaction::check(factory);
        }
    }
}
