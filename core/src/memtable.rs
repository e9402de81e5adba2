//! Memtables: the newest entries of a table, sorted, in memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::entry::{EntryCursor, EntryRef, Op, SeqNo};
use crate::options::Options;
use crate::registry::{Component, impl_factory};
use crate::{Error, Result};

/// A sorted map of entries that only grows.
///
/// **Promises.** Entries never move and never die before the memtable does, so that what `get` and cursors return is
/// borrowed, not copied. An entry is visible to readers on other threads as soon as `insert` returns (and to nobody in
/// part). The same `(key, seq)` is inserted at most once; callers see to it. Keys are any bytes, the empty key included.
///
/// **Threads.** Readers run beside each other and beside writers. Writers run beside each other if the capability
/// [`concurrent_insert`](MemtableCapabilities::concurrent_insert) says so; otherwise the engine lets one in at a time.
///
/// Range deletes are kept beside the memtable by the engine and never come here.
pub trait Memtable: Send + Sync + Debug {
    /// Inserts one entry, copying key and value into the memtable.
    ///
    /// # Errors
    /// `InvalidInput` if the entry exceeds what the structure can address. Nothing is inserted then.
    fn insert(&self, entry: EntryRef<'_>) -> Result<()>;

    /// The newest version of `key` that is not newer than `seq`.
    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>>;

    /// A cursor that keeps the memtable alive.
    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor>;

    /// How many entries it holds.
    fn len(&self) -> usize;

    /// True if it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it has taken from the allocator, within 10 %: unused room in arenas included.
    fn memory(&self) -> usize;

    /// Called once when no more inserts will come, before it is flushed: the place to sort, say. It may run beside readers.
    fn freeze(&self) {}
}

/// What [`Memtable::get`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// When it was written.
    pub seq: SeqNo,
    /// What it does.
    pub op: Op,
    /// The value or merge operand; empty for a delete.
    pub value: &'a [u8],
}

/// What a memtable can do.
#[derive(Debug, Clone, Copy)]
pub struct MemtableCapabilities {
    /// Several threads may call `insert` at once.
    pub concurrent_insert: bool,
    /// Inserting costs about the same at any size (false: insertion slows down with the number of entries).
    pub scalable_insert: bool,
    /// A point read costs at most logarithmic time while entries are still coming in.
    pub fast_get: bool,
    /// Ordered cursors are cheap while entries are still coming in (false: the first one after an insert sorts).
    pub fast_cursor: bool,
    /// Rough bytes of overhead per entry beside key and value, to tell how many entries fit a budget.
    pub overhead_per_entry: usize,
}

impl MemtableCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("concurrent_insert", self.concurrent_insert.to_string()),
            ("scalable_insert", self.scalable_insert.to_string()),
            ("fast_get", self.fast_get.to_string()),
            ("fast_cursor", self.fast_cursor.to_string()),
            ("overhead_per_entry", format!("{} B", self.overhead_per_entry)),
        ]
    }

    /// How many entries of `key` and `value` bytes fit a budget of `bytes`.
    pub fn entries_in(&self, bytes: usize, key: usize, value: usize) -> usize {
        bytes / (key + value + self.overhead_per_entry).max(1)
    }
}

/// Makes memtables of one kind.
#[derive(Debug)]
pub struct MemtableFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What its memtables can do.
    pub capabilities: MemtableCapabilities,
    /// Makes an empty memtable that expects to grow to about `capacity` bytes.
    pub create: fn(options: &Options, capacity: usize) -> Result<Arc<dyn Memtable>>,
}

impl_factory!(MemtableFactory, "memtable");

impl MemtableFactory {
    /// Makes an empty memtable with default options.
    ///
    /// # Errors
    /// As the component's `create`.
    pub fn create_default(&self, capacity: usize) -> Result<Arc<dyn Memtable>> {
        (self.create)(&Options::defaults(self.component.options), capacity)
    }
}

/// The error for an entry that a memtable cannot address.
pub fn entry_too_large(len: usize, limit: usize) -> Error {
    Error::invalid_input(format!(
        "an entry of {len} bytes is above this memtable's limit of {limit}"
    ))
}
