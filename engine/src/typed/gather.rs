//! Rows from many places, put together as one record batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{Schema, SchemaRef};
use kodiak_core::block::{Block, Codecs, ColumnBlock, Values};
use kodiak_core::format::Projection;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Result};

use super::own_columns;
use crate::run::BinaryColumn;

/// Which columns a read hands out.
#[derive(Debug, Clone)]
pub struct Columns {
    schema: Arc<TableSchema>,
    codecs: Codecs,
    /// Their indexes in the table's schema, in the order asked for.
    indexes: Arc<[usize]>,
    /// The schema of what is handed out.
    output: SchemaRef,
    /// What blocks are decoded to.
    projection: Projection,
}

impl Columns {
    /// The named columns of a table; all if `names` is `None`. With `whole`, blocks are decoded whole: rows must be merged
    /// as bytes.
    ///
    /// # Errors
    /// `InvalidInput` for a column that the table does not have, listing those there are.
    pub fn new(schema: &Arc<TableSchema>, codecs: &Codecs, names: Option<&[String]>, whole: bool) -> Result<Self> {
        let own = schema.columns();
        let indexes: Arc<[usize]> = match names {
            None => (0..own.fields().len()).collect(),
            Some(names) => names.iter().map(|name| index_of(own, name)).collect::<Result<_>>()?,
        };
        let output = match names {
            None => Arc::clone(own),
            Some(_) => {
                let fields: Vec<_> = indexes.iter().map(|&index| Arc::clone(&own.fields()[index])).collect();
                Arc::new(Schema::new_with_metadata(fields, own.metadata().clone()))
            }
        };
        let projection = if names.is_none() || whole {
            Projection::All
        } else if !schema.is_key_value() {
            Projection::Columns(Arc::clone(&indexes))
        } else if indexes.contains(&1) {
            Projection::All
        } else {
            Projection::Keys
        };
        Ok(Self { schema: Arc::clone(schema), codecs: codecs.clone(), indexes, output, projection })
    }

    /// The schema of what is handed out.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// What blocks must be decoded to.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// Column `position` of what is handed out, of a block decoded as [`projection`](Self::projection) says.
    fn of_block(&self, block: &ColumnBlock, position: usize) -> Result<ArrayRef> {
        let index = self.indexes[position];
        match block.values() {
            Values::Columns(batch, _) if self.projection == Projection::All => Ok(Arc::clone(batch.column(index))),
            Values::Columns(batch, _) => Ok(Arc::clone(batch.column(position))),
            _ if index == 0 => Ok(Arc::new(block.keys().clone())),
            Values::Binary(values) => Ok(Arc::new(values.clone())),
            Values::Absent => Err(Error::invalid_input("the values of this block were not read")),
        }
    }

    /// A record batch of `rows` rows.
    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)
            .map_err(|error| Error::corruption("rows do not fit the table's schema").with_source(error))
    }

    /// Rows `from..to` of a block, which are not copied.
    pub fn slice(&self, block: &ColumnBlock, from: usize, to: usize) -> Result<RecordBatch> {
        let whole = from == 0 && to == block.rows();
        let column = |position| {
            let column = self.of_block(block, position)?;
            Ok(if whole { column } else { column.slice(from, to - from) })
        };
        self.batch((0..self.indexes.len()).map(column).collect::<Result<_>>()?, to - from)
    }
}

fn index_of(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let known = super::conform::names(schema.fields());
        Error::invalid_input(format!("there is no column \"{name}\"; the columns are {known}"))
    })
}

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

/// Collects rows in order.
pub struct Gather {
    columns: Columns,
    blocks: Vec<Arc<ColumnBlock>>,
    pieces: Vec<Piece>,
    rows: usize,
    /// Bytes that the rows take, about.
    bytes: usize,
    keys: BinaryColumn,
    values: BinaryColumn,
}

impl Gather {
    /// Nothing collected.
    pub fn new(columns: Columns) -> Self {
        Self {
            columns,
            blocks: Vec::new(),
            pieces: Vec::new(),
            rows: 0,
            bytes: 0,
            keys: BinaryColumn::with_capacity(0, 0),
            values: BinaryColumn::with_capacity(0, 0),
        }
    }

    /// The columns that it makes.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes collected, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds rows `from..to` of a block.
    pub fn push_rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) {
        let recent = self.blocks.len().saturating_sub(RECENT_BLOCKS);
        let known = self.blocks[recent..].iter().rposition(|known| Arc::ptr_eq(known, block));
        let source = known.map_or(self.blocks.len(), |place| recent + place);
        if known.is_none() {
            self.blocks.push(Arc::clone(block));
        }
        self.bytes += Block::memory(&**block) / block.rows() * (to - from);
        self.push_piece(source as u32, from, to);
    }

    /// Adds a row given as bytes.
    pub fn push_bytes(&mut self, key: &[u8], value: &[u8]) {
        let row = self.keys.len();
        self.keys.push(key);
        self.values.push(value);
        self.bytes += key.len() + value.len();
        self.push_piece(ENCODED, row, row + 1);
    }

    fn push_piece(&mut self, source: u32, from: usize, to: usize) {
        self.rows += to - from;
        match self.pieces.last_mut() {
            Some(last) if last.source == source && last.to as usize == from => last.to = to as u32,
            _ => self.pieces.push(Piece { source, from: from as u32, to: to as u32 }),
        }
    }

    /// Makes a record batch of what was collected, and starts anew.
    ///
    /// # Errors
    /// `Corruption` for encoded rows that are none; `Unsupported` if a dictionary column has more values in these rows than
    /// its indexes can count.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let fresh = Self::new(self.columns.clone());
        let Self { columns, mut blocks, mut pieces, rows, keys, values, .. } = std::mem::replace(self, fresh);
        if let ([piece], Some(block)) = (pieces.as_slice(), blocks.first()) {
            return columns.slice(block, piece.from as usize, piece.to as usize);
        }
        let encoded = if keys.len() > 0 {
            Some(own_columns(&columns.schema, &columns.codecs, keys.finish(None)?, values.finish(None)?)?)
        } else {
            None
        };
        // What was encoded is one more source, behind the blocks.
        let last = blocks.len() as u32;
        pieces.iter_mut().filter(|piece| piece.source == ENCODED).for_each(|piece| piece.source = last);
        let blocks = std::mem::take(&mut blocks);
        let column = |position: usize| {
            let mut sources: Vec<ArrayRef> =
                blocks.iter().map(|block| columns.of_block(block, position)).collect::<Result<_>>()?;
            if let Some(encoded) = &encoded {
                sources.push(Arc::clone(&encoded[columns.indexes[position]]));
            }
            put_together(&sources, &pieces, rows).map_err(|error| {
                let name = columns.output.field(position).name();
                let message = format!("column \"{name}\": rows of several blocks cannot be put together: {error}");
                Error::new(ErrorKind::Unsupported, message).with_source(error)
            })
        };
        columns.batch((0..columns.indexes.len()).map(column).collect::<Result<_>>()?, rows)
    }
}

/// The pieces of `sources`, in order.
fn put_together(sources: &[ArrayRef], pieces: &[Piece], rows: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    // Slices cost something for each, indexes something for each row.
    if pieces.len() * 16 <= rows {
        let slices: Vec<ArrayRef> = pieces
            .iter()
            .map(|piece| sources[piece.source as usize].slice(piece.from as usize, (piece.to - piece.from) as usize))
            .collect();
        return concat(&slices.iter().map(|slice| slice.as_ref()).collect::<Vec<_>>());
    }
    let mut indexes = Vec::with_capacity(rows);
    for piece in pieces {
        indexes.extend((piece.from..piece.to).map(|row| (piece.source as usize, row as usize)));
    }
    interleave(&sources.iter().map(|source| source.as_ref()).collect::<Vec<&dyn Array>>(), &indexes)
}
