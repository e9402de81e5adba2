//! Memtables: the sorted, in-memory part of a table.
//!
//! One file each, with a `FACTORY`; all keep their entries in an arena and are found through [`ALL`].

mod arena;
mod skiplist;
mod sorted;
mod sorted_slice;
mod stored;
mod vector;

use kodiak_core::memtable::MemtableFactory;

/// Every memtable. The first is the default: the one that `benches/memtables.rs` shows fastest over inserts, gets and scans
/// together. Then come those for general use, and last those for research.
pub const ALL: &[&MemtableFactory] = &[
    // Three to five times faster than the skip list at everything, and the smallest but one.
    &sorted::FACTORY,
    // Writers never wait for each other, at a cache miss per level.
    &skiplist::FACTORY,
    // Research: the cheapest insert, and a sort when it is read.
    &vector::FACTORY,
];
