//! A consistent moment of an open database, held so that its files cannot vanish; and databases made of one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};

use super::{TableFile, files};
use crate::db::{LOCK_FILE, Shared, TABLES_DIR};
use crate::manifest::{Manifest, State};
use crate::run::Run;
use crate::settings::SETTINGS_FILE;

/// The runs that made up a database at one moment.
pub(crate) struct Capture {
    /// What its manifest said; without a log, and without indexes.
    pub state: State,
    /// Every run, held.
    pub runs: BTreeMap<(TableId, RunId), Arc<Run>>,
}

impl Capture {
    /// Flushes, and captures exactly what was acknowledged before, in all tables alike: later writes go on meanwhile, but are
    /// not flushed until the moment is captured.
    ///
    /// # Errors
    /// Those of flushing; `Unavailable` for a database that is closed or open for reading only.
    pub fn take(shared: &Shared) -> Result<Self> {
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
        let state = manifest.state();
        let wanted = state.runs().count();
        loop {
            let mut runs = BTreeMap::new();
            for table in shared.all_tables() {
                for (_, run) in table.view.load().version.runs() {
                    if state
                        .tables
                        .get(&table.id)
                        .is_some_and(|known| known.runs.contains_key(&run.id()))
                    {
                        runs.insert((table.id, run.id()), Arc::clone(run));
                    }
                }
            }
            if runs.len() == wanted {
                return Ok(Self {
                    state: for_copy(state.clone()),
                    runs,
                });
            }
            // A job has just appended its edit, and is about to put its runs into the version.
            shared.check_open()?;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The state of a copy, which begins with an empty log, whose segments are numbered anew, and without files of indexes, which
/// its first opening builds: they files change all the time, and hold nothing that the runs do not.
fn for_copy(mut state: State) -> State {
    state.wal_from = 0;
    for table in state.tables.values_mut() {
        let table = Arc::make_mut(table);
        (table.flushed, table.index) = (0, None);
        table.secondary.values_mut().for_each(|index| index.index = None);
    }
    state
}

/// Makes a database in an empty directory of a state; `place` puts the files of a run into the table's directory. The
/// manifest comes last: until then the directory cannot be opened.
///
/// # Errors
/// `AlreadyExists` if the directory is not empty; those of `place`; `Io`. What was made is removed then.
pub(crate) fn build(
    storage: &Arc<dyn Storage>,
    target: &Path,
    state: &State,
    settings: &str,
    place: &mut dyn FnMut(TableId, RunId, &Path) -> Result<()>,
) -> Result<()> {
    files::check_empty(&**storage, target)?;
    let made = fill(storage, target, state, settings, place);
    if made.is_err()
        && let Err(error) = storage.remove_dir_all(target)
    {
        tracing::warn!(%error, "an unfinished copy of a database could not be removed");
    }
    made
}

fn fill(
    storage: &Arc<dyn Storage>,
    target: &Path,
    state: &State,
    settings: &str,
    place: &mut dyn FnMut(TableId, RunId, &Path) -> Result<()>,
) -> Result<()> {
    storage.create_dir_all(target)?;
    let _lock = storage.lock(&target.join(LOCK_FILE))?;
    storage.create_dir_all(&target.join(TABLES_DIR))?;
    for (&id, table) in &state.tables {
        let dir = table_dir(target, id);
        storage.create_dir_all(&dir)?;
        for &run in table.runs.keys() {
            place(id, run, &dir)?;
        }
        let file = TableFile::of(state.identity, id, table);
        // This syncs the directory as well.
        file.write(&**storage, &dir)?;
    }
    if !settings.is_empty() {
        files::replace(&**storage, &target.join(SETTINGS_FILE), settings.as_bytes())?;
    }
    storage.sync_dir(&target.join(TABLES_DIR))?;
    Manifest::create(Arc::clone(storage), target, state.clone())?;
    Ok(())
}

/// The directory of a table.
pub(crate) fn table_dir(database: &Path, id: TableId) -> std::path::PathBuf {
    database.join(TABLES_DIR).join(format!("{id:06}"))
}
