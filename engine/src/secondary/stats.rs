//! Numbers about indexes.

use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::index::IndexStats;
use serde::Serialize;

use super::{Secondary, StoredDefinition};

/// What reads through an index have done.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub reads: AtomicU64,
    pub found: AtomicU64,
    pub looked_up: AtomicU64,
    pub void: AtomicU64,
    pub resolved: AtomicU64,
}

/// Numbers about a secondary index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecondaryStats {
    /// Its name.
    pub name: String,
    /// What it is of.
    pub definition: StoredDefinition,
    /// The kind of index that holds it; empty as long as a job keeps that from being looked up.
    pub kind: String,
    /// Reads of the newest state need no look at rows.
    pub exact: bool,
    /// It cannot be read: it is still being built, or was given up until the next opening.
    pub building: bool,
    /// Reads since the database was opened.
    pub reads: u64,
    /// Rows that they found.
    pub found: u64,
    /// Rows of the table that they had to look at to know whether an entry holds.
    pub looked_up: u64,
    /// Entries that did not hold.
    pub void: u64,
    /// Rows known by operands only (or with too long an entry) of which they have found out what they are in the index.
    pub resolved: u64,
    /// Numbers about the index file.
    pub index: IndexStats,
}

impl SecondaryStats {
    pub(super) fn of(index: &Secondary, kind: String, file: IndexStats, exact: bool, building: bool) -> Self {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            name: index.name.clone(),
            definition: index.definition.clone(),
            kind,
            exact,
            building,
            reads: number(&index.counters.reads),
            found: number(&index.counters.found),
            looked_up: number(&index.counters.looked_up),
            void: number(&index.counters.void),
            resolved: number(&index.counters.resolved),
            index: file,
        }
    }
}
