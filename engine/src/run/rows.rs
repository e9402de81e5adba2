//! The rows of a block, as a cursor reads them.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::buffer::Buffer;
use kodiak_core::block::ColumnBlock;
use kodiak_core::{EntryRef, SeqNo};

use super::direct::DirectBlock;

/// Rows as columns, or where they lie in a mapped file; columns of the latter are made when somebody asks for them.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a cursor holds one; boxing would allocate at every block"
)]
pub enum Rows {
    /// Decoded.
    Columns(Arc<ColumnBlock>),
    /// In the map.
    Direct(DirectRows),
}

/// Rows in a mapped file.
#[derive(Debug)]
pub struct DirectRows {
    block: DirectBlock,
    map: Buffer,
    columns: OnceCell<Arc<ColumnBlock>>,
}

impl Rows {
    /// The rows of `block`.
    pub fn direct(block: &DirectBlock, map: &Buffer) -> Self {
        Self::Direct(DirectRows {
            block: block.clone(),
            map: map.clone(),
            columns: OnceCell::new(),
        })
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Columns(block) => block.rows(),
            Self::Direct(rows) => rows.block.rows(),
        }
    }

    /// The first row at or after `(key, seq)`.
    pub fn lower_bound(&self, key: &[u8], seq: SeqNo) -> usize {
        match self {
            Self::Columns(block) => block.lower_bound(key, seq),
            Self::Direct(rows) => rows.block.lower_bound(&rows.map, key, seq),
        }
    }

    /// Has the processor fetch what [`lower_bound`](Self::lower_bound) will look at first, if that lies in a mapped file.
    #[inline]
    pub fn approach(&self, key: &[u8]) {
        if let Self::Direct(rows) = self {
            rows.block.approach(&rows.map, key);
        }
    }

    /// Has the processor fetch the values of a row and of some after it, if they lie in a mapped file.
    #[inline]
    pub fn approach_values(&self, row: usize) {
        if let Self::Direct(rows) = self {
            rows.block.approach_values(&rows.map, row);
        }
    }

    /// Has the processor fetch the key and value of a row, if they lie in a mapped file and there is such a row.
    #[inline]
    pub fn fetch(&self, row: usize) {
        if let Self::Direct(rows) = self {
            rows.block.fetch(&rows.map, row);
        }
    }

    /// Has the processor fetch all of a row but its value, if that lies in a mapped file and there is such a row.
    #[inline]
    pub fn fetch_version(&self, row: usize) {
        if let Self::Direct(rows) = self {
            rows.block.fetch_version(&rows.map, row);
        }
    }

    /// The entry of a row; the value is empty in a typed table.
    #[inline]
    pub fn entry(&self, row: usize) -> EntryRef<'_> {
        match self {
            Self::Columns(block) => block.entry(row),
            Self::Direct(rows) => rows.block.entry(&rows.map, row),
        }
    }

    /// The key of a row.
    #[inline]
    pub fn key(&self, row: usize) -> &[u8] {
        match self {
            Self::Columns(block) => block.key(row),
            Self::Direct(rows) => rows.block.key(&rows.map, row),
        }
    }

    /// The key and value of a row; the value is empty in a typed table.
    #[inline]
    pub fn key_value(&self, row: usize) -> (&[u8], &[u8]) {
        match self {
            Self::Columns(block) => block.key_value(row),
            Self::Direct(rows) => rows.block.key_value(&rows.map, row),
        }
    }

    /// If all of them are puts of distinct keys, the newest of their sequence numbers.
    #[inline]
    pub fn plain(&self) -> Option<SeqNo> {
        match self {
            Self::Columns(block) => block.plain(),
            Self::Direct(rows) => rows.block.plain(),
        }
    }

    /// All of them as columns.
    pub fn columns(&self) -> &Arc<ColumnBlock> {
        match self {
            Self::Columns(block) => block,
            Self::Direct(rows) => rows.columns.get_or_init(|| Arc::new(rows.block.columns(&rows.map))),
        }
    }
}
