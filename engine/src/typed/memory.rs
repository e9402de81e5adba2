//! Rows of a memtable as blocks.

use std::sync::Arc;

use arrow::array::BinaryArray;
use arrow::buffer::NullBuffer;
use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::{EntryCursor, MAX_SEQ, prefix_of};
use kodiak_core::{Op, Result, SeqNo};

use super::countable_rows;
use super::gather::Columns;
use crate::run::BinaryColumn;

/// Rows in the first block, and in the largest: what is read first may be all that is read.
const ROWS: (usize, usize) = (16, 1024);
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
    /// Rows in the next block, and in any.
    rows: usize,
    most: usize,
}

impl MemoryBlocks {
    /// What a reader at `seq` may see of the rows before `bound`, `older` versions of them too if so said. The cursor is not
    /// positioned.
    pub fn new(cursor: Box<dyn EntryCursor>, columns: Columns, seq: SeqNo, bound: Option<&[u8]>, older: bool) -> Self {
        let most = ROWS.1.min(countable_rows(columns.target().schema()));
        Self {
            rows: ROWS.0.min(most),
            most,
            older,
            cursor,
            columns,
            seq,
            bound: bound.map(<[u8]>::to_vec),
            block: None,
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

    /// To the rows that follow those of the block at hand.
    pub fn next(&mut self) -> Result<()> {
        self.block = None;
        let mut keys = BinaryColumn::with_capacity(self.rows, self.rows * 16);
        let mut values = BinaryColumn::with_capacity(self.rows, self.rows * 32);
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
                let value = if op == Op::Delete { &[] } else { entry.value };
                bytes += entry.key.len() + value.len();
                keys.push(entry.key);
                values.push(value);
                seqs.push(entry.seq as i64);
                ops.push(op as i8);
            }
            self.cursor.next()?;
        }
        if seqs.is_empty() {
            return Ok(());
        }
        self.rows = (self.rows * 4).min(self.most);
        let present = absent.then(|| NullBuffer::from_iter(ops.iter().map(|&op| op != Op::Delete as i8)));
        let (keys, values): (BinaryArray, BinaryArray) = (keys.finish(None)?, values.finish(present)?);
        let values = self.columns.of_rows(&keys, &values)?;
        self.block = Some(Arc::new(ColumnBlock::new(keys, seqs.into(), ops.into(), values)?));
        Ok(())
    }
}

/// True if two keys are the same; most are not, in what they begin with.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    prefix_of(left) == prefix_of(right) && left == right
}
