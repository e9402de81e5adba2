//! Looking into the files of a database: what `kodiak dump` prints. Nothing is changed, and the database may be open.

mod manifest;
mod rows;
mod sidecar;

use std::path::Path;
use std::sync::Arc;

use kodiak_core::format::Projection;
use kodiak_core::index::{IndexContext, Root};
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::{EntryRef, Error, ErrorKind, Op, Result};

use crate::components::Components;
use crate::maintenance::{DataFile, TableFile, TableFiles};
use crate::primary::locator::NewestWins;

pub use manifest::{ManifestDump, manifest};
pub use rows::RowReader;
pub use sidecar::{BlockDump, SidecarDump, sidecar};

pub use crate::primary::locator::Locator;

/// The name of the upsert operator of indexes that databases keep.
pub const LOCATOR_OPERATOR: &str = NewestWins::NAME;

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

/// Takes a key and its value.
pub type Each<'e> = &'e mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Hands over every key of an index file with its value, from one of its roots, or from the newest. In an index of a database
/// (whose operator is [`LOCATOR_OPERATOR`]) values are [`Locator`]s.
///
/// # Errors
/// `InvalidSettings` if no component reads the file; `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`; whatever
/// `each` returns.
pub fn index(
    storage: Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    root: Option<Root>,
    each: Each<'_>,
) -> Result<()> {
    let mut refused = Error::settings("index.primary", "no index is registered").with_file(path);
    for factory in components.indexes().iter() {
        let options = Options::defaults(factory.component.options);
        let opened = (factory.open)(IndexContext {
            storage: Arc::clone(&storage),
            path: path.to_owned(),
            pool: (factory.pool)((factory.smallest_pool)(&options)),
            options,
            upsert: Some(Arc::new(NewestWins)),
        });
        let index = match opened {
            Err(error) if error.kind() == ErrorKind::InvalidSettings => {
                refused = error;
                continue;
            }
            opened => opened?,
        };
        let newest = index.roots().last().copied();
        let root = root
            .or(newest)
            .ok_or_else(|| Error::corruption("there is no root").with_file(path))?;
        let mut cursor = index.view(root)?.cursor();
        cursor.seek_first()?;
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
            each(key, value)?;
            cursor.next()?;
        }
        return Ok(());
    }
    Err(refused)
}
