//! Row blocks, searched in place.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use kodiak_core::block::{Block, Codecs, ColumnBlock, FoundVersion, Values};
use kodiak_core::entry::{common_prefix, compare};
use kodiak_core::format::{Compression, Projection};
use kodiak_core::schema::TableSchema;
use kodiak_core::varint::Reader;
use kodiak_core::{Error, ErrorKind, Op, Result, SeqNo, Slice};

use super::layout::{Layout, RawEntry};
use crate::columns::{Outputs, needed};
use crate::compress::{Compressor, unframe};

/// Compression (1 byte), zeros (3), decoded length (4).
pub(super) const HEADER: usize = 8;

/// What all blocks of a file share.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) schema: TableSchema,
    pub(super) codecs: Codecs,
    pub(super) outputs: Outputs,
    pub(super) max_decoded: usize,
}

/// Appends a stored block: the header, then `block` as it is or compressed.
pub(super) fn store(
    compression: Compression,
    compressor: &mut Compressor,
    block: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    out.extend_from_slice(&[compression as u8, 0, 0, 0]);
    let len = u32::try_from(block.len())
        .map_err(|_| Error::invalid_input("a row block may have at most 4 GiB: use smaller blocks"))?;
    out.extend_from_slice(&len.to_le_bytes());
    compressor.frame(block, out)
}

/// The compression and the decoded length of a stored block.
pub(super) fn header(stored: &[u8]) -> Result<(Compression, usize)> {
    let mut reader = Reader::new(stored);
    let kind = reader.u32_le()?;
    let len = reader.u32_le()? as usize;
    let compression = Compression::ALL
        .into_iter()
        .find(|compression| *compression as u32 == kind)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("a row block has compression {kind}, which is unknown"),
            )
        })?;
    Ok((compression, len))
}

/// A block of rows, in memory or in a mapped file.
#[derive(Debug)]
pub(super) struct RowBlock {
    table: Arc<Table>,
    projection: Projection,
    bytes: Buffer,
    layout: Layout,
    /// Bytes kept beside the part: those decompressed.
    own: usize,
}

impl RowBlock {
    pub(super) fn decode(table: &Arc<Table>, part: &Buffer, projection: &Projection) -> Result<Self> {
        needed(&table.schema, projection)?;
        let (compression, len) = header(part)?;
        if len > table.max_decoded {
            return Err(Error::corruption(format!(
                "a block would decode to {len} bytes, above the limit of {}",
                table.max_decoded
            )));
        }
        let stored = part.slice(HEADER);
        let (bytes, own) = match compression {
            Compression::None if stored.len() == len => (stored, 0),
            Compression::None => {
                return Err(Error::corruption(format!(
                    "a block has {} bytes, not {len}",
                    stored.len()
                )));
            }
            _ => {
                let mut bytes = MutableBuffer::from_len_zeroed(len);
                unframe(compression, &stored, bytes.as_slice_mut())?;
                (Buffer::from(bytes), len)
            }
        };
        let layout = Layout::of(&bytes)?;
        Ok(Self {
            table: Arc::clone(table),
            projection: projection.clone(),
            bytes,
            layout,
            own,
        })
    }

    /// The first entry from `(key, seq)` on that has this key, and its row.
    fn seek(&self, key: &[u8], seq: SeqNo) -> Result<Option<(usize, RawEntry<'_>)>> {
        let block = self.bytes.as_slice();
        // How many restart points lie before the wanted entry.
        let (mut low, mut high) = (0, self.layout.restarts);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.layout.entry(block, self.layout.restart(block, middle))?;
            if compare((entry.suffix, entry.seq), (key, seq)).is_lt() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if let Some(before) = low.checked_sub(1)
            && let Some(found) = self.walk(before, key, seq)?
        {
            return Ok(found);
        }
        if low == self.layout.restarts {
            return Ok(None);
        }
        let entry = self.layout.entry(block, self.layout.restart(block, low))?;
        Ok((entry.suffix == key).then(|| (self.layout.row_of(low), entry)))
    }

    /// Walks the entries after a restart point that lies before `(key, seq)`. `Some` tells the outcome; `None` says that all
    /// of the group is before.
    ///
    /// No key is put together: of the entry before it is known that it is smaller and that `matched` is how many bytes it
    /// shares with the wanted key. An entry that shares more with it differs from the wanted key where that did; one
    /// that shares less is larger there.
    fn walk(&self, restart: usize, key: &[u8], seq: SeqNo) -> Result<Option<Option<(usize, RawEntry<'_>)>>> {
        let block = self.bytes.as_slice();
        let first = self.layout.entry(block, self.layout.restart(block, restart))?;
        let mut matched = common_prefix(first.suffix, key);
        let mut at = first.next;
        for row in 1..self.layout.group(restart) {
            let entry = self.layout.entry(block, at)?;
            at = entry.next;
            match entry.shared.cmp(&matched) {
                Ordering::Greater => continue,
                Ordering::Less => return Ok(Some(None)),
                Ordering::Equal => {}
            }
            let rest = &key[matched..];
            match compare((entry.suffix, entry.seq), (rest, seq)) {
                Ordering::Less => matched += common_prefix(entry.suffix, rest),
                _ if entry.suffix == rest => return Ok(Some(Some((self.layout.row_of(restart) + row, entry)))),
                _ => return Ok(Some(None)),
            }
        }
        Ok(None)
    }

    /// Decodes every entry.
    fn gather(&self) -> Result<Gathered> {
        let block = self.bytes.as_slice();
        let rows = self.layout.rows;
        // Each entry takes at least four bytes, so a lie about their number is found before memory is taken for it.
        if rows > self.layout.entries / 4 {
            return Err(Error::corruption(format!("a row block is too short for {rows} rows")));
        }
        let mut out = Gathered::new(rows, self.layout.entries, !matches!(self.projection, Projection::Keys));
        let mut at = 0;
        for _ in 0..rows {
            let entry = self.layout.entry(block, at)?;
            at = entry.next;
            out.push(&entry, self.table.max_decoded)?;
        }
        if at != self.layout.entries {
            return Err(Error::corruption("a row block has bytes after its entries"));
        }
        Ok(out)
    }
}

impl Block for RowBlock {
    fn rows(&self) -> usize {
        self.layout.rows
    }

    fn find(&self, key: &[u8], seq: SeqNo) -> Result<Option<FoundVersion>> {
        Ok(self.seek(key, seq)?.map(|(row, entry)| {
            let value = Slice::of(&self.bytes, entry.value_at, entry.value.len());
            FoundVersion {
                seq: entry.seq,
                op: entry.op,
                row,
                value,
            }
        }))
    }

    fn columns(self: Arc<Self>) -> Result<Arc<ColumnBlock>> {
        let Gathered {
            keys,
            key_ends,
            data,
            value_ends,
            seqs,
            ops,
            ..
        } = self.gather()?;
        let keys = array(keys, key_ends, None)?;
        let Table {
            schema,
            codecs,
            outputs,
            ..
        } = self.table.as_ref();
        let values = match self.projection {
            Projection::Keys => Values::Absent,
            _ if schema.is_key_value() => Values::Binary(array(data, value_ends, None)?),
            _ => {
                let live = NullBuffer::from_iter(ops.iter().map(|&op| op != Op::Delete as i8));
                let encoded = array(data, value_ends, Some(live))?;
                let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.columns().fields().len()];
                for (key, column) in schema.key().iter().zip(codecs.key.decode(&keys)?) {
                    columns[key.index] = Some(column);
                }
                for (index, column) in schema.value_columns().zip(codecs.row.decode(&encoded)?) {
                    columns[index] = Some(column);
                }
                outputs.values(&self.projection, &columns, keys.len())?
            }
        };
        Ok(Arc::new(ColumnBlock::new(keys, seqs.into(), ops.into(), values)?))
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.own
    }
}

/// The entries of a block, decoded.
struct Gathered {
    keys: Vec<u8>,
    key_ends: Vec<i32>,
    data: Vec<u8>,
    value_ends: Vec<i32>,
    seqs: Vec<i64>,
    ops: Vec<i8>,
    with_values: bool,
}

impl Gathered {
    fn new(rows: usize, bytes: usize, with_values: bool) -> Self {
        let ends = || {
            let mut ends = Vec::with_capacity(rows + 1);
            ends.push(0);
            ends
        };
        Self {
            keys: Vec::with_capacity(bytes / 4),
            key_ends: ends(),
            data: Vec::with_capacity(if with_values { bytes } else { 0 }),
            value_ends: ends(),
            seqs: Vec::with_capacity(rows),
            ops: Vec::with_capacity(rows),
            with_values,
        }
    }

    #[inline]
    fn push(&mut self, entry: &RawEntry<'_>, limit: usize) -> Result<()> {
        let last = self
            .key_ends
            .len()
            .checked_sub(2)
            .map_or(0, |index| self.key_ends[index] as usize);
        if entry.shared > self.keys.len() - last {
            return Err(Error::corruption("an entry shares more of a key than there is"));
        }
        let grown = self.keys.len() + entry.shared + entry.suffix.len() + self.data.len() + entry.value.len();
        if grown > limit.min(i32::MAX as usize) {
            return Err(Error::corruption(format!(
                "a block would decode to more than the limit of {limit} bytes"
            )));
        }
        self.keys.extend_from_within(last..last + entry.shared);
        self.keys.extend_from_slice(entry.suffix);
        self.key_ends.push(self.keys.len() as i32);
        if self.with_values {
            self.data.extend_from_slice(entry.value);
            self.value_ends.push(self.data.len() as i32);
        }
        self.seqs.push(entry.seq as i64);
        self.ops.push(entry.op as i8);
        Ok(())
    }
}

fn array(data: Vec<u8>, ends: Vec<i32>, nulls: Option<NullBuffer>) -> Result<BinaryArray> {
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    BinaryArray::try_new(ends, Buffer::from_vec(data), nulls)
        .map_err(|error| Error::corruption("a block's entries are malformed").with_source(error))
}
