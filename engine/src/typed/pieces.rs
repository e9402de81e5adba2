//! Rows from many blocks, and rows that come as bytes, in one order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, interleave};
use kodiak_core::block::ColumnBlock;
use kodiak_core::{Error, ErrorKind, Result};

use super::copy::copy;
use super::layout::{Layout, Stretch};
use super::{Target, own_columns};
use crate::run::BinaryColumn;

/// The source of rows that came as bytes.
const ENCODED: u32 = u32::MAX;
/// Blocks among which a row's block is looked for: as many runs as are usually merged.
const RECENT_BLOCKS: usize = 16;

/// Rows in order, not yet copied.
#[derive(Debug)]
pub struct Pieces {
    blocks: Vec<Arc<ColumnBlock>>,
    layout: Layout,
    keys: BinaryColumn,
    values: BinaryColumn,
    /// Of rows that came as bytes: whether there is a value.
    present: Vec<bool>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            layout: Layout::default(),
            keys: BinaryColumn::with_capacity(0, 0),
            values: BinaryColumn::with_capacity(0, 0),
            present: Vec::new(),
        }
    }
}

impl Pieces {
    /// Takes what there is, and goes on with nothing, but with room for as much.
    pub fn take(&mut self) -> Self {
        let next = Self {
            layout: Layout::like(&self.layout),
            ..Self::default()
        };
        std::mem::replace(self, next)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Adds rows `from..to` of a block; returns the block's number among those of which rows were added.
    #[inline]
    pub fn push_rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) -> usize {
        let recent = self.blocks.len().saturating_sub(RECENT_BLOCKS);
        let known = self.blocks[recent..]
            .iter()
            .rposition(|known| Arc::ptr_eq(known, block));
        let source = known.map_or(self.blocks.len(), |place| recent + place);
        if known.is_none() {
            self.add_block(block);
        }
        self.push(source as u32, from, to);
        source
    }

    /// Adds a row given as bytes; without a value it has nulls.
    #[inline]
    pub fn push_bytes(&mut self, key: &[u8], value: Option<&[u8]>) {
        let row = self.keys.len();
        self.keys.push(key);
        self.values.push(value.unwrap_or_default());
        self.present.push(value.is_some());
        self.push(ENCODED, row, row + 1);
    }

    /// Gives a block a number.
    pub fn add_block(&mut self, block: &Arc<ColumnBlock>) -> usize {
        self.blocks.push(Arc::clone(block));
        self.blocks.len() - 1
    }

    /// Adds rows `from..to` of the block with the number `source`.
    #[inline]
    pub fn push(&mut self, source: u32, from: usize, to: usize) {
        self.layout.push(source, from, to);
    }

    /// Puts a row of the block with the number `source` in the place of the row added last.
    #[inline]
    pub fn replace_last(&mut self, source: u32, row: usize) {
        self.layout.replace_last(source, row);
    }

    /// Decodes the rows that came as bytes: then columns can be made.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no row of the table.
    pub fn finish(mut self, target: &Target) -> Result<Gathered> {
        let mut encoded = None;
        if self.keys.len() > 0 {
            let nulls = self.present.contains(&false).then(|| NullBuffer::from(self.present));
            encoded = Some(own_columns(
                target,
                self.keys.finish(None)?,
                self.values.finish(nulls)?,
            )?);
        }
        // What was encoded is one more source, behind the blocks.
        self.layout.renumber(ENCODED, self.blocks.len() as u32);
        Ok(Gathered {
            blocks: self.blocks,
            layout: self.layout,
            encoded,
        })
    }
}

/// Rows whose columns can be made one by one.
#[derive(Debug)]
pub struct Gathered {
    blocks: Vec<Arc<ColumnBlock>>,
    layout: Layout,
    encoded: Option<Vec<ArrayRef>>,
}

impl Gathered {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// The column with this index in the table's schema, given how to get it of a block. Rows of one block that follow each
    /// other are not copied if there are no others.
    ///
    /// # Errors
    /// `Unsupported` if a dictionary column has more values in these rows than its indexes can count; those of `of_block`.
    pub fn column(
        &self,
        index: usize,
        name: &str,
        of_block: impl Fn(&ColumnBlock) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        let mut sources: Vec<ArrayRef> = self.blocks.iter().map(|block| of_block(block)).collect::<Result<_>>()?;
        if let Some(encoded) = &self.encoded {
            sources.push(Arc::clone(&encoded[index]));
        }
        let wrong = |error: Error| {
            let message = format!(
                "column \"{name}\": rows of several blocks cannot be put together: {}",
                error.message()
            );
            Error::new(error.kind(), message).with_source(error)
        };
        if let Some(stretch) = self.layout.alone() {
            return Ok(slice(&sources, stretch));
        }
        if let Some(copied) = copy(&sources, &self.layout) {
            return copied.map_err(wrong);
        }
        self.put_together(&sources)
            .map_err(|error| wrong(Error::new(ErrorKind::Unsupported, error.to_string()).with_source(error)))
    }

    fn put_together(&self, sources: &[ArrayRef]) -> Result<ArrayRef, arrow::error::ArrowError> {
        // Slices cost something for each, indexes something for each row.
        if self.layout.parts() * 16 <= self.rows() {
            let mut slices: Vec<ArrayRef> = Vec::new();
            self.layout.for_each(|stretch| slices.push(slice(sources, stretch)));
            return concat(&slices.iter().map(|slice| slice.as_ref()).collect::<Vec<_>>());
        }
        let mut indexes = Vec::with_capacity(self.rows());
        self.layout
            .for_each(|(source, from, to)| indexes.extend((from..to).map(|row| (source, row))));
        interleave(
            &sources
                .iter()
                .map(|source| source.as_ref())
                .collect::<Vec<&dyn Array>>(),
            &indexes,
        )
    }
}

/// The rows of a stretch, not copied.
fn slice(sources: &[ArrayRef], (source, from, to): Stretch) -> ArrayRef {
    let source = &sources[source];
    if to - from == source.len() {
        Arc::clone(source)
    } else {
        source.slice(from, to - from)
    }
}
