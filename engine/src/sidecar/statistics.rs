//! What is known of the values in each block, for reads with a filter.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::Buffer;
use kodiak_core::keycodec::ordered::{Bounds, bounds, is_ordered};
use kodiak_core::schema::TableSchema;
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result};

/// Collects the bounds of columns, block by block, while a run is written.
#[derive(Debug, Default)]
pub struct StatisticsBuilder {
    /// Indexes in the run's schema, and the blocks' bounds encoded one after the other.
    columns: Vec<(usize, Vec<u8>)>,
    blocks: usize,
}

impl StatisticsBuilder {
    /// For runs of this schema. Of key-value tables nothing is collected: their keys are in the fences, and their values
    /// mean nothing to the engine.
    pub fn new(schema: &TableSchema) -> Self {
        let ordered = |index: &usize| is_ordered(schema.columns().field(*index).data_type());
        let columns = (0..schema.columns().fields().len()).filter(ordered);
        Self {
            columns: match schema.is_key_value() {
                true => Vec::new(),
                false => columns.map(|index| (index, Vec::new())).collect(),
            },
            blocks: 0,
        }
    }

    /// Adds a block, given the table's own columns.
    ///
    /// # Errors
    /// `InvalidInput` for columns that are not the schema's.
    pub fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.blocks += 1;
        for (index, out) in &mut self.columns {
            let column = columns
                .get(*index)
                .ok_or_else(|| Error::invalid_input(format!("a block has no column {index}")))?;
            // What a damaged file might hold is not ordered: then nothing is said of it.
            let unknown = || Bounds {
                nulls: column.null_count() as u32,
                range: None,
            };
            let found = bounds(column)?.unwrap_or_else(unknown);
            put_u64(out, u64::from(found.nulls) << 1 | u64::from(found.range.is_some()));
            if let Some((low, high)) = &found.range {
                put_bytes(out, low);
                put_bytes(out, high);
            }
        }
        Ok(())
    }

    /// True if there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0 || self.columns.is_empty()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.blocks as u64);
        put_u64(out, self.columns.len() as u64);
        for (index, bounds) in &self.columns {
            put_u64(out, *index as u64);
            put_bytes(out, bounds);
        }
    }
}

/// The bounds of columns in the blocks of a run. What they say was true of every row, deletes and old versions included.
#[derive(Debug, Clone)]
pub struct Statistics {
    blocks: usize,
    /// Indexes in the run's schema, and where in the section the bounds are.
    columns: Vec<(usize, Buffer)>,
}

impl Statistics {
    pub(super) fn decode(bytes: &Buffer) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        // A block takes a byte in each column, but a table may have none with an order.
        let blocks = reader.len(u32::MAX as usize)?;
        let count = reader.len(reader.remaining() / 2)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let index = reader.len(u32::MAX as usize)?;
            let len = reader.bytes()?.len();
            columns.push((index, bytes.slice_with_length(reader.position() - len, len)));
        }
        if !reader.is_empty() {
            return Err(Error::corruption("the sidecar's statistics are followed by more bytes"));
        }
        Ok(Self { blocks, columns })
    }

    /// How many blocks they are of.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The bounds of a column, by its index in the run's schema, in each block; `None` if nothing is known of it.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no bounds.
    pub fn column(&self, index: usize) -> Result<Option<Vec<Bounds>>> {
        let Some((_, bytes)) = self.columns.iter().find(|(own, _)| *own == index) else {
            return Ok(None);
        };
        let mut reader = Reader::new(bytes);
        let mut all = Vec::with_capacity(self.blocks.min(bytes.len()));
        for _ in 0..self.blocks {
            let head = reader.u64()?;
            let nulls = u32::try_from(head >> 1).map_err(|_| Error::corruption("a block has too many nulls"))?;
            let range = match head & 1 {
                0 => None,
                _ => Some((reader.bytes()?.to_vec(), reader.bytes()?.to_vec())),
            };
            if range.as_ref().is_some_and(|(low, high)| low > high) {
                return Err(Error::corruption("the bounds of a block are the wrong way round"));
            }
            all.push(Bounds { nulls, range });
        }
        match reader.is_empty() {
            true => Ok(Some(all)),
            false => Err(Error::corruption("the bounds of a column are followed by more bytes")),
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// As [`column`](Self::column).
    pub(super) fn verify(&self) -> Result<()> {
        self.columns
            .iter()
            .try_for_each(|(index, _)| self.column(*index).map(drop))
    }
}
