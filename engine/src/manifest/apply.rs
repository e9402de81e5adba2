//! Edits applied to the state of a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::{Error, Result};

use super::edit::{Change, IndexMeta, Marks, Place, RunMeta, SortedRunId, VersionEdit};
use super::runs::{Base, Runs};
use super::state::{MAX_LEVELS, PlacedRun, SchemaState, SecondaryState, State, TableState};

impl State {
    /// Applies all changes of an edit, or none.
    ///
    /// # Errors
    /// `Corruption` for a change that does not fit the state: a table or run that is missing or there already, a number
    /// given out twice, a mark that goes backward.
    pub fn apply(&mut self, edit: &VersionEdit) -> Result<()> {
        let mut next = self.clone();
        next.apply_in_place(edit)?;
        *self = next;
        Ok(())
    }

    /// Applies an edit to a state that is given up if that fails.
    pub(super) fn apply_in_place(&mut self, edit: &VersionEdit) -> Result<()> {
        edit.changes.iter().try_for_each(|change| self.apply_change(change))?;
        // Deletion vectors belong to the runs: who changes these must say what has died.
        let mut untold = BTreeSet::new();
        for change in &edit.changes {
            match change {
                Change::AddRun { table, .. } | Change::RemoveRun { table, .. } => untold.insert(*table),
                Change::MarkDead { table, .. } => untold.remove(table),
                _ => false,
            };
        }
        for table in untold {
            if self.tables.get(&table).is_some_and(|table| table.dead.is_some()) {
                self.table(table)?.dead = None;
            }
        }
        Ok(())
    }

    fn apply_change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Identity(identity) => {
                if self.identity != 0 && self.identity != *identity {
                    return Err(misfit("the database's identity changes"));
                }
                self.identity = *identity;
            }
            Change::Catalogue(meta) => {
                if self.catalogue.is_some() || !self.tables.is_empty() || self.base.is_none() {
                    return Err(misfit("a catalogue is named where none can be"));
                }
                self.catalogue = Some(meta.clone());
            }
            Change::CreateTable {
                id,
                name,
                schema,
                options,
            } => self.create_table(*id, name, schema, options)?,
            Change::DropTable(table) => {
                self.tables.remove(table).ok_or_else(|| missing_table(*table))?;
                self.log_end = None;
            }
            Change::TableOptions { table, options } => self.table(*table)?.options.clone_from(options),
            Change::AddRun { table, place, run } => self.add_run(*table, *place, run)?,
            Change::RemoveRun { table, run } => {
                let state = self.table(*table)?;
                state.forget_indexes();
                if let Some(dead) = &mut state.dead {
                    dead.remove(run);
                }
                let removed = state.runs.take(*run)?;
                removed.ok_or_else(|| misfit(format!("run {run} is removed but not in table {table}")))?;
            }
            Change::MoveRun { table, run, place } => {
                check_place(*place)?;
                let runs = &mut self.table(*table)?.runs;
                let placed = runs.take(*run)?;
                let placed = placed.ok_or_else(|| misfit(format!("run {run} is moved but not in table {table}")))?;
                runs.insert(PlacedRun {
                    place: *place,
                    ..placed
                });
                self.next_sorted_run = self.next_sorted_run.max(place.sorted_run + 1);
            }
            Change::LastSeq(seq) => self.last_seq = forward("the last sequence number", self.last_seq, *seq)?,
            Change::WalFrom(segment) => {
                self.wal_from = forward("the first log segment needed", self.wal_from, *segment)?;
                self.log_end = None;
            }
            Change::Flushed { table, segment } => {
                let table = self.table(*table)?;
                table.flushed = forward("a table's flushed mark", table.flushed, *segment)?;
                self.log_end = None;
            }
            Change::AddSchema {
                table,
                number,
                in_force,
                schema,
            } => {
                let schemas = &mut self.table(*table)?.schemas;
                let last = schemas.last_key_value().map_or(0, |(last, _)| *last);
                if *number <= last {
                    return Err(misfit(format!("schema {number} of table {table} comes after {last}")));
                }
                let (in_force, schema) = (*in_force, schema.clone());
                schemas.insert(*number, SchemaState { in_force, schema });
            }
            Change::NextIds { run, table, sorted_run } => {
                self.next_run = forward("the next run number", self.next_run, *run)?;
                self.next_table = forward("the next table number", self.next_table, *table)?;
                self.next_sorted_run = forward("the next sorted run number", self.next_sorted_run, *sorted_run)?;
            }
            Change::LogEnd(seq) => self.log_end = Some(*seq),
            Change::SetIndex { table, index } => {
                self.table(*table)?.index.clone_from(index);
                index.as_ref().map_or(Ok(()), |index| self.count_index(index))?;
            }
            Change::AddSecondary {
                table,
                name,
                definition,
            } => {
                let (definition, index) = (definition.clone(), None);
                let added = SecondaryState { definition, index };
                if self.table(*table)?.secondary.insert(name.clone(), added).is_some() {
                    return Err(misfit(format!("index \"{name}\" of table {table} is created twice")));
                }
            }
            Change::DropSecondary { table, name } => {
                let removed = self.table(*table)?.secondary.remove(name);
                removed.ok_or_else(|| missing_index(*table, name))?;
            }
            Change::SetSecondary { table, name, index } => {
                let known = self.table(*table)?.secondary.get_mut(name);
                known
                    .ok_or_else(|| missing_index(*table, name))?
                    .index
                    .clone_from(index);
                index.as_ref().map_or(Ok(()), |index| self.count_index(&index.file))?;
            }
            Change::MarkDead { table, dead } => self.mark_dead(*table, dead.as_ref())?,
            Change::AddTimes { table, anew, samples } => {
                if !crate::sidecar::times::ascend(samples) {
                    return Err(misfit(format!("the times of table {table} do not ascend")));
                }
                let table = self.table(*table)?;
                // One without runs has none that are not known.
                let all = *anew || table.times.is_none() && table.runs.used_levels() == 0;
                if all {
                    table.times = Some(Arc::new(samples.clone()));
                } else if let Some(times) = &mut table.times {
                    let times = Arc::make_mut(times);
                    times.extend(samples);
                    times.sort_unstable();
                    times.dedup_by_key(|sample| sample.0);
                }
            }
        }
        Ok(())
    }

    fn mark_dead(&mut self, table: TableId, marks: Option<&Marks>) -> Result<()> {
        let state = self.table(table)?;
        let Some(marks) = marks else {
            state.dead = None;
            return Ok(());
        };
        if marks.anew {
            state.dead = Some(BTreeMap::new());
        }
        let Some(dead) = &mut state.dead else {
            return Err(misfit(format!(
                "rows of table {table} die, but it has no deletion vectors"
            )));
        };
        for (run, marks) in &marks.runs {
            let entries = state.runs.find(*run)?.map(|placed| placed.run.entries);
            if entries.is_none_or(|entries| marks.rows.max().is_some_and(|last| u64::from(last) >= entries)) {
                return Err(misfit(format!("rows of run {run} die that are not in table {table}")));
            }
            Arc::make_mut(dead.entry(*run).or_default()).add(marks);
        }
        Ok(())
    }

    /// The number of an index file is used from now on.
    fn count_index(&mut self, index: &IndexMeta) -> Result<()> {
        let after = index.id.checked_add(1);
        let after = after.ok_or_else(|| misfit("run numbers are used up"))?;
        self.next_run = self.next_run.max(after);
        Ok(())
    }

    fn create_table(&mut self, id: TableId, name: &str, schema: &[u8], options: &[u8]) -> Result<()> {
        if id < self.next_table {
            return Err(misfit(format!(
                "table {id} is created, but numbers below {} are used",
                self.next_table
            )));
        }
        if self.table_named(name).is_some() {
            return Err(misfit(format!("table \"{name}\" is created twice")));
        }
        self.next_table = id.checked_add(1).ok_or_else(|| misfit("table numbers are used up"))?;
        let table = TableState {
            name: name.to_owned(),
            schema: schema.to_vec(),
            options: options.to_vec(),
            runs: match &self.base {
                Some(catalogue) => Runs::listed(Base::of(catalogue, id)?),
                None => Runs::default(),
            },
            ..TableState::default()
        };
        self.tables.insert(id, Arc::new(table));
        Ok(())
    }

    fn add_run(&mut self, table: TableId, place: Place, run: &Arc<RunMeta>) -> Result<()> {
        check_place(place)?;
        if self.has_run(run.id)? {
            return Err(misfit(format!("run {} is added twice", run.id)));
        }
        if run.min_key > run.max_key || run.min_seq > run.max_seq {
            return Err(misfit(format!("the bounds of run {} are the wrong way round", run.id)));
        }
        // Jobs that run side by side add their runs in any order: a smaller number may come later.
        let after = run.id.checked_add(1).ok_or_else(|| misfit("run numbers are used up"))?;
        self.next_run = self.next_run.max(after);
        self.next_sorted_run = self.next_sorted_run.max(place.sorted_run + 1);
        let state = self.table(table)?;
        state.forget_indexes();
        state.runs.insert(PlacedRun {
            place,
            run: Arc::clone(run),
        });
        Ok(())
    }

    /// True if some table has the run.
    fn has_run(&self, id: RunId) -> Result<bool> {
        if self.tables.values().any(|table| table.runs.contains_key(id)) {
            return Ok(true);
        }
        let Some(catalogue) = &self.base else { return Ok(false) };
        let listed = catalogue.find(id)?.and_then(|(table, _)| self.tables.get(&table));
        listed.map_or(Ok(false), |table| table.runs.has(id))
    }

    fn table(&mut self, table: TableId) -> Result<&mut TableState> {
        self.tables
            .get_mut(&table)
            .map(Arc::make_mut)
            .ok_or_else(|| missing_table(table))
    }
}

fn check_place(place: Place) -> Result<()> {
    if place.level >= MAX_LEVELS {
        return Err(misfit(format!(
            "level {} is above the limit of {MAX_LEVELS}",
            place.level
        )));
    }
    if place.sorted_run == SortedRunId::MAX {
        return Err(misfit("sorted run numbers are used up"));
    }
    Ok(())
}

fn forward<T: PartialOrd + std::fmt::Display>(what: &str, old: T, new: T) -> Result<T> {
    if new < old {
        return Err(misfit(format!("{what} goes back from {old} to {new}")));
    }
    Ok(new)
}

fn missing_table(table: TableId) -> Error {
    misfit(format!("table {table} is not there"))
}

fn missing_index(table: TableId, name: &str) -> Error {
    misfit(format!("index \"{name}\" of table {table} is not there"))
}

#[cold]
fn misfit(message: impl Into<String>) -> Error {
    Error::corruption(format!("a version edit does not fit: {}", message.into()))
}
