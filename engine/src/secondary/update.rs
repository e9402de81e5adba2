//! Bringing indexes up to date with the runs.

use std::sync::Arc;

use kodiak_core::index::Root;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};
use parking_lot::MutexGuard;

use super::batch::Batch;
use super::changes::{Gone, add_slots, add_versions, rewritten, void_replaced};
use super::replaced::Replaced;
use super::walk::sources;
use super::{OpenSecondary, Secondary, SecondaryView, SecondaryViews};
use crate::db::{Slot, TableInner};
use crate::manifest::{Change, VersionEdit};
use crate::range_delete::RangeTombstones;
use crate::read::Source;
use crate::run::Run;
use crate::side_by_side::side_by_side;

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
        if !eager && !matches!(change, SecondaryChange::Rewritten { .. }) {
            update.open.iter_mut().for_each(|open| open.meta.exact = false);
        }
        let prepared = bring_up_to_date(table, &update.open, change, eager, &held());
        match prepared {
            Ok(prepared) => {
                for (place, next) in prepared {
                    match next {
                        Ok(next) => update.next[place] = next,
                        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                        Err(error) => update.open[place].index.give_up(&error),
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => update.open.iter().for_each(|open| open.index.give_up(&error)),
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

    /// Tells readers of rows that came with added runs: the view has these, and they are not visible yet.
    pub fn tell_added(&self) {
        self.open.iter().for_each(|open| open.index.pending.lose_if_told());
    }

    /// Undoes it for now: another update is going to be made for the same change.
    pub fn postpone(mut self) -> Postponed {
        self.take_back()
    }

    fn take_back(&mut self) -> Postponed {
        self.settled = true;
        self.next.clear();
        let mut told = Vec::new();
        for open in self.open.iter().filter(|open| open.index.check_whole().is_ok()) {
            if open.building {
                told.push(Arc::clone(&open.index));
            } else if let Err(error) = open.file.index().and_then(|index| index.reset_to(open.root())) {
                open.index.give_up(&error);
            }
        }
        Postponed(told)
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
        if !self.settled {
            drop(self.take_back());
        }
    }
}

/// Indexes being built that were told of a change of runs which is not in force. What they were told is in force must not be lost
/// again: unless the change is made after all, and this [`settled`](Self::settled), they are given up.
#[must_use]
pub(crate) struct Postponed(Vec<Arc<Secondary>>);

impl Postponed {
    /// The change is in force.
    pub fn settled(mut self) {
        self.0.clear();
    }
}

impl Drop for Postponed {
    fn drop(&mut self) {
        let error = || Error::new(ErrorKind::Conflict, "a change of runs was given up meanwhile");
        self.0.iter().for_each(|index| index.give_up(&error()));
    }
}

/// Of each whole index, by its place, the next state; none of one that is being built.
type Prepared = Vec<(usize, Result<Option<(Root, Arc<SecondaryView>)>>)>;

/// Applies a change of runs to all indexes that are whole, each on a thread of its own, so that their syncs are waited for together.
///
/// # Errors
/// What concerns all of them.
fn bring_up_to_date(
    table: &TableInner,
    open: &[OpenSecondary],
    change: SecondaryChange<'_>,
    eager: bool,
    held: &[SeqNo],
) -> Result<Prepared> {
    let places = (0..open.len()).filter(|&place| open[place].index.check_whole().is_ok());
    let places: Vec<usize> = places.collect();
    let batch = |&place: &usize| Batch::new(&open[place].index, &open[place].file, open[place].building);
    let mut batches: Vec<Batch<'_>> = places.iter().map(batch).collect();
    let replaced = match change {
        SecondaryChange::Flushed { slots, snapshots, .. } if table.operator.is_none() => {
            Some(Replaced::new(slots, snapshots)?)
        }
        _ => None,
    };
    let fill = |batch: &mut Batch<'_>| match (change, &replaced) {
        (
            SecondaryChange::Flushed {
                slots,
                snapshots,
                expired,
                ..
            },
            Some(replaced),
        ) => add_slots(batch, slots, snapshots, replaced, expired),
        _ => Ok(()),
    };
    // Before what is void, which may be among what is added.
    let first = eager && replaced.is_some();
    if first {
        side_by_side("an index", batches.iter_mut().collect(), fill)
            .into_iter()
            .collect::<Result<()>>()?;
    }
    gather(table, &mut batches, change, eager, held)?;
    let next = |(&place, mut batch): (&usize, Batch<'_>)| {
        let open = &open[place];
        if !first {
            fill(&mut batch)?;
        }
        batch.flush()?;
        if open.building {
            return Ok(None);
        }
        let root = open.file.index()?.commit()?;
        Ok(Some((root, open.view(root)?)))
    };
    let next = side_by_side("an index", places.iter().zip(batches).collect(), next);
    Ok(places.iter().copied().zip(next).collect())
}

/// Adds what a change means beside the entries of flushed memtables: what is found out by walking over versions, for all indexes at once.
fn gather(
    table: &TableInner,
    batches: &mut [Batch<'_>],
    change: SecondaryChange<'_>,
    eager: bool,
    held: &[SeqNo],
) -> Result<()> {
    match change {
        // Which operands have become rows only the runs tell.
        SecondaryChange::Flushed { runs, .. } if table.operator.is_some() => {
            add_versions(table, batches, sources(runs), None, &|| Ok(()))
        }
        SecondaryChange::Flushed { slots, expired, .. } => {
            if !eager {
                return Ok(());
            }
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
            void_replaced(table, &table.view.load_full(), batches, sources.collect(), held, &gone)
        }
        SecondaryChange::Added(runs) => {
            add_versions(table, batches, sources(runs), None, &|| Ok(()))?;
            let pended = batches.iter().filter(|batch| batch.pended);
            pended.for_each(|batch| batch.index.pending.will_lose());
            if eager {
                // Until they are visible, readers begin that see what they replace.
                let held = &[SeqNo::MIN];
                let view = table.view.load_full();
                void_replaced(table, &view, batches, sources(runs), held, &Gone::default())?;
            }
            Ok(())
        }
        SecondaryChange::Rewritten { inputs, outputs } => rewritten(table, batches, inputs, outputs, held),
    }
}
