//! The state that the edits of a manifest add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Error, Result, SeqNo};

use super::catalogue::CatalogueView;
use super::edit::{
    CatalogueMeta, Change, DeadRows, IndexMeta, Marks, Place, RunMeta, SecondaryMeta, SortedRunId, VersionEdit,
};
use super::runs::{Base, Runs};
use crate::typed::Schemas;

/// Levels that a manifest can name.
pub const MAX_LEVELS: u32 = 64;

/// A run and where it hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedRun {
    /// Where it hangs.
    pub place: Place,
    /// What it is.
    pub run: Arc<RunMeta>,
}

/// A later schema of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaState {
    /// False if it is a layout of files only.
    pub in_force: bool,
    /// It, as `TableSchema::to_bytes` writes it.
    pub schema: Vec<u8>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// Its name.
    pub name: String,
    /// The schema that it was created with, as `TableSchema::to_bytes` writes it.
    pub schema: Vec<u8>,
    /// The schemas that it has had since, by number.
    pub schemas: BTreeMap<u32, SchemaState>,
    /// Its options, as the engine writes them.
    pub options: Vec<u8>,
    /// Its runs.
    pub runs: Runs,
    /// Its entries in log segments below this one are in runs.
    pub flushed: SegmentId,
    /// Its primary index.
    pub index: Option<IndexMeta>,
    /// Its secondary indexes, by name.
    pub secondary: BTreeMap<String, SecondaryState>,
    /// Its deletion vectors: of each run that has any the dead rows; `None` if it has no vectors.
    pub dead: Option<BTreeMap<RunId, Arc<DeadRows>>>,
}

/// A secondary index of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondaryState {
    /// What it is of, as the engine writes it.
    pub definition: Vec<u8>,
    /// Its file and root; `None` if it is to be built anew.
    pub index: Option<SecondaryMeta>,
}

/// Everything that the manifest knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The random number that tells this database from others.
    pub identity: u64,
    /// The catalogue that has runs, if there is one.
    pub catalogue: Option<CatalogueMeta>,
    /// The catalogue, where the tables tell only of runs beside it.
    pub(crate) base: Option<Arc<CatalogueView>>,
    /// The tables.
    pub tables: BTreeMap<TableId, Arc<TableState>>,
    /// Sequence numbers up to this one have been given out (more may have been: the log knows).
    pub last_seq: SeqNo,
    /// The first log segment that is still needed.
    pub wal_from: SegmentId,
    /// If the log was closed with records that only it has: the last one's sequence number, which a replay must reach.
    pub log_end: Option<SeqNo>,
    /// No run with this number or a larger one has ever been in the manifest.
    pub next_run: RunId,
    /// No table with this number or a larger one has ever been in the manifest.
    pub next_table: TableId,
    /// No sorted run with this number or a larger one has ever been in the manifest.
    pub next_sorted_run: SortedRunId,
}

impl TableState {
    /// All its schemas.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no schema; `Unsupported` for a newer form.
    pub(crate) fn schemas(&self) -> Result<Schemas> {
        let later = self.schemas.iter();
        Schemas::stored(
            &self.schema,
            later.map(|(number, later)| (*number, later.in_force, later.schema.as_slice())),
        )
    }
}

impl TableState {
    /// The runs change: no index belongs to them, unless a later change of the edit says so.
    fn forget_indexes(&mut self) {
        self.index = None;
        self.secondary.values_mut().for_each(|known| known.index = None);
    }
}

impl State {
    /// The first log segment that is needed. A log begins with segment 1, so that one which lacks it is damaged; only where nobody
    /// knows where it begins is it read from 0.
    pub fn log_from(&self) -> u64 {
        self.wal_from.max(1)
    }

    /// The state of a database without tables.
    pub fn new(identity: u64) -> Self {
        Self {
            identity,
            ..Self::default()
        }
    }

    /// The table of that name.
    pub fn table_named(&self, name: &str) -> Option<(TableId, &TableState)> {
        self.tables
            .iter()
            .find(|(_, table)| table.name == name)
            .map(|(id, table)| (*id, &**table))
    }

    /// The state with all runs, those that a catalogue has included.
    ///
    /// # Errors
    /// `Corruption` that names the catalogue's file; `Io`.
    pub fn whole(&self) -> Result<Self> {
        let mut whole = self.clone();
        if whole.base.take().is_some() {
            for table in whole.tables.values_mut() {
                let runs = table.runs.whole()?;
                Arc::make_mut(table).runs = runs;
            }
        }
        Ok(whole)
    }

    /// True if a catalogue has runs of which the tables do not tell.
    pub(crate) fn is_listed(&self) -> bool {
        self.base.is_some()
    }

    /// Before changes are read that go by a catalogue: it is this one.
    pub(super) fn attach(&mut self, catalogue: Arc<CatalogueView>) {
        self.base = Some(catalogue);
    }

    /// All runs are in this catalogue now.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) fn rebase(&mut self, meta: CatalogueMeta, catalogue: &Arc<CatalogueView>) -> Result<()> {
        for (&id, table) in &mut self.tables {
            Arc::make_mut(table).runs = Runs::listed(Base::of(catalogue, id)?);
        }
        (self.catalogue, self.base) = (Some(meta), Some(Arc::clone(catalogue)));
        Ok(())
    }

    /// Runs of a table that its catalogue does not have.
    pub(super) fn put_beside(&mut self, table: TableId, runs: Vec<PlacedRun>) {
        if let Some(table) = self.tables.get_mut(&table) {
            let table = Arc::make_mut(table);
            runs.into_iter().for_each(|placed| table.runs.insert(placed));
        }
    }

    /// Changes that the catalogue, if there is one, does not have.
    pub(super) fn unlisted(&self) -> usize {
        self.tables.values().map(|table| table.runs.changes()).sum()
    }

    /// Every run of every table.
    pub fn runs(&self) -> impl Iterator<Item = (TableId, &PlacedRun)> {
        self.tables
            .iter()
            .flat_map(|(id, table)| table.runs.values().map(|run| (*id, run)))
    }

    /// The numbers of all runs: a run file in the directory that is not among them is left over and may be removed.
    pub fn run_ids(&self) -> BTreeSet<RunId> {
        self.runs().map(|(_, run)| run.run.id).collect()
    }

    /// Levels down to the deepest one that holds a run; 0 if there is none.
    pub fn used_levels(&self) -> usize {
        self.tables
            .values()
            .map(|table| table.runs.used_levels())
            .max()
            .unwrap_or(0)
    }

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

    /// The edit that makes this state out of an empty one.
    pub fn snapshot(&self) -> VersionEdit {
        let mut edit = VersionEdit::new();
        edit.push(Change::Identity(self.identity));
        if let Some(meta) = self.catalogue.as_ref().filter(|_| self.base.is_some()) {
            edit.push(Change::Catalogue(meta.clone()));
        }
        for (&id, table) in &self.tables {
            edit.push(Change::CreateTable {
                id,
                name: table.name.clone(),
                schema: table.schema.clone(),
                options: table.options.clone(),
            });
            for (&number, later) in &table.schemas {
                edit.push(Change::AddSchema {
                    table: id,
                    number,
                    in_force: later.in_force,
                    schema: later.schema.clone(),
                });
            }
            edit.push(Change::Flushed {
                table: id,
                segment: table.flushed,
            });
        }
        for (&table, state) in &self.tables {
            for &run in state.runs.base().iter().flat_map(|base| base.removed.keys()) {
                edit.push(Change::RemoveRun { table, run });
            }
        }
        let mut runs: Vec<_> = self.runs().collect();
        runs.sort_unstable_by_key(|(_, placed)| placed.run.id);
        for (table, placed) in runs {
            edit.push(Change::AddRun {
                table,
                place: placed.place,
                run: Arc::clone(&placed.run),
            });
        }
        for (&table, state) in &self.tables {
            if let Some(index) = &state.index {
                edit.push(Change::SetIndex {
                    table,
                    index: Some(index.clone()),
                });
            }
            for (name, secondary) in &state.secondary {
                edit.push(Change::AddSecondary {
                    table,
                    name: name.clone(),
                    definition: secondary.definition.clone(),
                });
                if secondary.index.is_some() {
                    edit.push(Change::SetSecondary {
                        table,
                        name: name.clone(),
                        index: secondary.index.clone(),
                    });
                }
            }
            if let Some(dead) = &state.dead {
                let runs = dead.iter().map(|(&run, dead)| (run, DeadRows::clone(dead))).collect();
                let dead = Some(Marks { anew: true, runs });
                edit.push(Change::MarkDead { table, dead });
            }
        }
        edit.push(Change::LastSeq(self.last_seq));
        edit.push(Change::WalFrom(self.wal_from));
        if let Some(seq) = self.log_end {
            edit.push(Change::LogEnd(seq));
        }
        edit.push(Change::NextIds {
            run: self.next_run,
            table: self.next_table,
            sorted_run: self.next_sorted_run,
        });
        edit
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
