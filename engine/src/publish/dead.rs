//! Which rows of data files are not the table's: superseded, deleted, expired, or no values by themselves.
//!
//! Of runs that were looked at before only what can have changed is looked at: versions of the keys that new runs hold, which
//! are found by seeking, and ranges that new range deletes cover. So the work is in proportion to the new runs. Of a table with
//! deletion vectors nothing at all is looked at, unless operands, range deletes or expiry have a say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Error, Op, Result, SeqNo};

use super::record::Record;
use crate::range_delete::RangeTombstones;
use crate::run::{Run, SortedRunCursor, Wanted};
use crate::version::{SortedRun, Version};

/// What is to be found out.
pub struct Question<'v> {
    /// The runs.
    pub version: &'v Version,
    /// Those of which nothing is known.
    pub fresh: BTreeSet<RunId>,
    /// The moment that is read at.
    pub seq: SeqNo,
    /// Versions older than this have expired.
    pub hidden_below: SeqNo,
    /// Versions older than this had expired when the other runs were looked at.
    pub expired_before: SeqNo,
    /// The last publication, which says how many dead rows of the other runs are known.
    pub known: Option<&'v Record>,
}

/// The answer.
#[derive(Debug, Default)]
pub struct Dead {
    /// The dead rows of each run, in ascending order: of a fresh run all, of another one those that are newly dead, and perhaps
    /// some that were known. None of a run that has no new ones.
    pub rows: BTreeMap<RunId, Vec<u32>>,
    /// They are all that are dead of these runs.
    pub complete: bool,
    /// Keys whose newest versions are operands, ascending: none of their rows is their value.
    pub merged: Vec<Vec<u8>>,
}

/// One version of a key.
struct Found {
    seq: SeqNo,
    op: Op,
    run: RunId,
    row: u32,
}

struct Search<'v> {
    question: &'v Question<'v>,
    tombstones: RangeTombstones,
    /// Of each run, the number of its first row in each block.
    starts: HashMap<RunId, Vec<u32>>,
    dead: Dead,
}

/// Answers a question.
///
/// # Errors
/// Those of reading the runs.
pub fn find(question: &Question<'_>) -> Result<Dead> {
    if let Some(dead) = by_vectors(question)? {
        return Ok(dead);
    }
    let mut tombstones = RangeTombstones::default();
    for (_, run) in question.version.runs()? {
        tombstones.extend(&run.tombstones()?);
    }
    let mut search = Search {
        question,
        tombstones,
        starts: HashMap::new(),
        dead: Dead::default(),
    };
    search.keys()?;
    search.covered()?;
    search.expired()?;
    for rows in search.dead.rows.values_mut() {
        rows.sort_unstable();
        rows.dedup();
    }
    Ok(search.dead)
}

/// The answer of the table's deletion vectors, if they know it: nothing is read then.
fn by_vectors(question: &Question<'_>) -> Result<Option<Dead>> {
    let version = question.version;
    let Some(vectors) = version.dead.as_ref().filter(|vectors| vectors.serves(question.seq)) else {
        return Ok(None);
    };
    let hidden = question.hidden_below > 0 || version.sorted_runs().any(|sorted| sorted.range_deletes());
    // A row that is dead stays so: if there are not more, they are the same.
    let known = |run| {
        question
            .known
            .and_then(|known| known.file(run))
            .map_or(0, |file| file.dead_rows)
    };
    let rows = vectors
        .runs()
        .filter(|(run, dead)| dead.count() > 0 && (question.fresh.contains(run) || dead.count() != known(*run)));
    Ok((!hidden).then(|| Dead {
        rows: rows.map(|(run, dead)| (run, dead.rows.iter().collect())).collect(),
        complete: true,
        merged: Vec::new(),
    }))
}

impl Search<'_> {
    /// A cursor for each sorted run, over those of its runs that are fresh, or over the others.
    fn cursors(&self, fresh: bool) -> Result<Vec<SortedRunCursor>> {
        let cursor = |sorted: &SortedRun| -> Result<Option<SortedRunCursor>> {
            let some: Vec<Arc<Run>> = sorted
                .runs()?
                .filter(|run| self.question.fresh.contains(&run.id()) == fresh)
                .cloned()
                .collect();
            Ok((!some.is_empty()).then(|| SortedRunCursor::new(some, false).once().wanting(&Wanted::keys())))
        };
        let sorted_runs = self.question.version.sorted_runs();
        sorted_runs.filter_map(|sorted| cursor(sorted).transpose()).collect()
    }

    /// The entry under a cursor, which stands on one.
    fn found(&mut self, cursor: &SortedRunCursor) -> Result<Found> {
        let lost = || Error::corruption("a cursor lost its row");
        let (entry, (run, block, row)) = (cursor.entry().ok_or_else(lost)?, cursor.place().ok_or_else(lost)?);
        if !self.starts.contains_key(&run) {
            let starts = starts(self.question.version, run)?;
            self.starts.insert(run, starts);
        }
        let start = self
            .starts
            .get(&run)
            .and_then(|starts| starts.get(block))
            .ok_or_else(lost)?;
        Ok(Found {
            seq: entry.seq,
            op: entry.op,
            run,
            row: start + row as u32,
        })
    }

    fn die(&mut self, found: &Found) {
        self.dead.rows.entry(found.run).or_default().push(found.row);
    }

    /// Decides about every key of the fresh runs.
    fn keys(&mut self) -> Result<()> {
        let (mut fresh, mut others) = (self.cursors(true)?, self.cursors(false)?);
        for cursor in &mut fresh {
            cursor.seek_first()?;
        }
        let (mut key, mut versions) = (Vec::new(), Vec::new());
        // Cursors over the others stand nowhere at first.
        let mut begun = vec![false; others.len()];
        while let Some(least) = fresh.iter().filter_map(|cursor| cursor.key()).min() {
            key.clear();
            key.extend_from_slice(least);
            for cursor in &mut fresh {
                self.take(cursor, &key, &mut versions)?;
            }
            for (cursor, begun) in others.iter_mut().zip(&mut begun) {
                if !*begun || cursor.key().is_some_and(|at| at < key.as_slice()) {
                    cursor.seek(&key, MAX_SEQ)?;
                    *begun = true;
                }
                self.take(cursor, &key, &mut versions)?;
            }
            self.judge(&key, &mut versions);
        }
        Ok(())
    }

    /// Takes the versions of `key` from where a cursor stands.
    fn take(&mut self, cursor: &mut SortedRunCursor, key: &[u8], versions: &mut Vec<Found>) -> Result<()> {
        while cursor.key() == Some(key) {
            versions.push(self.found(cursor)?);
            cursor.next()?;
        }
        Ok(())
    }

    /// Decides which of a key's versions, all of them, is its value.
    fn judge(&mut self, key: &[u8], versions: &mut Vec<Found>) {
        versions.sort_unstable_by_key(|found| std::cmp::Reverse(found.seq));
        let question = self.question;
        let visible = versions.iter().position(|found| found.seq <= question.seq);
        let alive = visible.filter(|&newest| {
            let seq = versions[newest].seq;
            seq >= question.hidden_below && seq >= self.tombstones.covering(key, question.seq)
        });
        let mut value = None;
        match alive.map(|newest| versions[newest].op) {
            Some(Op::Put) => value = alive,
            Some(Op::Merge) => self.dead.merged.push(key.to_vec()),
            _ => {}
        }
        for (place, found) in versions.drain(..).enumerate() {
            if Some(place) != value {
                self.die(&found);
            }
        }
    }

    /// Rows of the other runs that range deletes in fresh ones cover.
    fn covered(&mut self) -> Result<()> {
        let version = self.question.version;
        let fresh = version
            .runs()?
            .filter(|(_, run)| self.question.fresh.contains(&run.id()));
        let mut ranges = RangeTombstones::default();
        for (_, run) in fresh {
            ranges.extend(&run.tombstones()?);
        }
        let mut others = self.cursors(false)?;
        for range in ranges.iter().filter(|range| range.seq <= self.question.seq) {
            for cursor in &mut others {
                cursor.seek(&range.start, MAX_SEQ)?;
                while cursor.key().is_some_and(|key| key < range.end.as_slice()) {
                    let found = self.found(cursor)?;
                    if found.seq < range.seq {
                        self.die(&found);
                    }
                    cursor.next()?;
                }
            }
        }
        Ok(())
    }

    /// Rows of the other runs that have expired since they were looked at.
    fn expired(&mut self) -> Result<()> {
        let (from, to) = (self.question.expired_before, self.question.hidden_below);
        if to <= from {
            return Ok(());
        }
        let version = self.question.version;
        for (_, run) in version.runs()? {
            let meta = run.meta();
            if self.question.fresh.contains(&run.id()) || meta.min_seq >= to || meta.max_seq < from {
                continue;
            }
            if meta.max_seq < to {
                let rows = (0..meta.entries).map(|row| row as u32);
                self.dead.rows.entry(run.id()).or_default().extend(rows);
                continue;
            }
            let mut cursor = SortedRunCursor::new(vec![Arc::clone(run)], false)
                .once()
                .wanting(&Wanted::keys());
            cursor.seek_first()?;
            while cursor.key().is_some() {
                let found = self.found(&cursor)?;
                if found.seq < to {
                    self.die(&found);
                }
                cursor.next()?;
            }
        }
        Ok(())
    }
}

/// The number of the first row of each block of a run.
fn starts(version: &Version, run: RunId) -> Result<Vec<u32>> {
    let found = version.find(run)?;
    let run = found.ok_or_else(|| Error::corruption("a cursor stands on a run of another version"))?;
    let blocks = run.reader()?.sidecar().blocks()?;
    let mut start = 0u32;
    let next = |block: usize| {
        let this = start;
        start = start.saturating_add(blocks.handle(block).rows);
        this
    };
    Ok((0..blocks.len()).map(next).collect())
}
