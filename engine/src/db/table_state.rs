//! A table's state inside the database.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard};
use kodiak_core::batch::TableId;
use kodiak_core::compaction::CompactionPolicy;
use kodiak_core::{Result, SeqNo, Slice};
use parking_lot::Mutex;

use super::options::TableOptions;
use super::seq_times::SeqTimes;
use super::slot::Slot;
use super::write::poisoned_gate;
use crate::components::Roles;
use crate::deletion::Passing;
use crate::exact::Exactness;
use crate::merge::MergeOperator;
use crate::primary::{IndexSlot, IndexedRuns};
use crate::publish::{Continuous, Remembered};
use crate::range_delete::RangeTombstones;
use crate::read::{Account, Lookup, MergedCursor, Progress, ReadDebt, Scan, ScanBounds, ScanContext, Source};
use crate::run::{KeyHash, Pruning, RunContext, SortedRunCursor, Wanted};
use crate::secondary::{Secondaries, SecondaryViews};
use crate::typed::{Filter, LastNonNullRow, Schemas, Target};
use crate::version::Version;

/// What a table consists of at one moment: replaced as a whole, so that a reader sees all of a change or nothing.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Takes the writes.
    pub active: Arc<Slot>,
    /// Wait for their flush, newest first.
    pub frozen: Vec<Arc<Slot>>,
    /// The runs.
    pub version: Arc<Version>,
    /// The primary index of these very runs.
    pub index: Option<Arc<IndexedRuns>>,
    /// The secondary indexes of these very runs, as far as they can be read.
    pub secondary: SecondaryViews,
}

impl View {
    /// The memtables, newest first.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }
}

/// A table's state.
#[derive(Debug)]
pub(crate) struct TableInner {
    pub id: TableId,
    pub name: String,
    /// True for the plain key-value table, whose schema never changes.
    pub key_value: bool,
    pub schemas: Arc<Schemas>,
    /// Writers of rows hold it shared from encoding them to writing them; whoever alters the table, exclusively. Taken before
    /// the gate.
    pub altering: ShardedLock<()>,
    /// What it was created with. Its indexes may be others by now: see `roles`.
    pub options: TableOptions,
    /// The roles of indexes. Changed by whoever holds both kinds of indexes.
    pub roles: ArcSwap<Roles>,
    /// What operands are merged by in a key-value table; in a typed one only whether they can be (see
    /// [`operator_for`](Self::operator_for)).
    pub operator: Option<Arc<dyn MergeOperator>>,
    pub view: ArcSwap<View>,
    pub policy: Box<dyn CompactionPolicy>,
    pub read_debt: Arc<ReadDebt>,
    /// Held while the view is replaced.
    pub edit: Mutex<()>,
    /// The primary index. Held by the one job that changes the runs while it brings the index up to date and puts both in
    /// force; taken before `Shared::manifest` and `edit`.
    pub primary: IndexSlot,
    pub secondary: Secondaries,
    pub runs: Arc<RunContext>,
    pub times: SeqTimes,
    /// Held by the one publication that may be made. What is known of the last one.
    pub publishing: Mutex<Remembered>,
    /// Whether it is to be published in the background, and is behind.
    pub continuous: Continuous,
    /// Whether its files are exact as they lie, as far as somebody has looked.
    pub exactness: Exactness,
    pub dropped: std::sync::atomic::AtomicBool,
}

impl TableInner {
    /// Tells whoever goes by the table's files that others are in force.
    pub fn files_changed(&self) {
        self.exactness.files_changed();
        self.continuous.changed();
    }

    /// Versions older than this have expired at `now`.
    pub fn hidden_below(&self, now: impl FnOnce() -> u64) -> SeqNo {
        match self.options.ttl_micros {
            0 => 0,
            ttl => self.times.expired_below(now(), ttl),
        }
    }

    /// Rows as the schema has them that writers write by.
    pub fn target(&self) -> Target {
        Target::new(&self.schemas, self.schemas.current())
    }

    /// Rows as the schema has them that readers at `seq` read by. The view that is read must have been loaded before.
    pub fn target_at(&self, seq: SeqNo) -> Target {
        Target::new(&self.schemas, self.schemas.at(seq))
    }

    /// What operands are merged by, and to rows of which schema; `None` if there can be none.
    pub fn operator_for(&self, target: &Target) -> Option<Arc<dyn MergeOperator>> {
        match &self.operator {
            Some(_) if !self.key_value => Some(Arc::new(LastNonNullRow(target.clone()))),
            operator => operator.clone(),
        }
    }

    /// Keeps the schema as it is while rows are written by it.
    ///
    /// # Errors
    /// `Unavailable` after a panic of whoever altered the table.
    pub fn hold_schema(&self) -> Result<(ShardedLockReadGuard<'_, ()>, Target)> {
        let held = self.altering.read().map_err(|_| poisoned_gate())?;
        Ok((held, self.target()))
    }

    /// The newest visible value of `key`, in `view`; of a typed table, encoded by the schema that readers at `seq` read by.
    #[inline]
    pub fn get(&self, view: &View, key: &[u8], seq: SeqNo, hidden_below: SeqNo) -> Result<Option<Slice>> {
        if self.key_value {
            let mut lookup = Lookup::new(key, seq, hidden_below);
            return self.find(view, &mut lookup, self.operator.as_deref());
        }
        self.get_row(view, key, seq, hidden_below).map(|(_, value)| value)
    }

    /// As [`get`](Self::get), in a typed table; and the schema by which the value is encoded.
    pub fn get_row(&self, view: &View, key: &[u8], seq: SeqNo, hidden_below: SeqNo) -> Result<(Target, Option<Slice>)> {
        let target = self.target_at(seq);
        let value = self.get_with(&target, view, key, seq, hidden_below)?;
        Ok((target, value))
    }

    /// As [`get`](Self::get), encoded by the schema of `target`.
    pub fn get_with(
        &self,
        target: &Target,
        view: &View,
        key: &[u8],
        seq: SeqNo,
        hidden_below: SeqNo,
    ) -> Result<Option<Slice>> {
        let found = self.get_since(target, view, key, seq, hidden_below)?;
        Ok(found.map(|(value, _)| value))
    }

    /// As [`get_with`](Self::get_with), and the oldest version that the value is made of.
    pub fn get_since(
        &self,
        target: &Target,
        view: &View,
        key: &[u8],
        seq: SeqNo,
        hidden_below: SeqNo,
    ) -> Result<Option<(Slice, SeqNo)>> {
        let operator = self.operator_for(target);
        let mut lookup = Lookup::new(key, seq, hidden_below);
        let value = match self.find(view, &mut lookup, operator.as_deref())? {
            Some(value) if !self.key_value => Some(target.encoded(value)?),
            found => found,
        };
        Ok(value.map(|value| (value, lookup.oldest)))
    }

    fn find(
        &self,
        view: &View,
        lookup: &mut Lookup<'_>,
        operator: Option<&dyn MergeOperator>,
    ) -> Result<Option<Slice>> {
        let (key, seq) = (lookup.key, lookup.seq);
        for slot in view.slots() {
            lookup.cover(slot.tombstones.covering(key, seq));
            while let Some(version) = slot.get(key, lookup.seq) {
                let value = || Slice::copy_from(version.value);
                if let Progress::Done(value) = lookup.found(version.seq, version.op, value, operator)? {
                    return Ok(value);
                }
            }
            if lookup.is_hidden() {
                return finish(lookup, operator);
            }
        }
        self.runs.cache.reads.get();
        if let Some(index) = &view.index
            && let Progress::Done(value) = index.get(lookup, seq, operator)?
        {
            return Ok(value);
        }
        let mut hash = KeyHash::default();
        for sorted_run in view.version.sorted_runs() {
            for run in sorted_run.candidates(key)? {
                lookup.cover(run.covering(key, seq)?);
                while let Some(version) = run.get(key, &mut hash, lookup.seq, lookup.hides())? {
                    let value = || version.value;
                    if let Progress::Done(value) = lookup.found(version.seq, version.op, value, operator)? {
                        return Ok(value);
                    }
                }
                if lookup.is_hidden() {
                    return finish(lookup, operator);
                }
            }
        }
        finish(lookup, operator)
    }

    /// What a scan over `bounds` of `view` reads, not positioned, and the range deletes of all of it. If the table's deletion
    /// vectors tell what a reader at that moment sees, rows that are dead by them are passed over, unless to merge takes less.
    pub fn sources(
        &self,
        view: &View,
        bounds: &ScanBounds,
        range: ScanRange<'_>,
        wanted: &Wanted,
    ) -> Result<(MergedCursor, RangeTombstones)> {
        let vectors = view.version.dead.as_ref().filter(|vectors| vectors.serves(range.seq));
        let vectors =
            vectors.filter(|vectors| !range.merges_fast || range.filter.is_some() || vectors.is_mostly_dead());
        let passing = vectors.map(|vectors| Passing::all(Arc::clone(vectors)));
        let mut sources: Vec<Source> = Vec::with_capacity(4);
        let mut tombstones = RangeTombstones::default();
        for slot in view.slots().filter(|slot| !slot.is_empty()) {
            sources.push(Source::Memory(Arc::clone(&slot.entries).cursor()));
            tombstones.extend(&slot.tombstones.snapshot());
        }
        // What is in memory cannot be told apart by ranges.
        let filter = range.filter.filter(|_| self.operator.is_none() || sources.is_empty());
        let level_zero = view.version.levels.first().map_or(0, |level| level.sorted_runs.len());
        let (mut extra, mut deleted) = (0, false);
        for (position, sorted_run) in view.version.sorted_runs().enumerate() {
            let met = sorted_run.meeting(bounds)?;
            if sorted_run.range_deletes() {
                for run in sorted_run.within(met) {
                    tombstones.extend(&run?.tombstones()?);
                }
            }
            let cursor = match range.prefix {
                Some(prefix) => {
                    let mut runs = Vec::new();
                    for run in sorted_run.within(met) {
                        let run = run?;
                        if run.reader()?.may_contain_prefix(prefix) {
                            runs.push(Arc::clone(run));
                        }
                    }
                    SortedRunCursor::new(runs, range.fill_cache)
                }
                None => SortedRunCursor::within(sorted_run.clone(), met, range.fill_cache),
            };
            let cursor = match filter {
                // Older versions are dead, and passed over.
                Some(filter) if passing.is_some() => cursor.pruned(Pruning::new(filter, Vec::new())),
                Some(filter) => cursor.pruned(self.pruning(view, filter, position)),
                None => cursor,
            };
            if !cursor.is_empty() {
                sources.push(Source::Run(cursor.wanting(wanted).passing(passing.as_ref())));
                extra += usize::from(position < level_zero);
                deleted |= sorted_run.tombstones();
            }
        }
        let mut cursor = MergedCursor::new(sources, range.reverse).distinct(passing.is_some());
        if extra > 0 || deleted {
            cursor = cursor.accounted(Account::new(Arc::clone(&self.read_debt), extra));
        }
        Ok((cursor, tombstones))
    }

    /// What a cursor over the sorted run at `position` may leave out.
    fn pruning(&self, view: &View, filter: &Arc<Filter>, position: usize) -> Pruning {
        let merged = self.operator.is_some();
        let others = view.version.sorted_runs().enumerate();
        let others = others.filter(|(other, _)| *other > position || merged && *other != position);
        Pruning::new(filter, others.map(|(_, runs)| runs.clone()).collect())
    }

    /// A scan over `bounds` of `view`.
    pub fn scan(&self, view: &View, bounds: ScanBounds, range: ScanRange<'_>) -> Result<Scan> {
        let (cursor, tombstones) = self.sources(view, &bounds, range, &Wanted::default())?;
        let target = (!self.key_value).then(|| self.target_at(range.seq));
        let context = ScanContext {
            seq: range.seq,
            hidden_below: range.hidden_below,
            tombstones,
            operator: match &target {
                Some(target) => self.operator_for(target),
                None => self.operator.clone(),
            },
            target,
            key_value: self.key_value,
        };
        Scan::new(cursor, context, bounds, range.reverse)
    }
}

fn finish(lookup: &mut Lookup<'_>, operator: Option<&dyn MergeOperator>) -> Result<Option<Slice>> {
    match lookup.end(operator)? {
        Progress::Done(value) => Ok(value),
        Progress::Continue => Ok(None),
    }
}

/// How a scan reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanRange<'a> {
    pub seq: SeqNo,
    pub hidden_below: SeqNo,
    pub reverse: bool,
    /// All keys in the bounds begin with this.
    pub prefix: Option<&'a [u8]>,
    pub fill_cache: bool,
    /// Rows that fail it are of no use.
    pub filter: Option<&'a Arc<Filter>>,
    /// To merge takes less than to pass over a row, unless most are dead.
    pub merges_fast: bool,
}
