//! Files that are left over: outputs of jobs that were interrupted, and inputs whose removal was.
//!
//! An opening removes them before it returns, unless a catalogue lists the runs: then a thread of its own does, since it takes time with
//! the number of files. Files that are made meanwhile have numbers that were not given out before the opening.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::{ErrorKind, Result};

use super::open::TABLES_DIR;
use super::shared::Shared;
use super::table_state::TableInner;
use crate::exact::EXACT_FILE;
use crate::maintenance::{TABLE_FILE, TableFile};
use crate::manifest::{State, TableState};

/// Removes what is left over; files of runs `later`.
///
/// # Errors
/// `Io`; those of reading the catalogue.
pub(super) fn remove(shared: &Shared, state: &State, later: bool) -> Result<()> {
    let storage = &shared.storage;
    let root = shared.dir.join(TABLES_DIR);
    storage.create_dir_all(&root)?;
    for name in storage.list(&root)? {
        let dir = root.join(&name);
        let table = name.parse().ok().and_then(|id: u32| shared.table(id));
        match table {
            // Files lie in the tables' directories; one beside these is not the engine's.
            None if storage.len(&dir)?.is_some() => {
                tracing::warn!(file = %dir.display(), "a file that is of no table stays")
            }
            None => storage.remove_dir_all(&dir)?,
            Some(table) if !later => remove_files(shared, &table, &dir, &state.tables[&table.id])?,
            Some(_) => {}
        }
    }
    if later {
        *shared.left_overs.lock() = Some(state.clone());
    }
    shared.withdraw_orphans()?;
    write_table_files(shared, state)
}

/// Removes the files of a table's directory that its state does not name. Nobody else makes any.
fn remove_files(shared: &Shared, table: &TableInner, dir: &Path, state: &TableState) -> Result<()> {
    let indexes = index_files(state);
    for file in shared.storage.list(dir)? {
        if file == TABLE_FILE || file == EXACT_FILE || indexes.contains(&file) {
            continue;
        }
        let named = number(&file).map_or(Ok(false), |id| state.runs.has(id))?;
        let path = dir.join(&file);
        if !named && shared.storage.len(&path)?.is_none() {
            tracing::warn!(file = %path.display(), "a directory among the files of a table stays");
        } else if !named {
            tracing::info!(file, table = table.name, "a left-over file is removed");
            shared.storage.remove(&path)?;
        }
    }
    Ok(())
}

fn index_files(state: &TableState) -> HashSet<String> {
    let secondary = state.secondary.values().filter_map(|known| known.index.as_ref());
    let names = secondary.map(|index| crate::secondary::file_name(index.file.id));
    names
        .chain(state.index.as_ref().map(|index| crate::primary::file_name(index.id)))
        .collect()
}

/// The number of the run or index that a file is of.
fn number(file: &str) -> Option<u64> {
    file.split('.').next()?.parse().ok()
}

/// Removes what was left over when the database was opened, and tells of files that are missing. Closing waits until all of that is gone.
pub(super) fn remove_later(shared: &Shared) {
    let Some(state) = shared.left_overs.lock().take() else {
        return;
    };
    for (&id, known) in &state.tables {
        let Some(table) = shared.table(id) else { continue };
        if let Err(error) = look_through(shared, &table, known, state.next_run) {
            tracing::warn!(%error, table = table.name, "left-over files were not looked for");
        }
    }
}

fn look_through(shared: &Shared, table: &Arc<TableInner>, known: &TableState, next_run: u64) -> Result<()> {
    let dir = &table.runs.dir;
    let names = shared.storage.list(dir)?;
    let (indexes, mut unnamed) = (index_files(known), Vec::new());
    let mut present = HashSet::with_capacity(names.len());
    for file in names {
        if let Some(id) = number(&file).filter(|id| *id < next_run) {
            match indexes.contains(&file) || known.runs.has(id)? {
                true => drop(present.insert(file)),
                false => unnamed.push(file),
            }
        }
    }
    for file in unnamed {
        tracing::info!(file, table = table.name, "a left-over file is removed");
        match shared.storage.remove(&dir.join(file)) {
            // The table may have been dropped.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    known.runs.each(&mut |placed| {
        if shared.is_closed() {
            return Ok(());
        }
        let run = crate::run::Run::new((*placed.run).clone(), Arc::clone(&table.runs));
        for path in run.paths()? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| !present.contains(&name)) && still_named(shared, table, placed.run.id)? {
                tracing::error!(
                    file = %path.display(),
                    table = table.name,
                    "a file that the catalogue names is missing: run `kodiak verify`"
                );
            }
        }
        Ok(())
    })
}

/// True if no compaction or drop has removed the run since.
fn still_named(shared: &Shared, table: &TableInner, run: u64) -> Result<bool> {
    let manifest = shared.manifest.lock();
    let known = manifest
        .as_ref()
        .and_then(|manifest| manifest.state().tables.get(&table.id));
    known.map_or(Ok(false), |known| known.runs.has(run))
}

/// The file in the directory of each table tells of it what the manifest does; another one, whether its data files are exact.
fn write_table_files(shared: &Shared, state: &State) -> Result<()> {
    let storage = &shared.storage;
    for table in shared.all_tables() {
        storage.create_dir_all(&table.runs.dir)?;
        let expected = TableFile::of(state.identity, table.id, &state.tables[&table.id]);
        let stale = match TableFile::read(&**storage, &table.runs.dir) {
            // A schema that the manifest does not know was about to be added when the process ended: its number is free.
            // So is an index that was about to be created or dropped, or chosen anew.
            Ok(found) => {
                (&found.schemas, &found.indexes, &found.options)
                    != (&expected.schemas, &expected.indexes, &expected.options)
            }
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if stale {
            expected.write(&**storage, &table.runs.dir)?;
        }
        shared.read_exact_marker(&table)?;
    }
    Ok(())
}
