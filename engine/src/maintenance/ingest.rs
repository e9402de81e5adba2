//! Ingestion: sorted data written straight into runs, past log and memtables.

mod bulk;
mod columns;
mod files;
mod rows;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crate::compact::change_version;
use crate::db::{IndexUpdates, Moved, Shared, Table, TableInner, poisoned_gate};
use crate::exact::Changing;
use crate::manifest::{Change, Place, RunMeta, VersionEdit};
use crate::primary::RunChange;
use crate::run::Run;
use crate::secondary::{SecondaryChange, check_ingestion};
use crate::typed::complete_batch;
use crate::version::Version;
use rows::{Common, Rows};

/// How far ahead the sequence number of an ingestion is taken: it must be larger than those of all writes that go on until
/// it is done. There is room for two thousand million ingestions.
const AHEAD: SeqNo = 1 << 32;

/// What an ingestion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Entries ingested.
    pub entries: u64,
    /// Runs that were written.
    pub runs: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// The level on which they are.
    pub level: usize,
}

impl Table {
    /// Gives keys values, as [`put`](Self::put) does, but past log and memtable: entries are written once, into runs, which
    /// then become visible all together, or not at all. Keys must ascend. This is the cheapest way to load much data.
    ///
    /// The entries are newer than everything written before the call returns, whatever was written meanwhile. Writers wait at
    /// the end for as long as it takes to flush what they wrote to this table in the last moment; if that was anything, and the
    /// table has a primary index, also while the entries are put into that. One ingestion runs at a time in a database; others
    /// wait.
    ///
    /// # Errors
    /// `InvalidInput` if keys do not ascend or entries are above the limits, naming the position, or the table has a unique index;
    /// whatever the iterator
    /// returns; otherwise as [`put`](Self::put). Nothing is visible then, and what was written is removed.
    pub fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        entries: impl IntoIterator<Item = Result<(K, V)>>,
    ) -> Result<Ingested> {
        let mut ingestion = Ingestion::begin(&self.open.shared, &self.inner)?;
        for entry in entries {
            let (key, value) = entry?;
            ingestion.rows.push(key.as_ref(), value.as_ref())?;
        }
        ingestion.commit()
    }

    /// As [`ingest`](Self::ingest), for rows: batches have columns as [`insert`](Self::insert) takes them, and primary keys ascend.
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest); `InvalidInput` naming a column that does not fit the schema.
    pub fn ingest_batches(&self, batches: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<Ingested> {
        let mut ingestion = Ingestion::begin(&self.open.shared, &self.inner)?;
        for batch in batches {
            let batch = batch?;
            let batch = complete_batch(ingestion.rows.common.target.schema(), &batch)?;
            ingestion.rows.push_columns(&batch).map_err(|(_, error)| error)?;
        }
        ingestion.commit()
    }

    /// Inserts many rows as [`insert`](Self::insert) does, in any order, but past log and memtable: they are sorted once and
    /// written as columns, into runs, of which compactions have less to do than of what goes through the log. For batches whose
    /// keys ascend over all of them nothing is sorted or gathered. Shares of the rows are written side by side, by up to
    /// `compaction.max_subcompactions` threads.
    ///
    /// Rows are taken in steps of `memtable.size` bytes. Those of a step become visible, and survive a power loss, together; and
    /// each step before the next. Otherwise as [`ingest_batches`](Self::ingest_batches).
    ///
    /// # Errors
    /// As [`ingest_batches`](Self::ingest_batches), but for the order of keys. The steps before stay.
    pub fn bulk_insert(&self, batches: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<Ingested> {
        bulk::insert(self, &mut batches.into_iter())
    }
}

/// An ingestion under way. Dropped without [`commit`](Self::commit), it removes what it wrote.
struct Ingestion<'s> {
    rows: Rows<'s>,
    _alone: (parking_lot::MutexGuard<'s, ()>, Changing<'s>),
}

impl<'s> Ingestion<'s> {
    fn begin(shared: &'s Arc<Shared>, table: &'s Arc<TableInner>) -> Result<Self> {
        shared.check_writable()?;
        check_ingestion(table)?;
        let alone = shared.ingesting.lock();
        let seq = shared.next_seq().saturating_add(AHEAD);
        if seq >= MAX_SEQ {
            return Err(Error::new(ErrorKind::Unsupported, "sequence numbers are used up"));
        }
        let level = deepest(&table.view.load().version);
        let common = Common {
            target: table.target(),
            plan: Arc::new(shared.run_plan(table, level, &Moved::default())),
            seq,
            micros: shared.now_micros(),
            limits: shared.limits(),
            shared,
            table,
        };
        Ok(Self {
            rows: Rows::new(&common, 0),
            _alone: (alone, shared.changing(table)?),
        })
    }

    /// Makes the entries visible.
    fn commit(mut self) -> Result<Ingested> {
        self.rows.close_run()?;
        if self.rows.finished.is_empty() {
            return Ok(Ingested::default());
        }
        let (shared, table) = (self.rows.common.shared, self.rows.common.table);
        shared.storage.sync_dir(&table.runs.dir)?;
        let (level, runs) = {
            let _flushing = shared.flushing.lock();
            // Most of what is in memory is flushed while others write; then, for a moment, they wait.
            self.flush_table(true)?;
            shared.sync_log_for_others(table)?;
            // So is the index brought up to date, for the runs as they are; if more must be flushed, that was in vain, and is
            // done again, and for the flush, while writers are kept out.
            let runs = self.runs();
            let _switching = table.secondary.switch();
            let index = shared.update_indexes(table, RunChange::Newer(&runs), SecondaryChange::Added(&runs), &[])?;
            let _alone = shared.gate.write().map_err(|_| poisoned_gate())?;
            if table.view.load().slots().all(|slot| slot.is_empty()) {
                self.check_there()?;
                self.install(runs, Some(index))?
            } else {
                let postponed = index.postpone();
                self.flush_table(false)?;
                let installed = self.install(runs, None)?;
                postponed.settled();
                installed
            }
        };
        shared.stalls.refresh(shared);
        shared.signals.progress.raise();
        shared.signals.compaction.raise();
        shared.release_log()?;
        let bytes = runs.iter().map(RunMeta::bytes).sum();
        shared.counters.flushed(bytes, 0);
        Ok(Ingested {
            entries: self.rows.entries,
            runs: runs.len() as u64,
            bytes,
            level,
        })
    }

    /// Moves what the table has in memory into runs: it is older than the ingestion, so it must be below it.
    fn flush_table(&self, take_gate: bool) -> Result<()> {
        let (shared, table) = (self.rows.common.shared, self.rows.common.table);
        let gate = take_gate
            .then(|| shared.gate.write().map_err(|_| poisoned_gate()))
            .transpose()?;
        self.check_there()?;
        shared.freeze(table)?;
        let slots = table.view.load().frozen.clone();
        drop(gate);
        shared.flush_slots(table, &slots)
    }

    fn check_there(&self) -> Result<()> {
        let table = self.rows.common.table;
        if table.dropped.load(Ordering::Acquire) {
            let message = format!("table \"{}\" was dropped", table.name);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        check_ingestion(table)
    }

    /// What was written, as runs.
    fn runs(&self) -> Vec<Arc<Run>> {
        let run = |meta: &RunMeta| Arc::new(Run::new(meta.clone(), Arc::clone(&self.rows.common.table.runs)));
        self.rows.finished.iter().map(run).collect()
    }

    /// Puts the runs into the version and says where and which they are. Writers are kept out, and the table has nothing in
    /// memory. `index` is the table's if it is up to date already.
    fn install(&mut self, runs: Vec<Arc<Run>>, index: Option<IndexUpdates<'_>>) -> Result<(usize, Vec<RunMeta>)> {
        let Common {
            shared,
            table,
            seq,
            micros,
            ..
        } = self.rows.common;
        if shared.next_seq() > seq {
            let message = format!("more than {AHEAD} writes were made during the ingestion: do it again");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        // No compaction begins until the runs have their place.
        let _planning = shared.planning.lock();
        let place = self.place(&table.view.load().version)?;
        let mut edit = VersionEdit::new();
        if table.options.ttl_micros > 0 {
            edit.push(Change::AddTimes {
                table: table.id,
                anew: false,
                samples: vec![(seq, micros)],
            });
        }
        for run in &runs {
            edit.push(Change::AddRun {
                table: table.id,
                place,
                run: Arc::new(run.meta().clone()),
            });
        }
        edit.push(Change::LastSeq(seq));
        // What was written to other tables before must survive a power loss if this does.
        shared.sync_log_for_others(table)?;
        // From here on the manifest may name the files, whatever is returned; and what is written from now on must be newer
        // than they are, whether or not they come into force.
        let metas = std::mem::take(&mut self.rows.finished);
        let index = match index {
            Some(index) => Ok(index),
            None => shared.update_indexes(table, RunChange::Newer(&runs), SecondaryChange::Added(&runs), &runs),
        };
        let index = index.inspect(|index| index.record(&mut edit));
        let committed = index.and_then(|index| shared.commit_edit(table, edit, &runs).map(|()| index));
        if let Ok(index) = &committed {
            change_version(table, Some(index), |version| {
                runs.into_iter()
                    .for_each(|run| version.add(place.level as usize, place.sorted_run, run));
            });
            index.tell_added();
            table.times.note(seq, micros);
        }
        shared.recovered(seq);
        table.files_changed();
        committed.map(IndexUpdates::installed)?;
        Ok((place.level as usize, metas))
    }

    /// The lowest level such that neither it nor one above has a run that overlaps; level 0 while a compaction is under way,
    /// whose outputs might.
    fn place(&self, version: &Version) -> Result<Place> {
        let (first, last) = (self.rows.finished.first(), self.rows.finished.last());
        let min = first.map_or(&[][..], |run| &run.min_key);
        let max = last.map_or(&[][..], |run| &run.max_key);
        let overlaps = |level: usize| {
            let mut sorted_runs = version
                .levels
                .get(level)
                .map_or(&[][..], |level| &level.sorted_runs)
                .iter();
            sorted_runs.try_fold(false, |met, sorted| Ok::<_, Error>(met || sorted.overlaps(min, max)?))
        };
        // Whatever is under way has read its runs.
        let busy = version.known_runs().any(|(_, run)| run.shape().busy);
        let mut level = 0;
        while !busy && level <= deepest(version) && !overlaps(level)? {
            level += 1;
        }
        let level = level.saturating_sub(1);
        let present = version.levels.get(level).map_or(&[][..], |level| &level.sorted_runs);
        let sorted_run = match present {
            [only] if level > 0 && self.rows.common.table.policy.runs_allowed(level) == 1 => only.id,
            _ => self.rows.common.shared.new_sorted_run_id(),
        };
        Ok(Place {
            level: level as u32,
            sorted_run,
        })
    }
}

/// The deepest level that an ingestion may go to: the deepest in use, at least level 1.
fn deepest(version: &Version) -> usize {
    let used = version
        .levels
        .iter()
        .rposition(|level| !level.sorted_runs.is_empty())
        .unwrap_or(0);
    used.max(1).min(version.levels.len() - 1)
}
