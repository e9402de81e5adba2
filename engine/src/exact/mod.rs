//! `EXACT.json`: in the directory of each table, whether its data files are the table, exactly as they lie.
//!
//! The marker says so only after somebody has looked ([`Shared::look_whether_exact`]): when the database is closed, after a
//! compaction or publication that was asked for, and when nothing has changed for a while ([`quiet`]). It is taken back, durably, before anything makes it untrue: before the first write after that
//! reaches the log, before a compaction or ingestion makes its first file, before the table is altered or dropped. So writers pay
//! for it once after each time that it was found to be exact, and else look at one number. See `docs/formats/exact.md`.

mod findings;
mod marker;
mod quiet;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use kodiak_core::Result;
use parking_lot::{Condvar, Mutex};

use crate::db::{Shared, Table, TableInner, poisoned_gate};
use findings::Files;
pub(crate) use findings::{findings, is_beyond, why_beyond};
pub use marker::EXACT_FILE;
use marker::UNDER_WAY;
pub(crate) use marker::{IN_MEMORY, Marker};
use quiet::Quiet;

/// How long whoever looks waits for compactions and ingestions that are under way: those that have just put their runs in place are
/// about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long for files of replaced runs to be removed, which programs' scans may go on reading.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(50);

/// The marker does not say exact, and the files have changed since somebody looked.
const CHANGED: u8 = 0;
/// The marker does not say exact, and says what was found.
const INEXACT: u8 = 1;
/// The marker says exact, or is about to.
const EXACT: u8 = 2;

/// What is known of a table's marker. A lock of `said` is held while the marker is replaced; it is taken before the gate.
#[derive(Debug, Default)]
pub(crate) struct Exactness {
    state: AtomicU8,
    said: Mutex<Said>,
    /// The last of the jobs has ended.
    idle: Condvar,
    quiet: Mutex<Quiet>,
}

#[derive(Debug, Default)]
struct Said {
    /// Whoever may make or remove data files, flushes excepted: while these have anything to do, rows are in memory.
    jobs: usize,
    marker: Option<Marker>,
}

impl Exactness {
    /// Takes note that the files are not those any more that somebody has looked at, so that the next one looks anew. Only for
    /// changes before which the marker did not say exact, and to be called when they are in force.
    pub fn files_changed(&self) {
        // Whoever is looking sees to it that it was at what is there afterwards.
        let _ = self
            .state
            .compare_exchange(INEXACT, CHANGED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// True if the marker does not say exact, and whatever changes the table need not tell.
    #[inline]
    pub fn is_taken_back(&self) -> bool {
        self.state.load(Ordering::Acquire) == CHANGED
    }
}

/// While it is held nobody finds the table's files to be exact.
pub(crate) struct Changing<'t>(&'t TableInner);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let exactness = &self.0.exactness;
        let mut said = exactness.said.lock();
        said.jobs -= 1;
        if said.jobs == 0 {
            exactness.idle.notify_all();
        }
    }
}

impl Table {
    /// Flushes, finds out whether the table's data files are the table, exactly as they lie in its directory, and has the marker there,
    /// [`EXACT_FILE`], say so, until something changes; see `docs/formats/exact.md`. Returns why not: nothing if they are. An open
    /// database does so by itself when a table has not changed for a second, and when it is closed; so do compactions and
    /// publications that are asked for.
    ///
    /// # Errors
    /// `Unavailable` in a database that is closed or open for reading only; those of flushing and reading.
    pub fn mark_exact(&self) -> Result<Vec<String>> {
        let shared = &self.open.shared;
        shared.check_writable()?;
        self.flush()?;
        shared.look(&self.inner)?;
        let said = self.inner.exactness.said.lock();
        let why = said.marker.as_ref().map(|marker| marker.why_not_exact.clone());
        Ok(why.unwrap_or_default())
    }
}

impl Shared {
    /// Takes back that a table's files are exact, before something changes them, what they are read by, or the table. Whoever
    /// holds the gate must not call it.
    ///
    /// # Errors
    /// `Io`: then nothing may be changed.
    #[cold]
    pub(crate) fn take_exact_back(&self, table: &TableInner) -> Result<()> {
        self.take_back(table, &mut table.exactness.said.lock())
    }

    /// As [`take_exact_back`](Self::take_exact_back), until what is returned is dropped.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn changing<'t>(&self, table: &'t TableInner) -> Result<Changing<'t>> {
        let mut said = table.exactness.said.lock();
        self.take_back(table, &mut said)?;
        said.jobs += 1;
        Ok(Changing(table))
    }

    fn take_back(&self, table: &TableInner, said: &mut Said) -> Result<()> {
        if table.exactness.state.load(Ordering::Acquire) == EXACT {
            self.say(table, said, Marker::unknown(self.identity, table.id, &table.name))?;
        }
        table.exactness.state.store(CHANGED, Ordering::Release);
        Ok(())
    }

    fn say(&self, table: &TableInner, said: &mut Said, marker: Marker) -> Result<()> {
        if said.marker.as_ref() == Some(&marker) {
            return Ok(());
        }
        // After a failure either of them may be there.
        said.marker = None;
        marker.write(&*self.storage, &table.runs.dir)?;
        said.marker = Some(marker);
        Ok(())
    }

    /// During an opening for writing, when the log has been replayed and nothing is left over: what the marker says, if that can be
    /// true of the table as it was found. There is one afterwards.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read_exact_marker(&self, table: &TableInner) -> Result<()> {
        let found = Marker::read(&*self.storage, &table.runs.dir);
        let view = table.view.load_full();
        let unflushed = view.slots().any(|slot| !slot.is_empty());
        let found = found.ok().flatten().filter(|marker| {
            let files = Files::of(&view.version);
            // Programs that know nothing of the marker may have been here.
            marker.is_of(self.identity, table.id) && marker.files.is_none_or(|known| !unflushed && known.are(&files))
        });
        let mut said = table.exactness.said.lock();
        match found {
            Some(marker) => {
                let state = match (marker.exact, unflushed || marker.may_be_over()) {
                    (true, _) => EXACT,
                    (false, true) => CHANGED,
                    (false, false) => INEXACT,
                };
                said.marker = Some(marker);
                table.exactness.state.store(state, Ordering::Release);
                Ok(())
            }
            None => self.say(table, &mut said, Marker::unknown(self.identity, table.id, &table.name)),
        }
    }

    /// [`look_whether_exact`](Self::look_whether_exact) for all tables, unless the database is open for reading only.
    pub(crate) fn look_at_all(&self) {
        if self.wal.is_some() {
            let tables = self.all_tables();
            tables.iter().for_each(|table| self.look_whether_exact(table));
        }
    }

    /// Finds out whether a table's files are exact, and says so in its directory, if anything has changed. What goes wrong is told as
    /// an event: the marker does not say exact then.
    pub(crate) fn look_whether_exact(&self, table: &Arc<TableInner>) {
        if let Err(error) = self.look(table) {
            tracing::warn!(%error, table = table.name, "it was not found out whether the table's files are exact");
        }
    }

    fn look(&self, table: &TableInner) -> Result<()> {
        if !table.exactness.is_taken_back() || table.dropped.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut said = table.exactness.said.lock();
        let busy = |said: &mut Said| said.jobs > 0;
        table.exactness.idle.wait_while_for(&mut said, busy, PATIENCE);
        drop(said);
        // Most of it while nobody waits.
        let view = table.view.load_full();
        let schema = table.schemas.current();
        let mut why = match view.slots().all(|slot| slot.is_empty()) {
            true => findings(
                &view.version,
                &schema,
                table.options.get_ttl(),
                self.resolved.components(),
            )?,
            false => vec![IN_MEMORY.to_owned()],
        };
        if why.is_empty() {
            // Somebody may have been about to plan from runs that a compaction has just replaced.
            self.removals.settle(&table.runs, REMOVAL_PATIENCE);
        }
        let mut said = table.exactness.said.lock();
        if why.is_empty() && said.jobs > 0 {
            why.push(UNDER_WAY.to_owned());
        }
        if why.is_empty() {
            why = findings::strangers(&*self.storage, table, &view.version, self.resolved.components())?;
        }
        let state = &table.exactness.state;
        if !why.is_empty() {
            let inexact = Marker::inexact(self.identity, table.id, &table.name, why);
            let passes = inexact.may_be_over();
            self.say(table, &mut said, inexact)?;
            if !passes {
                state.store(INEXACT, Ordering::Release);
            }
            // A flush may have ended meanwhile, which would not know that it is to be said anew.
            if !Arc::ptr_eq(&table.view.load().version, &view.version) {
                table.exactness.files_changed();
            }
            return Ok(());
        }
        // From here on whoever writes takes it back first, and waits for the lock of what was said. Writers that had seen before that
        // there was nothing to be taken back are waited for.
        state.store(EXACT, Ordering::Release);
        let unchanged = {
            let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
            let now = table.view.load();
            Arc::ptr_eq(&now.version, &view.version)
                && Arc::ptr_eq(&table.schemas.current(), &schema)
                && now.slots().all(|slot| slot.is_empty())
                && !table.dropped.load(Ordering::Acquire)
        };
        if !unchanged {
            state.store(CHANGED, Ordering::Release);
            return Ok(());
        }
        // What was removed is not to come back after a power loss.
        self.storage.sync_dir(&table.runs.dir)?;
        let files = Files {
            sequence: self.visible(),
            ..Files::of(&view.version)
        };
        let exact = Marker::exact(self.identity, table.id, &table.name, files, &schema.schema);
        self.say(table, &mut said, exact)
    }

    /// Compares what the marker of an open table says with the table; writers who would take it back wait.
    ///
    /// # Errors
    /// `Corruption` naming the marker, if it says exact and the files are not; those of reading it and the runs.
    pub(crate) fn verify_exact(&self, table: &TableInner) -> Result<()> {
        let _said = table.exactness.said.lock();
        let Some(marker) = Marker::read(&*self.storage, &table.runs.dir)?.filter(|marker| marker.exact) else {
            return Ok(());
        };
        let untrue = |why: &str| Err(marker.untrue(&table.runs.dir, why));
        if table.exactness.state.load(Ordering::Acquire) != EXACT {
            return untrue("the table has changed since");
        }
        let view = table.view.load_full();
        if view.slots().any(|slot| !slot.is_empty()) {
            return untrue(IN_MEMORY);
        }
        let (schema, ttl) = (table.schemas.current(), table.options.get_ttl());
        let why = findings(&view.version, &schema, ttl, self.resolved.components())?;
        why.first().map_or(Ok(()), |why| untrue(why))
    }
}
