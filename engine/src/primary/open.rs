//! Opening, building and removing indexes.

use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::index::{Index, IndexContext, IndexFactory, MAX_KEY, Root};
use kodiak_core::{ErrorKind, Result};

use super::newest::Newest;
use super::view::IndexedRuns;
use super::{PrimaryIndex, operator, path};
use crate::compact::change_version;
use crate::components::{Picked, primary_owner};
use crate::db::{Shared, TableInner, View, closing};
use crate::deletion::from_runs;
use crate::manifest::{Change, IndexMeta, Marks, Runs, State, TableState, VersionEdit};
use crate::version::Version;

impl Shared {
    /// While a database is opened for writing: each table gets the index that the settings or its own options say. What `state` names is taken
    /// over if it is of that kind and whole; otherwise the index is built from the runs.
    ///
    /// # Errors
    /// Those of reading runs; `Io`.
    pub(crate) fn open_indexes(&self, state: &State) -> Result<()> {
        for table in self.all_tables() {
            self.open_index(&table, state.tables.get(&table.id))?;
            self.open_vectors(&table)?;
        }
        Ok(())
    }

    /// A table gets deletion vectors if the settings or its own options want them, and otherwise loses those that it has.
    fn open_vectors(&self, table: &TableInner) -> Result<()> {
        let version = Arc::clone(&table.view.load().version);
        let wanted = table.roles.load().vectors;
        if wanted == version.dead.is_some() {
            return Ok(());
        }
        let made = match wanted.then(|| from_runs(&version)).transpose() {
            Ok(made) => made,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(%error, table = table.name, "no deletion vectors are kept");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let dead = made.as_ref().map(|vectors| Marks {
            anew: true,
            runs: vectors.in_order(),
        });
        let edit = VersionEdit::new().with(Change::MarkDead { table: table.id, dead });
        match &mut *self.manifest.lock() {
            Some(manifest) => manifest.append(&edit)?,
            None => return Err(closing()),
        }
        change_version(table, None, |version| version.dead = made.map(Arc::new));
        Ok(())
    }

    fn open_index(&self, table: &Arc<TableInner>, state: Option<&Arc<TableState>>) -> Result<()> {
        let known = state.and_then(|state| state.index.as_ref());
        let listed = state.map(|state| &state.runs).filter(|runs| runs.base().is_some());
        let version = Arc::clone(&table.view.load().version);
        let roles = table.roles.load_full();
        let made = match &roles.primary {
            None => None,
            Some(picked) => {
                if let Some(known) = known.filter(|known| known.kind == picked.factory.component.name) {
                    match self.take_over(table, picked, known) {
                        Ok(primary) => return put_in_force(table, &version, listed, primary),
                        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                        Err(error) => {
                            tracing::error!(%error, table = table.name, "the primary index cannot be used: it is built anew");
                        }
                    }
                }
                self.make_index(table, Some(picked), &version, None)?
            }
        };
        if made.is_some() || known.is_some() {
            let none = Change::SetIndex {
                table: table.id,
                index: None,
            };
            let change = made.as_ref().map_or(none, |primary| primary.record(table.id));
            let edit = VersionEdit::new().with(change);
            match &mut *self.manifest.lock() {
                Some(manifest) => manifest.append(&edit)?,
                None => return Err(closing()),
            }
        }
        if let Some(known) = known {
            let old = path(&table.runs.dir, known.id);
            tracing::info!(file = %old.display(), table = table.name, "an index file is no longer needed");
            match self.storage.remove(&old) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        made.map_or(Ok(()), |primary| put_in_force(table, &version, None, primary))
    }

    /// Opens the index file that the manifest names, at the root that it names.
    fn take_over(&self, table: &TableInner, picked: &Picked<IndexFactory>, known: &IndexMeta) -> Result<PrimaryIndex> {
        let index = (picked.factory.open)(self.index_context(table, picked, known.id))?;
        let root = Root(known.root);
        if index.roots().last() != Some(&root) {
            index.reset_to(root)?;
        }
        Ok(PrimaryIndex {
            index,
            meta: known.clone(),
            eager: picked.factory.capabilities.eager_displacement,
        })
    }

    /// Makes the index of a table whose runs are those of `version`, as it was `picked`; `None` for fences. The manifest is the
    /// caller's to edit; who holds it has to give a `number`.
    ///
    /// # Errors
    /// Those of reading runs; `Io`. The file is removed then.
    pub(crate) fn make_index(
        &self,
        table: &TableInner,
        picked: Option<&Picked<IndexFactory>>,
        version: &Version,
        number: Option<RunId>,
    ) -> Result<Option<PrimaryIndex>> {
        let Some(picked) = picked else {
            return Ok(None);
        };
        let begun = self.storage.monotonic_nanos();
        let id = number.map_or_else(|| self.new_run_id(), Ok)?;
        let index = (picked.factory.create)(self.index_context(table, picked, id))?;
        let filled = fill(&*index, version).and_then(|keys| Ok((keys, index.commit()?)));
        let (keys, root) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                drop(index);
                if let Err(error) = self.storage.remove(&path(&table.runs.dir, id)) {
                    tracing::warn!(%error, "an unfinished index file could not be removed");
                }
                return Err(error);
            }
        };
        if keys > 0 {
            let micros = self.storage.monotonic_nanos().saturating_sub(begun) / 1000;
            tracing::info!(table = table.name, keys, micros, "a primary index was built");
        }
        Ok(Some(PrimaryIndex {
            index,
            meta: IndexMeta {
                id,
                kind: picked.factory.component.name.to_owned(),
                root: root.0,
            },
            eager: picked.factory.capabilities.eager_displacement,
        }))
    }

    /// What file `id` with the index of a table is made and opened with.
    pub(super) fn index_context(&self, table: &TableInner, picked: &Picked<IndexFactory>, id: RunId) -> IndexContext {
        IndexContext {
            storage: Arc::clone(&self.storage),
            path: path(&table.runs.dir, id),
            pool: self.index_pools.of(picked.factory),
            options: picked.options.clone(),
            upsert: Some(operator()),
            owner: primary_owner((self.identity, table.id), id),
        }
    }
}

/// Fills an empty index from all runs; returns how many keys they have.
fn fill(index: &dyn Index, version: &Version) -> Result<u64> {
    let mut newest = Newest::of_version(version)?;
    let mut keys = 0;
    let mut next = || {
        while let Some((key, locator)) = newest.current() {
            let fits = key.len() <= MAX_KEY;
            let key = if fits { key.to_vec() } else { Vec::new() };
            newest.next()?;
            if fits {
                let mut value = Vec::new();
                locator.encode(&mut value);
                keys += 1;
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    };
    index.bulk_load(&mut std::iter::from_fn(|| next().transpose()))?;
    Ok(keys)
}

/// Gets go through the index from now on. Its root is in the manifest. Runs of the version that have not been read are those that
/// `listed` says.
pub(crate) fn put_in_force(
    table: &TableInner,
    version: &Version,
    listed: Option<&Runs>,
    mut primary: PrimaryIndex,
) -> Result<()> {
    let root = primary.root();
    primary.moved_to(root);
    let indexed = IndexedRuns::new(version, listed, primary.index.view(root)?);
    let mut held = table.primary.lock();
    let _edit = table.edit.lock();
    let view = View::clone(&table.view.load());
    table.view.store(Arc::new(View {
        index: Some(Arc::new(indexed)),
        ..view
    }));
    *held = Some(primary);
    table.primary.note(held.as_ref());
    Ok(())
}
