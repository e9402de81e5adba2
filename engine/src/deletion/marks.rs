//! What a change of runs makes dead.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::format::Projection;
use kodiak_core::{Error, Op, Result, SeqNo};

use super::{DeadRows, DeletionVectors};
use crate::manifest::Marks;
use crate::primary::locator::Locator;
use crate::run::{Behind, Rows, Run, RunReader, SortedRunCursor, Wanted};

/// Collects the rows that die by a change of runs: those in the new runs that are born dead, and those that they displace.
pub(crate) struct Marking {
    before: Arc<DeletionVectors>,
    /// Those that there are after the change.
    runs: BTreeMap<RunId, Arc<Run>>,
    marks: BTreeMap<RunId, DeadRows>,
    /// Whoever reads at this sequence number or later sees none of the rows that die by the change.
    newest: SeqNo,
    /// Of runs with marks, the number of the first row of each block.
    first_rows: HashMap<RunId, Arc<[u32]>>,
}

impl Marking {
    /// Begins. `before` is of the runs before the change, `runs` those after it, of which `new` are new.
    pub fn new(before: &Arc<DeletionVectors>, runs: impl Iterator<Item = Arc<Run>>, new: &[Arc<Run>]) -> Self {
        Self {
            before: Arc::clone(before),
            runs: runs.map(|run| (run.id(), run)).collect(),
            marks: BTreeMap::new(),
            newest: new.iter().map(|run| run.meta().max_seq).max().unwrap_or(0),
            first_rows: HashMap::new(),
        }
    }

    /// The versions of a key in new runs, newest first. True if they supersede all that are older.
    ///
    /// # Errors
    /// Those of reading the runs; `Unsupported` for runs that are too long.
    pub fn born(&mut self, newest: &Locator, older: &[Locator]) -> Result<bool> {
        let mut superseded = false;
        for version in std::iter::once(newest).chain(older) {
            if version.op == Op::Merge {
                self.marks.entry(version.run).or_default().operands += 1;
            }
            if superseded || version.op == Op::Delete {
                self.mark(version)?;
            }
            superseded |= version.op != Op::Merge;
        }
        Ok(superseded)
    }

    /// The version of `key` to which the index led until it was superseded by a new one. Errors as [`born`](Self::born);
    /// `Corruption` if there is no such row.
    pub fn displaced(&mut self, key: &[u8], locator: &Locator) -> Result<()> {
        // What an operand applies to has not been marked. An index that is older than the vectors may lead to a row that is gone,
        // if something hides it.
        match locator.op == Op::Merge || !self.runs.contains_key(&locator.run) {
            true => self.search(key),
            false => self.mark(locator),
        }
    }

    /// True if a row of a new run was marked.
    ///
    /// # Errors
    /// `Corruption` if there is no such row.
    pub fn is_marked(&self, version: &Locator) -> Result<bool> {
        let (Some(marks), Some(first_rows)) = (self.marks.get(&version.run), self.first_rows.get(&version.run)) else {
            return Ok(false);
        };
        Ok(marks.rows.contains(row_number(first_rows, version)?))
    }

    /// Marks the superseded versions of a key of which the index does not tell, by looking into every run.
    ///
    /// # Errors
    /// Those of reading the runs.
    pub fn search(&mut self, key: &[u8]) -> Result<()> {
        let mut versions = Vec::new();
        let may_have = |run: &&Arc<Run>| run.min_key() <= key && key <= run.max_key();
        for run in self.runs.values().filter(may_have) {
            let mut cursor = keys_of(vec![Arc::clone(run)]);
            cursor.seek(key, MAX_SEQ)?;
            while let (Some(entry), Some(place)) = (cursor.entry().filter(|entry| entry.key == key), cursor.place()) {
                versions.push(located(entry.seq, entry.op, place));
                cursor.next()?;
            }
        }
        versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.seq));
        let value = versions.iter().position(|version| version.op != Op::Merge);
        for version in versions.iter().skip(value.map_or(usize::MAX, |at| at + 1)) {
            self.mark(version)?;
        }
        Ok(())
    }

    /// What a compaction has taken over: rows of `inputs` that are dead are so in `outputs`. Those that it passed over, which
    /// were dead by `passed`, are not there.
    ///
    /// # Errors
    /// Those of reading the runs.
    pub fn carry(&mut self, inputs: &[Arc<Run>], outputs: &[Arc<Run>], passed: Option<&DeletionVectors>) -> Result<()> {
        let mut copies = keys_of(outputs.to_vec());
        let before = Arc::clone(&self.before);
        for input in inputs {
            let Some(dead) = before.of(input.id()) else { continue };
            self.newest = self.newest.max(dead.newest);
            let known = passed.and_then(|passed| passed.of(input.id()));
            let rows = match known {
                Some(known) => &dead.rows - &known.rows,
                None => dead.rows.clone(),
            };
            if rows.is_empty() || outputs.is_empty() {
                continue;
            }
            let mut reader = RowReader::new(input)?;
            for row in rows {
                let (block, row) = reader.find(row)?;
                let entry = block.entry(row);
                // Deletes are known by themselves.
                if entry.op == Op::Delete {
                    continue;
                }
                copies.seek(entry.key, entry.seq)?;
                let copy = copies
                    .entry()
                    .filter(|copy| copy.key == entry.key && copy.seq == entry.seq);
                if let (Some(copy), Some(place)) = (copy, copies.place()) {
                    let copy = located(copy.seq, copy.op, place);
                    self.mark(&copy)?;
                }
            }
        }
        Ok(())
    }

    fn mark(&mut self, version: &Locator) -> Result<()> {
        let first_rows = match self.first_rows.get(&version.run) {
            Some(first_rows) => first_rows,
            None => {
                let run = self.runs.get(&version.run).ok_or_else(|| astray(version))?;
                let first_rows = Arc::clone(run.reader()?.first_rows()?);
                self.first_rows.entry(version.run).or_insert(first_rows)
            }
        };
        let row = row_number(first_rows, version)?;
        if self.before.of(version.run).is_none_or(|dead| !dead.rows.contains(row)) {
            let marks = self.marks.entry(version.run).or_default();
            marks.rows.insert(row);
        }
        Ok(())
    }

    /// What the manifest is to be told, and the vectors of the runs after the change.
    pub fn finish(mut self) -> (Marks, DeletionVectors) {
        let mut after = HashMap::with_capacity(self.marks.len());
        for (run, dead) in self.before.runs() {
            if self.runs.contains_key(&run) {
                after.insert(run, Arc::clone(dead));
            }
        }
        self.marks.retain(|_, marks| *marks != DeadRows::default());
        for (&run, marks) in &mut self.marks {
            if !marks.rows.is_empty() {
                marks.newest = self.newest;
            }
            Arc::make_mut(after.entry(run).or_default()).add(marks);
        }
        let vectors = DeletionVectors::new(after, self.runs.values());
        let marks = Marks {
            anew: false,
            runs: self.marks.into_iter().collect(),
        };
        (marks, vectors)
    }
}

/// The number in the file of a version's row.
fn row_number(first_rows: &[u32], version: &Locator) -> Result<u32> {
    let first = first_rows.get(version.block as usize);
    first
        .and_then(|first| first.checked_add(version.row))
        .ok_or_else(|| astray(version))
}

#[cold]
fn astray(version: &Locator) -> Error {
    Error::corruption(format!(
        "an update displaces block {}, row {} of run {}, which is not there",
        version.block, version.row, version.run
    ))
}

fn keys_of(runs: Vec<Arc<Run>>) -> SortedRunCursor {
    SortedRunCursor::new(runs, false).once().wanting(&Wanted::keys())
}

fn located(seq: SeqNo, op: Op, (run, block, row): (RunId, usize, usize)) -> Locator {
    Locator {
        run,
        block: block as u32,
        row: row as u32,
        seq,
        op,
    }
}

/// Reads rows of a run by their numbers in the file, in their order, and each once.
struct RowReader {
    run: Arc<RunReader>,
    first_rows: Arc<[u32]>,
    projection: Projection,
    block: Option<(usize, Rows)>,
    behind: Option<Behind>,
}

impl RowReader {
    fn new(run: &Arc<Run>) -> Result<Self> {
        let run = run.reader()?;
        Ok(Self {
            first_rows: Arc::clone(run.first_rows()?),
            projection: Wanted::keys().of_run(run.schema()),
            run,
            block: None,
            behind: None,
        })
    }

    /// The block that holds a row, and the row in it.
    fn find(&mut self, row: u32) -> Result<(&Rows, usize)> {
        let index = self.first_rows.partition_point(|&first| first <= row).saturating_sub(1);
        if self.block.as_ref().is_none_or(|(at, _)| *at != index) {
            self.block = Some((index, self.run.rows(index, &self.projection, (false, true))?));
            self.behind
                .get_or_insert_with(|| Behind::new(&self.run, index))
                .enter(index);
        }
        let within = self
            .block
            .as_ref()
            .map(|(_, rows)| (rows, (row - self.first_rows[index]) as usize));
        within
            .filter(|(rows, row)| *row < rows.len())
            .ok_or_else(|| Error::corruption(format!("run {} has no row {row}", self.run.id())))
    }
}
