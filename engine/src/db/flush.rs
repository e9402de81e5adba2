//! Freezing memtables, and flushing them to level 0.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kodiak_core::{Error, Result};

use super::log_needs::next_segment;
use super::shared::Shared;
use super::slot::Slot;
use super::stall::closing;
use super::table_state::{TableInner, View};
use super::write::poisoned_gate;
use crate::manifest::{Change, Place, VersionEdit};
use crate::run::Run;
use crate::secondary::Secondary;

/// A table and its memtables that wait for their flush, newest first.
pub(crate) type Frozen = (Arc<TableInner>, Vec<Arc<Slot>>);

/// Above so many samples the manifest has of a table, those that tell nothing any more are left out.
const MOST_TIMES: usize = 4096;

impl Shared {
    /// Replaces the active memtable by an empty one; the caller keeps writers out.
    pub(crate) fn freeze(&self, table: &Arc<TableInner>) -> Result<()> {
        self.freeze_tables(std::slice::from_ref(table))
    }

    /// [`freeze`](Self::freeze) for several tables, whose next memtables begin with the same segment of the log.
    pub(crate) fn freeze_tables(&self, tables: &[Arc<TableInner>]) -> Result<()> {
        let mut begun = None;
        for table in tables {
            let _edit = table.edit.lock();
            if table.view.load().active.is_empty() {
                continue;
            }
            let segment = match begun {
                Some(segment) => segment,
                None => *begun.insert(self.check_writable()?.rotate()?),
            };
            self.begin_slot(table, segment)?;
        }
        if begun.is_some() {
            self.signals.flush.raise();
        }
        Ok(())
    }

    /// Freezes the active memtable of a table whatever it holds; the next one begins with `segment`. The caller keeps writers and
    /// other changes of the table out.
    pub(super) fn begin_slot(&self, table: &TableInner, segment: u64) -> Result<()> {
        let view = table.view.load_full();
        let active = Arc::new(self.new_slot(segment, &table.secondary.all())?);
        let frozen = std::iter::once(&view.active).chain(&view.frozen).cloned().collect();
        table.view.store(Arc::new(View {
            active,
            frozen,
            version: Arc::clone(&view.version),
            index: view.index.clone(),
            secondary: Arc::clone(&view.secondary),
        }));
        Ok(())
    }

    /// An empty memtable, with what these indexes need beside it.
    pub(crate) fn new_slot(&self, segment: u64, indexes: &[Arc<Secondary>]) -> Result<Slot> {
        let picked = &self.resolved.memtable;
        let slot = Slot::new(
            picked.factory,
            &picked.options,
            self.settings.memtable.size as usize,
            segment,
            indexes,
        )?;
        slot.advance_segment(segment, self.log_bytes());
        Ok(slot)
    }

    /// Freezes the memtables of these tables and waits until they are flushed.
    pub(crate) fn flush_tables(&self, tables: &[Arc<TableInner>]) -> Result<()> {
        self.check_writable()?;
        {
            let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
            self.freeze_tables(tables)?;
        }
        // An earlier failure says nothing about this attempt.
        self.trouble.lock().flush = None;
        self.signals.flush.raise();
        let mut seen = self.signals.progress.count();
        // Nobody flushes a table that is dropped meanwhile.
        let waits =
            |table: &Arc<TableInner>| !table.dropped.load(Ordering::Acquire) && !table.view.load().frozen.is_empty();
        while tables.iter().any(waits) {
            self.check_open()?;
            if let Some(trouble) = &self.trouble.lock().flush {
                return Err(trouble.replicate());
            }
            seen = self.signals.progress.wait(seen, Duration::from_millis(50));
        }
        Ok(())
    }

    /// Flushes the frozen memtables of one table; false if no table has any.
    pub(crate) fn flush_next(&self) -> Result<bool> {
        let _flushing = self.flushing.lock();
        let oldest = |table: &Arc<TableInner>| table.view.load().frozen.last().map(|slot| slot.first_segment());
        let table = self
            .all_tables()
            .into_iter()
            .filter_map(|table| Some((oldest(&table)?, table)))
            .min_by_key(|(segment, _)| *segment);
        let Some((_, table)) = table else { return Ok(false) };
        let slots = table.view.load().frozen.clone();
        match self.flush_slots(&table, &slots).and_then(|()| self.release_log()) {
            Err(_) if table.dropped.load(Ordering::Acquire) => Ok(true),
            flushed => flushed.map(|()| true),
        }
    }

    /// Freezes the memtables of all tables and returns what waits for its flush then: everything that was acknowledged before
    /// this call, and no half of a batch. The caller holds `flushing`.
    pub(crate) fn freeze_all(&self) -> Result<Vec<Frozen>> {
        let tables = self.all_tables();
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        self.freeze_tables(&tables)?;
        Ok(tables
            .into_iter()
            .map(|table| (Arc::clone(&table), table.view.load().frozen.clone()))
            .collect())
    }

    /// Flushes the oldest frozen memtables of a table, all into one run. The caller holds `flushing`.
    pub(crate) fn flush_slots(&self, table: &Arc<TableInner>, slots: &[Arc<Slot>]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let begun = self.storage.monotonic_nanos();
        self.recover_manifest()?;
        self.secure_log(table)?;
        slots.iter().for_each(|slot| slot.entries.freeze());
        let (runs, index) = self.write_indexed(table, slots)?;
        let mut edit = VersionEdit::new();
        let place = self.add_to_level0(table, &runs, &mut edit);
        edit.push(Change::Flushed {
            table: table.id,
            segment: next_segment(&table.view.load(), slots),
        });
        edit.push(Change::LastSeq(self.visible()));
        let bytes: u64 = runs.iter().map(|run| run.bytes()).sum();
        self.sync_log_for_others(table)
            .inspect_err(|_| runs.iter().for_each(|run| run.mark_obsolete()))?;
        // In the same record as the flush: an edit of its own would be synced by itself.
        let needed = self.needed_after(table, slots);
        index.record(&mut edit);
        self.commit_edit_releasing(table, edit, needed, &runs)?;
        {
            let _edit = table.edit.lock();
            let view = table.view.load_full();
            let mut version = (*view.version).clone();
            runs.into_iter().for_each(|run| version.add(0, place.sorted_run, run));
            let frozen = view
                .frozen
                .iter()
                .filter(|slot| !slots.iter().any(|done| Arc::ptr_eq(done, slot)));
            table.view.store(Arc::new(View {
                active: Arc::clone(&view.active),
                frozen: frozen.cloned().collect(),
                index: index.view(&mut version),
                secondary: index.secondary_views(),
                version: Arc::new(version),
            }));
        }
        index.installed();
        table.files_changed();
        let nanos = self.storage.monotonic_nanos().saturating_sub(begun);
        self.counters.flushed(bytes, nanos);
        tracing::info!(
            table = table.name,
            memtables = slots.len(),
            bytes,
            micros = nanos / 1000,
            "flushed"
        );
        Ok(())
    }

    /// Writes what a table of a database open for reading only has in memory to runs of a copy, in its directory `dir`, and adds
    /// these to `edit`.
    ///
    /// # Errors
    /// Those of writing; nothing stays then.
    pub(crate) fn flush_copy(
        &self,
        table: &Arc<TableInner>,
        dir: PathBuf,
        edit: &mut VersionEdit,
    ) -> Result<Vec<Arc<Run>>> {
        let view = table.view.load();
        let slots: Vec<_> = view.slots().filter(|slot| !slot.is_empty()).cloned().collect();
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        self.storage.create_dir_all(&dir)?;
        let runs = self.write_copy(table, &slots, dir)?;
        self.add_to_level0(table, &runs, edit);
        Ok(runs)
    }

    /// Adds new runs to level 0, as a sorted run of their own.
    fn add_to_level0(&self, table: &TableInner, runs: &[Arc<Run>], edit: &mut VersionEdit) -> Place {
        let place = Place {
            level: 0,
            sorted_run: self.new_sorted_run_id(),
        };
        self.add_times(table, runs, edit);
        for run in runs {
            edit.push(Change::AddRun {
                table: table.id,
                place,
                run: Arc::new(run.meta().clone()),
            });
        }
        place
    }

    /// Adds when the entries of new runs were written, if they expire.
    fn add_times(&self, table: &TableInner, runs: &[Arc<Run>], edit: &mut VersionEdit) {
        let newest = runs.iter().map(|run| run.meta().max_seq).max();
        let Some(newest) = newest.filter(|_| table.options.ttl_micros > 0) else {
            return;
        };
        let known = self.manifest.lock().as_ref().map_or(0, |manifest| {
            let known = manifest
                .state()
                .tables
                .get(&table.id)
                .and_then(|table| table.times.as_ref());
            known.map_or(0, |times| times.len())
        });
        // Those of entries that have long expired go.
        let all = table.times.between(0, newest);
        let anew = known > MOST_TIMES && all.len() < known / 2;
        let oldest = runs.iter().map(|run| run.meta().min_seq).min().unwrap_or(newest);
        edit.push(Change::AddTimes {
            table: table.id,
            anew,
            samples: if anew { all } else { table.times.between(oldest, newest) },
        });
    }

    /// Before a flush of `table` survives a power loss, what was written to other tables before it must survive too: the
    /// tables share one order, and batches go to several of them.
    ///
    /// # Errors
    /// Those of the log.
    pub(crate) fn sync_log_for_others(&self, table: &TableInner) -> Result<()> {
        let in_log = |other: &Arc<TableInner>| other.view.load().slots().any(|slot| !slot.is_empty());
        if self
            .all_tables()
            .iter()
            .any(|other| other.id != table.id && in_log(other))
        {
            self.check_writable()?.sync()?;
        }
        Ok(())
    }

    /// Brings the manifest back to work after a failed write, before anything is written for an edit of it.
    pub(crate) fn recover_manifest(&self) -> Result<()> {
        match &mut *self.manifest.lock() {
            Some(manifest) => manifest.recover(),
            None => Err(closing()),
        }
    }

    /// Called before frozen entries of `table` get into a run. What other tables were written before them, or in the same
    /// batch, may be in the log only: then the log is synced, or a power loss would leave a hole, or half of a batch.
    fn secure_log(&self, table: &TableInner) -> Result<()> {
        let wal = self.check_writable()?;
        let tables = self.all_tables();
        let mut others = tables.iter().filter(|other| other.id != table.id);
        if others.all(|other| other.view.load().slots().all(|slot| slot.is_empty())) {
            wal.check()
        } else {
            wal.sync()
        }
    }

    /// Appends an edit to the manifest; if that fails, the new runs are of no use.
    pub(crate) fn commit_edit(&self, table: &TableInner, edit: VersionEdit, new_runs: &[Arc<Run>]) -> Result<()> {
        self.commit_edit_releasing(table, edit, 0, new_runs)
    }

    /// As [`commit_edit`](Self::commit_edit), after which the log is needed from segment `needed` on.
    fn commit_edit_releasing(
        &self,
        table: &TableInner,
        mut edit: VersionEdit,
        needed: u64,
        new_runs: &[Arc<Run>],
    ) -> Result<()> {
        let appended = match &mut *self.manifest.lock() {
            Some(_) if table.dropped.load(Ordering::Acquire) => Err(Error::new(
                kodiak_core::ErrorKind::NotFound,
                format!("table \"{}\" was dropped", table.name),
            )),
            Some(manifest) => {
                if manifest.state().wal_from < needed {
                    edit.push(Change::WalFrom(needed));
                }
                manifest.append(&edit)
            }
            None => Err(closing()),
        };
        if let Err(error) = &appended
            && error.kind() == kodiak_core::ErrorKind::NotFound
        {
            new_runs.iter().for_each(|run| run.mark_obsolete());
        }
        // After any other failure nobody knows whether the edit is on disk: the files stay, and the next opening sorts it out.
        appended
    }
}
