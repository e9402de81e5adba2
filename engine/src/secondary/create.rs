//! Creating and dropping indexes of a table that is in use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Result};

use super::definition::{IndexDefinition, IndexedBy, StoredDefinition};
use super::open::{fill, record};
use super::scope::Scope;
use super::{OpenSecondary, Secondary, SecondaryStats, unique, walk};
use crate::db::{Shared, Slot, Table, TableInner, View, closing, poisoned_gate};
use crate::maintenance::TableFile;
use crate::manifest::{Change, VersionEdit};
use crate::typed::SchemaVersion;

impl Table {
    /// Creates a secondary index, and returns when it can be read; what the table has in memory is flushed first. Others read and write the table meanwhile; what they write is
    /// in the index. If this fails, or the process ends before it returns, there is no index; after `Io`, there may be one after the next opening.
    ///
    /// A unique index lets no two rows have the same values: from its creation on, writers of the table check theirs before
    /// they are logged, one at a time.
    ///
    /// # Errors
    /// `AlreadyExists` if the table has an index of this name, or, for a unique one, naming two rows with the same values;
    /// `InvalidInput` for a column that is not there or has no order; `Unavailable` for an extractor that is not registered, a
    /// database that is closed or open for reading only; `NotFound` if the table was dropped; `Conflict` if a flush or ingestion was
    /// given up meanwhile: try again; those of reading and writing files.
    pub fn create_index(&self, definition: IndexDefinition) -> Result<()> {
        let (shared, table) = (&self.open.shared, &self.inner);
        shared.check_writable()?;
        if definition.name.is_empty() || definition.name.len() > 255 {
            let len = definition.name.len();
            return Err(Error::invalid_input(format!(
                "an index's name has 1 to 255 bytes, not {len}"
            )));
        }
        let _defining = table.secondary.defining.lock();
        let begun = shared.storage.monotonic_nanos();
        let (index, older) = shared.register_index(table, &definition)?;
        let built = shared.build(table, &index, &older);
        match built {
            Ok(()) => {
                let micros = shared.storage.monotonic_nanos().saturating_sub(begun) / 1000;
                tracing::info!(table = table.name, index = index.name, micros, "an index was created");
                Ok(())
            }
            Err(error) => {
                shared.withdraw(table, &index, None)?;
                Err(error)
            }
        }
    }

    /// Drops a secondary index. Reads through it that are under way go on.
    ///
    /// # Errors
    /// `NotFound`, listing the indexes there are; `Io`, `Unavailable`.
    pub fn drop_index(&self, name: &str) -> Result<()> {
        let (shared, table) = (&self.open.shared, &self.inner);
        shared.check_writable()?;
        let _defining = table.secondary.defining.lock();
        let index = table.secondary.all().iter().find(|index| index.name == name).cloned();
        let index = index.ok_or_else(|| unknown(table, name))?;
        let change = Change::DropSecondary {
            table: table.id,
            name: name.to_owned(),
        };
        shared.withdraw(table, &index, Some(VersionEdit::new().with(change)))
    }

    /// The secondary indexes of the table, with numbers about each.
    pub fn indexes(&self) -> Vec<SecondaryStats> {
        self.inner.secondary.stats(&self.inner.view.load().secondary)
    }
}

pub(super) fn unknown(table: &TableInner, name: &str) -> Error {
    let all = table.secondary.all();
    let known: Vec<_> = all.iter().map(|index| index.name.as_str()).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let message = format!(
        "table \"{}\" has no index \"{name}\"; its indexes are: {known}",
        table.name
    );
    Error::new(ErrorKind::NotFound, message)
}

pub(super) fn check_there(table: &TableInner) -> Result<()> {
    if table.dropped.load(Ordering::Acquire) {
        let message = format!("table \"{}\" was dropped", table.name);
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(())
}

/// Refuses an alteration that would make indexes mean something else. Writers are kept out.
///
/// # Errors
/// `InvalidInput` naming column and index.
pub(crate) fn check_alteration(table: &TableInner, before: &TableSchema, after: &TableSchema) -> Result<()> {
    for (number, index) in table.secondary.columns() {
        let Some(old) = before.index_of_number(number) else {
            continue;
        };
        let old = before.columns().field(old);
        let what = match after.index_of_number(number) {
            None => "dropped",
            Some(new) if !after.columns().field(new).data_type().equals_datatype(old.data_type()) => "widened",
            Some(_) => continue,
        };
        return Err(Error::invalid_input(format!(
            "column \"{}\" cannot be {what} while index \"{index}\" is by it: drop the index before",
            old.name()
        )));
    }
    Ok(())
}

impl Shared {
    /// Makes an index that writers maintain from now on. Returns it with the memtables whose entries they have not added to it.
    fn register_index(
        &self,
        table: &Arc<TableInner>,
        definition: &IndexDefinition,
    ) -> Result<(Arc<Secondary>, Vec<Arc<Slot>>)> {
        let name = &definition.name;
        check_there(table)?;
        if table.secondary.all().iter().any(|index| index.name == *name) || self.has_definition(table, name)? {
            let message = format!("table \"{}\" has an index \"{name}\" already", table.name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        loop {
            // While others write: a new file is synced.
            let schema = table.schemas.current();
            let index = Arc::new(self.secondary(name, StoredDefinition::of(definition, &schema.schema)?)?);
            index.codec(&schema.schema)?;
            let made = self.make_secondary(table, &index, &table.roles.load().secondary)?;
            let file = Arc::clone(&made.file);
            let registered = self.put_to_writers(table, made, &schema);
            if !matches!(registered, Ok(Some(_))) {
                file.mark_obsolete();
            }
            if let Some(older) = registered? {
                return Ok((index, older));
            }
        }
    }

    /// From now on writers maintain the index, unless the table has another schema by now. Returns the memtables as
    /// [`register_index`](Self::register_index).
    fn put_to_writers(
        &self,
        table: &Arc<TableInner>,
        made: OpenSecondary,
        schema: &Arc<SchemaVersion>,
    ) -> Result<Option<Vec<Arc<Slot>>>> {
        let _switching = table.secondary.switch();
        let mut open = table.secondary.open.lock();
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        check_there(table)?;
        if !Arc::ptr_eq(schema, &table.schemas.current()) {
            return Ok(None);
        }
        let before = table.secondary.all();
        let all = before.iter().chain([&made.index]).cloned().collect();
        table.secondary.set(all);
        if let Err(error) = self.renew_slot(table) {
            table.secondary.set(Vec::clone(&before));
            return Err(error);
        }
        open.push(made);
        Ok(Some(table.view.load().frozen.clone()))
    }

    /// Waits until these memtables are in runs. What an index is built of must not get lost once the manifest names it.
    fn settle(&self, table: &TableInner, slots: &[Arc<Slot>], stop: &dyn Fn() -> Result<()>) -> Result<()> {
        // An earlier failure says nothing about this attempt.
        self.trouble.lock().flush = None;
        self.signals.flush.raise();
        let mut seen = self.signals.progress.count();
        let waits = || {
            let view = table.view.load();
            let waits = |slot: &Arc<Slot>| slots.iter().any(|older| Arc::ptr_eq(older, slot));
            view.frozen.iter().any(waits)
        };
        while waits() {
            stop()?;
            if let Some(trouble) = &self.trouble.lock().flush {
                return Err(trouble.replicate());
            }
            seen = self.signals.progress.wait(seen, Duration::from_millis(50));
        }
        Ok(())
    }

    /// True if the manifest knows an index of this name, be it maintained or not.
    fn has_definition(&self, table: &TableInner, name: &str) -> Result<bool> {
        match &*self.manifest.lock() {
            Some(manifest) => {
                let known = manifest.state().tables.get(&table.id);
                Ok(known.is_some_and(|known| known.secondary.contains_key(name)))
            }
            None => Err(closing()),
        }
    }

    /// Gives a table a memtable with the entries of its present indexes. The caller keeps writers out.
    fn renew_slot(&self, table: &Arc<TableInner>) -> Result<()> {
        if !table.view.load().active.is_empty() {
            return self.freeze(table);
        }
        let _edit = table.edit.lock();
        let view = View::clone(&table.view.load());
        let active = Arc::new(self.new_slot(view.active.first_segment(), &table.secondary.all())?);
        table.view.store(Arc::new(View { active, ..view }));
        Ok(())
    }

    /// Fills an index with what the runs hold once `older` memtables are in them, and puts it in force.
    fn build(&self, table: &Arc<TableInner>, index: &Arc<Secondary>, older: &[Arc<Slot>]) -> Result<()> {
        let disturbed = |_| {
            let message = format!(
                "index \"{}\" was not created: a flush or ingestion was given up meanwhile; try again",
                index.name
            );
            Error::new(ErrorKind::Conflict, message)
        };
        let stop = || {
            self.check_open()?;
            check_there(table)?;
            index.check_whole().map_err(disturbed)
        };
        self.settle(table, older, &stop)?;
        let building = |open: &&mut OpenSecondary| Arc::ptr_eq(&open.index, index);
        let lost = || Error::new(ErrorKind::NotFound, "the index was dropped while it was built");
        let (file, view, held) = {
            // Whoever adds runs holds the indexes until these are visible.
            let mut open = table.secondary.open.lock();
            let open = open.iter_mut().find(building).ok_or_else(lost)?;
            let file = OpenSecondary {
                index: Arc::clone(index),
                file: Arc::clone(&open.file),
                meta: open.meta.clone(),
                building: true,
                recorded: false,
            };
            // The view first: snapshots that are taken later see the newest of all that it holds.
            (file, table.view.load_full(), self.snapshots.list())
        };
        let runs: Vec<_> = view.version.runs()?.map(|(_, run)| Arc::clone(run)).collect();
        fill(table, &file, walk::sources(&runs), &held, &stop)?;
        drop((file, view));
        {
            let _switching = table.secondary.switch();
            let mut all = table.secondary.open.lock();
            stop()?;
            let open = all.iter_mut().find(building).ok_or_else(lost)?;
            let root = open.file.index()?.commit()?;
            open.moved_to(root);
            open.meta.exact = table.roles.load().eager && table.operator.is_none();
            open.building = false;
            if !index.definition.unique {
                self.define(table, creation(table, open))?;
                open.recorded = true;
            }
            let state = open.view(root)?;
            // Whoever writes from now on checks a unique index.
            let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
            let _edit = table.edit.lock();
            let view = View::clone(&table.view.load());
            let secondary = view.secondary.iter().cloned().chain([state]).collect();
            table.view.store(Arc::new(View { secondary, ..view }));
        }
        if index.definition.unique {
            let scope = Scope::at(self, table, index, None)?;
            unique::check_all(scope, &stop)?;
            let mut all = table.secondary.open.lock();
            let open = all.iter_mut().find(building).ok_or_else(lost)?;
            stop()?;
            self.define(table, creation(table, open))?;
            open.recorded = true;
        }
        Ok(())
    }

    /// Makes the manifest, and then the table's file, tell of an index created or dropped.
    fn define(&self, table: &TableInner, edit: VersionEdit) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let manifest = manifest.as_mut().ok_or_else(closing)?;
        check_there(table)?;
        manifest.recover()?;
        manifest.append(&edit)?;
        if let Some(state) = manifest.state().tables.get(&table.id) {
            // What is not told there is told by the next opening.
            let file = TableFile::of(self.identity, table.id, state);
            if let Err(error) = file.write(&*self.storage, &table.runs.dir) {
                tracing::warn!(%error, table = table.name, "the table's file does not tell of its indexes");
            }
        }
        Ok(())
    }

    /// Nobody maintains or reads the index any more, but for reads under way; its file goes with the last of these.
    /// The manifest is told by `edit`, if it knows the index.
    fn withdraw(&self, table: &Arc<TableInner>, index: &Arc<Secondary>, edit: Option<VersionEdit>) -> Result<()> {
        // Dropped when writers go on: its file is removed then.
        let gone: Option<OpenSecondary>;
        let _switching = table.secondary.switch();
        // Nobody is about to tell the manifest of another root.
        let mut open = table.secondary.open.lock();
        edit.map_or(Ok(()), |edit| self.define(table, edit))?;
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        let place = open.iter().position(|open| Arc::ptr_eq(&open.index, index));
        gone = place.map(|place| open.remove(place));
        gone.iter().for_each(|gone| gone.file.mark_obsolete());
        let others = |known: &&Arc<Secondary>| !Arc::ptr_eq(known, index);
        let all = table.secondary.all();
        table.secondary.set(all.iter().filter(others).cloned().collect());
        {
            let _edit = table.edit.lock();
            let view = View::clone(&table.view.load());
            let others = view.secondary.iter().filter(|state| !Arc::ptr_eq(&state.index, index));
            let secondary = others.cloned().collect();
            table.view.store(Arc::new(View { secondary, ..view }));
        }
        if self.is_closed() || table.dropped.load(Ordering::Acquire) {
            return Ok(());
        }
        self.renew_slot(table)
    }
}

/// The edit that makes an index known.
fn creation(table: &TableInner, open: &OpenSecondary) -> VersionEdit {
    let add = Change::AddSecondary {
        table: table.id,
        name: open.index.name.clone(),
        definition: open.index.definition.to_bytes(),
    };
    VersionEdit::new().with(add).with(record(table, open))
}

impl SecondaryStats {
    /// What the index is by, as the command line shows it: `-` before what is descending.
    pub fn describe(&self, schema: &TableSchema) -> String {
        match &self.definition.by {
            IndexedBy::Extractor(name) => format!("extractor {name}"),
            IndexedBy::Columns(columns) => {
                let name = |column: &super::IndexColumn| {
                    let place = schema.index_of_number(column.number);
                    let name = place.map_or("?", |place| schema.columns().field(place).name());
                    format!("{}{name}", if column.descending { "-" } else { "" })
                };
                columns.iter().map(name).collect::<Vec<_>>().join(", ")
            }
        }
    }
}
