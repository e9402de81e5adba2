//! Collects sorted entries into the record batches that block writers take.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use kodiak_core::block::{ColumnBlock, Values};
use kodiak_core::{EntryRef, Error, Op, Result, SeqNo};

use crate::typed::{Pieces, Target, countable_rows, row_bytes};

/// Bytes of a row beside its key and value: sequence number, operation, two offsets. In a table whose dictionaries count few
/// values a row counts for more, so that a block never has more rows than those.
const ROW_OVERHEAD: usize = 17;

/// A growing binary column.
#[derive(Debug)]
pub struct BinaryColumn {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl BinaryColumn {
    /// An empty column with room.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            data: Vec::with_capacity(bytes),
        }
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends a value; the caller keeps the bytes of all below 2 GiB.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.offsets.push(self.data.len() as i32);
    }

    /// The last value.
    #[inline]
    pub fn last(&self) -> Option<&[u8]> {
        let start = self.offsets.len().checked_sub(2)?;
        Some(&self.data[self.offsets[start] as usize..])
    }

    /// The first value.
    pub fn first(&self) -> Option<&[u8]> {
        let end = *self.offsets.get(1)?;
        Some(&self.data[..end as usize])
    }

    /// Appends rows `from..to` of `column`: one copy of bytes and one pass over offsets.
    fn extend(&mut self, column: &BinaryArray, from: usize, to: usize) {
        let offsets = &column.value_offsets()[from..=to];
        let (first, last) = (offsets[0], offsets[to - from]);
        let shift = self.data.len() as i32 - first;
        self.data
            .extend_from_slice(&column.value_data()[first as usize..last as usize]);
        self.offsets.extend(offsets[1..].iter().map(|offset| offset + shift));
    }

    /// The finished column.
    pub fn finish(self, nulls: Option<NullBuffer>) -> Result<BinaryArray> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        BinaryArray::try_new(offsets, Buffer::from_vec(self.data), nulls)
            .map_err(|error| Error::corruption("a block's columns cannot be built").with_source(error))
    }
}

/// Collects entries in order; [`take`](Self::take) makes a record batch of them.
#[derive(Debug)]
pub struct BlockBuilder {
    /// The schema of the run.
    target: Target,
    key_value: bool,
    run_columns: SchemaRef,
    /// Of a key-value table.
    keys: BinaryColumn,
    values: BinaryColumn,
    /// Of a typed table: the first and the last key, and how many bytes all have. Its columns are made of its rows.
    ends: (Vec<u8>, Vec<u8>),
    key_bytes: usize,
    /// Its rows.
    typed: Pieces,
    typed_bytes: usize,
    measured: Option<(Arc<ColumnBlock>, usize)>,
    seqs: Vec<i64>,
    ops: Vec<i8>,
    expected_rows: usize,
    expected_bytes: usize,
    /// What a row counts beside its key and value.
    row_overhead: usize,
}

impl BlockBuilder {
    /// A builder for blocks of about `block_size` bytes.
    pub fn new(target: Target, block_size: usize) -> Self {
        let schema = target.schema();
        let (rows, bytes) = (block_size / 64 + 16, block_size + block_size / 8);
        let (own_rows, own_bytes) = if schema.is_key_value() { (rows, bytes) } else { (0, 0) };
        Self {
            row_overhead: block_size.div_ceil(countable_rows(schema)).max(ROW_OVERHEAD),
            run_columns: schema.run_columns(),
            key_value: schema.is_key_value(),
            target,
            keys: BinaryColumn::with_capacity(own_rows, own_bytes / 4),
            values: BinaryColumn::with_capacity(own_rows, own_bytes),
            ends: (Vec::new(), Vec::new()),
            key_bytes: 0,
            typed: Pieces::default(),
            typed_bytes: 0,
            measured: None,
            seqs: Vec::with_capacity(rows),
            ops: Vec::with_capacity(rows),
            expected_rows: rows,
            expected_bytes: bytes,
        }
    }

    /// Adds one entry.
    #[inline]
    pub fn push(&mut self, entry: EntryRef<'_>) {
        if self.key_value {
            self.keys.push(entry.key);
            self.values.push(entry.value);
        } else {
            self.note_keys(entry.key, entry.key, entry.key.len());
            self.typed
                .push_bytes(entry.key, (entry.op != Op::Delete).then_some(entry.value));
            self.typed_bytes += entry.value.len();
        }
        self.seqs.push(entry.seq as i64);
        self.ops.push(entry.op as i8);
    }

    /// Adds rows `from..to` of a block, column by column; those of a typed table are copied when all are known.
    pub fn push_rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) {
        match block.values() {
            Values::Binary(values) => {
                self.keys.extend(block.keys(), from, to);
                self.values.extend(values, from, to);
            }
            _ => {
                let offsets = block.keys().value_offsets();
                self.note_keys(
                    block.key(from),
                    block.key(to - 1),
                    (offsets[to] - offsets[from]) as usize,
                );
                self.typed.push_rows(block, from, to);
                self.typed_bytes += self.row_bytes(block) * (to - from);
            }
        }
        self.seqs.extend_from_slice(&block.seqs()[from..to]);
        self.ops.extend_from_slice(&block.ops()[from..to]);
    }

    /// Takes note of keys of a typed table: the first and the last of some, which have so many bytes together.
    #[inline]
    fn note_keys(&mut self, first: &[u8], last: &[u8], bytes: usize) {
        if self.seqs.is_empty() {
            self.ends.0.clear();
            self.ends.0.extend_from_slice(first);
        }
        self.ends.1.clear();
        self.ends.1.extend_from_slice(last);
        self.key_bytes += bytes;
    }

    /// Bytes of a typed block's row beside its key, about; the same for all rows of a block.
    fn row_bytes(&mut self, block: &Arc<ColumnBlock>) -> usize {
        match &self.measured {
            Some((known, bytes)) if Arc::ptr_eq(known, block) => *bytes,
            _ => {
                let bytes = row_bytes(block);
                self.measured = Some((Arc::clone(block), bytes));
                bytes
            }
        }
    }

    /// How many rows of a block from `from` on reach `room` bytes: the first end in `from + 1..=to` at which they do, or `to`.
    pub fn rows_within(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize, room: usize) -> usize {
        let Values::Binary(values) = block.values() else {
            let keys = block.keys().value_offsets();
            let key_bytes = (keys[to] - keys[from]) as usize / (to - from);
            let rows = room.div_ceil(self.row_bytes(block) + key_bytes + self.row_overhead);
            return (from + rows.max(1)).min(to);
        };
        let (keys, values) = (block.keys().value_offsets(), values.value_offsets());
        let start = (keys[from] + values[from]) as usize;
        let (mut low, mut high) = (from + 1, to);
        while low < high {
            let middle = low.midpoint(high);
            if (keys[middle] + values[middle]) as usize - start + (middle - from) * self.row_overhead >= room {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.seqs.len()
    }

    /// Bytes collected.
    #[inline]
    pub fn bytes(&self) -> usize {
        let bytes = self.keys.data.len() + self.values.data.len() + self.key_bytes + self.typed_bytes;
        bytes + self.seqs.len() * self.row_overhead
    }

    /// The last key collected.
    pub fn last_key(&self) -> &[u8] {
        match self.key_value {
            true => self.keys.last().unwrap_or_default(),
            false => &self.ends.1,
        }
    }

    /// The first entry's key and sequence number.
    pub fn first(&self) -> Option<(&[u8], SeqNo)> {
        let seq = *self.seqs.first()?;
        let key = match self.key_value {
            true => self.keys.first()?,
            false => &self.ends.0,
        };
        Some((key, seq as SeqNo))
    }

    /// Makes a record batch of what was collected and starts anew.
    ///
    /// # Errors
    /// `Corruption` if the bytes of a typed table's rows are not what its codecs wrote.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let seqs = std::mem::replace(&mut self.seqs, Vec::with_capacity(self.expected_rows));
        let ops = std::mem::replace(&mut self.ops, Vec::with_capacity(self.expected_rows));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.run_columns.fields().len());
        if self.key_value {
            let fresh = || BinaryColumn::with_capacity(self.expected_rows, self.expected_bytes);
            let keys = std::mem::replace(&mut self.keys, fresh());
            let values = std::mem::replace(&mut self.values, fresh());
            columns.push(Arc::new(keys.finish(None)?));
            columns.push(Arc::new(values.finish(None)?));
        } else {
            (self.key_bytes, self.typed_bytes) = (0, 0);
            self.measured = None;
            let rows = std::mem::take(&mut self.typed).finish(&self.target)?;
            for (index, field) in self.target.schema().columns().fields().iter().enumerate() {
                columns.push(rows.column(index, field.name(), |block| self.target.column(block, index))?);
            }
        }
        columns.push(Arc::new(Int64Array::new(ScalarBuffer::from(seqs), None)));
        columns.push(Arc::new(Int8Array::new(ScalarBuffer::from(ops), None)));
        RecordBatch::try_new(Arc::clone(&self.run_columns), columns)
            .map_err(|error| Error::corruption("rows do not fit the table's schema").with_source(error))
    }
}
