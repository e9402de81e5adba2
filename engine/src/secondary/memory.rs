//! The entries of what is in memtables.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use kodiak_core::batch::{Batch, BatchOp};
use kodiak_core::entry::EntryRef;
use kodiak_core::index::MAX_KEY;
use kodiak_core::memtable::{Memtable, MemtableFactory};
use kodiak_core::options::Options;
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Op, Result, SeqNo};
use parking_lot::{Mutex, MutexGuard};

use super::entry::{PENDING, entry_key, pending_key};
use super::{Secondary, columns, unique};
use crate::db::{Shared, TableInner};

/// The entries of one index for one memtable: keys as in the index, the length of the index key as the value.
#[derive(Debug)]
pub(crate) struct SlotIndex {
    pub index: Arc<Secondary>,
    pub entries: Arc<dyn Memtable>,
    /// Present if the memtable takes one writer at a time.
    writer: Option<Mutex<()>>,
}

impl SlotIndex {
    pub fn new(index: &Arc<Secondary>, factory: &MemtableFactory, options: &Options, capacity: usize) -> Result<Self> {
        Ok(Self {
            index: Arc::clone(index),
            entries: (factory.create)(options, capacity)?,
            writer: (!factory.capabilities.concurrent_insert).then(|| Mutex::new(())),
        })
    }

    fn insert(&self, key: &[u8], len: usize, seq: SeqNo) -> Result<()> {
        let mut value = Vec::with_capacity(3);
        put_u64(&mut value, len as u64);
        let _one_at_a_time = self.writer.as_ref().map(Mutex::lock);
        self.entries.insert(EntryRef {
            key,
            seq,
            op: Op::Put,
            value: &value,
        })
    }
}

/// The length of the index key in an entry of a memtable.
pub fn entry_len(value: &[u8]) -> Result<usize> {
    // What a pending row resolves to may be longer than an index takes.
    Reader::new(value).len(usize::MAX)
}

/// An entry to be inserted once the sequence number is known.
#[derive(Debug)]
struct Prepared {
    /// The place of the table in the list, and of the index in its slot.
    table: usize,
    index: usize,
    /// The operation of the batch.
    op: usize,
    key: Vec<u8>,
    len: usize,
}

/// What a write does to secondary indexes. Other writers of unique indexes wait until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Guarded<'t> {
    _checking: Vec<MutexGuard<'t, ()>>,
    entries: Vec<Prepared>,
}

/// Prepares a batch for the indexes of its tables, and checks unique ones. The caller keeps the memtables from being frozen, and
/// drops what is returned once the batch is visible.
///
/// # Errors
/// `AlreadyExists` naming index and key for a row that a unique index does not allow; `InvalidInput` for a row whose index key is
/// too long; `Unavailable` for an index that cannot be maintained.
pub(crate) fn guard<'t>(shared: &Shared, batch: &Batch, tables: &'t [Arc<TableInner>]) -> Result<Guarded<'t>> {
    if !tables.iter().any(|table| table.secondary.any()) {
        return Ok(Guarded::default());
    }
    guard_indexed(shared, batch, tables)
}

fn guard_indexed<'t>(shared: &Shared, batch: &Batch, tables: &'t [Arc<TableInner>]) -> Result<Guarded<'t>> {
    let mut checked: Vec<&Arc<TableInner>> = Vec::new();
    for table in tables {
        if let Some(error) = &*table.secondary.unmaintained.load() {
            return Err(error.replicate());
        }
        if table
            .secondary
            .indexes
            .load()
            .iter()
            .any(|index| index.definition.unique)
        {
            checked.push(table);
        }
    }
    // In one order, so that no two writers wait for each other.
    checked.sort_by_key(|table| table.id);
    let mut guarded = Guarded {
        _checking: checked.iter().map(|table| table.secondary.checking.lock()).collect(),
        entries: Vec::new(),
    };
    for table in checked {
        unique::check(shared, table, batch)?;
    }
    for (place, table) in tables.iter().enumerate() {
        if !table.secondary.any() {
            continue;
        }
        let mut ops: Vec<(usize, BatchOp<'_>)> = Vec::new();
        for (at, op) in batch.ops().enumerate() {
            let op = op?;
            if op.table == table.id {
                ops.push((at, op));
            }
        }
        prepare(table, place, &ops, &mut guarded.entries)?;
    }
    Ok(guarded)
}

/// Adds the entries of a table's operations.
fn prepare(table: &TableInner, place: usize, ops: &[(usize, BatchOp<'_>)], out: &mut Vec<Prepared>) -> Result<()> {
    let view = table.view.load();
    let slot = &view.active;
    let merges = ops.iter().filter(|(_, op)| op.op == Op::Merge);
    for (op, merge) in merges {
        for index in 0..slot.indexes.len() {
            let mut key = Vec::with_capacity(1 + merge.key.len());
            pending_key(merge.key, &mut key);
            check_len(&slot.indexes[index].index, key.len())?;
            out.push(Prepared {
                table: place,
                index,
                op: *op,
                key,
                len: 0,
            });
        }
    }
    let puts: Vec<&(usize, BatchOp<'_>)> = ops.iter().filter(|(_, op)| op.op == Op::Put).collect();
    if puts.is_empty() || slot.indexes.is_empty() {
        return Ok(());
    }
    let target = table.target();
    let keys = BinaryArray::from_iter_values(puts.iter().map(|(_, put)| put.key));
    let values = BinaryArray::from_iter_values(puts.iter().map(|(_, put)| put.value));
    let codec = |known: &SlotIndex| known.index.codec(target.schema());
    let codecs: Vec<_> = slot.indexes.iter().map(codec).collect::<Result<_>>()?;
    let own = columns::of_rows(&target, codecs.iter().map(|codec| &**codec), &keys, &values)?;
    for (index, (known, codec)) in slot.indexes.iter().zip(&codecs).enumerate() {
        let index_keys = codec.encode(&own)?;
        for (row, (op, put)) in puts.iter().enumerate() {
            if index_keys.is_null(row) {
                continue;
            }
            let index_key = index_keys.value(row);
            let mut key = Vec::with_capacity(1 + index_key.len() + put.key.len());
            let len = match is_long(index_key, put.key) {
                true => {
                    pending_key(put.key, &mut key);
                    0
                }
                false => {
                    entry_key(index_key, put.key, &mut key);
                    index_key.len()
                }
            };
            check_len(&known.index, key.len())?;
            out.push(Prepared {
                table: place,
                index,
                op: *op,
                key,
                len,
            });
        }
    }
    Ok(())
}

/// True if an entry is longer than an index takes: then its row is pending.
pub(super) fn is_long(index_key: &[u8], user_key: &[u8]) -> bool {
    1 + index_key.len() + user_key.len() > MAX_KEY
}

/// Refuses the key of an entry that an index does not take.
pub(super) fn check_len(index: &Secondary, len: usize) -> Result<()> {
    if len <= MAX_KEY {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "a key of {} bytes is too long for a table with index \"{}\": it may have up to {}",
        len - 1,
        index.name,
        MAX_KEY - 1
    )))
}

/// Refuses an entry that is to be ingested.
///
/// # Errors
/// `InvalidInput` for a key that is too long for an index.
pub(crate) fn check_ingested(table: &TableInner, key: &[u8]) -> Result<()> {
    let indexes = table.secondary.indexes.load();
    indexes.first().map_or(Ok(()), |index| check_len(index, 1 + key.len()))
}

/// Refuses an ingestion into a table that has unique indexes, or indexes that cannot be maintained.
///
/// # Errors
/// `InvalidInput`, `Unavailable`.
pub(crate) fn check_ingestion(table: &TableInner) -> Result<()> {
    if let Some(error) = &*table.secondary.unmaintained.load() {
        return Err(error.replicate());
    }
    match table
        .secondary
        .indexes
        .load()
        .iter()
        .find(|index| index.definition.unique)
    {
        None => Ok(()),
        Some(index) => Err(Error::invalid_input(format!(
            "table \"{}\" takes no ingestion while it has the unique index \"{}\": insert the rows, which checks them",
            table.name, index.name
        ))),
    }
}

impl Guarded<'_> {
    /// Inserts the entries of a batch whose first operation has this sequence number.
    ///
    /// # Errors
    /// Those of the memtable.
    pub fn insert(&self, first_seq: SeqNo, tables: &[Arc<TableInner>]) -> Result<()> {
        for entry in &self.entries {
            let view = tables[entry.table].view.load();
            let (own, seq) = (&view.active.indexes[entry.index], first_seq + entry.op as u64);
            own.insert(&entry.key, entry.len, seq)?;
            if let Some((&PENDING, user_key)) = entry.key.split_first() {
                own.index.pending.note(user_key, seq);
            }
        }
        Ok(())
    }
}

/// Inserts the entries of an operation that comes from the log.
///
/// # Errors
/// Those of the codecs and the memtable.
pub(crate) fn replay(table: &TableInner, op: BatchOp<'_>, seq: SeqNo) -> Result<()> {
    let mut entries = Vec::new();
    prepare(table, 0, &[(0, op)], &mut entries)?;
    let view = table.view.load();
    for entry in entries {
        view.active.indexes[entry.index].insert(&entry.key, entry.len, seq)?;
    }
    Ok(())
}
