//! Candidates of all places in order, and which of them hold.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, BinaryArray};
use kodiak_core::entry::{EntryCursor, MAX_SEQ};
use kodiak_core::index::IndexCursor;
use kodiak_core::{Error, Op, Result, SeqNo, Slice};

use super::codec::IndexCodec;
use super::entry::{ENTRY, Mark, PENDING, entry_key};
use super::memory::entry_len;
use super::{Secondary, SecondaryView, columns};
use crate::db::{TableInner, View};
use crate::range_delete::RangeTombstones;
use crate::read::ScanBounds;
use crate::typed::Target;

/// Candidates that are looked at together, at first and at most.
const CHUNK: (usize, usize) = (16, 1024);

/// Where and how an index is read.
pub(super) struct Scope {
    pub table: Arc<TableInner>,
    pub view: Arc<View>,
    pub index: Arc<SecondaryView>,
    pub seq: SeqNo,
    pub hidden_below: SeqNo,
}

/// A row that an index has found.
#[derive(Debug)]
pub(super) struct Found {
    /// The index key and the user key after it.
    key: Vec<u8>,
    len: usize,
    /// The encoded row, if it was looked at.
    pub row: Option<Slice>,
}

impl Found {
    pub fn index_key(&self) -> &[u8] {
        &self.key[1..=self.len]
    }

    pub fn user_key(&self) -> &[u8] {
        &self.key[1 + self.len..]
    }
}

enum Source {
    Memory(Box<dyn EntryCursor>),
    Tree(Box<dyn IndexCursor>),
}

impl Source {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(cursor) => cursor.entry().map(|entry| entry.key),
            Self::Tree(cursor) => cursor.key(),
        }
    }

    fn start(&mut self, bounds: &ScanBounds, reverse: bool) -> Result<()> {
        match (self, reverse, &bounds.end) {
            (Self::Memory(cursor), false, _) => cursor.seek(&bounds.start, MAX_SEQ),
            (Self::Memory(cursor), true, Some(end)) => cursor.seek_before(end, MAX_SEQ),
            (Self::Memory(cursor), true, None) => cursor.seek_last(),
            (Self::Tree(cursor), false, _) => cursor.seek(&bounds.start),
            (Self::Tree(cursor), true, Some(end)) => cursor.seek_before(end),
            (Self::Tree(cursor), true, None) => cursor.seek_last(),
        }
    }

    fn advance(&mut self, reverse: bool) -> Result<()> {
        match (self, reverse) {
            (Self::Memory(cursor), false) => cursor.next(),
            (Self::Memory(cursor), true) => cursor.prev(),
            (Self::Tree(cursor), false) => cursor.next(),
            (Self::Tree(cursor), true) => cursor.prev(),
        }
    }
}

/// An entry of any place, which may hold or not.
struct Candidate {
    key: Vec<u8>,
    len: usize,
    /// The newest version in a memtable that has it.
    memory: Option<SeqNo>,
    /// What the index file says of it.
    tree: Option<Mark>,
}

/// What is known of a candidate without a look at its row.
enum Verdict {
    Holds,
    Void,
    Unknown,
}

/// Walks over the rows of a range of an index, in order.
pub(super) struct IndexScan {
    scope: Scope,
    target: Target,
    codec: Arc<IndexCodec>,
    bounds: ScanBounds,
    reverse: bool,
    sources: Vec<Source>,
    /// Entries of rows that are known by operands only, resolved, and those rows' keys.
    pending: BTreeMap<Vec<u8>, (usize, Slice)>,
    pending_rows: HashSet<Vec<u8>>,
    /// Range deletes of all places.
    tombstones: RangeTombstones,
    chunk: usize,
    /// The rows themselves are wanted.
    rows: bool,
}

impl IndexScan {
    /// Over index keys within `bounds`. With `rows` the rows are handed out with what is found.
    ///
    /// # Errors
    /// `InvalidInput` if the columns were others at that moment; those of reading.
    pub fn new(scope: Scope, bounds: &ScanBounds, reverse: bool, rows: bool) -> Result<Self> {
        let index = Arc::clone(&scope.index.index);
        index.check_whole()?;
        let target = scope.table.target_at(scope.seq);
        let codec = index.codec(target.schema())?;
        let newest = index.codec(scope.table.target().schema())?;
        if !codec.same_types(&newest) {
            return Err(Error::invalid_input(format!(
                "index \"{}\" cannot be read at this snapshot: a column of it had another type then",
                index.name
            )));
        }
        let tagged = |bytes: &[u8]| [&[ENTRY], bytes].concat();
        let bounds = ScanBounds {
            start: tagged(&bounds.start),
            end: Some(bounds.end.as_deref().map_or_else(|| vec![ENTRY + 1], tagged)),
        };
        let mut tombstones = RangeTombstones::default();
        for slot in scope.view.slots() {
            tombstones.extend(&slot.tombstones.snapshot());
        }
        for (_, run) in scope
            .view
            .version
            .runs()?
            .filter(|(_, run)| run.meta().range_deletes > 0)
        {
            tombstones.extend(&run.tombstones()?);
        }
        index.counters.reads.fetch_add(1, Ordering::Relaxed);
        let mut scan = Self {
            sources: sources(&scope),
            scope,
            target,
            codec,
            bounds,
            reverse,
            pending: BTreeMap::new(),
            pending_rows: HashSet::new(),
            tombstones,
            chunk: CHUNK.0,
            rows,
        };
        scan.resolve_pending()?;
        for source in &mut scan.sources {
            source.start(&scan.bounds, reverse)?;
        }
        Ok(scan)
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn codec(&self) -> &IndexCodec {
        &self.codec
    }

    fn row(&self, user_key: &[u8]) -> Result<Option<Slice>> {
        let Scope {
            table,
            view,
            seq,
            hidden_below,
            ..
        } = &self.scope;
        table.get_with(&self.target, view, user_key, *seq, *hidden_below)
    }

    /// Looks at all rows that are known by operands only, or whose entries are too long.
    fn resolve_pending(&mut self) -> Result<()> {
        let span = ScanBounds {
            start: vec![PENDING],
            end: Some(vec![PENDING + 1]),
        };
        for source in &mut sources(&self.scope) {
            source.start(&span, false)?;
            while let Some(key) = source.key().filter(|key| key[0] == PENDING) {
                if !self.pending_rows.contains(&key[1..]) {
                    self.pending_rows.insert(key[1..].to_vec());
                }
                source.advance(false)?;
            }
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        if self.pending_rows.is_empty() {
            return Ok(());
        }
        for key in &self.pending_rows {
            if let Some(row) = self.row(key)? {
                keys.push(key.as_slice());
                values.push(row);
            }
        }
        let index_keys = self.index_keys(&keys, &values)?;
        for (place, row) in values.into_iter().enumerate() {
            if index_keys.is_null(place) {
                continue;
            }
            let index_key = index_keys.value(place);
            let mut key = Vec::new();
            entry_key(index_key, keys[place], &mut key);
            if self.within(&key) {
                self.pending.insert(key, (index_key.len(), row));
            }
        }
        Ok(())
    }

    fn index_keys(&self, keys: &[&[u8]], rows: &[Slice]) -> Result<BinaryArray> {
        let keys = BinaryArray::from_iter_values(keys);
        let rows = BinaryArray::from_iter_values(rows);
        if keys.is_empty() {
            return Ok(keys);
        }
        self.codec
            .encode(&columns::of_rows(&self.target, [&*self.codec], &keys, &rows)?)
    }

    fn within(&self, key: &[u8]) -> bool {
        key >= self.bounds.start.as_slice() && self.bounds.end.as_deref().is_none_or(|end| key < end)
    }

    /// The next entry of any place but `pending`.
    fn candidate(&mut self) -> Result<Option<Candidate>> {
        loop {
            let keys = self.sources.iter().filter_map(Source::key);
            let next = if self.reverse { keys.max() } else { keys.min() };
            let Some(key) = next.filter(|key| self.within(key)).map(<[u8]>::to_vec) else {
                return Ok(None);
            };
            let mut candidate = Candidate {
                key,
                len: 0,
                memory: None,
                tree: None,
            };
            for source in &mut self.sources {
                while source.key() == Some(&candidate.key) {
                    match source {
                        Source::Memory(cursor) => {
                            if let Some(entry) = cursor.entry().filter(|entry| entry.seq <= self.scope.seq) {
                                candidate.memory = candidate.memory.max(Some(entry.seq));
                                candidate.len = entry_len(entry.value)?;
                            }
                        }
                        Source::Tree(cursor) => {
                            let mark = Mark::decode(cursor.value().unwrap_or_default())?;
                            candidate.tree = Some(mark);
                            candidate.len = mark.len;
                        }
                    }
                    source.advance(self.reverse)?;
                }
            }
            if candidate.memory.is_none() && candidate.tree.is_none() {
                continue; // newer than what is read at
            }
            if candidate.len >= candidate.key.len() {
                return Err(Error::corruption(
                    "an entry of a secondary index is shorter than it says",
                ));
            }
            return Ok(Some(candidate));
        }
    }

    /// What memtables and the index say of a candidate.
    fn judge(&self, candidate: &Candidate) -> Verdict {
        let Scope {
            view,
            index,
            seq,
            hidden_below,
            ..
        } = &self.scope;
        let user_key = &candidate.key[1 + candidate.len..];
        if self.pending_rows.contains(user_key) {
            // What its row is now was found out before.
            return Verdict::Void;
        }
        let alive = |written: SeqNo| written >= *hidden_below && self.tombstones.covering(user_key, *seq) <= written;
        let newest = view.slots().find_map(|slot| Some((slot, slot.get(user_key, *seq)?)));
        if let Some((slot, newest)) = newest {
            if !slot.indexes.iter().any(|known| Arc::ptr_eq(&known.index, &index.index)) {
                // Older than the index: what it holds was put into the tree.
                return Verdict::Unknown;
            }
            return match candidate.memory == Some(newest.seq) && newest.op == Op::Put && alive(newest.seq) {
                true => Verdict::Holds,
                false => Verdict::Void,
            };
        }
        let Some(mark) = candidate.tree else {
            return Verdict::Void;
        };
        match mark.void {
            Some(void) if void <= *seq => Verdict::Void,
            None if index.exact && mark.seq <= *seq => match alive(mark.seq) {
                true => Verdict::Holds,
                false => Verdict::Void,
            },
            _ => Verdict::Unknown,
        }
    }

    /// The next rows, at least one unless there are no more.
    ///
    /// # Errors
    /// Those of reading.
    pub fn next_chunk(&mut self, most: usize) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        while found.is_empty() {
            let wanted = self.chunk.min(most.max(1));
            self.chunk = (2 * self.chunk).min(CHUNK.1);
            let mut candidates = Vec::with_capacity(wanted);
            while candidates.len() < wanted {
                let Some(candidate) = self.candidate()? else { break };
                candidates.push(candidate);
            }
            let last = candidates.len() < wanted;
            let end = candidates.last().map(|candidate| candidate.key.clone());
            let kept = self.keep(candidates)?;
            found = self.with_pending(kept, if last { None } else { end.as_deref() });
            if last {
                break;
            }
        }
        let counters = &self.scope.index.index.counters;
        counters.found.fetch_add(found.len() as u64, Ordering::Relaxed);
        Ok(found)
    }

    /// Those candidates that hold.
    fn keep(&self, candidates: Vec<Candidate>) -> Result<Vec<Found>> {
        let counters = &self.scope.index.index.counters;
        let all = candidates.len();
        let mut kept: Vec<(Found, bool)> = Vec::with_capacity(all);
        for candidate in candidates {
            let holds = match self.judge(&candidate) {
                Verdict::Void => continue,
                Verdict::Holds => true,
                Verdict::Unknown => false,
            };
            let mut found = Found {
                key: candidate.key,
                len: candidate.len,
                row: None,
            };
            if self.rows || !holds {
                found.row = self.row(found.user_key())?;
                counters.looked_up.fetch_add(1, Ordering::Relaxed);
                if found.row.is_none() {
                    continue;
                }
            }
            kept.push((found, holds));
        }
        let unsure = |(found, holds): &(Found, bool)| (!holds).then(|| (found.user_key().to_vec(), found.row.clone()));
        let unsure: Vec<(Vec<u8>, Option<Slice>)> = kept.iter().filter_map(unsure).collect();
        let keys: Vec<&[u8]> = unsure.iter().map(|(key, _)| key.as_slice()).collect();
        let rows: Vec<Slice> = unsure.iter().filter_map(|(_, row)| row.clone()).collect();
        let index_keys = self.index_keys(&keys, &rows)?;
        let mut next = 0;
        kept.retain(|(found, holds)| {
            if *holds {
                return true;
            }
            next += 1;
            !index_keys.is_null(next - 1) && index_keys.value(next - 1) == found.index_key()
        });
        counters.void.fetch_add((all - kept.len()) as u64, Ordering::Relaxed);
        Ok(kept.into_iter().map(|(found, _)| found).collect())
    }

    /// Puts pending rows that come up to `end` between those found.
    fn with_pending(&mut self, kept: Vec<Found>, end: Option<&[u8]>) -> Vec<Found> {
        if self.pending.is_empty() {
            return kept;
        }
        let reverse = self.reverse;
        let due = |key: &[u8]| match end {
            None => true,
            Some(end) if reverse => key >= end,
            Some(end) => key <= end,
        };
        let keys: Vec<Vec<u8>> = self.pending.keys().filter(|key| due(key)).cloned().collect();
        let mut all = kept;
        for key in keys {
            if let Some((len, row)) = self.pending.remove(&key) {
                let row = Some(row);
                all.push(Found { key, len, row });
            }
        }
        all.sort_by(|one, two| match reverse {
            true => two.key.cmp(&one.key),
            false => one.key.cmp(&two.key),
        });
        all
    }
}

fn sources(scope: &Scope) -> Vec<Source> {
    let mut sources = Vec::new();
    for slot in scope.view.slots() {
        let own = |known: &&super::SlotIndex| Arc::ptr_eq(&known.index, &scope.index.index);
        if let Some(own) = slot.indexes.iter().find(own)
            && !own.entries.is_empty()
        {
            sources.push(Source::Memory(Arc::clone(&own.entries).cursor()));
        }
    }
    sources.push(Source::Tree(Arc::clone(&scope.index.view).cursor()));
    sources
}

/// The state of an index in a view.
///
/// # Errors
/// `Unavailable` if the view has none.
pub(super) fn state(view: &View, index: &Arc<Secondary>) -> Result<Arc<SecondaryView>> {
    index.check_whole()?;
    let state = view.secondary.iter().find(|state| Arc::ptr_eq(&state.index, index));
    state.cloned().ok_or_else(|| {
        let message = format!(
            "index \"{}\" is not ready: it is being built, or was dropped, or its file cannot be used, which the next opening for writing mends",
            index.name
        );
        Error::new(kodiak_core::ErrorKind::Unavailable, message)
    })
}
