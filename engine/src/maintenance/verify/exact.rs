//! Markers that say whether the files of a table are exact as they lie.

use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};

use crate::components::Components;
use crate::db::TableOptions;
use crate::exact::{EXACT_FILE, IN_MEMORY, Marker, findings};
use crate::maintenance::TableFiles;
use crate::manifest::TableState;
use crate::version::Version;

/// Compares what the marker in a table's directory says of its data files with what the manifest and the log do. There need not be one.
pub(super) fn verify_exact(
    (storage, components, dir): (&Arc<dyn Storage>, &Components, PathBuf),
    (database, id): (u64, TableId),
    table: &TableState,
    unflushed: bool,
) -> Result<()> {
    let Some(marker) = Marker::read(&**storage, &dir)? else {
        return Ok(());
    };
    if !marker.is_of(database, id) {
        let message = "it is of another table, or says neither that the table's files are exact nor why not";
        return Err(Error::corruption(message).with_file(dir.join(EXACT_FILE)));
    }
    if !marker.exact {
        return Ok(());
    }
    if unflushed {
        return Err(marker.untrue(&dir, IN_MEMORY));
    }
    let schemas = table.schemas()?;
    let schema = schemas.current();
    let files = TableFiles::new(
        Arc::clone(storage),
        components.clone(),
        (database, id),
        dir.clone(),
        schemas,
    );
    let version = Version::stored(table, &Arc::new(files.run_context()))?;
    let ttl = TableOptions::from_bytes(&table.options)?.get_ttl();
    let why = findings(&version, &schema, ttl, components)?;
    why.first().map_or(Ok(()), |why| Err(marker.untrue(&dir, why)))
}
