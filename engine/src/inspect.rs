//! Looking into the files of a database: what `kodiak dump` prints. Nothing is changed, and the database may be open.

mod index;
mod manifest;
mod rows;
mod sidecar;

use std::path::Path;
use std::sync::Arc;

use kodiak_core::format::Projection;
use kodiak_core::storage::Storage;
use kodiak_core::{EntryRef, Error, Op, Result};

use crate::components::Components;
use crate::maintenance::{DataFile, TableFile, TableFiles};

pub use index::{Each, LOCATOR_OPERATOR, SECONDARY_OPERATOR, SecondaryEntry, index};
pub use manifest::{ManifestDump, manifest};
pub use rows::RowReader;
pub use sidecar::{BlockDump, SidecarDump, sidecar};

pub use crate::primary::locator::Locator;

/// Hands over the range deletes and then the entries of a run, given its data file in the directory of its table, whose `TABLE`
/// file tells the schema. Each block is compared with its checksum first. In a typed table keys
/// and values are the row's bytes, which a [`RowReader`] reads.
///
/// # Errors
/// `InvalidInput` for a path that is not of a run; `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`;
/// whatever `each` returns.
pub fn run(
    storage: Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    each: &mut dyn FnMut(EntryRef<'_>) -> Result<()>,
) -> Result<()> {
    let id = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.parse().ok());
    let (Some(id), Some(dir)) = (id, path.parent()) else {
        return Err(
            Error::invalid_input("not a run: the name of one is its number and the ending of its format")
                .with_file(path),
        );
    };
    let table = TableFile::read(&*storage, dir)?;
    let schemas = table.state().schemas()?;
    let files = TableFiles::new(
        storage,
        components.clone(),
        (table.database, table.table),
        dir.to_owned(),
        schemas,
    );
    let sidecar = files.sidecar(id)?;
    for deleted in sidecar.range_deletes()? {
        each(EntryRef {
            key: &deleted.start,
            seq: deleted.seq,
            op: Op::RangeDelete,
            value: &deleted.end,
        })?;
    }
    let format = components.formats().find(&sidecar.meta().format)?;
    let data = DataFile::open(&files, &files.data_path(id, format), format, &sidecar)?;
    for index in 0..data.layout().blocks.len() {
        let block = data.block(index, &Projection::All)?;
        for row in 0..block.rows() {
            let value = block.value(row)?;
            each(EntryRef {
                key: block.key(row),
                seq: block.seq(row),
                op: block.op(row),
                value: &value,
            })?;
        }
    }
    Ok(())
}
