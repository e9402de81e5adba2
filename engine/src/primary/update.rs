//! Bringing an index up to date with the runs.

use std::sync::Arc;

use kodiak_core::index::{Index, IndexView, MAX_KEY, Root, Updates};
use kodiak_core::{ErrorKind, Result};
use parking_lot::MutexGuard;

use super::PrimaryIndex;
use super::locator::put_forget;
use super::newest::Newest;
use super::view::IndexedRuns;
use crate::db::TableInner;
use crate::manifest::{Change, VersionEdit};
use crate::run::Run;
use crate::version::Version;

/// Bytes of keys and locators that are applied at once.
const BATCH: usize = 4 << 20;

/// How the runs of a table are about to change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RunChange<'r> {
    /// Runs are added that are newer than all others.
    Newer(&'r [Arc<Run>]),
    /// A compaction has made outputs of inputs.
    Rewritten {
        inputs: &'r [Arc<Run>],
        outputs: &'r [Arc<Run>],
        /// The newest version of some key is not in the outputs.
        lost: bool,
    },
}

/// An update under way: the table's index is held until it is dropped. The new root is durable; unless
/// [`installed`](Self::installed) is called, it is given up again.
#[must_use]
pub(crate) struct IndexUpdate<'t> {
    table: &'t TableInner,
    held: MutexGuard<'t, Option<PrimaryIndex>>,
    next: Option<(Root, Arc<dyn IndexView>)>,
}

impl<'t> IndexUpdate<'t> {
    /// Commits a root for the changed runs, if the table has an index. It waits for an update that is under way.
    ///
    /// # Errors
    /// `Io`: the index is as it was, and may be tried again. If it fails otherwise (damage, a failed sync), that is no error:
    /// the index is given up, gets go through the runs, and the next opening builds it anew.
    pub fn prepare(table: &'t TableInner, change: RunChange<'_>) -> Result<Self> {
        let held = table.primary.lock();
        let mut update = Self {
            table,
            held,
            next: None,
        };
        let Some(primary) = update.held.as_ref() else {
            return Ok(update);
        };
        let committed = apply(&*primary.index, change)
            .and_then(|()| primary.index.commit())
            .and_then(|root| Ok((root, primary.index.view(root)?)));
        match committed {
            Ok(next) => update.next = Some(next),
            Err(error) => {
                let back = primary.index.reset_to(primary.root());
                if error.kind() == ErrorKind::Io && back.is_ok() {
                    return Err(error);
                }
                tracing::error!(%error, table = table.name, "the primary index is given up until the next opening");
                *update.held = None;
            }
        }
        Ok(update)
    }

    /// Adds the new root to the edit, which has the changed runs already.
    pub fn record(&self, edit: &mut VersionEdit) {
        if let (Some(primary), Some((root, _))) = (&*self.held, &self.next) {
            let mut index = primary.meta.clone();
            index.root = root.0;
            edit.push(Change::SetIndex {
                table: self.table.id,
                index: Some(index),
            });
        }
    }

    /// What gets use with the changed version.
    pub fn view(&self, version: &Version) -> Option<Arc<IndexedRuns>> {
        let (_, view) = self.next.as_ref()?;
        Some(Arc::new(IndexedRuns::new(version, Arc::clone(view))))
    }

    /// The edit is durable, and the changed version in force.
    pub fn installed(mut self) {
        if let (Some(primary), Some((root, _))) = (self.held.as_mut(), self.next.take()) {
            primary.moved_to(root);
        }
    }
}

impl Drop for IndexUpdate<'_> {
    fn drop(&mut self) {
        if let (Some(primary), Some(_)) = (self.held.as_ref(), self.next.take())
            && let Err(error) = primary.index.reset_to(primary.root())
        {
            tracing::error!(%error, table = self.table.name, "the primary index is given up until the next opening");
            *self.held = None;
        }
    }
}

fn apply(index: &dyn Index, change: RunChange<'_>) -> Result<()> {
    let mut batch = Batch {
        index,
        updates: Updates::new(),
        value: Vec::new(),
    };
    match change {
        RunChange::Newer(runs) => {
            let mut newest = Newest::of_runs(runs)?;
            while let Some((key, locator)) = newest.current() {
                batch.add(key, |value| locator.encode(value), Updates::put)?;
                newest.next()?;
            }
        }
        RunChange::Rewritten { inputs, outputs, lost } => {
            let mut kept = Newest::of_runs(outputs)?;
            let mut before = Newest::of_runs(if lost { inputs } else { &[] })?;
            loop {
                // A key of the outputs is one of the inputs too.
                match (kept.current(), before.current()) {
                    (kept_at, Some((key, locator))) if kept_at.is_none_or(|(kept, _)| kept > key) => {
                        batch.add(key, |value| put_forget(value, locator.seq), Updates::upsert)?;
                        before.next()?;
                    }
                    (Some((key, locator)), before_at) => {
                        let same = before_at
                            .filter(|(before, _)| *before == key)
                            .map(|(_, before)| before.seq);
                        if let Some(newest) = same.filter(|&newest| newest > locator.seq) {
                            batch.add(key, |value| put_forget(value, newest), Updates::upsert)?;
                        }
                        batch.add(key, |value| locator.encode(value), Updates::upsert)?;
                        kept.next()?;
                        if same.is_some() {
                            before.next()?;
                        }
                    }
                    (None, _) => break,
                }
            }
        }
    }
    batch.flush()
}

/// Collects changes in order of keys.
struct Batch<'i> {
    index: &'i dyn Index,
    updates: Updates,
    value: Vec<u8>,
}

/// [`Updates::put`] or [`Updates::upsert`].
type Add = for<'u> fn(&'u mut Updates, &[u8], &[u8]) -> &'u mut Updates;

impl Batch<'_> {
    fn add(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>), add: Add) -> Result<()> {
        if key.len() > MAX_KEY {
            return Ok(());
        }
        self.value.clear();
        write(&mut self.value);
        add(&mut self.updates, key, &self.value);
        if self.updates.bytes() >= BATCH {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.index.apply(&self.updates, None)?;
        self.updates.clear();
        Ok(())
    }
}
