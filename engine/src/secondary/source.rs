//! The places that have entries of an index, and the pending rows in them.

use std::sync::Arc;

use kodiak_core::entry::{EntryCursor, MAX_SEQ};
use kodiak_core::index::IndexCursor;
use kodiak_core::{Result, SeqNo};

use super::SlotIndex;
use super::entry::{Mark, PENDING};
use super::scope::Scope;
use crate::read::ScanBounds;

/// Pending rows that are resolved together.
const TOGETHER: usize = 1024;

/// A place that has entries.
pub(super) enum Source {
    /// Those of a memtable.
    Memory(Box<dyn EntryCursor>),
    /// Those of the index file.
    Tree(Box<dyn IndexCursor>),
    /// What pending rows resolve to, now or at other moments.
    Kept(Box<dyn EntryCursor>),
    /// What pending rows resolve to at the moment that is read at.
    Resolved(Resolved),
}

/// Entries in order, with the lengths of their index keys.
#[derive(Default)]
pub(super) struct Resolved {
    entries: Vec<(Vec<u8>, usize)>,
    /// That of the entry under the cursor, plus one; 0, or past the end, if there is none.
    at: usize,
}

impl Resolved {
    pub fn new(mut entries: Vec<(Vec<u8>, usize)>) -> Self {
        entries.sort_unstable();
        Self { entries, at: 0 }
    }

    pub fn entry(&self) -> Option<&(Vec<u8>, usize)> {
        self.entries.get(self.at.wrapping_sub(1))
    }

    fn lower_bound(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|(other, _)| other.as_slice() < key)
    }
}

impl Source {
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(cursor) | Self::Kept(cursor) => cursor.entry().map(|entry| entry.key),
            Self::Tree(cursor) => cursor.key(),
            Self::Resolved(resolved) => resolved.entry().map(|(key, _)| key.as_slice()),
        }
    }

    pub fn start(&mut self, bounds: &ScanBounds, reverse: bool) -> Result<()> {
        match (self, reverse, &bounds.end) {
            (Self::Memory(cursor) | Self::Kept(cursor), false, _) => cursor.seek(&bounds.start, MAX_SEQ),
            (Self::Memory(cursor) | Self::Kept(cursor), true, Some(end)) => cursor.seek_before(end, MAX_SEQ),
            (Self::Memory(cursor) | Self::Kept(cursor), true, None) => cursor.seek_last(),
            (Self::Tree(cursor), false, _) => cursor.seek(&bounds.start),
            (Self::Tree(cursor), true, Some(end)) => cursor.seek_before(end),
            (Self::Tree(cursor), true, None) => cursor.seek_last(),
            (Self::Resolved(resolved), reverse, end) => {
                resolved.at = match (reverse, end) {
                    (false, _) => resolved.lower_bound(&bounds.start) + 1,
                    (true, Some(end)) => resolved.lower_bound(end),
                    (true, None) => resolved.entries.len(),
                };
                Ok(())
            }
        }
    }

    pub fn advance(&mut self, reverse: bool) -> Result<()> {
        match (self, reverse) {
            (Self::Memory(cursor) | Self::Kept(cursor), false) => cursor.next(),
            (Self::Memory(cursor) | Self::Kept(cursor), true) => cursor.prev(),
            (Self::Tree(cursor), false) => cursor.next(),
            (Self::Tree(cursor), true) => cursor.prev(),
            (Self::Resolved(resolved), false) => {
                resolved.at += usize::from(resolved.at > 0);
                Ok(())
            }
            (Self::Resolved(resolved), true) => {
                resolved.at = resolved.at.saturating_sub(1);
                Ok(())
            }
        }
    }
}

/// The memtables and the index file.
pub(super) fn sources(scope: &Scope) -> Vec<Source> {
    let mut sources = Vec::new();
    for slot in scope.view.slots() {
        let own = |known: &&SlotIndex| Arc::ptr_eq(&known.index, &scope.index.index);
        if let Some(own) = slot.indexes.iter().find(own)
            && !own.entries.is_empty()
        {
            sources.push(Source::Memory(Arc::clone(&own.entries).cursor()));
        }
    }
    sources.push(Source::Tree(Arc::clone(&scope.index.view).cursor()));
    sources
}

/// A pending row: its key, and the newest version that made it one.
pub(super) type PendingRow = (Vec<u8>, SeqNo);

/// Calls `found` with all pending rows, some at a time, in the order of their keys, until it says that it wants no more. Their newest
/// versions may be newer than what is read at.
///
/// # Errors
/// Those of reading, and of `found`.
pub(super) fn each_pending(scope: &Scope, found: &mut dyn FnMut(&[PendingRow]) -> Result<bool>) -> Result<()> {
    let span = ScanBounds {
        start: vec![PENDING],
        end: Some(vec![PENDING + 1]),
    };
    let mut sources = sources(scope);
    for source in &mut sources {
        source.start(&span, false)?;
    }
    let mut rows: Vec<PendingRow> = Vec::new();
    loop {
        let next = sources.iter().filter_map(Source::key).min();
        let Some(key) = next.filter(|key| key.first() == Some(&PENDING)).map(<[u8]>::to_vec) else {
            return found(&rows).map(drop);
        };
        let mut newest = 0;
        for source in &mut sources {
            while source.key() == Some(&key) {
                newest = newest.max(match source {
                    Source::Tree(cursor) => Mark::decode(cursor.value().unwrap_or_default())?.seq,
                    Source::Memory(cursor) => cursor.entry().map_or(0, |entry| entry.seq),
                    Source::Kept(_) | Source::Resolved(_) => 0,
                });
                source.advance(false)?;
            }
        }
        rows.push((key[1..].to_vec(), newest));
        if rows.len() == TOGETHER {
            if !found(&rows)? {
                return Ok(());
            }
            rows.clear();
        }
    }
}
