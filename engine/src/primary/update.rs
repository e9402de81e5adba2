//! Bringing an index up to date with the runs.

use std::sync::Arc;

use kodiak_core::index::{Index, IndexView, MAX_KEY, Root, Updates};
use kodiak_core::{ErrorKind, Result};
use parking_lot::MutexGuard;

use super::PrimaryIndex;
use super::locator::{Locator, put_forget};
use super::newest::Newest;
use super::view::IndexedRuns;
use crate::db::TableInner;
use crate::deletion::{DeletionVectors, Marking};
use crate::manifest::{Change, Marks, VersionEdit};
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
        /// What it has left out.
        left_out: &'r LeftOut,
    },
}

/// What a compaction has left out, as far as an index and deletion vectors must know of it.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// The newest version of some key is not in the outputs.
    pub lost: bool,
    /// The rows that are dead by these vectors, deletes excepted, were all passed over.
    pub passed: Option<Arc<DeletionVectors>>,
}

/// A durable state of the index, and of deletion vectors, for the changed runs.
struct Next {
    root: Root,
    view: Arc<dyn IndexView>,
    /// What dies by the change, and the vectors after it.
    dead: Option<(Marks, Arc<DeletionVectors>)>,
}

/// An update under way: the table's index is held until it is dropped. The new root is durable; unless
/// [`installed`](Self::installed) is called, it is given up again.
#[must_use]
pub(crate) struct IndexUpdate<'t> {
    table: &'t TableInner,
    held: MutexGuard<'t, Option<PrimaryIndex>>,
    next: Option<Next>,
}

impl<'t> IndexUpdate<'t> {
    /// Holds the index of a table, if it has one. It waits for an update that is under way.
    pub fn hold(table: &'t TableInner) -> Self {
        Self {
            table,
            held: table.primary.lock(),
            next: None,
        }
    }

    /// Commits a root for the changed runs, if the table has an index, and finds out what has died by the change, if it has
    /// deletion vectors.
    ///
    /// # Errors
    /// `Io`: the index is as it was, and may be tried again. If it fails otherwise (damage, a failed sync), that is no error:
    /// the index is given up, and the vectors with it, reads go through the runs, and the next opening builds both anew.
    pub fn prepare(&mut self, change: RunChange<'_>) -> Result<()> {
        let Some(primary) = self.held.as_ref() else {
            return Ok(());
        };
        match bring_up_to_date(self.table, primary, change) {
            Ok(next) => self.next = Some(next),
            Err(error) => {
                let back = primary.index.reset_to(primary.root());
                if error.kind() == ErrorKind::Io && back.is_ok() {
                    return Err(error);
                }
                tracing::error!(%error, table = self.table.name, "the primary index is given up until the next opening");
                *self.held = None;
            }
        }
        Ok(())
    }

    /// Adds the new root and what has died to the edit, which has the changed runs already.
    pub fn record(&self, edit: &mut VersionEdit) {
        let (Some(primary), Some(next)) = (&*self.held, &self.next) else {
            return;
        };
        let mut index = primary.meta.clone();
        index.root = next.root.0;
        edit.push(Change::SetIndex {
            table: self.table.id,
            index: Some(index),
        });
        if let Some((marks, _)) = &next.dead {
            edit.push(Change::MarkDead {
                table: self.table.id,
                dead: Some(marks.clone()),
            });
        }
    }

    /// What gets use with the changed version, whose deletion vectors are put in.
    pub fn view(&self, version: &mut Version) -> Option<Arc<IndexedRuns>> {
        version.dead = None;
        let next = self.next.as_ref()?;
        version.dead = next.dead.as_ref().map(|(_, vectors)| Arc::clone(vectors));
        let before = self.table.view.load();
        let listed = before.index.as_ref().and_then(|before| before.listed());
        Some(Arc::new(IndexedRuns::new(version, listed, Arc::clone(&next.view))))
    }

    /// The edit is durable, and the changed version in force.
    pub fn installed(mut self) {
        if let (Some(primary), Some(next)) = (self.held.as_mut(), self.next.take()) {
            primary.moved_to(next.root);
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

fn bring_up_to_date(table: &TableInner, primary: &PrimaryIndex, change: RunChange<'_>) -> Result<Next> {
    // The runs stay as they are while the index is held.
    let view = table.view.load_full();
    let version = &view.version;
    let may_stay_unread = view.index.as_ref().is_some_and(|index| index.listed().is_some());
    if !may_stay_unread || matches!(change, RunChange::Rewritten { .. }) {
        version.read()?;
    }
    let index = &*primary.index;
    let marking = version.dead.as_ref().map(|before| {
        let (gone, new): (&[Arc<Run>], _) = match change {
            RunChange::Newer(runs) => (&[], runs),
            RunChange::Rewritten { inputs, outputs, .. } => (inputs, outputs),
        };
        let kept = version.known_runs().map(|(_, run)| run);
        let kept = kept.filter(|run| !gone.iter().any(|gone| gone.id() == run.id()));
        Marking::new(before, kept.chain(new).cloned(), new)
    });
    let mut batch = Batch {
        index,
        // Where nothing is merged, what an eager index tells of by itself is all that is displaced.
        present: match marking.is_some() && (table.operator.is_some() || !primary.eager) {
            true => Some(index.view(primary.root())?),
            false => None,
        },
        marking,
        updates: Updates::new(),
        value: Vec::new(),
    };
    match change {
        RunChange::Newer(runs) => batch.newer(runs)?,
        RunChange::Rewritten {
            inputs,
            outputs,
            left_out,
        } => batch.rewritten(inputs, outputs, left_out)?,
    }
    batch.flush()?;
    let root = index.commit()?;
    Ok(Next {
        root,
        view: index.view(root)?,
        dead: batch.marking.map(|marking| {
            let (marks, vectors) = marking.finish();
            (marks, Arc::new(vectors))
        }),
    })
}

/// Collects changes in order of keys.
struct Batch<'i> {
    index: &'i dyn Index,
    marking: Option<Marking>,
    /// The index as it is, where it must be asked what is displaced.
    present: Option<Arc<dyn IndexView>>,
    updates: Updates,
    value: Vec<u8>,
}

/// [`Updates::put`] or [`Updates::upsert`].
type Add = for<'u> fn(&'u mut Updates, &[u8], &[u8]) -> &'u mut Updates;

impl Batch<'_> {
    fn newer(&mut self, runs: &[Arc<Run>]) -> Result<()> {
        let mut newest = Newest::of_runs(runs)?;
        while let Some((key, locator)) = newest.current() {
            if let Some(marking) = &mut self.marking
                && marking.born(&locator, newest.older())?
            {
                if key.len() > MAX_KEY {
                    marking.search(key)?;
                } else if let Some(present) = &self.present {
                    let mut displaced = None;
                    present.find(key, &mut |value| displaced = Some(Locator::decode(value)))?;
                    if let Some(displaced) = displaced {
                        marking.displaced(key, &displaced?)?;
                    }
                }
            }
            self.add(key, |value| locator.encode(value), Updates::put)?;
            newest.next()?;
        }
        Ok(())
    }

    fn rewritten(&mut self, inputs: &[Arc<Run>], outputs: &[Arc<Run>], left_out: &LeftOut) -> Result<()> {
        if let Some(marking) = &mut self.marking {
            marking.carry(inputs, outputs, left_out.passed.as_deref())?;
        }
        let mut kept = Newest::of_runs(outputs)?;
        let mut before = Newest::of_runs(if left_out.lost { inputs } else { &[] })?;
        loop {
            // A key of the outputs is one of the inputs too.
            match (kept.current(), before.current()) {
                (kept_at, Some((key, locator))) if kept_at.is_none_or(|(kept, _)| kept > key) => {
                    self.add(key, |value| put_forget(value, locator.seq), Updates::upsert)?;
                    before.next()?;
                }
                (Some((key, locator)), before_at) => {
                    let same = before_at
                        .filter(|(before, _)| *before == key)
                        .map(|(_, before)| before.seq);
                    if let Some(newest) = same.filter(|&newest| newest > locator.seq) {
                        self.add(key, |value| put_forget(value, newest), Updates::upsert)?;
                    }
                    // The index has a newer version than one that is dead, or has forgotten the key: then it may not lead there.
                    let dead = match &self.marking {
                        Some(marking) => marking.is_marked(&locator)?,
                        None => false,
                    };
                    if !dead {
                        self.add(key, |value| locator.encode(value), Updates::upsert)?;
                    }
                    if let Some(marking) = &mut self.marking {
                        marking.born(&locator, kept.older())?;
                    }
                    kept.next()?;
                    if same.is_some() {
                        before.next()?;
                    }
                }
                (None, _) => break,
            }
        }
        Ok(())
    }

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
        let mut outcome = Ok(());
        match &mut self.marking {
            Some(marking) if self.present.is_none() => {
                let mut displaced = |key: &[u8], value: &[u8]| {
                    if outcome.is_ok() {
                        outcome = Locator::decode(value).and_then(|locator| marking.displaced(key, &locator));
                    }
                };
                self.index.apply(&self.updates, Some(&mut displaced))?;
            }
            _ => self.index.apply(&self.updates, None)?,
        }
        self.updates.clear();
        outcome
    }
}
