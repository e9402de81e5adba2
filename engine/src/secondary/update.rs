//! Bringing indexes up to date with the runs.

use std::sync::Arc;

use kodiak_core::index::Root;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};
use parking_lot::MutexGuard;

use super::batch::Batch;
use super::changes::{Gone, add_slots, add_versions, rewritten, void_replaced};
use super::replaced::Replaced;
use super::walk::sources;
use super::{IndexFile, OpenSecondary, SecondaryView, SecondaryViews};
use crate::db::{Slot, TableInner};
use crate::manifest::{Change, VersionEdit};
use crate::range_delete::RangeTombstones;
use crate::read::Source;
use crate::run::Run;

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
