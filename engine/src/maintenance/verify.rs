//! Verification: every byte that the engine relies on is read and compared with whatever else tells of it.

mod exact;
mod log;
mod open_files;
mod report;
mod runs;
mod structure;

use std::path::Path;
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use super::capture::{Capture, table_dir};
use super::check::TableFiles;
use super::places::{Misplaced, misplaced, settings_file};
use super::{TableFile, files};
use crate::components::Components;
use crate::db::{
    Builder, Db, LOCK_FILE, TABLES_DIR, TableOptions, check_log_end, check_open_log_end, list_table, wal_context,
};
use crate::manifest::{Manifest, State, TableState};
use crate::primary::{verify_index, verify_open_index};
use crate::run::RunContext;
use crate::secondary::{verify_closed, verify_open};
use crate::version::Version;

use exact::verify_exact;
use log::verify_log;
use open_files::verify_read;
pub use report::VerifyReport;
pub(crate) use runs::{runs_in, verify_run};
use structure::check_structure;

impl Builder {
    /// Verifies the database in the directory `path`, which must not be open: manifest, sidecars, every block (checksum,
    /// decoding, order), bounds and counts, the footers that other programs read files by, filters (none may deny a key that
    /// is there), primary indexes (every page, and every key against the runs), deletion vectors (every row), and the log. Nothing is changed. Damage does not end it: the report lists all that was found.
    ///
    /// # Errors
    /// `NotFound` if there is no database; `Locked` if it is open (see [`Db::verify`]); `InvalidSettings`, but for those read from the
    /// database's own file that say nothing of the log. Everything else,
    /// files that cannot be read included, is in the report.
    pub fn verify(self, path: impl AsRef<Path>) -> Result<VerifyReport> {
        let path = path.as_ref();
        let (builder, settings_passed_over) = self.passing_over(path)?;
        let storage = &*builder.storage;
        let resolved = builder.resolve_once()?;
        files::check_database(storage, path)?;
        let _lock = match storage.lock(&path.join(LOCK_FILE)) {
            Err(error) if error.kind() == ErrorKind::Locked => return Err(error),
            // A disk that cannot be written to can still be verified.
            lock => lock.ok(),
        };
        let mut report = VerifyReport {
            settings_passed_over,
            ..VerifyReport::default()
        };
        match misplaced(storage, path) {
            Ok(found) => report.problems.extend(found.iter().map(Misplaced::error)),
            Err(error) => report.problems.push(error),
        }
        report.problems.extend(settings_file(storage, path).err());
        let state = match Manifest::read(storage, path) {
            Ok(state) => Some(state),
            Err(error)
                if error.kind() == ErrorKind::NotFound && files::list(storage, &path.join(TABLES_DIR))?.is_empty() =>
            {
                return Err(error);
            }
            Err(error) => {
                report.problems.push(error);
                None
            }
        };
        match &state {
            Some(state) => {
                check_structure(state, path, &mut report);
                verify_state(&builder.storage, &builder.components, path, state, &mut report);
            }
            None => verify_found(&builder.storage, &builder.components, path, &mut report),
        }
        let from = state.as_ref().map_or(0, State::log_from);
        let database = state.as_ref().map_or(0, |state| state.identity);
        let context = wal_context(&resolved, &builder.storage, database, path);
        let check_end = |last_seq| match &state {
            Some(state) => check_log_end(state, last_seq, &context.dir),
            None => Ok(()),
        };
        let unflushed = verify_log(&resolved, &context, (from, state.as_ref()), check_end, &mut report);
        for (&id, table) in state.iter().flat_map(|state| &state.tables) {
            let files = (&builder.storage, &builder.components, table_dir(path, id));
            report.note(verify_exact(files, (database, id), table, unflushed.contains(&id)));
        }
        Ok(report)
    }
}

/// Verifies the database in the directory `path`, made of local files and built-in components. See [`Builder::verify`].
///
/// # Errors
/// As [`Builder::verify`].
pub fn verify(path: impl AsRef<Path>) -> Result<VerifyReport> {
    Builder::new(crate::Settings::default()).verify(path)
}

impl Db {
    /// Verifies the database while it is in use: every run as of now, the manifest, and the log up to what was written before. See
    /// [`Builder::verify`]. Of a database open for reading only, beside a process that writes or not, the runs and deletion vectors
    /// as of the opening: the rest is the writer's, and changes.
    ///
    /// # Errors
    /// `Unavailable` if the database is closed; `Io` if the log cannot be synced. Everything else is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        let shared = &self.open.shared;
        if let Some(state) = &shared.as_read {
            return verify_read(shared, Capture::of_reader(shared, state)?);
        }
        let mut report = VerifyReport::default();
        let wal = shared.check_writable()?;
        // While nothing is flushed, no segment of the log is released.
        let flushing = shared.flushing.lock();
        // Before the sync, which waits for what is being written.
        let kept = shared.kept_in_log();
        wal.sync()?;
        // Indexes are looked at where they are open.
        let capture = Capture::pin(shared)?.without_indexes()?;
        let read = {
            let manifest = shared.manifest.lock();
            let from = manifest.as_ref().map_or(0, |manifest| manifest.state().log_from());
            Manifest::read(&*shared.storage, &shared.dir).map(|state| (state, from))
        };
        match read {
            Ok((state, from)) => {
                check_structure(&state, &shared.dir, &mut report);
                let context = wal_context(&shared.resolved, &shared.storage, shared.identity, &shared.dir);
                let check_end = |last_seq| check_open_log_end(kept, last_seq, &context.dir);
                verify_log(&shared.resolved, &context, (from, None), check_end, &mut report);
            }
            Err(error) => report.problems.push(error),
        }
        drop(flushing);
        let components = shared.resolved.components();
        verify_state(&shared.storage, components, &shared.dir, &capture.state, &mut report);
        for table in shared.all_tables() {
            report.indexes += u64::from(verify_open_index(&table, &mut report.problems));
            report.secondary_indexes += verify_open(shared, &table, &mut report.problems);
            report.note(shared.verify_exact(&table));
        }
        Ok(report)
    }
}

/// Verifies the runs that a manifest names.
fn verify_state(
    storage: &Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    state: &State,
    report: &mut VerifyReport,
) {
    for (&id, table) in &state.tables {
        report.tables += 1;
        let dir = table_dir(path, id);
        if let Err(error) = list_table(&**storage, &dir, &table.name) {
            report.problems.push(error);
            continue;
        }
        let in_manifest = |error: Error| error.with_file(path.join(crate::manifest::CURRENT));
        report.note(
            TableOptions::from_bytes(&table.options)
                .map(|_| ())
                .map_err(in_manifest),
        );
        match TableFile::read(&**storage, &dir) {
            Ok(file) => {
                if !file.covers(&TableFile::of(state.identity, id, table)) {
                    let message = format!(
                        "it tells of another table than the manifest does of table \"{}\"",
                        table.name
                    );
                    report
                        .problems
                        .push(Error::corruption(message).with_file(dir.join(super::TABLE_FILE)));
                }
            }
            // Older databases have none before they are opened for writing.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => report.problems.push(error),
        }
        match table.schemas() {
            Ok(schemas) => {
                let files = TableFiles::new(
                    Arc::clone(storage),
                    components.clone(),
                    (state.identity, id),
                    dir,
                    schemas,
                );
                let verified = verify_table(&files, table, &|_| false, report);
                report.note(verified.map_err(in_manifest));
            }
            Err(error) => report.problems.push(in_manifest(error)),
        }
    }
}

/// Verifies the runs of a table, its indexes and deletion vectors. What is wrong with runs that are `gone` meanwhile does not count.
///
/// # Errors
/// Those of what the manifest says of the table.
fn verify_table(
    files: &TableFiles,
    table: &TableState,
    gone: &dyn Fn(RunId) -> bool,
    report: &mut VerifyReport,
) -> Result<()> {
    for placed in table.runs.values() {
        let (run, known) = (placed.run.id, report.problems.len());
        verify_run(files, run, Some(&placed.run), report);
        if report.problems.len() > known && gone(run) {
            report.problems.truncate(known);
            report.runs -= 1;
        }
    }
    if let Some(index) = &table.index {
        report.indexes += 1;
        verify_index(files, table, index, &mut report.problems);
    }
    for (name, index) in &table.secondary {
        report.secondary_indexes += 1;
        verify_closed(files, table, (name.as_str(), index), &mut report.problems);
    }
    if table.dead.is_none() {
        return Ok(());
    }
    report.deletion_vectors += 1;
    match verify_vectors(files.run_context(), table, &mut report.problems) {
        Err(error) if error.kind() == ErrorKind::NotFound && table.runs.keys().any(gone) => {
            report.deletion_vectors -= 1;
            Ok(())
        }
        verified => verified,
    }
}

/// Compares the deletion vectors that a manifest holds with the runs.
fn verify_vectors(runs: RunContext, table: &TableState, problems: &mut Vec<Error>) -> Result<()> {
    let expires = TableOptions::from_bytes(&table.options)?.ttl_micros > 0;
    let version = Version::stored(table, &Arc::new(runs))?;
    match &version.dead {
        Some(vectors) => crate::deletion::verify(&version, vectors, expires, problems),
        None => Ok(()),
    }
}

/// Without a manifest: verifies whatever is in the directories of tables.
fn verify_found(storage: &Arc<dyn Storage>, components: &Components, path: &Path, report: &mut VerifyReport) {
    let root = path.join(TABLES_DIR);
    for name in files::list(&**storage, &root).unwrap_or_default() {
        let dir = root.join(&name);
        let Ok(id) = name.parse::<TableId>() else { continue };
        report.tables += 1;
        let file = TableFile::read(&**storage, &dir);
        let schemas = file.and_then(|file| Ok((file.database, file.state().schemas()?)));
        match schemas {
            Ok((database, schemas)) => {
                let files = TableFiles::new(Arc::clone(storage), components.clone(), (database, id), dir, schemas);
                for run in runs_in(&**storage, &files.dir) {
                    verify_run(&files, run, None, report);
                }
            }
            Err(error) => report.problems.push(error.with_file(dir.join(super::TABLE_FILE))),
        }
    }
}
