//! What the manifest names must be there.

use std::collections::HashSet;
use std::path::Path;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use super::shared::Shared;

/// Every run's files must be there with the lengths that the manifest says: found now, not at some later read.
///
/// # Errors
/// `Corruption` that names the first file, or the directory, that is not.
pub(super) fn check_files(shared: &Shared) -> Result<()> {
    for table in shared.all_tables() {
        let view = table.view.load();
        if view.version.is_empty() {
            continue;
        }
        let names: HashSet<String> = list_table(&*shared.storage, &table.runs.dir, &table.name)?
            .into_iter()
            .collect();
        for (_, run) in view.version.runs()? {
            for path in run.paths()? {
                let name = path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                if !names.contains(&name) {
                    return Err(missing(&path, &table.name));
                }
            }
        }
    }
    Ok(())
}

/// The names in the directory of a table that the manifest knows.
///
/// # Errors
/// `Corruption` if it is not there: nobody is to take it for a database that is still to be made.
pub(crate) fn list_table(storage: &dyn Storage, dir: &Path, table: &str) -> Result<Vec<String>> {
    storage.list(dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(dir, table),
        _ => error,
    })
}

pub(super) fn missing(path: &Path, table: &str) -> Error {
    let message = format!(
        "the manifest names this of table \"{table}\", but it is missing: restore a backup, or do without it after `kodiak repair`"
    );
    Error::corruption(message).with_file(path)
}
