//! Memtables: the sorted, in-memory part of a table.
//!
//! One file each, with a `FACTORY`; all keep their entries in an arena and are found through [`ALL`].

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
    // Three to five times faster than the skip list at everything, and the smallest but one.
    &sorted::FACTORY,
    // Gets as fast and scans slower; one writer at a time, and the shape of the keys decides how much memory it takes.
    &trie::FACTORY,
    // Writers never wait for each other, at a cache miss per level.
    &skiplist::FACTORY,
    // Research: the cheapest insert, and a sort when it is read.
    &vector::FACTORY,
    // Research: point access in groups of keys; an ordered cursor sorts everything.
    &hash_skiplist::FACTORY,
    &hash_linklist::FACTORY,
];
