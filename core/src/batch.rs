//! Write batches: operations on one or more tables that take effect together.
//!
//! A batch is kept in the very bytes that the log stores (see `docs/formats/wal.md`): for each operation the operation's
//! byte, the table's id as a varint, the key, and for all but deletes the value, both length-prefixed.

use crate::Result;
use crate::entry::{EntryRef, Op, SeqNo};
use crate::varint::{Reader, put_bytes, put_u64};

/// A table's number within its database. It is never reused.
pub type TableId = u32;

/// One operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOp<'a> {
    /// The table it applies to.
    pub table: TableId,
    /// What it does.
    pub op: Op,
    /// The user key, or the start of the range.
    pub key: &'a [u8],
    /// The value, the operand, or the end of the range; empty for a delete.
    pub value: &'a [u8],
}

impl<'a> BatchOp<'a> {
    /// The entry it becomes when written at `seq`.
    pub fn at(&self, seq: SeqNo) -> EntryRef<'a> {
        EntryRef {
            key: self.key,
            seq,
            op: self.op,
            value: self.value,
        }
    }
}

/// Operations in the order in which they were added; the n-th gets the n-th sequence number of the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    payload: Vec<u8>,
    count: u32,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one operation. For [`Op::RangeDelete`], `key` is the start and `value` the end of the range.
    #[inline]
    pub fn push(&mut self, table: TableId, op: Op, key: &[u8], value: &[u8]) {
        self.payload.reserve(key.len() + value.len() + 16);
        self.payload.push(op as u8);
        put_u64(&mut self.payload, u64::from(table));
        put_bytes(&mut self.payload, key);
        if op != Op::Delete {
            put_bytes(&mut self.payload, value);
        }
        self.count += 1;
    }

    /// How many operations it holds.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets the operations, keeps the memory.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.count = 0;
    }

    /// The bytes that the log stores.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The operations, in order.
    pub fn ops(&self) -> BatchOps<'_> {
        BatchOps::new(&self.payload, self.count)
    }
}

/// Iterates over the operations of a batch's payload, without allocating.
///
/// Yields `Corruption` once, and then nothing, if the payload is not what [`Batch::payload`] produces, or holds fewer or
/// more operations than announced.
#[derive(Debug, Clone)]
pub struct BatchOps<'a> {
    reader: Reader<'a>,
    left: u32,
    failed: bool,
}

impl<'a> BatchOps<'a> {
    /// The `count` operations in `payload`.
    pub fn new(payload: &'a [u8], count: u32) -> Self {
        Self {
            reader: Reader::new(payload),
            left: count,
            failed: false,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<BatchOp<'a>> {
        let op = Op::from_byte(self.reader.u8()?)?;
        let table = self.reader.len(TableId::MAX as usize)? as TableId;
        let key = self.reader.bytes()?;
        let value = if op == Op::Delete {
            &[][..]
        } else {
            self.reader.bytes()?
        };
        Ok(BatchOp { table, op, key, value })
    }
}

impl<'a> Iterator for BatchOps<'a> {
    type Item = Result<BatchOp<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || (self.left == 0 && self.reader.is_empty()) {
            return None;
        }
        let item = if self.left == 0 {
            Err(crate::Error::corruption(
                "a batch holds more operations than it announces",
            ))
        } else {
            self.left -= 1;
            self.read()
        };
        self.failed = item.is_err();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_back_in_order() {
        let mut batch = Batch::new();
        batch.push(1, Op::Put, b"a", b"1");
        batch.push(300, Op::Delete, b"b", b"");
        batch.push(1, Op::RangeDelete, b"c", b"d");
        let ops: Vec<_> = batch.ops().collect::<Result<_>>().expect("valid");
        assert_eq!(ops.len(), 3);
        assert_eq!(
            ops[1],
            BatchOp {
                table: 300,
                op: Op::Delete,
                key: b"b",
                value: b""
            }
        );
        assert_eq!(ops[2].value, b"d");
    }

    #[test]
    fn a_wrong_count_is_corruption() {
        let mut batch = Batch::new();
        batch.push(1, Op::Put, b"a", b"1");
        for count in [0, 2] {
            let result: Result<Vec<_>> = BatchOps::new(batch.payload(), count).collect();
            assert!(result.is_err(), "count {count}");
        }
    }

    #[test]
    fn the_payload_is_as_documented() {
        let mut batch = Batch::new();
        batch.push(2, Op::Put, b"k", b"vv");
        batch.push(2, Op::Delete, b"k", b"");
        assert_eq!(batch.payload(), b"\x00\x02\x01k\x02vv\x01\x02\x01k");
    }
}
