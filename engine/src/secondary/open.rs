//! Opening and building index files.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::index::{Index, IndexContext, IndexFactory, Root};
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use super::batch::Batch;
use super::changes::add_versions;
use super::definition::{IndexedBy, StoredDefinition};
use super::walk::sources;
use super::{IndexFile, OpenSecondary, Secondary, operator, path};
use crate::components::{Picked, secondary_owner};
use crate::db::{Shared, TableInner, View, closing};
use crate::manifest::{Change, IndexMeta, SecondaryMeta, SecondaryState, State, VersionEdit};
use crate::read::Source;

impl Shared {
    /// While a database is opened, before the log is replayed: makes a table's indexes known to its memtable.
    ///
    /// # Errors
    /// `Corruption`, `Unsupported` for a definition that cannot be read.
    pub(crate) fn load_secondaries(&self, table: &TableInner, stored: &BTreeMap<String, SecondaryState>) -> Result<()> {
        let mut indexes = Vec::new();
        for (name, stored) in stored {
            let definition = StoredDefinition::from_bytes(&stored.definition)?;
            match self.secondary(name, definition) {
                Ok(index) => {
                    index.codec(&table.schemas.current().schema)?;
                    indexes.push(Arc::new(index));
                }
                Err(error) => {
                    let message = format!(
                        "table \"{}\" cannot be written to, because index \"{name}\" cannot be kept up to date: {}",
                        table.name,
                        error.message()
                    );
                    let error = Error::new(ErrorKind::Unavailable, message);
                    tracing::warn!(%error);
                    table.secondary.unmaintained.store(Some(Arc::new(error)));
                }
            }
        }
        table.secondary.set(indexes);
        if table.secondary.any() {
            let view = View::clone(&table.view.load());
            let active = Arc::new(self.new_slot(view.active.first_segment(), &table.secondary.all())?);
            table.view.store(Arc::new(View { active, ..view }));
        }
        Ok(())
    }

    /// An index of this definition, which has no file yet.
    ///
    /// # Errors
    /// `Unavailable` for an extractor that is not registered.
    pub(super) fn secondary(&self, name: &str, definition: StoredDefinition) -> Result<Secondary> {
        let extractor = match &definition.by {
            IndexedBy::Extractor(extractor) => Some(self.extractors.find(extractor)?),
            IndexedBy::Columns(_) => None,
        };
        Ok(Secondary::new(name, definition, extractor))
    }

    /// While a database is opened for writing: each index gets its file. What `state` names is taken over if it is of the kind
    /// that the settings or the table's options say and whole; otherwise the index is built from the runs.
    ///
    /// # Errors
    /// Those of reading runs; `Io`.
    pub(crate) fn open_secondaries(&self, state: &State) -> Result<()> {
        for table in self.all_tables() {
            let Some(known) = state.tables.get(&table.id) else {
                continue;
            };
            for index in table.secondary.all().iter() {
                let known = known.secondary.get(&index.name).and_then(|known| known.index.as_ref());
                self.open_secondary(&table, index, known)?;
            }
        }
        Ok(())
    }

    fn open_secondary(&self, table: &TableInner, index: &Arc<Secondary>, known: Option<&SecondaryMeta>) -> Result<()> {
        let roles = table.roles.load_full();
        let kind = roles.secondary.factory.component.name;
        let wants_exact = roles.eager && table.operator.is_none();
        if let Some(known) = known.filter(|known| known.file.kind == kind && known.exact >= wants_exact) {
            match self.take_over_secondary(table, index, &roles.secondary, known) {
                Ok(open) => return put_in_force(table, open),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => {
                    tracing::error!(%error, index = index.name, "a secondary index cannot be used: it is built anew");
                }
            }
        }
        let mut open = self.make_secondary(table, index, &roles.secondary)?;
        let runs: Vec<_> = table
            .view
            .load()
            .version
            .runs()?
            .map(|(_, run)| Arc::clone(run))
            .collect();
        let filled = fill(table, &open, sources(&runs), &[], &|| Ok(())).and_then(|()| open.file.index()?.commit());
        match filled {
            Ok(root) => open.meta.file.root = root.0,
            Err(error) => {
                open.file.mark_obsolete();
                return Err(error);
            }
        }
        open.meta.exact = wants_exact;
        (open.building, open.recorded) = (false, true);
        let edit = VersionEdit::new().with(record(table, &open));
        match &mut *self.manifest.lock() {
            Some(manifest) => manifest.append(&edit)?,
            None => return Err(closing()),
        }
        if let Some(known) = known {
            match self.storage.remove(&path(&table.runs.dir, known.file.id)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        put_in_force(table, open)
    }

    /// Opens the index file that the manifest names, at the root that it names.
    fn take_over_secondary(
        &self,
        table: &TableInner,
        index: &Arc<Secondary>,
        picked: &Picked<IndexFactory>,
        known: &SecondaryMeta,
    ) -> Result<OpenSecondary> {
        let opened = (picked.factory.open)(self.secondary_context(table, picked, known.file.id))?;
        let root = Root(known.file.root);
        if opened.roots().last() != Some(&root) {
            opened.reset_to(root)?;
        }
        Ok(self.opened(table, index, opened, known.clone()))
    }

    /// In a database open for reading only: reads go through the index file that the manifest names.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(crate) fn read_secondary(
        &self,
        storage: &Arc<dyn Storage>,
        table: &TableInner,
        index: &Arc<Secondary>,
        known: &SecondaryMeta,
    ) -> Result<()> {
        let picked = self.pick_stored(&known.file, Some(&table.roles.load().secondary))?;
        let context = IndexContext {
            storage: Arc::clone(storage),
            ..self.secondary_context(table, &picked, known.file.id)
        };
        let opened = self.opened(table, index, (picked.factory.open)(context)?, known.clone());
        let state = opened.view(opened.root())?;
        let mut held = table.secondary.open.lock();
        let view = View::clone(&table.view.load());
        let secondary = view.secondary.iter().cloned().chain([state]).collect();
        table.view.store(Arc::new(View { secondary, ..view }));
        held.push(opened);
        table.secondary.note(&held);
        Ok(())
    }

    /// Makes an empty file for an index that is to be filled.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn make_secondary(
        &self,
        table: &TableInner,
        index: &Arc<Secondary>,
        picked: &Picked<IndexFactory>,
    ) -> Result<OpenSecondary> {
        let factory = picked.factory;
        let id = self.new_run_id()?;
        let made = (factory.create)(self.secondary_context(table, picked, id))?;
        let root = made.roots().last().map_or(0, |root| root.0);
        let meta = SecondaryMeta {
            file: IndexMeta {
                id,
                kind: factory.component.name.to_owned(),
                root,
            },
            exact: false,
        };
        let mut open = self.opened(table, index, made, meta);
        (open.building, open.recorded) = (true, false);
        Ok(open)
    }

    fn opened(
        &self,
        table: &TableInner,
        index: &Arc<Secondary>,
        file: Box<dyn Index>,
        meta: SecondaryMeta,
    ) -> OpenSecondary {
        let path = path(&table.runs.dir, meta.file.id);
        OpenSecondary {
            index: Arc::clone(index),
            file: Arc::new(IndexFile::new(file, Arc::clone(&self.storage), path)),
            meta,
            building: false,
            recorded: true,
        }
    }

    /// What file `id` with an index of a table is made and opened with.
    fn secondary_context(&self, table: &TableInner, picked: &Picked<IndexFactory>, id: RunId) -> IndexContext {
        IndexContext {
            storage: Arc::clone(&self.storage),
            path: path(&table.runs.dir, id),
            pool: self.secondary_pools.of(picked.factory),
            options: picked.options.clone(),
            upsert: Some(operator()),
            owner: secondary_owner((self.identity, table.id), id),
        }
    }
}

/// Adds to an index what some places hold, as readers at `snapshots` and now see it; `stop` is asked now and then whether to give
/// up.
pub(super) fn fill(
    table: &TableInner,
    open: &OpenSecondary,
    sources: Vec<Source>,
    snapshots: &[SeqNo],
    stop: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut batches = [Batch::new(&open.index, &open.file, true)];
    add_versions(table, &mut batches, sources, Some(snapshots), stop)?;
    batches.iter_mut().try_for_each(Batch::flush)
}

/// The change that makes the manifest name an index's file and root.
pub(super) fn record(table: &TableInner, open: &OpenSecondary) -> Change {
    Change::SetSecondary {
        table: table.id,
        name: open.index.name.clone(),
        index: Some(open.meta.clone()),
    }
}

/// Reads go through an index from now on.
fn put_in_force(table: &TableInner, mut open: OpenSecondary) -> Result<()> {
    let root = open.root();
    open.moved_to(root);
    let state = open.view(root)?;
    let mut held = table.secondary.open.lock();
    let _edit = table.edit.lock();
    let view = View::clone(&table.view.load());
    let secondary = view.secondary.iter().cloned().chain([state]).collect();
    table.view.store(Arc::new(View { secondary, ..view }));
    held.push(open);
    table.secondary.note(&held);
    Ok(())
}
