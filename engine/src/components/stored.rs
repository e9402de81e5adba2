//! Indexes that files name, where no components have been chosen: those that come with the engine.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::index::{IndexFactory, IndexView, Root};
use kodiak_core::storage::Storage;

/// The index of a kind.
pub(crate) fn stored_index(kind: &str) -> Option<&'static IndexFactory> {
    let mut factories = kodiak_indexes::ALL.iter().copied();
    factories.find(|factory| factory.component.name == kind)
}

/// The names of all kinds.
pub(crate) fn stored_indexes() -> Vec<&'static str> {
    kodiak_indexes::ALL
        .iter()
        .map(|factory| factory.component.name)
        .collect()
}

/// Opens a root of an owner's index file for reading, whatever its kind. It must have no upsert operator.
///
/// # Errors
/// `NotFound`, `Corruption`, `Unsupported`, `Io`.
pub(crate) fn stored_view(storage: &dyn Storage, path: &Path, owner: &[u8], root: Root) -> Result<Arc<dyn IndexView>> {
    let file = kodiak_indexes::IndexFile::open(storage, path)?;
    file.check_owner(owner)?;
    file.view(root)
}
