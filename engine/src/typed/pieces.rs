//! Rows from many blocks, and rows that come as bytes, in one order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, interleave};
use kodiak_core::block::ColumnBlock;
use kodiak_core::{Error, ErrorKind, Result};

use super::copy::copy;
use super::{Target, own_columns};
use crate::run::BinaryColumn;

/// Rows `from..to` of a source.
#[derive(Debug, Clone, Copy)]
struct Piece {
    source: u32,
    from: u32,
    to: u32,
}

/// The source of rows that came as bytes.
const ENCODED: u32 = u32::MAX;
/// Blocks among which a row's block is looked for: as many runs as are usually merged.
const RECENT_BLOCKS: usize = 16;

/// Rows in order, not yet copied.
#[derive(Debug)]
pub struct Pieces {
    blocks: Vec<Arc<ColumnBlock>>,
    pieces: Vec<Piece>,
    rows: usize,
    keys: BinaryColumn,
    values: BinaryColumn,
    /// Of rows that came as bytes: whether there is a value.
    present: Vec<bool>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            pieces: Vec::new(),
            rows: 0,
            keys: BinaryColumn::with_capacity(0, 0),
            values: BinaryColumn::with_capacity(0, 0),
            present: Vec::new(),
        }
    }
}

impl Pieces {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
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
        self.rows += to - from;
        match self.pieces.last_mut() {
            Some(last) if last.source == source && last.to as usize == from => last.to = to as u32,
            _ => self.pieces.push(Piece {
                source,
                from: from as u32,
                to: to as u32,
            }),
        }
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
        let last = self.blocks.len() as u32;
        self.pieces
            .iter_mut()
            .filter(|piece| piece.source == ENCODED)
            .for_each(|piece| piece.source = last);
        Ok(Gathered {
            blocks: self.blocks,
            pieces: self.pieces,
            rows: self.rows,
            encoded,
        })
    }
}

/// Rows whose columns can be made one by one.
#[derive(Debug)]
pub struct Gathered {
    blocks: Vec<Arc<ColumnBlock>>,
    pieces: Vec<Piece>,
    rows: usize,
    encoded: Option<Vec<ArrayRef>>,
}

impl Gathered {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
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
        if let [piece] = self.pieces.as_slice() {
            return Ok(slice(&sources, piece));
        }
        let stretches = self.pieces.iter();
        let stretches = stretches.map(|piece| (piece.source as usize, piece.from as usize, piece.to as usize));
        if let Some(copied) = copy(&sources, stretches, self.rows) {
            return copied.map_err(wrong);
        }
        self.put_together(&sources)
            .map_err(|error| wrong(Error::new(ErrorKind::Unsupported, error.to_string()).with_source(error)))
    }

    fn put_together(&self, sources: &[ArrayRef]) -> Result<ArrayRef, arrow::error::ArrowError> {
        // Slices cost something for each, indexes something for each row.
        if self.pieces.len() * 16 <= self.rows {
            let slices: Vec<ArrayRef> = self.pieces.iter().map(|piece| slice(sources, piece)).collect();
            return concat(&slices.iter().map(|slice| slice.as_ref()).collect::<Vec<_>>());
        }
        let mut indexes = Vec::with_capacity(self.rows);
        for piece in &self.pieces {
            indexes.extend((piece.from..piece.to).map(|row| (piece.source as usize, row as usize)));
        }
        interleave(
            &sources
                .iter()
                .map(|source| source.as_ref())
                .collect::<Vec<&dyn Array>>(),
            &indexes,
        )
    }
}

/// The rows of a piece, not copied.
fn slice(sources: &[ArrayRef], piece: &Piece) -> ArrayRef {
    let source = &sources[piece.source as usize];
    let (from, rows) = (piece.from as usize, (piece.to - piece.from) as usize);
    if rows == source.len() {
        Arc::clone(source)
    } else {
        source.slice(from, rows)
    }
}
