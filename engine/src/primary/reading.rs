//! Primary indexes of databases that are open for reading only.

use std::sync::Arc;

use kodiak_core::index::{IndexContext, IndexFactory, Root};
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};
use kodiak_storage::ReadOnlyStorage;

use super::PrimaryIndex;
use super::view::IndexedRuns;
use crate::components::Picked;
use crate::db::{Shared, TableInner, View};
use crate::manifest::{IndexMeta, State};

/// Index files are opened anew so often, since the process that writes may be at its root slots.
const ATTEMPTS: usize = 3;

impl Shared {
    /// While a database is opened for reading only: makes use of the indexes that `state` names, whatever the settings say. Those that
    /// cannot be used are done without. `has_changed` tells whether the database is not as it was when `state` was read.
    ///
    /// # Errors
    /// `NotFound` or `Corruption` for an index that `state` names and the process that writes has changed.
    pub(crate) fn read_indexes(&self, state: &State, has_changed: &dyn Fn() -> bool) -> Result<()> {
        let storage: Arc<dyn Storage> = Arc::new(ReadOnlyStorage::new(Arc::clone(&self.storage)));
        let without = |table: &TableInner, error: Error| {
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corruption) && has_changed() {
                return Err(error);
            }
            tracing::warn!(%error, table = table.name, "an index cannot be read: it is done without");
            Ok(())
        };
        for table in self.all_tables() {
            let Some(known) = state.tables.get(&table.id) else {
                continue;
            };
            if let Some(meta) = &known.index {
                let read = retry(|| self.read_index(&storage, &table, meta));
                read.or_else(|error| without(&table, error))?;
            }
            for index in table.secondary.all().iter() {
                let meta = known.secondary.get(&index.name).and_then(|known| known.index.as_ref());
                if let Some(meta) = meta {
                    let read = retry(|| self.read_secondary(&storage, &table, index, meta));
                    read.or_else(|error| without(&table, error))?;
                }
            }
        }
        Ok(())
    }

    /// The index that a manifest names, of whatever kind, with the options of `default` if it is that.
    ///
    /// # Errors
    /// `InvalidSettings` if there is no such kind.
    pub(crate) fn pick_stored(
        &self,
        meta: &IndexMeta,
        default: Option<&Picked<IndexFactory>>,
    ) -> Result<Picked<IndexFactory>> {
        let factory = self.resolved.components().indexes().find(&meta.kind)?;
        let same = default.filter(|default| std::ptr::eq(default.factory, factory));
        Ok(same.cloned().unwrap_or_else(|| Picked {
            factory,
            options: Options::defaults(factory.component.options),
        }))
    }

    fn read_index(&self, storage: &Arc<dyn Storage>, table: &TableInner, meta: &IndexMeta) -> Result<()> {
        let picked = self.pick_stored(meta, table.roles.load().primary.as_ref())?;
        let index = (picked.factory.open)(IndexContext {
            storage: Arc::clone(storage),
            ..self.index_context(table, &picked, meta.id)
        })?;
        let mut held = table.primary.lock();
        let view = View::clone(&table.view.load());
        view.version.read()?;
        let indexed = IndexedRuns::new(&view.version, None, index.view(Root(meta.root))?);
        table.view.store(Arc::new(View {
            index: Some(Arc::new(indexed)),
            ..view
        }));
        *held = Some(PrimaryIndex {
            index,
            meta: meta.clone(),
            eager: picked.factory.capabilities.eager_displacement,
        });
        table.primary.note(held.as_ref());
        Ok(())
    }
}

fn retry(mut read: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 1..ATTEMPTS {
        match read() {
            Err(error) if error.kind() == ErrorKind::Corruption => {}
            done => return done,
        }
    }
    read()
}
