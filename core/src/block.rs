//! Blocks: what is read from a run and cached at once, ready to be searched.

mod keys;
mod search;

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;

use crate::entry::{EntryRef, Op, SeqNo, common_prefix};
use crate::keycodec::{Keys, UnmadeKeys};
use crate::rowcodec::RowCodec;
use crate::schema::TableSchema;
use crate::{Error, Result, Slice};

/// A version of a key found in a block.
#[derive(Debug, Clone)]
pub struct FoundVersion {
    /// When it was written.
    pub seq: SeqNo,
    /// What it does.
    pub op: Op,
    /// Its row in the block.
    pub row: usize,
    /// The value: of a typed table, the non-key columns as [`RowCodec`] encodes them. Empty for a delete.
    pub value: Slice,
}

/// A decoded block: rows of entries in the order of [`compare`](crate::entry::compare). Formats that must not decode everything to find one key
/// implement it themselves; the others use [`ColumnBlock`].
pub trait Block: Send + Sync + Debug {
    /// How many rows it has; at least one.
    fn rows(&self) -> usize;

    /// The newest version of `key` that is not newer than `seq`, if this block has one.
    fn find(&self, key: &[u8], seq: SeqNo) -> Result<Option<FoundVersion>>;

    /// All rows as columns, for cursors and merges; cheap if it is columns already, decoded now if not.
    fn columns(self: Arc<Self>) -> Result<Arc<ColumnBlock>>;

    /// Bytes of memory that it keeps beside the parts that it was decoded from. A block that refers to its parts keeps them
    /// alive: whoever read them into memory, rather than mapping them, adds [`BlockHandle::bytes`].
    ///
    /// [`BlockHandle::bytes`]: crate::format::BlockHandle::bytes
    fn memory(&self) -> usize;
}

/// The values of a [`ColumnBlock`].
#[derive(Debug, Clone)]
pub enum Values {
    /// Of a key-value table: the value column itself.
    Binary(BinaryArray),
    /// Of a typed table: its own columns (key columns included, hidden ones not), and the codec that makes bytes of a row.
    Columns(RecordBatch, Arc<RowCodec>),
    /// Only keys were asked for.
    Absent,
}

/// A block as Arrow columns.
#[derive(Debug, Clone)]
pub struct ColumnBlock {
    keys: OnceLock<Keyed>,
    /// What the keys are made of when they are first needed.
    unmade: Option<UnmadeKeys>,
    seqs: ScalarBuffer<i64>,
    ops: ScalarBuffer<i8>,
    values: Values,
    memory: Option<usize>,
    /// What [`plain`](Self::plain) has found.
    plain: OnceLock<Option<SeqNo>>,
}

/// The keys of a block, encoded.
#[derive(Debug, Clone)]
struct Keyed {
    keys: BinaryArray,
    /// How many leading bytes the first and the last key share, and so all keys do: a search skips them.
    shared: usize,
}

impl Keyed {
    /// `keys` are not none.
    fn new(keys: BinaryArray) -> Self {
        let shared = common_prefix(keys.value(0), keys.value(keys.len() - 1));
        Self { keys, shared }
    }
}

impl ColumnBlock {
    /// Puts columns together and checks them: equal lengths, known operations, sequence numbers not negative. The order of
    /// rows is not checked (a block's checksum vouches for it).
    ///
    /// # Errors
    /// `Corruption`.
    pub fn new(keys: impl Into<Keys>, seqs: ScalarBuffer<i64>, ops: ScalarBuffer<i8>, values: Values) -> Result<Self> {
        let keys = keys.into();
        check_rows(&keys, &seqs, &ops, &values)?;
        // Loops without a way out, which the compiler can make ones of vectors.
        let most = ops.iter().fold(0, |most, &op| most.max(op as u8));
        if most > Op::Merge as u8 {
            return Err(Error::corruption("a block holds an unknown operation"));
        }
        let first = seqs[0];
        let (bits, differ) = seqs
            .iter()
            .fold((0, 0), |(bits, differ), &seq| (bits | seq, differ | seq ^ first));
        if bits < 0 {
            return Err(Error::corruption("a block holds a negative sequence number"));
        }
        let block = Self::checked(keys, seqs, ops, values)?;
        // Versions of a key have different sequence numbers.
        if most == Op::Put as u8 && differ == 0 {
            let _ = block.plain.set(Some(first as SeqNo));
        }
        Ok(block)
    }

    /// As [`new`](Self::new), of sequence numbers and operations that were found good before.
    ///
    /// # Errors
    /// `Corruption` for columns of different lengths, or none.
    pub fn checked(
        keys: impl Into<Keys>,
        seqs: ScalarBuffer<i64>,
        ops: ScalarBuffer<i8>,
        values: Values,
    ) -> Result<Self> {
        let keys = keys.into();
        check_rows(&keys, &seqs, &ops, &values)?;
        let (keys, unmade) = match keys {
            Keys::Made(keys) if keys.null_count() > 0 => {
                return Err(Error::corruption("a block's key column holds nulls"));
            }
            Keys::Made(keys) => (OnceLock::from(Keyed::new(keys)), None),
            Keys::Unmade(keys) => (OnceLock::new(), Some(keys)),
        };
        Ok(Self {
            keys,
            unmade,
            seqs,
            ops,
            values,
            memory: None,
            plain: OnceLock::new(),
        })
    }

    /// Tells how many bytes [`Block::memory`] reports beside the block's own struct, where the columns refer to bytes that
    /// somebody else accounts for: a mapped file, or the parts that were read.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Takes the columns of a run's record batch (the table's own, then `_seq` and `_op`), encoding keys where the table's
    /// key is not a raw column.
    ///
    /// # Errors
    /// `Corruption` if the batch does not have the run's columns.
    pub fn from_batch(batch: &RecordBatch, schema: &TableSchema, codecs: &Codecs) -> Result<Self> {
        let own = schema.columns().fields().len();
        if batch.num_columns() != own + 2 {
            return Err(Error::corruption(format!(
                "a run has {} columns, not {}",
                batch.num_columns(),
                own + 2
            )));
        }
        let seqs = typed::<Int64Array>(batch.column(own), crate::schema::SEQ_COLUMN)?
            .values()
            .clone();
        let ops = typed::<Int8Array>(batch.column(own + 1), crate::schema::OP_COLUMN)?
            .values()
            .clone();
        let columns = &batch.columns()[..own];
        let (keys, values) = if schema.is_key_value() {
            let keys = typed::<BinaryArray>(&columns[0], "key")?.clone();
            (
                Keys::Made(keys),
                Values::Binary(typed::<BinaryArray>(&columns[1], "value")?.clone()),
            )
        } else {
            let keys = codecs.key.keys(|index| columns.get(index))?;
            let fields: Vec<_> = batch.schema().fields()[..own].to_vec();
            let own_schema = Arc::new(arrow::datatypes::Schema::new(fields));
            let own_batch = RecordBatch::try_new(own_schema, columns.to_vec())
                .map_err(|error| Error::corruption("a block's columns do not fit the schema").with_source(error))?;
            (keys, Values::Columns(own_batch, Arc::clone(&codecs.row)))
        };
        Self::new(keys, seqs, ops, values)
    }

    /// How many rows it has.
    #[inline]
    pub fn rows(&self) -> usize {
        self.seqs.len()
    }

    #[inline]
    fn keyed(&self) -> &Keyed {
        match self.keys.get() {
            Some(keyed) => keyed,
            None => self.make_keys(),
        }
    }

    #[cold]
    fn make_keys(&self) -> &Keyed {
        self.keys.get_or_init(|| {
            // One of both is there.
            let keys = self.unmade.as_ref().map(UnmadeKeys::encode);
            Keyed::new(keys.unwrap_or_else(|| BinaryArray::new_null(self.rows())))
        })
    }

    /// The user key of a row. The first call may encode those of all rows; where one or two are looked at, and perhaps no
    /// others, [`copy_key`](Self::copy_key) takes less.
    #[inline]
    pub fn key(&self, row: usize) -> &[u8] {
        self.keyed().keys.value(row)
    }

    /// Puts the user key of a row into `out`, in place of what that holds.
    #[inline]
    pub fn copy_key(&self, row: usize, out: &mut Vec<u8>) {
        out.clear();
        match self.unmade() {
            Some(keys) => keys.put(row, out),
            None => out.extend_from_slice(self.key(row)),
        }
    }

    /// Bytes that the keys take, or will once they are encoded.
    pub fn key_memory(&self) -> usize {
        match &self.unmade {
            Some(keys) => keys.memory(),
            None => slice_bytes(&self.keyed().keys),
        }
    }

    /// The sequence number of a row.
    #[inline]
    pub fn seq(&self, row: usize) -> SeqNo {
        self.seqs[row] as SeqNo
    }

    /// The operation of a row.
    #[inline]
    pub fn op(&self, row: usize) -> Op {
        match self.ops[row] {
            0 => Op::Put,
            1 => Op::Delete,
            _ => Op::Merge,
        }
    }

    /// The user keys.
    pub fn keys(&self) -> &BinaryArray {
        &self.keyed().keys
    }

    /// The sequence numbers.
    pub fn seqs(&self) -> &ScalarBuffer<i64> {
        &self.seqs
    }

    /// The operations.
    pub fn ops(&self) -> &ScalarBuffer<i8> {
        &self.ops
    }

    /// The values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// If all rows are puts of distinct keys, the newest of their sequence numbers. Looked for once.
    pub fn plain(&self) -> Option<SeqNo> {
        let distinct = || self.first_repeated(0, self.rows()).is_none();
        *self.plain.get_or_init(|| self.newest_of_puts().filter(|_| distinct()))
    }

    /// Says that all keys are distinct: then [`plain`](Self::plain) need not compare them.
    #[must_use]
    pub fn with_distinct_keys(self) -> Self {
        let plain = OnceLock::from(self.newest_of_puts());
        Self { plain, ..self }
    }

    /// The newest sequence number, if all rows are puts.
    fn newest_of_puts(&self) -> Option<SeqNo> {
        let puts = self.ops.iter().fold(true, |puts, &op| puts & (op == Op::Put as i8));
        let newest = self.seqs.iter().copied().max().unwrap_or(0);
        puts.then_some(newest as SeqNo)
    }

    /// The first row after `from` and before `to` that has the key of the row before it.
    pub fn first_repeated(&self, from: usize, to: usize) -> Option<usize> {
        // Versions of one key have falling sequence numbers: where they rise the keys differ.
        let falls = self.seqs[from..to]
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair[1] < pair[0]);
        let mut rows = falls.map(|(row, _)| from + row + 1);
        rows.find(|&row| self.key(row) == self.key(row - 1))
    }

    /// A row of a key-value table as an entry; a typed table's row has an empty value here (see [`value`](Self::value)).
    #[inline]
    pub fn entry(&self, row: usize) -> EntryRef<'_> {
        let (key, value) = self.key_value(row);
        EntryRef {
            key,
            seq: self.seq(row),
            op: self.op(row),
            value,
        }
    }

    /// The key and value of a row of a key-value table; a typed table's row has an empty value here.
    #[inline]
    pub fn key_value(&self, row: usize) -> (&[u8], &[u8]) {
        let value = match &self.values {
            Values::Binary(values) => values.value(row),
            _ => &[],
        };
        (self.key(row), value)
    }

    /// The value of a row, without copying in a key-value table, encoded in a typed one.
    ///
    /// # Errors
    /// `InvalidInput` if only keys were read.
    pub fn value(&self, row: usize) -> Result<Slice> {
        match &self.values {
            Values::Binary(values) => {
                let offsets = values.value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                Ok(Slice::of(values.values(), start, end - start))
            }
            Values::Columns(_, _) if self.op(row) == Op::Delete => Ok(Slice::from(Vec::new())),
            Values::Columns(batch, codec) => {
                let mut out = Vec::new();
                codec.encode(batch.columns(), row, &mut out)?;
                Ok(Slice::from(out))
            }
            Values::Absent => Err(Error::invalid_input("the values of this block were not read")),
        }
    }
}

/// That the columns of a block are equally long, and not empty.
fn check_rows(keys: &Keys, seqs: &[i64], ops: &[i8], values: &Values) -> Result<()> {
    let rows = keys.len();
    let value_rows = match values {
        Values::Binary(values) => values.len(),
        Values::Columns(batch, _) => batch.num_rows(),
        Values::Absent => rows,
    };
    if rows == 0 || seqs.len() != rows || ops.len() != rows || value_rows != rows {
        return Err(Error::corruption(format!(
            "a block's columns differ in length or are empty: {rows} keys, {} sequence numbers, {} operations, {value_rows} values",
            seqs.len(),
            ops.len()
        )));
    }
    Ok(())
}

impl Block for ColumnBlock {
    fn rows(&self) -> usize {
        self.rows()
    }

    fn find(&self, key: &[u8], seq: SeqNo) -> Result<Option<FoundVersion>> {
        let row = self.lower_bound(key, seq);
        if row == self.rows() || self.key(row) != key {
            return Ok(None);
        }
        Ok(Some(FoundVersion {
            seq: self.seq(row),
            op: self.op(row),
            row,
            value: self.value(row)?,
        }))
    }

    fn columns(self: Arc<Self>) -> Result<Arc<ColumnBlock>> {
        Ok(self)
    }

    fn memory(&self) -> usize {
        let columns = || {
            let values = match &self.values {
                Values::Binary(values) => slice_bytes(values),
                Values::Columns(batch, _) => batch.columns().iter().map(|column| slice_bytes(column.as_ref())).sum(),
                Values::Absent => 0,
            };
            self.key_memory() + self.rows() * 9 + values
        };
        size_of::<Self>() + self.memory.unwrap_or_else(columns)
    }
}

/// The bytes that an array refers to, however large the memory is of which they are part.
fn slice_bytes(array: &dyn Array) -> usize {
    array
        .to_data()
        .get_slice_memory_size()
        .unwrap_or_else(|_| array.get_array_memory_size())
}

/// The codecs of a table, made once and shared by its blocks.
#[derive(Debug, Clone)]
pub struct Codecs {
    /// Primary keys to user keys and back.
    pub key: Arc<crate::keycodec::KeyCodec>,
    /// Non-key columns to value bytes and back.
    pub row: Arc<RowCodec>,
}

impl Codecs {
    /// The codecs of a table's schema.
    pub fn new(schema: &TableSchema) -> Self {
        Self {
            key: Arc::new(crate::keycodec::KeyCodec::new(schema)),
            row: Arc::new(RowCodec::new(schema)),
        }
    }
}

fn typed<'a, A: Array + 'static>(array: &'a ArrayRef, name: &str) -> Result<&'a A> {
    array.as_any().downcast_ref::<A>().ok_or_else(|| {
        Error::corruption(format!(
            "column {name} has type {}, which is not the run's",
            array.data_type()
        ))
    })
}

#[cfg(test)]
mod tests;
