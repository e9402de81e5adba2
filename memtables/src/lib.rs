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

/// Every memtable. The first is the default: of those that take several writers and scan while entries come in, the one with
/// the best total of `examples/speeds.rs` (`docs/memtables.md` has the rule and the numbers, which are quoted below for
/// 500,000 keys, a `BTreeMap` with keys and values on the heap being 1). Then come those for general use, and last those
/// for research.
pub const ALL: &[&MemtableFactory] = &[
    // Total 0.35: the best in scans, and several threads may write.
    &sorted::FACTORY,
    // Total 1.31: the fastest gets (0.22), but rows of a scan cost 8 times a map's; one writer, and the most memory.
    &trie::FACTORY,
    // Total 2.29: writers never wait for each other, at a cache miss per level and row.
    &skiplist::FACTORY,
    // Research, total 0.45: the cheapest insert (0.10, the sort included), but whoever reads between inserts sorts again.
    &vector::FACTORY,
    // Research, totals 1.43 and 0.69: point access in groups of keys; an ordered cursor sorts everything.
    &hash_skiplist::FACTORY,
    &hash_linklist::FACTORY,
];
