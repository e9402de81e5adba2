//! A table's state inside the database, and the handle that programs hold.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard};
use kodiak_core::batch::TableId;
use kodiak_core::compaction::CompactionPolicy;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Op, Result, SeqNo, Slice};
use parking_lot::Mutex;

use super::options::TableOptions;
use super::seq_times::SeqTimes;
use super::shared::{Open, Shared};
use super::slot::Slot;
use super::snapshot::Snapshot;
use super::write::poisoned_gate;
use crate::components::Roles;
use crate::deletion::Passing;
use crate::key_range::KeyRange;
use crate::merge::MergeOperator;
use crate::primary::{IndexSlot, IndexedRuns};
use crate::publish::Continuous;
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
    /// Held by the one publication that may be made.
    pub publishing: Mutex<()>,
    /// Whether it is to be published in the background, and is behind.
    pub continuous: Continuous,
    pub dropped: std::sync::atomic::AtomicBool,
}

impl TableInner {
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
            return self.find(view, key, seq, hidden_below, self.operator.as_deref());
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
        let operator = self.operator_for(target);
        match self.find(view, key, seq, hidden_below, operator.as_deref())? {
            Some(value) if !self.key_value => target.encoded(value).map(Some),
            found => Ok(found),
        }
    }

    fn find(
        &self,
        view: &View,
        key: &[u8],
        seq: SeqNo,
        hidden_below: SeqNo,
        operator: Option<&dyn MergeOperator>,
    ) -> Result<Option<Slice>> {
        let mut lookup = Lookup::new(key, seq, hidden_below);
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
            && let Progress::Done(value) = index.get(&mut lookup, seq, operator)?
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
    /// vectors tell what a reader at that moment sees, rows that are dead by them are passed over.
    pub fn sources(
        &self,
        view: &View,
        bounds: &ScanBounds,
        range: ScanRange<'_>,
        wanted: &Wanted,
    ) -> Result<(MergedCursor, RangeTombstones)> {
        let vectors = view.version.dead.as_ref().filter(|vectors| vectors.serves(range.seq));
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

fn finish(mut lookup: Lookup<'_>, operator: Option<&dyn MergeOperator>) -> Result<Option<Slice>> {
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
}

/// A table of an open database.
///
/// Handles are cheap to clone, may be used from any thread, and keep the database open. Reads see every write that was
/// acknowledged before they began. The byte-level methods work on every table: in a typed one, keys are encoded primary keys
/// and values encoded rows (see `docs/formats/keys.md`), of the schema in force at the moment that is read at.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) open: Arc<Open>,
    pub(crate) inner: Arc<TableInner>,
}

impl Table {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its number within the database.
    pub fn id(&self) -> TableId {
        self.inner.id
    }

    /// Its schema, as of now: [`alter`](Self::alter) changes that of a typed table.
    pub fn schema(&self) -> Arc<TableSchema> {
        Arc::clone(&self.inner.schemas.current().schema)
    }

    /// The schema that it had when the snapshot was taken, by which reads at it read.
    pub fn schema_at(&self, snapshot: &Snapshot) -> Arc<TableSchema> {
        Arc::clone(&self.inner.schemas.at(snapshot.seq()).schema)
    }

    /// Its options: those it was created with, and how its indexes are made and kept by now.
    pub fn options(&self) -> TableOptions {
        let indexes = self.inner.roles.load().own.clone();
        self.inner.options.clone().indexes(indexes)
    }

    fn shared(&self) -> &Shared {
        &self.open.shared
    }

    /// Gives `key` a value.
    ///
    /// # Errors
    /// `InvalidInput` for a key or value above the limits; `Io` if the log cannot be written; `Unavailable` after such a
    /// failure, in a database that is closed or open for reading only, or if the table was dropped.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.shared()
            .write_one(&self.inner, Op::Put, key.as_ref(), value.as_ref())
    }

    /// Takes the value of `key` away; a key without a value is fine. Errors as [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.shared().write_one(&self.inner, Op::Delete, key.as_ref(), &[])
    }

    /// Takes the values of all keys in a range away, at the price of one write. Errors as [`put`](Self::put); besides,
    /// `InvalidInput` for a range without an end, since there is no largest key.
    pub fn delete_range(&self, range: impl KeyRange) -> Result<()> {
        let bounds = range.bounds();
        let end = bounds.end.ok_or_else(|| {
            kodiak_core::Error::invalid_input("a range delete needs an end; to delete everything, drop the table")
        })?;
        if bounds.start >= end {
            return Ok(());
        }
        self.shared()
            .write_one(&self.inner, Op::RangeDelete, &bounds.start, &end)
    }

    /// Adds an operand for the table's merge operator. Errors as [`put`](Self::put); besides, `InvalidInput` if the table has
    /// no operator.
    pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> Result<()> {
        self.shared()
            .write_one(&self.inner, Op::Merge, key.as_ref(), operand.as_ref())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `Corruption` naming file and offset, `Io`, `Unavailable`; what the merge operator returns.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let shared = self.shared();
        shared.check_open()?;
        // The view first, then the sequence number: what a flush has dropped from the view is never needed then.
        let view = self.inner.view.load();
        let seq = shared.visible();
        self.inner.get(
            &view,
            key.as_ref(),
            seq,
            self.inner.hidden_below(|| shared.now_micros()),
        )
    }

    /// The value that `key` had when the snapshot was taken. Errors as [`get`](Self::get).
    pub fn get_at(&self, snapshot: &Snapshot, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let shared = self.shared();
        shared.check_open()?;
        snapshot.check(shared)?;
        let view = self.inner.view.load();
        self.inner.get(
            &view,
            key.as_ref(),
            snapshot.seq(),
            self.inner.hidden_below(|| shared.now_micros()),
        )
    }

    /// The encoded row of a key, and the schema by which it is encoded.
    pub(crate) fn get_encoded(&self, key: &[u8], snapshot: Option<&Snapshot>) -> Result<(Target, Option<Slice>)> {
        let shared = self.shared();
        shared.check_open()?;
        if let Some(snapshot) = snapshot {
            snapshot.check(shared)?;
        }
        let view = self.inner.view.load();
        let seq = snapshot.map_or_else(|| shared.visible(), Snapshot::seq);
        let hidden = self.inner.hidden_below(|| shared.now_micros());
        self.inner.get_row(&view, key, seq, hidden)
    }

    /// The values of several keys at one moment, in the order of the keys. Errors as [`get`](Self::get).
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Slice>>> {
        let shared = self.shared();
        shared.check_open()?;
        let view = self.inner.view.load_full();
        let seq = shared.visible();
        let hidden = self.inner.hidden_below(|| shared.now_micros());
        keys.into_iter()
            .map(|key| self.inner.get(&view, key.as_ref(), seq, hidden))
            .collect()
    }

    /// True if `key` has a value. Errors as [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entries of a key range in key order: `scan(..)`, `scan(b"a"..b"b")`. Errors as [`get`](Self::get).
    pub fn scan(&self, range: impl KeyRange) -> Result<Scan> {
        self.scan_with(ScanOptions::new(range))
    }

    /// The entries whose keys begin with `prefix`, in key order. Errors as [`get`](Self::get).
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Scan> {
        self.scan_with(ScanOptions::prefix(prefix))
    }

    /// A scan with options: backward, at a snapshot, past the cache. Errors as [`get`](Self::get).
    pub fn scan_with(&self, options: ScanOptions<'_>) -> Result<Scan> {
        let shared = self.shared();
        shared.check_open()?;
        if let Some(snapshot) = options.snapshot {
            snapshot.check(shared)?;
        }
        let view = self.inner.view.load_full();
        let range = ScanRange {
            seq: options
                .snapshot
                .map_or_else(|| shared.visible(), Snapshot::seq)
                .min(MAX_SEQ),
            hidden_below: self.inner.hidden_below(|| shared.now_micros()),
            reverse: options.reverse,
            prefix: options.prefix.as_deref(),
            fill_cache: options.fill_cache,
            filter: None,
        };
        self.inner.scan(&view, options.bounds, range)
    }
}

/// What a scan reads and how: a builder for [`Table::scan_with`].
#[derive(Debug, Clone)]
pub struct ScanOptions<'a> {
    bounds: ScanBounds,
    prefix: Option<Vec<u8>>,
    reverse: bool,
    snapshot: Option<&'a Snapshot>,
    fill_cache: bool,
}

impl<'a> ScanOptions<'a> {
    /// Forward over a key range.
    pub fn new(range: impl KeyRange) -> Self {
        Self {
            bounds: range.bounds(),
            prefix: None,
            reverse: false,
            snapshot: None,
            fill_cache: true,
        }
    }

    /// Forward over the keys that begin with `prefix`; runs whose filter knows that they have none are not read.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        Self {
            prefix: Some(prefix.to_vec()),
            ..Self::new(ScanBounds::prefix(prefix))
        }
    }

    /// From the end of the range to its start.
    pub fn rev(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// As the table was when the snapshot was taken.
    pub fn at(mut self, snapshot: &'a Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Blocks read are not kept in the cache: for large scans that should not push out what is hot.
    pub fn without_cache(mut self) -> Self {
        self.fill_cache = false;
        self
    }
}
