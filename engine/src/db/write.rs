//! The write path: log, memtable, visibility.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;
use crossbeam_utils::sync::ShardedLockReadGuard;
use kodiak_core::batch::{Batch, TableId};
use kodiak_core::wal::{Appended, SyncMode, Wal};
use kodiak_core::{Error, ErrorKind, Op, Result};

use super::shared::Shared;
use super::table::Table;
use super::table_state::{TableInner, View};
use crate::secondary;
use crate::typed::check_bytes;

/// Operations on one or more tables that take effect together: all of them or, after a crash, none.
///
/// Made by [`Db::batch`](crate::Db::batch), written by [`Db::write`](crate::Db::write). Operations on one key take effect in
/// the order in which they were added. A mistake (a key too long, say) is reported when the batch is written.
#[derive(Debug, Default)]
pub struct WriteBatch {
    pub(crate) batch: Batch,
    tables: Vec<Arc<TableInner>>,
    /// Of typed tables, the schemas by which rows were encoded.
    schemas: Vec<(Arc<TableInner>, u32)>,
    mistake: Option<Error>,
    limits: (u64, u64),
}

impl Clone for WriteBatch {
    fn clone(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            tables: self.tables.clone(),
            schemas: self.schemas.clone(),
            mistake: self.mistake.as_ref().map(Error::replicate),
            limits: self.limits,
        }
    }
}

impl WriteBatch {
    pub(crate) fn new(limits: (u64, u64)) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Gives `key` a value.
    pub fn put(&mut self, table: &Table, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(table, Op::Put, key.as_ref(), value.as_ref())
    }

    /// Takes the value of `key` away.
    pub fn delete(&mut self, table: &Table, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(table, Op::Delete, key.as_ref(), &[])
    }

    /// Takes the values of the keys from `start` (inclusive) to `end` (exclusive) away.
    pub fn delete_range(&mut self, table: &Table, start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> &mut Self {
        if start.as_ref() >= end.as_ref() {
            return self;
        }
        self.push(table, Op::RangeDelete, start.as_ref(), end.as_ref())
    }

    /// Adds an operand for the table's merge operator.
    pub fn merge(&mut self, table: &Table, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> &mut Self {
        self.push(table, Op::Merge, key.as_ref(), operand.as_ref())
    }

    fn push(&mut self, table: &Table, op: Op, key: &[u8], value: &[u8]) -> &mut Self {
        match self.check_row(table, op, key, value) {
            Ok(()) => self.push_checked(table, op, key, value),
            Err(error) => self.fail(error),
        }
        self
    }

    fn check_row(&mut self, table: &Table, op: Op, key: &[u8], value: &[u8]) -> Result<()> {
        if !table.inner.key_value && matches!(op, Op::Put | Op::Merge) {
            self.note_schema(table, table.inner.schemas.current().number())?;
        }
        check_bytes(&table.inner, op, key, value)
    }

    /// Remembers by which of its table's schemas a row was encoded: all of a batch must be of the one in force when it is written.
    ///
    /// # Errors
    /// `Conflict` if it is another one than before.
    pub(crate) fn note_schema(&mut self, table: &Table, number: u32) -> Result<()> {
        if table.inner.key_value {
            return Ok(());
        }
        match self.schemas.iter().find(|(known, _)| Arc::ptr_eq(known, &table.inner)) {
            None => self.schemas.push((Arc::clone(&table.inner), number)),
            Some((_, known)) if *known != number => return Err(was_altered(&table.inner)),
            Some(_) => {}
        }
        Ok(())
    }

    /// Remembers the first mistake.
    pub(crate) fn fail(&mut self, mistake: Error) {
        self.mistake.get_or_insert(mistake);
    }

    /// Adds an operation whose bytes are known to fit the table's schema.
    pub(crate) fn push_checked(&mut self, table: &Table, op: Op, key: &[u8], value: &[u8]) {
        if self.mistake.is_none() {
            match check_limits(&table.inner, op, key, value, self.limits) {
                Ok(()) => {
                    self.batch.push(table.inner.id, op, key, value);
                    if !self.tables.iter().any(|known| Arc::ptr_eq(known, &table.inner)) {
                        self.tables.push(Arc::clone(&table.inner));
                    }
                }
                Err(error) => self.mistake = Some(error),
            }
        }
    }

    /// Whether everything put into it so far can be written.
    ///
    /// # Errors
    /// `InvalidInput` for the first operation that cannot: writing the batch would return the same.
    pub fn check(&self) -> Result<()> {
        self.mistake.as_ref().map_or(Ok(()), |mistake| Err(mistake.replicate()))
    }

    /// Forgets all operations, and the mistake if there was one, to be filled again.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.tables.clear();
        self.schemas.clear();
        self.mistake = None;
    }

    /// How many operations it holds.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// How many bytes they take in the log, before compression. A batch may have 256 MiB, or four of the largest entries if that is more.
    pub fn size_bytes(&self) -> usize {
        self.batch.payload().len()
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

/// Refuses what is above the limits or makes no sense for the table.
#[inline]
pub(crate) fn check_limits(table: &TableInner, op: Op, key: &[u8], value: &[u8], limits: (u64, u64)) -> Result<()> {
    let (max_key, max_value) = limits;
    let second_is_key = op == Op::RangeDelete;
    let value_limit = if second_is_key { max_key } else { max_value };
    if key.len() as u64 > max_key || value.len() as u64 > value_limit {
        return Err(too_large(key, value, limits, second_is_key));
    }
    match &table.operator {
        Some(operator) if matches!(op, Op::Put | Op::Merge) => operator.check(key, value),
        None if op == Op::Merge => Err(Error::invalid_input(format!(
            "table \"{}\" has no merge operator: name one when the table is created",
            table.name
        ))),
        _ => Ok(()),
    }
}

#[cold]
fn too_large(key: &[u8], value: &[u8], (max_key, max_value): (u64, u64), second_is_key: bool) -> Error {
    if key.len() as u64 > max_key || second_is_key {
        let len = if second_is_key {
            key.len().max(value.len())
        } else {
            key.len()
        };
        return Error::invalid_input(format!("a key of {len} bytes is above the limit of {max_key}"))
            .with_setting("limits.max_key");
    }
    Error::invalid_input(format!(
        "a value of {} bytes is above the limit of {max_value}",
        value.len()
    ))
    .with_setting("limits.max_value")
}

thread_local! {
    /// Room for batches of one operation, so that a put allocates nothing.
    static SINGLE: RefCell<Batch> = RefCell::new(Batch::new());
}

impl Shared {
    pub(crate) fn limits(&self) -> (u64, u64) {
        (self.settings.limits.max_key, self.settings.limits.max_value)
    }

    /// Writes one operation.
    #[inline]
    pub(crate) fn write_one(&self, table: &Arc<TableInner>, op: Op, key: &[u8], value: &[u8]) -> Result<()> {
        check_limits(table, op, key, value, self.limits())?;
        let _unaltered = if table.key_value {
            None
        } else {
            Some(table.hold_schema()?)
        };
        check_bytes(table, op, key, value)?;
        SINGLE.with(|single| {
            let mut batch = single.borrow_mut();
            batch.clear();
            batch.push(table.id, op, key, value);
            self.commit(&batch, std::slice::from_ref(table), self.settings.wal.sync)
        })
    }

    /// Writes a batch.
    pub(crate) fn write_batch(&self, batch: WriteBatch, mode: SyncMode) -> Result<()> {
        if let Some(mistake) = batch.mistake {
            return Err(mistake);
        }
        if batch.batch.is_empty() {
            return self.check_writable().map(|_| ());
        }
        for table in &batch.tables {
            if !Arc::ptr_eq(&table.runs.cache, &self.cache) {
                return Err(Error::invalid_input(format!(
                    "the batch holds operations on table \"{}\" of another database, or of an earlier opening of this one",
                    table.name
                )));
            }
        }
        let mut held = Vec::with_capacity(batch.schemas.len());
        for (table, number) in &batch.schemas {
            let (unaltered, target) = table.hold_schema()?;
            if target.version().number() != *number {
                return Err(was_altered(table));
            }
            held.push(unaltered);
        }
        self.commit(&batch.batch, &batch.tables, mode)
    }

    /// Logs a batch, puts it into the memtables of `tables`, which are all that it names, and makes it visible.
    pub(crate) fn commit(&self, batch: &Batch, tables: &[Arc<TableInner>], mode: SyncMode) -> Result<()> {
        let wal = self.check_writable()?;
        self.stalls.admit(self, batch.payload().len())?;
        let grown = {
            let _writing = self.write_among(tables)?;
            for table in tables {
                if table.dropped.load(Ordering::Acquire) {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("table \"{}\" was dropped", table.name),
                    ));
                }
            }
            let guarded = secondary::guard(self, batch, tables)?;
            let now = self.now_micros();
            let appended = self.log(wal, batch, now, mode)?;
            let last = appended.first_seq + batch.len() as u64 - 1;
            // The gate keeps them as they are.
            let (one, several);
            let views: &[Guard<Arc<View>>] = if let [table] = tables {
                one = [table.view.load()];
                &one
            } else {
                several = tables.iter().map(|table| table.view.load()).collect::<Vec<_>>();
                &several
            };
            let inserted = insert(batch, appended.first_seq, tables, views)
                .and_then(|()| guarded.insert(appended.first_seq, tables));
            self.visibility.prepare();
            self.counters.written(batch.payload().len() as u64, batch.len() as u64);
            let mut grown = false;
            for (table, view) in tables.iter().zip(views) {
                view.active.touch(now);
                grown |= view.active.has_grown();
                table.times.note(last, now);
            }
            // Also after a failure: later writes wait for these sequence numbers.
            let published = self.publish(appended.first_seq, last, mode == SyncMode::Full);
            if mode == SyncMode::Full {
                self.visibility.fast();
            }
            inserted.and(published).map(|()| grown)?
        };
        if grown {
            tables.iter().for_each(|table| self.make_room(table));
        }
        Ok(())
    }

    /// Keeps memtables where they are, once no table's files are said to be exact as they lie.
    #[inline]
    fn write_among(&self, tables: &[Arc<TableInner>]) -> Result<ShardedLockReadGuard<'_, ()>> {
        loop {
            let writing = self.gate.read().map_err(|_| poisoned_gate())?;
            match tables.iter().find(|table| !table.exactness.is_taken_back()) {
                None => return Ok(writing),
                Some(table) => {
                    drop(writing);
                    self.take_exact_back(table)?;
                }
            }
        }
    }

    #[inline]
    fn log(&self, wal: &dyn Wal, batch: &Batch, now: u64, mode: SyncMode) -> Result<Appended> {
        if mode != SyncMode::Full {
            return wal.append(batch, now, mode);
        }
        self.visibility.slow();
        let appended = wal.append(batch, now, mode);
        // A log that goes on working after an error has not taken sequence numbers.
        if appended.is_err() && wal.check().is_ok() {
            self.visibility.fast();
        }
        appended
    }
}

/// Puts operations into the memtables of their tables; `views` are those of `tables`.
#[inline]
fn insert(batch: &Batch, first_seq: u64, tables: &[Arc<TableInner>], views: &[Guard<Arc<View>>]) -> Result<()> {
    for (seq, op) in (first_seq..).zip(batch.ops()) {
        let op = op?;
        let view = match views {
            [view] => view,
            _ => find(tables, views, op.table)?,
        };
        view.active.insert(op.at(seq))?;
    }
    Ok(())
}

fn find<'a>(tables: &[Arc<TableInner>], views: &'a [Guard<Arc<View>>], id: TableId) -> Result<&'a Guard<Arc<View>>> {
    let mut found = tables.iter().zip(views).filter(|(table, _)| table.id == id);
    let missing = || Error::invalid_input(format!("a batch names table {id}, which it was not given"));
    found.next().map(|(_, view)| view).ok_or_else(missing)
}

fn was_altered(table: &TableInner) -> Error {
    let message = format!(
        "table \"{}\" was altered after rows were added to the batch: fill it again, by the table's new schema",
        table.name
    );
    Error::new(ErrorKind::Conflict, message)
}

pub(crate) fn poisoned_gate() -> Error {
    Error::new(ErrorKind::Unavailable, "a writer panicked: reopen the database")
}
