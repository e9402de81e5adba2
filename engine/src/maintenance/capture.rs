//! A consistent moment of an open database, held so that its files cannot vanish; and databases made of one.
//!
//! A database open for reading only is captured as it was opened, also beside a process that writes: nothing of it is changed, and
//! what only the log had goes into runs of the copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};
use kodiak_storage::ReadOnlyStorage;

use super::indexes::{HeldIndexes, each_index};
use super::{TableFile, files};
use crate::db::{LOCK_FILE, Shared, TABLES_DIR};
use crate::exact::Marker;
use crate::manifest::{Change, Manifest, State, TableState, VersionEdit};
use crate::run::Run;
use crate::settings::SETTINGS_FILE;

/// The runs that made up a database at one moment.
pub(crate) struct Capture {
    /// What its manifest said; without a log, and without indexes that are not held.
    pub state: State,
    /// Every run, held.
    pub runs: BTreeMap<(TableId, RunId), Arc<Run>>,
    /// Indexes, held.
    pub indexes: BTreeMap<TableId, HeldIndexes>,
    /// What shows the files of the runs, also those that another process has removed since they were opened.
    pub files: Arc<dyn Storage>,
}

/// Puts files into the directory of a table.
pub(crate) trait Place {
    /// Those of a run.
    fn run(&mut self, table: TableId, run: RunId, dir: &Path) -> Result<()>;

    /// Those of the indexes that `table` names, which is made to name what was put there.
    fn indexes(&mut self, id: TableId, table: &mut TableState, dir: &Path) -> Result<()>;
}

impl Capture {
    /// Flushes, and captures exactly what was acknowledged before, in all tables alike: later writes go on meanwhile, but are
    /// not flushed until the moment is captured. A database open for reading only flushes into directories of the copy, which
    /// `flushed` names for each table.
    ///
    /// # Errors
    /// Those of flushing; `Unavailable` for a database that is closed.
    pub fn take(shared: &Shared, flushed: &dyn Fn(TableId) -> PathBuf) -> Result<Self> {
        if let Some(state) = &shared.as_read {
            let mut capture = Self::of_reader(shared, state)?;
            capture.flush(shared, flushed)?;
            return Ok(capture);
        }
        shared.check_writable()?;
        let captured = {
            let _flushing = shared.flushing.lock();
            for (table, slots) in shared.freeze_all()? {
                match shared.flush_slots(&table, &slots) {
                    Err(_) if table.dropped.load(std::sync::atomic::Ordering::Acquire) => {}
                    flushed => flushed?,
                }
            }
            Self::pin(shared)
        };
        shared.stalls.refresh(shared);
        shared.signals.progress.raise();
        shared.signals.compaction.raise();
        shared.release_log()?;
        captured
    }

    /// Lets go of the indexes.
    ///
    /// # Errors
    /// None.
    pub fn without_indexes(self) -> Result<Self> {
        let indexes = BTreeMap::new();
        Ok(Self {
            state: for_copy(self.state, &indexes)?,
            indexes,
            ..self
        })
    }

    /// Holds every run of a database open for reading only; `state` is what its manifest said, without them.
    pub fn of_reader(shared: &Shared, state: &State) -> Result<Self> {
        shared.check_open()?;
        let (mut state, mut runs) = (for_copy(state.clone(), &BTreeMap::new())?, BTreeMap::new());
        let mut held = Vec::new();
        for table in shared.all_tables() {
            let Some(known) = state.tables.get_mut(&table.id).map(Arc::make_mut) else {
                continue;
            };
            let version = Arc::clone(&table.view.load().version);
            known.runs = version.all_placed()?.collect();
            for (_, run) in version.runs()? {
                held.extend(run.held_files()?);
                runs.insert((table.id, run.id()), Arc::clone(run));
            }
        }
        Ok(Self {
            state,
            runs,
            indexes: BTreeMap::new(),
            files: Arc::new(ReadOnlyStorage::new(Arc::clone(&shared.storage)).holding(held)),
        })
    }

    /// Writes what a database open for reading only has in memory to runs of the copy.
    fn flush(&mut self, shared: &Shared, dir: &dyn Fn(TableId) -> PathBuf) -> Result<()> {
        let mut edit = VersionEdit::new();
        for table in shared.all_tables() {
            for run in shared.flush_copy(&table, dir(table.id), &mut edit)? {
                self.runs.insert((table.id, run.id()), run);
            }
        }
        edit.push(Change::LastSeq(shared.visible()));
        self.state.apply(&edit)
    }

    /// Holds every run that the manifest names now.
    pub fn pin(shared: &Shared) -> Result<Self> {
        // Nobody can make a run obsolete without this lock.
        let manifest = shared.manifest.lock();
        let Some(manifest) = manifest.as_ref() else {
            return Err(Error::new(
                kodiak_core::ErrorKind::Unavailable,
                "the database is closed: open it again",
            ));
        };
        let state = manifest.state().whole()?;
        let wanted = state.runs().count();
        loop {
            let (mut runs, mut indexes) = (BTreeMap::new(), BTreeMap::new());
            for table in shared.all_tables() {
                let Some(known) = state.tables.get(&table.id) else {
                    continue;
                };
                let view = table.view.load_full();
                for (_, run) in view.version.runs()? {
                    if known.runs.contains_key(run.id()) {
                        runs.insert((table.id, run.id()), Arc::clone(run));
                    }
                }
                indexes.insert(table.id, HeldIndexes::of(shared, &table, &view, known));
            }
            if runs.len() == wanted {
                return Ok(Self {
                    state: for_copy(state, &indexes)?,
                    runs,
                    indexes,
                    files: Arc::clone(&shared.storage),
                });
            }
            // A job has just appended its edit, and is about to put its runs into the version.
            shared.check_open()?;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The state of a copy, which begins with an empty log, whose segments are numbered anew, and with those indexes that are held.
fn for_copy(mut state: State, indexes: &BTreeMap<TableId, HeldIndexes>) -> Result<State> {
    (state.wal_from, state.log_end) = (0, None);
    for (id, table) in &mut state.tables {
        let table = Arc::make_mut(table);
        table.flushed = 0;
        let held = indexes.get(id);
        each_index(table, &mut |index| Ok(held.is_some_and(|held| held.has(index.name))))?;
    }
    Ok(state)
}

/// Makes a database in an empty directory.
///
/// # Errors
/// `AlreadyExists` if the directory is not empty; those of `make`, after which what was made is removed.
pub(crate) fn in_empty(storage: &dyn Storage, target: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    files::check_empty(storage, target)?;
    let made = make();
    if made.is_err()
        && let Err(error) = storage.remove_dir_all(target)
    {
        tracing::warn!(%error, "an unfinished copy of a database could not be removed");
    }
    made
}

/// Makes a database of a state, in a directory that has no more than files of its runs; `place` puts the others into the tables'
/// directories. The manifest comes last: until then the directory cannot be opened.
///
/// # Errors
/// Those of `place`; `Io`.
pub(crate) fn build(
    storage: &Arc<dyn Storage>,
    target: &Path,
    mut state: State,
    settings: &str,
    place: &mut dyn Place,
) -> Result<()> {
    storage.create_dir_all(target)?;
    let _lock = storage.lock(&target.join(LOCK_FILE))?;
    storage.create_dir_all(&target.join(TABLES_DIR))?;
    for (&id, table) in &mut state.tables {
        let dir = table_dir(target, id);
        storage.create_dir_all(&dir)?;
        let table = Arc::make_mut(table);
        for run in table.runs.keys() {
            place.run(id, run, &dir)?;
        }
        place.indexes(id, table, &dir)?;
        Marker::unknown(state.identity, id, &table.name).write(&**storage, &dir)?;
        let file = TableFile::of(state.identity, id, table);
        // This syncs the directory as well.
        file.write(&**storage, &dir)?;
    }
    if !settings.is_empty() {
        files::replace(&**storage, &target.join(SETTINGS_FILE), settings.as_bytes())?;
    }
    storage.sync_dir(&target.join(TABLES_DIR))?;
    Manifest::create(Arc::clone(storage), target, state)?;
    Ok(())
}

/// The directory of a table.
pub(crate) fn table_dir(database: &Path, id: TableId) -> PathBuf {
    database.join(TABLES_DIR).join(format!("{id:06}"))
}
