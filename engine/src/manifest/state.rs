//! The state that the edits of a manifest add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Result, SeqNo};

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
    /// When entries of its runs were written, ascending; `None` if only the runs know.
    pub times: Option<Arc<Vec<(SeqNo, u64)>>>,
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
    pub(super) fn forget_indexes(&mut self) {
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

    /// The state without any runs, and without a catalogue that has some.
    pub fn without_runs(&self) -> Self {
        let mut state = self.clone();
        (state.base, state.catalogue) = (None, None);
        for table in state.tables.values_mut() {
            Arc::make_mut(table).runs = Runs::default();
        }
        state
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
            if let Some(times) = &state.times {
                edit.push(Change::AddTimes {
                    table,
                    anew: true,
                    samples: times.to_vec(),
                });
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
