//! Memtables: the sorted, in-memory part of a table.
//!
//! One file each, with a `FACTORY`; all keep their entries in an arena and are found through [`ALL`].

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod arena;
mod hash;
mod hash_linklist;
mod hash_skiplist;
mod skiplist;
mod sorted;
mod sorted_slice;
mod stored;
mod trie;
mod vector;

use kodiak_core::memtable::MemtableFactory;

/// Every memtable. The first is the default: the one that `benches/memtables.rs` shows fastest over inserts, gets and scans
/// together. Then come those for general use, and last those for research.
pub const ALL: &[&MemtableFactory] = &[
    // At 100,000 keys it inserts 1.5, gets 2 and scans 3 times as fast as the skip list, and takes less memory.
    &sorted::FACTORY,
    // Inserts and gets faster still, but scans 4 times slower; one writer at a time, and it takes the most memory.
    &trie::FACTORY,
    // Writers never wait for each other, at a cache miss per level.
    &skiplist::FACTORY,
    // Research: the cheapest insert, and a sort when it is read.
    &vector::FACTORY,
    // Research: point access in groups of keys; an ordered cursor sorts everything.
    &hash_skiplist::FACTORY,
    &hash_linklist::FACTORY,
];
