//! Rows of a memtable as blocks.

use std::sync::Arc;

use arrow::buffer::NullBuffer;
use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::{EntryCursor, MAX_SEQ, prefix_of};
use kodiak_core::rowcodec::{RowDecoder, row_schema};
use kodiak_core::{Op, Result, SeqNo};

use super::countable_rows;
use super::gather::Columns;
use crate::run::BinaryColumn;

/// Rows in the first block, and in the largest: what is read first may be all that is read.
const COUNTS: (usize, usize) = (16, 1024);
/// Bytes of rows at which a block ends.
const BYTES: usize = 1 << 20;

/// A cursor over a memtable that makes blocks of what it passes: of each key the newest version that the reader may see (with
/// older ones where operands may have to be merged), its columns decoded together.
pub struct MemoryBlocks {
    cursor: Box<dyn EntryCursor>,
    columns: Columns,
    seq: SeqNo,
    /// First key that is not to be read.
    bound: Option<Vec<u8>>,
    /// Older versions are needed as well.
    older: bool,
    block: Option<Arc<ColumnBlock>>,
    /// Rows of other schemas were seen: rows are copied first, and those of one schema decoded together.
    foreign: bool,
    /// Rows in the next block, and in any.
    rows: usize,
    most: usize,
}

impl MemoryBlocks {
    /// What a reader at `seq` may see of the rows before `bound`, `older` versions of them too if so said. The cursor is not
    /// positioned.
    pub fn new(cursor: Box<dyn EntryCursor>, columns: Columns, seq: SeqNo, bound: Option<&[u8]>, older: bool) -> Self {
        let most = COUNTS.1.min(countable_rows(columns.target().schema()));
        Self {
            rows: COUNTS.0.min(most),
            most,
            older,
            cursor,
            columns,
            seq,
            bound: bound.map(<[u8]>::to_vec),
            block: None,
            foreign: false,
        }
    }

    /// The block at hand; `None` at the end.
    pub fn block(&self) -> Option<&Arc<ColumnBlock>> {
        self.block.as_ref()
    }

    /// To the first rows from `key` on.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.cursor.seek(key, MAX_SEQ)?;
        self.next()
    }

    /// As [`Feed::look_back`](super::streams::Feed::look_back): nothing from `end` on is read afterwards.
    pub fn look_back(&mut self, end: Option<&[u8]>, rows: usize, from: &mut Option<Vec<u8>>) -> Result<()> {
        match end {
            Some(end) => self.cursor.seek_before(end, MAX_SEQ)?,
            None => self.cursor.seek_last()?,
        }
        self.bound = end.map(<[u8]>::to_vec);
        let mut passed = 0;
        while let Some(entry) = self.cursor.entry() {
            if from.as_ref().is_some_and(|from| entry.key < from.as_slice()) {
                return Ok(());
            }
            passed += 1;
            if passed == rows {
                *from = Some(entry.key.to_vec());
                return Ok(());
            }
            self.cursor.prev()?;
        }
        if passed > 0 && from.is_none() {
            // All of them.
            *from = Some(Vec::new());
        }
        Ok(())
    }

    /// To the rows that follow those of the block at hand.
    pub fn next(&mut self) -> Result<()> {
        self.block = None;
        let mut values = match (self.foreign, self.columns.decoder(self.rows)?) {
            (false, Some(decoder)) => Rows::Decoded(decoder),
            _ => Rows::Bytes(BinaryColumn::with_capacity(self.rows, self.rows * 32)),
        };
        let own = self.columns.target().version().number();
        let mut keys = BinaryColumn::with_capacity(self.rows, self.rows * 16);
        let (mut seqs, mut ops) = (Vec::with_capacity(self.rows), Vec::with_capacity(self.rows));
        let (mut absent, mut bytes) = (false, 0);
        while let Some(entry) = self.cursor.entry() {
            // All versions of a key are passed before a block ends.
            let older = !self.older && keys.last().is_some_and(|last| is_same(last, entry.key));
            if !older && (seqs.len() == self.rows || bytes >= BYTES) {
                break;
            }
            if self.bound.as_ref().is_some_and(|bound| entry.key >= bound.as_slice()) {
                break;
            }
            if !older && entry.seq <= self.seq {
                let op = match entry.op {
                    Op::RangeDelete => Op::Delete,
                    op => op,
                };
                absent |= op == Op::Delete;
                let value = (op != Op::Delete).then_some(entry.value);
                match &mut values {
                    Rows::Bytes(values) => values.push(value.unwrap_or_default()),
                    Rows::Decoded(_) if !value.is_none_or(|value| is_of(value, own)) => {
                        let key = keys.first().unwrap_or(entry.key).to_vec();
                        let seq = seqs.first().map_or(entry.seq, |&seq| seq as SeqNo);
                        return self.copy_from(&key, seq);
                    }
                    Rows::Decoded(decoder) => decoder.push(value)?,
                }
                bytes += entry.key.len() + value.map_or(0, <[u8]>::len);
                keys.push(entry.key);
                seqs.push(entry.seq as i64);
                ops.push(op as i8);
            }
            self.cursor.next()?;
        }
        if seqs.is_empty() {
            return Ok(());
        }
        self.rows = (self.rows * 4).min(self.most);
        let keys = keys.finish(None)?;
        let values = match values {
            Rows::Decoded(decoder) => self.columns.of_decoded(&keys, decoder)?,
            Rows::Bytes(values) => {
                let present = absent.then(|| NullBuffer::from_iter(ops.iter().map(|&op| op != Op::Delete as i8)));
                self.columns.of_rows(&keys, &values.finish(present)?)?
            }
        };
        let block = ColumnBlock::new(keys, seqs.into(), ops.into(), values)?;
        self.block = Some(Arc::new(match self.older {
            true => block,
            false => block.with_distinct_keys(),
        }));
        Ok(())
    }

    /// Goes back to an entry, and copies rows from there on.
    #[cold]
    fn copy_from(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.foreign = true;
        self.cursor.seek(key, seq)?;
        self.next()
    }
}

/// The values of a block in the making.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Rows {
    /// As they are.
    Bytes(BinaryColumn),
    /// Decoded one by one: all are of the schema that is read by.
    Decoded(RowDecoder),
}

#[inline]
fn is_of(row: &[u8], schema: u32) -> bool {
    row_schema(row).is_ok_and(|number| number == schema)
}

/// True if two keys are the same; most are not, in what they begin with.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    prefix_of(left) == prefix_of(right) && left == right
}
