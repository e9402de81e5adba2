//! Bringing indexes up to date with the runs.

use std::sync::Arc;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::index::{Root, Updates};
use kodiak_core::{Error, ErrorKind, Op, Result, SeqNo};
use parking_lot::MutexGuard;

use super::entry::{ENTRY, Mark, entry_key, pending_key, put_forget};
use super::memory::{SlotIndex, check_len, entry_len, is_long};
use super::replaced::{Replaced, stripe_end};
use super::walk::{Walk, row_key, sources};
use super::{IndexFile, OpenSecondary, Secondary, SecondaryView, SecondaryViews};
use crate::db::{Slot, TableInner, View};
use crate::manifest::{Change, VersionEdit};
use crate::range_delete::RangeTombstones;
use crate::read::Source;
use crate::run::{KeyHash, Run};
use crate::version::Version;

/// Bytes of keys and operands that are applied at once.
const BATCH: usize = 4 << 20;

/// How the runs of a table are about to change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SecondaryChange<'r> {
    /// Memtables, newest first, have been written to runs, with the versions that readers at these snapshots and now see; those
    /// below `expired` had expired, and were left out.
    Flushed {
        slots: &'r [Arc<Slot>],
        runs: &'r [Arc<Run>],
        snapshots: &'r [SeqNo],
        expired: SeqNo,
    },
    /// Runs are added that are newer than all others.
    Added(&'r [Arc<Run>]),
    /// A compaction has made outputs of inputs.
    Rewritten {
        inputs: &'r [Arc<Run>],
        outputs: &'r [Arc<Run>],
    },
}

/// An update under way: the table's indexes are held until it is dropped. New roots are durable; unless
/// [`installed`](Self::installed) is called, they are given up again.
#[must_use]
pub(crate) struct SecondaryUpdate<'t> {
    table: &'t TableInner,
    open: MutexGuard<'t, Vec<OpenSecondary>>,
    /// Of each index its next state, if it has one.
    next: Vec<Option<(Root, Arc<SecondaryView>)>>,
    /// The change is in force, or there is none.
    settled: bool,
}

impl<'t> SecondaryUpdate<'t> {
    /// Commits a root of each index for the changed runs. `held` tells the snapshots held at present.
    ///
    /// # Errors
    /// `Io`: the indexes are as they were, and may be tried again. If one fails otherwise (damage, a failed sync), that is no
    /// error: it is given up, and the next opening builds it anew.
    pub fn prepare(table: &'t TableInner, change: SecondaryChange<'_>, held: &dyn Fn() -> Vec<SeqNo>) -> Result<Self> {
        let mut update = Self {
            table,
            open: table.secondary.open.lock(),
            next: Vec::new(),
            settled: true,
        };
        update.next.resize_with(update.open.len(), || None);
        if update.open.is_empty() {
            return Ok(update);
        }
        // From here on, all is undone unless it is installed.
        update.settled = false;
        // What is chosen while the indexes are held.
        let eager = table.roles.load().eager && table.operator.is_none();
        let applied = apply(table, &mut update.open, change, eager, &held());
        for place in 0..update.open.len() {
            let open = &update.open[place];
            if open.building || open.index.check_whole().is_err() {
                continue;
            }
            let committed = match &applied {
                Ok(()) => commit(&open.file).and_then(|root| Ok((root, open.view(root)?))),
                Err(error) => Err(error.replicate()),
            };
            match committed {
                Ok(next) => update.next[place] = Some(next),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => open.index.give_up(&error),
            }
        }
        if let Err(error) = applied {
            update.open.iter().for_each(|open| open.index.give_up(&error));
        }
        Ok(update)
    }

    /// Adds the new roots to the edit, which has the changed runs already.
    pub fn record(&self, edit: &mut VersionEdit) {
        for (open, next) in self.open.iter().zip(&self.next) {
            if let Some((root, _)) = next
                && open.recorded
            {
                let mut meta = open.meta.clone();
                meta.file.root = root.0;
                edit.push(Change::SetSecondary {
                    table: self.table.id,
                    name: open.index.name.clone(),
                    index: Some(meta),
                });
            }
        }
    }

    /// What reads use with the changed runs.
    pub fn views(&self) -> SecondaryViews {
        self.next.iter().flatten().map(|(_, view)| Arc::clone(view)).collect()
    }

    /// The edit is durable, and the changed version in force.
    pub fn installed(mut self) {
        self.settled = true;
        let next = std::mem::take(&mut self.next);
        for (open, next) in self.open.iter_mut().zip(next) {
            if let Some((root, _)) = next {
                open.moved_to(root);
            }
        }
    }
}

impl Drop for SecondaryUpdate<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.next.clear();
        for open in self.open.iter().filter(|open| open.index.check_whole().is_ok()) {
            // What an index being built was told is in force must not be lost again.
            let undone = match open.building {
                true => Err(Error::new(
                    ErrorKind::Conflict,
                    "a change of runs was given up meanwhile",
                )),
                false => open.file.index().and_then(|index| index.reset_to(open.root())),
            };
            if let Err(error) = undone {
                open.index.give_up(&error);
            }
        }
    }
}

fn commit(file: &IndexFile) -> Result<Root> {
    file.index()?.commit()
}

fn apply(
    table: &TableInner,
    open: &mut [OpenSecondary],
    change: SecondaryChange<'_>,
    eager: bool,
    held: &[SeqNo],
) -> Result<()> {
    let added = !matches!(change, SecondaryChange::Rewritten { .. });
    if added && !eager {
        open.iter_mut().for_each(|open| open.meta.exact = false);
    }
    let mut batches: Vec<Batch<'_>> = open
        .iter()
        .filter(|open| open.index.check_whole().is_ok())
        .map(|open| Batch::new(&open.index, &open.file, open.building))
        .collect();
    match change {
        SecondaryChange::Flushed {
            slots,
            runs,
            snapshots,
            expired,
        } => {
            let view = table.view.load_full();
            if table.operator.is_some() {
                // Which operands have become rows only the runs tell.
                add_versions(table, &mut batches, sources(runs), None, &|| Ok(()))?;
            } else {
                let replaced = Replaced::new(slots, snapshots)?;
                for batch in &mut batches {
                    add_slots(batch, slots, snapshots, &replaced, expired)?;
                }
                if eager {
                    let sources = slots
                        .iter()
                        .map(|slot| Source::Memory(Arc::clone(&slot.entries).cursor()));
                    let mut gone = Gone {
                        deleted: RangeTombstones::default(),
                        expired,
                    };
                    slots
                        .iter()
                        .for_each(|slot| gone.deleted.extend(&slot.tombstones.snapshot()));
                    void_replaced(table, &view, &mut batches, sources.collect(), held, &gone)?;
                }
            }
        }
        SecondaryChange::Added(runs) => {
            add_versions(table, &mut batches, sources(runs), None, &|| Ok(()))?;
            if eager {
                let view = table.view.load_full();
                void_replaced(table, &view, &mut batches, sources(runs), held, &Gone::default())?;
            }
        }
        SecondaryChange::Rewritten { inputs, outputs } => rewritten(table, &mut batches, inputs, outputs, held)?,
    }
    batches.iter_mut().try_for_each(Batch::flush)
}

/// Collects changes of one index.
pub(super) struct Batch<'i> {
    pub index: &'i Arc<Secondary>,
    file: &'i Arc<IndexFile>,
    /// It is being filled by another thread, which may add what is forgotten here.
    building: bool,
    updates: Updates,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'i> Batch<'i> {
    pub fn new(index: &'i Arc<Secondary>, file: &'i Arc<IndexFile>, building: bool) -> Self {
        Self {
            index,
            file,
            building,
            updates: Updates::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// What a memtable has for the index; nothing if it is older.
    fn of_slot<'s>(&self, slot: &'s Slot) -> Option<&'s SlotIndex> {
        slot.indexes.iter().find(|own| Arc::ptr_eq(&own.index, self.index))
    }

    /// Adds an entry that was put together before.
    fn add_whole(&mut self, key: &[u8], mark: Mark) -> Result<()> {
        check_len(self.index, key.len())?;
        self.value.clear();
        mark.encode(&mut self.value);
        self.updates.upsert(key, &self.value);
        self.flush_full()
    }

    /// Adds the entry of a version; `void` as in [`Mark`]. One that is too long is looked up by every read.
    pub fn add(&mut self, index_key: &[u8], user_key: &[u8], seq: SeqNo, void: Option<SeqNo>) -> Result<()> {
        if is_long(index_key, user_key) {
            return self.add_pending(user_key, seq);
        }
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        entry_key(index_key, user_key, &mut key);
        let len = index_key.len();
        let added = self.add_whole(&key, Mark { len, seq, void });
        self.key = key;
        added
    }

    /// Adds a row that is known by operands only.
    pub fn add_pending(&mut self, user_key: &[u8], seq: SeqNo) -> Result<()> {
        let mut key = Vec::with_capacity(1 + user_key.len());
        pending_key(user_key, &mut key);
        let (len, void) = (0, None);
        self.add_whole(&key, Mark { len, seq, void })
    }

    /// No reader from `seq` on sees the version of that number, nor an older one; nor an older reader, if `unseen`.
    fn forget(&mut self, index_key: &[u8], user_key: &[u8], seq: SeqNo, void: SeqNo, unseen: bool) -> Result<()> {
        if is_long(index_key, user_key) {
            return self.forget_pending(user_key, seq, unseen);
        }
        if !unseen || self.building {
            return self.add(index_key, user_key, seq, Some(void.max(seq + 1)));
        }
        self.key.clear();
        entry_key(index_key, user_key, &mut self.key);
        self.take_away(seq)
    }

    fn forget_pending(&mut self, user_key: &[u8], seq: SeqNo, unseen: bool) -> Result<()> {
        if !unseen || self.building {
            return Ok(());
        }
        self.key.clear();
        pending_key(user_key, &mut self.key);
        self.take_away(seq)
    }

    fn take_away(&mut self, seq: SeqNo) -> Result<()> {
        self.value.clear();
        put_forget(&mut self.value, seq);
        self.updates.upsert(&self.key, &self.value);
        self.flush_full()
    }

    fn flush_full(&mut self) -> Result<()> {
        match self.updates.bytes() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub fn flush(&mut self) -> Result<()> {
        if !self.updates.is_empty() {
            self.file.index()?.apply(&self.updates, None)?;
            self.updates.clear();
        }
        Ok(())
    }
}

/// Adds what flushed memtables have for an index, in its order: the versions that were kept.
fn add_slots(
    batch: &mut Batch<'_>,
    slots: &[Arc<Slot>],
    snapshots: &[SeqNo],
    replaced: &Replaced,
    expired: SeqNo,
) -> Result<()> {
    for slot in slots {
        let Some(own) = batch.of_slot(slot) else {
            // Older than the index, which was built with what it holds.
            continue;
        };
        let mut cursor = Arc::clone(&own.entries).cursor();
        cursor.seek_first()?;
        while let Some(entry) = cursor.entry() {
            if entry.key.first() != Some(&ENTRY) {
                let (len, seq, void) = (0, entry.seq, None);
                batch.add_whole(entry.key, Mark { len, seq, void })?;
                cursor.next()?;
                continue;
            }
            let len = entry_len(entry.value)?;
            let user_key = entry.key.get(1 + len..).unwrap_or_default();
            let covered = || {
                let end = stripe_end(snapshots, entry.seq);
                slots
                    .iter()
                    .any(|slot| slot.tombstones.covering(user_key, end) > entry.seq)
            };
            if entry.seq >= expired && !replaced.is_unseen(entry.seq) && !covered() {
                let (seq, void) = (entry.seq, replaced.newest(entry.seq));
                batch.add_whole(entry.key, Mark { len, seq, void })?;
            }
            cursor.next()?;
        }
    }
    Ok(())
}

/// Adds all versions in some places. With `snapshots`, only those that readers at them and now see. `stop` is asked now and then
/// whether to give up.
pub(super) fn add_versions(
    table: &TableInner,
    batches: &mut [Batch<'_>],
    sources: Vec<Source>,
    snapshots: Option<&[SeqNo]>,
    stop: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut steps = 0u32;
    let indexes: Vec<&Arc<Secondary>> = batches.iter().map(|batch| batch.index).collect();
    let mut walk = Walk::new(table, indexes, sources)?;
    let mut key: Vec<u8> = Vec::new();
    // Of that key: the newest version, and the last one that was kept.
    let mut newest: Option<(SeqNo, SeqNo)> = None;
    while let Some((user_key, seq, op)) = walk.current() {
        if newest.is_none() || user_key != key {
            key.clear();
            key.extend_from_slice(user_key);
            newest = Some((seq, MAX_SEQ));
        }
        let (first, last) = newest.unwrap_or((seq, MAX_SEQ));
        let hidden = snapshots.is_some_and(|snapshots| last != MAX_SEQ && stripe_end(snapshots, seq) >= last);
        if op == Op::Merge {
            batches.iter_mut().try_for_each(|batch| batch.add_pending(&key, seq))?;
        } else {
            if op == Op::Put && !hidden {
                for (place, batch) in batches.iter_mut().enumerate() {
                    if let Some(index_key) = walk.index_key(place)? {
                        batch.add(&index_key, &key, seq, Some(first).filter(|&first| first > seq))?;
                    }
                }
            }
            newest = Some((first, seq));
        }
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(4096) {
            stop()?;
        }
        walk.next()?;
    }
    Ok(())
}

/// What hides versions beside newer ones.
#[derive(Default)]
struct Gone {
    deleted: RangeTombstones,
    /// Versions below it have expired, for every reader: once they are in no run, nothing else tells.
    expired: SeqNo,
}

/// Marks the entries void of rows that what is about to be added replaces, and of those among it that others replace or that are
/// `gone`: an index that is younger than a memtable, or than the part of the log that it was filled from, was built with all that
/// it held then.
fn void_replaced(
    table: &TableInner,
    view: &View,
    batches: &mut [Batch<'_>],
    sources: Vec<Source>,
    held: &[SeqNo],
    gone: &Gone,
) -> Result<()> {
    let indexes: Vec<&Arc<Secondary>> = batches.iter().map(|batch| batch.index).collect();
    let mut walk = Walk::new(table, indexes, sources)?;
    let unseen = |from: SeqNo| held.first().is_none_or(|&oldest| oldest >= from);
    let target = table.target();
    while let Some((key, newest, _)) = walk.current() {
        let (key, mut oldest) = (key.to_vec(), newest);
        while let Some((_, seq, op)) = walk.current().filter(|(same, ..)| *same == key) {
            let void = gone.deleted.covering(&key, MAX_SEQ).max(newest).max(gone.expired);
            if op == Op::Put && void > seq {
                let unseen = seq < gone.expired || unseen(void);
                for (place, batch) in batches.iter_mut().enumerate() {
                    if let Some(index_key) = walk.index_key(place)? {
                        batch.forget(&index_key, &key, seq, void, unseen)?;
                    }
                }
            }
            oldest = seq;
            walk.next()?;
        }
        let Some((seq, row)) = row_before(&view.version, &key, oldest)? else {
            continue;
        };
        let row = if table.key_value { row } else { target.encoded(row)? };
        for batch in batches.iter_mut() {
            let codec = batch.index.codec(target.schema())?;
            if let Some(index_key) = row_key(&target, &codec, &key, &row)? {
                batch.forget(&index_key, &key, seq, oldest, unseen(oldest))?;
            }
        }
    }
    Ok(())
}

/// The row that the runs have of a key before a moment, if it is a put, and when it was written. Range deletes are not asked:
/// readers ask them.
fn row_before(version: &Version, key: &[u8], before: SeqNo) -> Result<Option<(SeqNo, kodiak_core::Slice)>> {
    let mut hash = KeyHash::default();
    for sorted_run in version.sorted_runs() {
        for run in sorted_run.candidates(key) {
            if let Some(found) = run.get(key, &mut hash, before.saturating_sub(1), true)? {
                return Ok((found.op == Op::Put).then_some((found.seq, found.value)));
            }
        }
    }
    Ok(None)
}

/// Takes the entries of versions away that a compaction has dropped, and adds those of rows that it has put together.
fn rewritten(
    table: &TableInner,
    batches: &mut [Batch<'_>],
    inputs: &[Arc<Run>],
    outputs: &[Arc<Run>],
    held: &[SeqNo],
) -> Result<()> {
    let entries = |runs: &[Arc<Run>]| runs.iter().map(|run| run.meta().entries).sum::<u64>();
    if entries(inputs) == entries(outputs) && table.operator.is_none() {
        return Ok(()); // nothing was dropped
    }
    let indexes: Vec<&Arc<Secondary>> = batches.iter().map(|batch| batch.index).collect();
    let mut before = Walk::new(table, indexes.iter().copied(), sources(inputs))?;
    let mut after = Walk::new(table, indexes.iter().copied(), sources(outputs))?;
    while let Some((key, seq, op)) = before.current() {
        let kept = after
            .current()
            .filter(|(kept, kept_seq, _)| *kept == key && *kept_seq == seq);
        let kept = kept.map(|(_, _, op)| op);
        let unseen = held.first().is_none_or(|&oldest| oldest >= seq);
        let key = key.to_vec();
        match (op, kept) {
            (Op::Put, None) => {
                for (place, batch) in batches.iter_mut().enumerate() {
                    if let Some(index_key) = before.index_key(place)? {
                        batch.forget(&index_key, &key, seq, seq + 1, unseen)?;
                    }
                }
            }
            (Op::Merge, Some(Op::Put)) => {
                for (place, batch) in batches.iter_mut().enumerate() {
                    // First, because what is too long becomes pending again.
                    batch.forget_pending(&key, seq, unseen)?;
                    if let Some(index_key) = after.index_key(place)? {
                        batch.add(&index_key, &key, seq, None)?;
                    }
                }
            }
            (Op::Merge, None) => {
                let forget = |batch: &mut Batch<'_>| batch.forget_pending(&key, seq, unseen);
                batches.iter_mut().try_for_each(forget)?;
            }
            _ => {}
        }
        if kept.is_some() {
            after.next()?;
        }
        before.next()?;
    }
    Ok(())
}
