//! Memtables: the sorted, in-memory part of a table.
