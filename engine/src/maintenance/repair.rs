//! Repair: a database made of what is left of one. Nothing is ever deleted: what cannot be used is moved to `lost/`.

mod finish;
mod log;
mod lost;
mod order;
mod rebuild;
mod report;
mod salvage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use super::capture::table_dir;
use super::check::TableFiles;
use super::verify::runs_in;
use super::{TABLE_FILE, TableFile, files};
use crate::components::Resolved;
use crate::db::{Builder, TABLES_DIR, WAL_DIR, list_table};
use crate::exact::Marker;
use crate::manifest::{
    CURRENT, Change, Manifest, Place, PlacedRun, RunMeta, State, TAIL, TableState, VersionEdit, parse_file_name,
};
use crate::typed::Schemas;

use rebuild::readable;
pub use report::RepairReport;

/// The directory, within the database, of what repair could not use.
pub const LOST_DIR: &str = "lost";

impl Builder {
    /// Repairs the database in the directory `path`, which must not be open, so that it can be opened with every table that
    /// is left and every run that is whole.
    ///
    /// - A manifest that can be read is kept; runs that it names and that are gone or damaged are taken out of it. One that
    ///   cannot is made anew of the tables' directories, and the order of runs found by comparing their keys.
    /// - Settings that cannot be read are moved to [`LOST_DIR`]; those of this builder take their place.
    /// - Those that can be read, but name what this program does not know, are left as they are; what would need it does without, with
    ///   what this builder has instead, but for the log. The report says so.
    /// - A sidecar that is gone or damaged is rebuilt from its data file. What only it knew is lost: range deletes (what they
    ///   deleted comes back, if it is still in older runs) and, in tables with a TTL, ages (entries then count from now on).
    /// - The blocks of a damaged data file that are whole become a new one; what the others had replaced or deleted, if it is still
    ///   in older runs, comes back. The damaged file is moved to [`LOST_DIR`], and so is everything else that is of no use. Nothing is
    ///   deleted.
    /// - Indexes are built anew, as the settings of the database say. If that takes what this builder lacks (a merge operator, say), the
    ///   report says so, and the next opening builds them.
    /// - The log stays, and is replayed by the next opening. If it is damaged or lacks its end, what can be read of it is put into runs
    ///   now, and the report says which sequence numbers are lost.
    ///
    /// Run files that the manifest, before it was lost, no longer named may come back with it: what was deleted, and removed
    /// by a compaction just before, can reappear. A backup is better than any repair.
    ///
    /// # Errors
    /// `NotFound` if the directory holds nothing of a database; `Locked`; `InvalidSettings`; `Io`. A repair that is cut short
    /// can be run again.
    pub fn repair(self, path: impl AsRef<Path>) -> Result<RepairReport> {
        let path = path.as_ref();
        let (builder, settings_passed_over) = self.passing_over(path)?;
        let resolved = builder.resolve_once()?;
        files::check_database(&*builder.storage, path)?;
        let mut repair = Repair {
            storage: Arc::clone(&builder.storage),
            path,
            resolved,
            indexes_given_up: false,
            log_database: 0,
            report: RepairReport::default(),
        };
        repair.report.settings_passed_over = settings_passed_over;
        let lock = repair.lock()?;
        repair.clear_places(None)?;
        repair.check_settings()?;
        salvage::resume(&mut repair)?;
        let (log_damaged, had_indexes) = repair.run()?;
        salvage::clear(&repair)?;
        drop(lock);
        let mut report = repair.report;
        builder.finish_repair(path, log_damaged, had_indexes, &mut report)?;
        Ok(report)
    }
}

/// Repairs the database in the directory `path`, made of local files and built-in components. See [`Builder::repair`].
///
/// # Errors
/// As [`Builder::repair`].
pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    Builder::new(crate::Settings::default()).repair(path)
}

struct Repair<'p> {
    storage: Arc<dyn Storage>,
    path: &'p Path,
    resolved: Resolved,
    /// The manifest named indexes, and does not any more.
    indexes_given_up: bool,
    /// The database that the log says it is of; 0 if it does not.
    log_database: u64,
    report: RepairReport,
}

impl Repair<'_> {
    /// Whether the log is damaged, and whether there were indexes.
    fn run(&mut self) -> Result<(bool, bool)> {
        let old = match Manifest::read(&*self.storage, self.path) {
            Ok(state) => Some(state),
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Unsupported) => return Err(error),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    self.report.problems.push(error);
                }
                None
            }
        };
        let from = match &old {
            Some(state) => state.log_from(),
            None => self.unbroken_log()?,
        };
        let (mut log_damaged, log_tables) = self.read_log(from, old.as_ref())?;
        let state = match old {
            Some(state) => self.mend(state)?,
            None => {
                let mut state = State {
                    wal_from: from,
                    ..self.rebuild(log_tables)?
                };
                if self.log_database != 0 && self.log_database != state.identity && !log_damaged {
                    // Only now it is known which database this is.
                    log_damaged = self.read_log(from, Some(&state))?.0;
                }
                if self.older_log_is_needed(&state)? {
                    let message =
                        format!("segments of the log before {from} are missing, but older ones hold what no run does");
                    self.report
                        .problems
                        .push(Error::corruption(message).with_file(self.path.join(WAL_DIR)));
                    if !log_damaged {
                        self.copy_log()?;
                    }
                    (state.wal_from, log_damaged) = (0, true);
                }
                self.create_manifest(state)?
            }
        };
        self.report.tables = state.tables.len() as u64;
        self.report.runs = state.runs().count() as u64;
        Ok((log_damaged, self.had_indexes(&state)?))
    }

    /// Takes what is damaged out of a manifest that can be read.
    fn mend(&mut self, state: State) -> Result<State> {
        let mut edit = VersionEdit::new();
        for (&id, table) in &state.tables {
            let dir = table_dir(self.path, id);
            if let Err(error) = readable(list_table(&*self.storage, &dir, &table.name))? {
                self.report.problems.push(error);
                self.storage.create_dir_all(&dir)?;
                self.storage.sync_dir(&self.path.join(TABLES_DIR))?;
            }
            Marker::remove(&*self.storage, &dir)?;
            let file = TableFile::of(state.identity, id, table);
            if !TableFile::read(&*self.storage, &dir).is_ok_and(|found| found.covers(&file)) {
                self.lose_if_there(&dir.join(TABLE_FILE))?;
                file.write(&*self.storage, &dir)?;
            }
            let secondary = table.secondary.values().any(|index| index.index.is_some());
            self.indexes_given_up |= table.index.is_some() || secondary;
            if table.index.is_some() {
                // It is built of the runs once these are whole.
                edit.push(Change::SetIndex { table: id, index: None });
            }
            for (name, _) in table.secondary.iter().filter(|(_, index)| index.index.is_some()) {
                edit.push(Change::SetSecondary {
                    table: id,
                    name: name.clone(),
                    index: None,
                });
            }
            let files = self.table_files((state.identity, id), dir, table.schemas()?);
            for placed in table.runs.values() {
                let run = placed.run.id;
                let kept = self.keep(&files, run, Some(&placed.run))?;
                if kept.as_ref() == Some(&*placed.run) {
                    continue;
                }
                edit.push(Change::RemoveRun { table: id, run });
                if let Some(meta) = kept {
                    edit.push(Change::AddRun {
                        table: id,
                        place: placed.place,
                        run: Arc::new(meta),
                    });
                }
            }
        }
        if edit.changes.is_empty() {
            return Ok(state);
        }
        let mut manifest = Manifest::open(Arc::clone(&self.storage), self.path)?;
        manifest.append(&edit)?;
        drop(manifest);
        // Read again, as an open manifest leaves in the catalogue what is there.
        Manifest::read(&*self.storage, self.path)
    }

    /// The state that is in the tables' directories.
    fn rebuild(&mut self, log_tables: TableId) -> Result<State> {
        self.report.manifest_rebuilt = true;
        let root = self.path.join(TABLES_DIR);
        let (mut tables, mut next_table) = (BTreeMap::new(), log_tables.max(1));
        for name in files::list(&*self.storage, &root)? {
            let dir = root.join(&name);
            let Some(id) = name
                .parse::<TableId>()
                .ok()
                .filter(|&id| id < TableId::MAX && table_dir(self.path, id) == dir)
            else {
                continue;
            };
            next_table = next_table.max(id + 1);
            Marker::remove(&*self.storage, &dir)?;
            let read = TableFile::read(&*self.storage, &dir).and_then(|file| {
                let schemas = file.state().schemas()?;
                if file.table == id {
                    Ok((file, schemas))
                } else {
                    Err(Error::corruption("it belongs to another table"))
                }
            });
            match read {
                Ok(found) => {
                    tables.insert(id, (dir, found));
                }
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => {
                    let message = "without the table's name and schema its runs cannot be used: restore the file, and repair again";
                    let error = Error::corruption(message)
                        .with_file(dir.join(TABLE_FILE))
                        .with_source(error);
                    self.report.problems.push(error);
                    // Opening removes directories of unknown tables.
                    for file in self.storage.list(&dir)? {
                        self.lose(&dir.join(file))?;
                    }
                }
            }
        }
        let identity = self.identity(tables.values().map(|(_, (file, _))| file.database));
        let mut state = State {
            next_table,
            ..State::new(identity)
        };
        let mut names = BTreeSet::new();
        for (id, (dir, (file, schemas))) in tables {
            let files = self.table_files((identity, id), dir, schemas);
            let table = file.state();
            let mut name = file.name;
            while !names.insert(name.clone()) {
                name.push_str(" (another)");
            }
            self.rebuild_table(&files, &mut state, id, TableState { name, ..table })?;
        }
        Ok(state)
    }

    /// Sets what is left of the old manifest aside and writes a new one.
    fn create_manifest(&mut self, state: State) -> Result<State> {
        for name in self.storage.list(self.path)? {
            if name == CURRENT || name == TAIL || parse_file_name(&name).is_some() {
                self.lose(&self.path.join(name))?;
            }
        }
        self.storage.sync_dir(self.path)?;
        let manifest = Manifest::create(Arc::clone(&self.storage), self.path, state)?;
        Ok(manifest.state().clone())
    }

    fn rebuild_table(
        &mut self,
        files: &TableFiles,
        state: &mut State,
        id: TableId,
        mut table: TableState,
    ) -> Result<()> {
        let mut metas = Vec::new();
        for run in runs_in(&*self.storage, &files.dir) {
            state.next_run = state.next_run.max(run.saturating_add(1));
            metas.extend(self.keep(files, run, None)?);
        }
        // On level 0 in as many sorted runs as are needed, the newest with the largest number.
        let layers = order::layers(files, &metas)?;
        let count = layers.iter().max().map_or(0, |most| most + 1);
        for (meta, layer) in metas.into_iter().zip(layers) {
            state.last_seq = state.last_seq.max(meta.max_seq);
            let place = Place {
                level: 0,
                sorted_run: state.next_sorted_run + (count - layer) as u64,
            };
            table.runs.insert(PlacedRun {
                place,
                run: Arc::new(meta),
            });
        }
        state.next_sorted_run += count as u64 + 1;
        state.tables.insert(id, Arc::new(table));
        Ok(())
    }

    /// The identity that most tables tell of, without any that of the log, and a new one where there is none either.
    fn identity(&self, found: impl Iterator<Item = u64>) -> u64 {
        let mut votes = BTreeMap::<u64, usize>::new();
        found.for_each(|identity| *votes.entry(identity).or_default() += 1);
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
        let log = (self.log_database != 0).then_some(self.log_database);
        let known = most.map(|(identity, _)| identity).or(log);
        known.unwrap_or_else(|| self.storage.random().max(1))
    }

    fn table_files(&self, (database, id): (u64, TableId), dir: PathBuf, schemas: Schemas) -> TableFiles {
        TableFiles::new(
            Arc::clone(&self.storage),
            self.resolved.components().clone(),
            (database, id),
            dir,
            schemas,
        )
    }

    /// Makes a run usable and says what the manifest is to know of it; or moves its files away.
    fn keep(&mut self, files: &TableFiles, run: RunId, meta: Option<&RunMeta>) -> Result<Option<RunMeta>> {
        let kept = rebuild::keep(self, files, run, meta)?;
        if kept.is_none() {
            let prefix = format!("{run:010}.");
            for name in files::list(&*self.storage, &files.dir)? {
                if name.starts_with(&prefix) {
                    self.lose(&files.dir.join(name))?;
                }
            }
        }
        Ok(kept)
    }
}
