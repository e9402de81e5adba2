//! The catalogue: the runs of tables with very many of them, in an index beside the manifest.
//!
//! Without it the manifest tells of every run, and each opening reads it whole. With it (setting `index.catalogue`) the manifest names
//! the root of an index file in the database's directory and tells of changes since; a version reads of a sorted run what it needs, piece
//! by piece. The file's entries are in `docs/formats/catalogue.md`.
//!
//! **It belongs to a manifest file.** When a manifest file is written anew and has much to tell, the changes go into the catalogue
//! first ([`Catalogue::update`]), which commits a root, and the new file names that root and begins without changes. Roots before are
//! given up only once the new file is in force; so whichever file a crash leaves in force, its root is there. After a failed switch
//! nothing is put into the catalogue until one has succeeded.
//!
//! Views of a root go on reading it after it was given up, for as long as the process runs; so versions keep that of the opening.

mod keys;
mod update;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::index::{Index, IndexContext, IndexFactory, Root};
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use crate::components::{catalogue_owner, stored_index, stored_view};

use super::edit::CatalogueMeta;
pub(crate) use view::CatalogueView;

/// The most memory that a catalogue takes for nodes.
pub(crate) const POOL: u64 = 32 << 20;
/// What it takes where nodes are not larger than an eighth of it.
const SMALL_POOL: usize = 8 << 20;
/// A file is opened anew so often for reading, since another process, which writes, may be at its root slots.
const ATTEMPTS: usize = 3;
const PREFIX: &str = "CATALOGUE-";

/// The name of a catalogue file.
pub fn catalogue_name(number: u64) -> String {
    format!("{PREFIX}{number:06}")
}

/// True for the name of a catalogue file, or of one that was not finished.
pub(crate) fn is_catalogue(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The bytes of memory that a catalogue in such an index takes for nodes.
fn pool_bytes(factory: &IndexFactory) -> usize {
    (factory.smallest_pool)(&Options::defaults(factory.component.options)).max(SMALL_POOL)
}

/// A catalogue, open for changing it.
#[derive(Debug)]
pub(super) struct Catalogue {
    index: Box<dyn Index>,
    path: PathBuf,
    /// What the manifest in force names.
    pub meta: CatalogueMeta,
}

impl Catalogue {
    /// Makes an empty one, of a number, for the database of an identity.
    ///
    /// # Errors
    /// `AlreadyExists`, `Io`.
    pub fn create(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        (identity, number): (u64, u64),
        factory: &'static IndexFactory,
    ) -> Result<Self> {
        let path = dir.join(catalogue_name(number));
        // Left over by a process that ended before the manifest named it.
        if storage.len(&path)?.is_some() {
            storage.remove(&path)?;
        }
        let owner = catalogue_owner(identity, number);
        let index = (factory.create)(context(storage, &path, owner, factory))?;
        let root = newest(&*index);
        let kind = factory.component.name.to_owned();
        let meta = CatalogueMeta { number, kind, root };
        Ok(Self { index, path, meta })
    }

    /// Opens the one that the manifest of a database names.
    ///
    /// # Errors
    /// `Corruption` if it is missing, damaged, another's, or lacks the root; `InvalidSettings` for an index that there is not; `Io`.
    pub fn open(storage: &Arc<dyn Storage>, dir: &Path, identity: u64, meta: &CatalogueMeta) -> Result<Self> {
        let path = dir.join(catalogue_name(meta.number));
        let factory = stored_index(&meta.kind).ok_or_else(|| {
            let message = format!(
                "the catalogue is an index of kind \"{}\", which this program lacks",
                meta.kind
            );
            Error::new(ErrorKind::Unsupported, message).with_file(&path)
        })?;
        let owner = catalogue_owner(identity, meta.number);
        let index = (factory.open)(context(storage, &path, owner, factory)).map_err(|error| damaged(error, &path))?;
        let meta = meta.clone();
        Ok(Self { index, path, meta })
    }

    /// The runs as of the root that the manifest names.
    ///
    /// # Errors
    /// `Corruption` if that is not there.
    pub fn view(&self) -> Result<Arc<CatalogueView>> {
        let view = self.index.view(Root(self.meta.root));
        let view = view.map_err(|error| damaged(error, &self.path))?;
        Ok(Arc::new(CatalogueView::new(view, &self.path)))
    }

    /// The manifest that names this root is in force, whatever happens: others are given up.
    pub fn moved_to(&mut self, root: u64) {
        self.meta.root = root;
        for other in self.index.roots().into_iter().filter(|other| other.0 != root) {
            // The newest cannot be, which the next update resets.
            if let Err(error) = self.index.release(other) {
                tracing::debug!(%error, "a root of the catalogue was not released");
            }
        }
    }
}

fn newest(index: &dyn Index) -> u64 {
    index.roots().last().map_or(0, |root| root.0)
}

fn context(storage: &Arc<dyn Storage>, path: &Path, owner: Vec<u8>, factory: &IndexFactory) -> IndexContext {
    IndexContext {
        storage: Arc::clone(storage),
        path: path.to_owned(),
        pool: (factory.pool)(pool_bytes(factory)),
        options: Options::defaults(factory.component.options),
        upsert: None,
        owner,
    }
}

/// Opens the catalogue that the manifest of a database names for reading, whatever its kind.
///
/// # Errors
/// `Corruption` if it is missing, damaged, another's, or lacks the root; `Io`.
pub(super) fn read(
    storage: &dyn Storage,
    dir: &Path,
    identity: u64,
    meta: &CatalogueMeta,
) -> Result<Arc<CatalogueView>> {
    let path = dir.join(catalogue_name(meta.number));
    let owner = catalogue_owner(identity, meta.number);
    let open = || stored_view(storage, &path, &owner, Root(meta.root));
    let mut view = open();
    for _ in 1..ATTEMPTS {
        if view.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corruption) {
            view = open();
        }
    }
    let view = view.map_err(|error| damaged(error, &path))?;
    Ok(Arc::new(CatalogueView::new(view, &path)))
}

/// A file or root that the manifest names and that is not there is damage.
fn damaged(error: Error, path: &Path) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidSettings => {
            let message = "the manifest names this catalogue, or a root of it, but it is not there: run `kodiak repair`, which \
                           rebuilds the manifest";
            Error::corruption(message).with_file(path).with_source(error)
        }
        _ if error.file().is_none() => error.with_file(path),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
