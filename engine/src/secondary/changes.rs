//! What flushes, ingestions and compactions mean for indexes.

use std::sync::Arc;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Op, Result, SeqNo};

use super::Secondary;
use super::batch::Batch;
use super::before::Before;
use super::entry::{ENTRY, Mark};
use super::memory::entry_len;
use super::replaced::{Replaced, stripe_end};
use super::walk::{Walk, sources};
use crate::db::{Slot, TableInner, View};
use crate::range_delete::RangeTombstones;
use crate::read::Source;
use crate::run::Run;

/// Adds what flushed memtables have for an index, in its order: the versions that were kept.
pub(super) fn add_slots(
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
pub(super) struct Gone {
    pub deleted: RangeTombstones,
    /// Versions below it have expired, for every reader: once they are in no run, nothing else tells.
    pub expired: SeqNo,
}

/// Marks the entries void of rows that what is about to be added replaces, and of those among it that others replace or that are
/// `gone`: an index that is younger than a memtable, or than the part of the log that it was filled from, was built with all that
/// it held then.
pub(super) fn void_replaced(
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
    let mut before = Before::new(table, &view.version, batches)?;
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
        before.replace(&key, oldest, batches, &unseen)?;
    }
    before.forget(batches, &unseen)
}

/// Takes the entries of versions away that a compaction has dropped, and adds those of rows that it has put together.
pub(super) fn rewritten(
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
