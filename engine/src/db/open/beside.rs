//! Opening for reading only, beside a process that may have the database open for writing and goes on meanwhile.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};
use kodiak_storage::ReadOnlyStorage;

use super::{WAL_DIR, open_files};
use crate::db::{Db, Shared};
use crate::manifest::{Manifest, State};

/// How often an opening for reading begins anew because the process that writes has replaced files in the meantime.
const READ_ONLY_ATTEMPTS: usize = 50;

/// Opens once, or again and again while the process that writes gets in the way.
pub(super) fn retried(storage: Arc<dyn Storage>, path: &Path, open_once: &dyn Fn() -> Result<Db>) -> Result<Db> {
    let mut attempts = 0;
    loop {
        let before = Manifest::mark(&*storage, path);
        match open_once() {
            // What looks like damage, or is not there, may be of a moment that has passed.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corruption)
                    && attempts < READ_ONLY_ATTEMPTS
                    && Manifest::mark(&*storage, path) != before =>
            {
                attempts += 1;
            }
            opened => return opened,
        }
    }
}

/// What the manifest says.
///
/// # Errors
/// As [`Manifest::read`].
pub(super) fn read_manifest(storage: &Arc<dyn Storage>, path: &Path) -> Result<State> {
    Manifest::read(&ReadOnlyStorage::new(Arc::clone(storage)), path)
}

/// The log lacks something, or seems to be damaged, in a database open for reading only.
///
/// # Errors
/// `NotFound` if that may be because another process has released it since `state` was read: what it held is in runs that `state`
/// does not have.
#[cold]
pub(super) fn check_unreleased(storage: &Arc<dyn Storage>, path: &Path, state: &State) -> Result<()> {
    let now = read_manifest(storage, path)?;
    if now.wal_from == state.wal_from {
        return Ok(());
    }
    let message =
        "the process that writes has flushed what the log had before that could be read: open the database again";
    Err(Error::new(ErrorKind::NotFound, message).with_file(path.join(WAL_DIR)))
}

/// Opens the files of runs, as far as the limit on open files allows: another process may have the database open for writing, and
/// files that it removes stay readable for those that have them open.
///
/// # Errors
/// `NotFound` if one is gone already: the manifest that was read is not the newest any more.
pub(super) fn hold_files(shared: &Shared) -> Result<()> {
    let tables = shared.all_tables();
    let views: Vec<_> = tables.iter().map(|table| table.view.load()).collect();
    views.iter().try_for_each(|view| view.version.read())?;
    let runs = views.iter().flat_map(|view| view.version.known_runs());
    for (_, run) in runs.take(open_files(&*shared.storage, &shared.settings)) {
        match run.reader() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            // Damage is told by the reads that meet it.
            _ => {}
        }
    }
    Ok(())
}
