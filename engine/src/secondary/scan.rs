//! Candidates of all places in order, and which of them hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::Array;
use kodiak_core::index::MAX_KEY;
use kodiak_core::{Error, Op, Result, SeqNo, Slice};

use super::codec::IndexCodec;
use super::entry::{ENTRY, Mark};
use super::memory::entry_len;
use super::scope::{RowReader, Scope};
use super::source::{Resolved, Source, each_pending, sources};
use crate::range_delete::RangeTombstones;
use crate::read::ScanBounds;
use crate::typed::Target;

/// Candidates that are looked at together, at first and at most.
const CHUNK: (usize, usize) = (16, 1024);

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

/// An entry of any place, which may hold or not.
struct Candidate {
    key: Vec<u8>,
    len: usize,
    /// The newest version in a memtable that has it.
    memory: Option<SeqNo>,
    /// What the index file says of it.
    tree: Option<Mark>,
    /// A pending row has it, or has had it.
    kept: bool,
    /// A pending row has it at the moment that is read at.
    resolved: bool,
}

/// What is known of a candidate without a look at its row.
enum Verdict {
    Holds,
    Void,
    Unknown,
}

/// Walks over the rows of a range of an index, in order.
pub(super) struct IndexScan {
    reader: RowReader,
    bounds: ScanBounds,
    reverse: bool,
    sources: Vec<Source>,
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
        let reader = RowReader::new(scope)?;
        let scope = &reader.scope;
        let newest = index.codec(scope.table.target().schema())?;
        if !reader.codec.same_types(&newest) {
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
        for sorted_run in scope.view.version.sorted_runs().filter(|runs| runs.range_deletes()) {
            for run in sorted_run.within(sorted_run.all()) {
                tombstones.extend(&run?.tombstones()?);
            }
        }
        index.counters.reads.fetch_add(1, Ordering::Relaxed);
        let mut sources = sources(scope);
        sources.push(pending(&reader, &bounds)?);
        for source in &mut sources {
            source.start(&bounds, reverse)?;
        }
        Ok(Self {
            reader,
            bounds,
            reverse,
            sources,
            tombstones,
            chunk: CHUNK.0,
            rows,
        })
    }

    pub fn target(&self) -> &Target {
        &self.reader.target
    }

    pub fn codec(&self) -> &IndexCodec {
        &self.reader.codec
    }

    /// The next entry of any place.
    fn candidate(&mut self) -> Result<Option<Candidate>> {
        loop {
            let keys = self.sources.iter().filter_map(Source::key);
            let next = if self.reverse { keys.max() } else { keys.min() };
            let Some(key) = next.filter(|key| self.bounds.meets(key, key)).map(<[u8]>::to_vec) else {
                return Ok(None);
            };
            let mut candidate = Candidate {
                key,
                len: 0,
                memory: None,
                tree: None,
                kept: false,
                resolved: false,
            };
            for source in &mut self.sources {
                while source.key() == Some(&candidate.key) {
                    match source {
                        Source::Memory(cursor) => {
                            if let Some(entry) = cursor.entry().filter(|entry| entry.seq <= self.reader.scope.seq) {
                                candidate.memory = candidate.memory.max(Some(entry.seq));
                                candidate.len = entry_len(entry.value)?;
                            }
                        }
                        Source::Tree(cursor) => {
                            let mark = Mark::decode(cursor.value().unwrap_or_default())?;
                            candidate.tree = Some(mark);
                            candidate.len = mark.len;
                        }
                        Source::Kept(cursor) => {
                            candidate.kept = true;
                            candidate.len = entry_len(cursor.entry().map(|entry| entry.value).unwrap_or_default())?;
                        }
                        Source::Resolved(resolved) => {
                            candidate.resolved = true;
                            candidate.len = resolved.entry().map_or(0, |(_, len)| *len);
                        }
                    }
                    source.advance(self.reverse)?;
                }
            }
            if candidate.memory.is_none() && candidate.tree.is_none() && !candidate.kept && !candidate.resolved {
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
        } = &self.reader.scope;
        if candidate.resolved {
            return Verdict::Holds;
        }
        let user_key = &candidate.key[1 + candidate.len..];
        let alive = |written: SeqNo| written >= *hidden_below && self.tombstones.covering(user_key, *seq) <= written;
        let newest = view.slots().find_map(|slot| Some((slot, slot.get(user_key, *seq)?)));
        if let Some((slot, newest)) = newest {
            if !slot.indexes.iter().any(|known| Arc::ptr_eq(&known.index, &index.index)) {
                // Older than the index: what it holds was put into the tree.
                return Verdict::Unknown;
            }
            // Which entries of pending rows hold only the rows tell; all others of theirs are void.
            let long = candidate.key.len() > MAX_KEY;
            return match newest.op {
                Op::Put if candidate.memory == Some(newest.seq) && alive(newest.seq) => Verdict::Holds,
                Op::Merge if candidate.kept => Verdict::Unknown,
                Op::Put if candidate.kept && long => Verdict::Unknown,
                _ => Verdict::Void,
            };
        }
        if candidate.kept {
            return Verdict::Unknown;
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
            found = self.keep(candidates)?;
            if last {
                break;
            }
        }
        let counters = &self.reader.scope.index.index.counters;
        counters.found.fetch_add(found.len() as u64, Ordering::Relaxed);
        Ok(found)
    }

    /// Those candidates that hold.
    fn keep(&self, candidates: Vec<Candidate>) -> Result<Vec<Found>> {
        let counters = &self.reader.scope.index.index.counters;
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
                found.row = self.reader.row(found.user_key())?;
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
        let index_keys = self.reader.index_keys(&keys, &rows)?;
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
}

/// What pending rows resolve to, as far as it lies within `bounds`.
fn pending(reader: &RowReader, bounds: &ScanBounds) -> Result<Source> {
    if let Some(kept) = &reader.scope.kept {
        return Ok(Source::Kept(Arc::clone(kept).cursor()));
    }
    let mut entries = Vec::new();
    each_pending(&reader.scope, &mut |rows| {
        let resolved = reader.resolve(rows)?.into_iter().filter_map(|row| row.entry);
        entries.extend(resolved.filter(|(entry, _)| bounds.meets(entry, entry)));
        Ok(true)
    })?;
    Ok(Source::Resolved(Resolved::new(entries)))
}
