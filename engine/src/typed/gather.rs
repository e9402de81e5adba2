//! Rows from many places, put together as one record batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use kodiak_core::block::{ColumnBlock, Values};
use kodiak_core::format::Projection;
use kodiak_core::rowcodec::RowDecoder;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::Target;
use super::columns::{columns_of, some_columns};
use super::pieces::Pieces;
use super::sizes::value_bytes;
use crate::run::Wanted;

/// Which columns a read hands out.
#[derive(Debug, Clone)]
pub struct Columns {
    /// The schema that is read by.
    target: Target,
    /// Their indexes in that schema, in the order asked for.
    indexes: Arc<[usize]>,
    /// The schema of what is handed out.
    output: SchemaRef,
    /// What blocks are decoded to.
    projection: Projection,
    /// The columns that blocks made of rows in memory have; nullable, because deletes have none.
    made: SchemaRef,
}

impl Columns {
    /// The named columns of a table, all if `names` is `None`, and behind them those of `also` that are not among them, by
    /// index. With `whole`, blocks are decoded whole: rows must be merged as bytes.
    ///
    /// # Errors
    /// `InvalidInput` for a column that the table does not have, listing those there are.
    pub fn new(target: Target, names: Option<&[String]>, also: &[usize], whole: bool) -> Result<Self> {
        let schema = target.schema();
        let own = schema.columns();
        let mut indexes: Vec<usize> = match names {
            None => (0..own.fields().len()).collect(),
            Some(names) => names.iter().map(|name| index_of(own, name)).collect::<Result<_>>()?,
        };
        let more = also.iter().filter(|index| !indexes.contains(index));
        indexes.extend(more.copied().collect::<Vec<_>>());
        let indexes: Arc<[usize]> = indexes.into();
        let output = match names {
            None => Arc::clone(own),
            Some(_) => {
                let fields: Vec<_> = indexes.iter().map(|&index| Arc::clone(&own.fields()[index])).collect();
                Arc::new(Schema::new_with_metadata(fields, own.metadata().clone()))
            }
        };
        // Blocks are whole or have fewer columns than the table: so they are told apart.
        let projection = if names.is_none() || whole || indexes.len() >= own.fields().len() {
            Projection::All
        } else if !schema.is_key_value() {
            Projection::Columns(Arc::clone(&indexes))
        } else if indexes.contains(&1) {
            Projection::All
        } else {
            Projection::Keys
        };
        let nullable = |index: usize| own.field(index).clone().with_nullable(true);
        let made = match &projection {
            Projection::Columns(indexes) => indexes.iter().map(|&index| nullable(index)).collect::<Vec<_>>(),
            _ => (0..own.fields().len()).map(nullable).collect(),
        };
        Ok(Self {
            made: Arc::new(Schema::new(made)),
            target,
            indexes,
            output,
            projection,
        })
    }

    /// Where a column of the table is in what is handed out.
    pub fn place(&self, index: usize) -> Option<usize> {
        self.indexes.iter().position(|&known| known == index)
    }

    /// Their indexes in the schema that is read by, in the order asked for.
    pub fn indexes(&self) -> &[usize] {
        &self.indexes
    }

    /// The schema of what is handed out.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// What blocks must be decoded to, at least.
    pub fn wanted(&self) -> Wanted {
        Wanted::new(self.projection.clone(), self.target.schema())
    }

    /// The schema that is read by.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The values of a block of encoded rows, as a block of a run would have them; null rows are null in all columns.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no row of the table.
    pub fn of_rows(&self, keys: &BinaryArray, values: &BinaryArray) -> Result<Values> {
        if self.target.schema().is_key_value() {
            return Ok(match self.projection {
                Projection::Keys => Values::Absent,
                _ => Values::Binary(BinaryArray::new(
                    values.offsets().clone(),
                    values.values().clone(),
                    None,
                )),
            });
        }
        let wanted = match &self.projection {
            Projection::Columns(indexes) => Some(indexes.as_ref()),
            _ => None,
        };
        self.of_columns(some_columns(&self.target, keys, values, wanted)?, keys.len())
    }

    /// A decoder of about `rows` rows of the schema that is read by, one after the other, if the table is typed.
    ///
    /// # Errors
    /// As [`RowCodec::decoder`](kodiak_core::rowcodec::RowCodec::decoder).
    pub fn decoder(&self, rows: usize) -> Result<Option<RowDecoder>> {
        if self.target.schema().is_key_value() {
            return Ok(None);
        }
        let wanted = |index: usize| match &self.projection {
            Projection::Columns(indexes) => indexes.contains(&index),
            _ => true,
        };
        self.target.codecs().row.decoder(rows, &wanted).map(Some)
    }

    /// As [`of_rows`](Self::of_rows), of values that were decoded.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no key or row of the table.
    pub fn of_decoded(&self, keys: &BinaryArray, values: RowDecoder) -> Result<Values> {
        let values = values.finish()?;
        let columns = match &self.projection {
            Projection::Columns(indexes) => columns_of(&self.target, keys, values, indexes)?,
            _ => {
                let all: Vec<usize> = (0..self.made.fields().len()).collect();
                columns_of(&self.target, keys, values, &all)?
            }
        };
        self.of_columns(columns, keys.len())
    }

    fn of_columns(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<Values> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.made), columns, &options)
            .map_err(|error| Error::corruption("rows do not fit the table's schema").with_source(error))?;
        Ok(Values::Columns(batch, Arc::clone(&self.target.codecs().row)))
    }

    /// Column `position` of what is handed out, of a block decoded whole or as [`wanted`](Self::wanted) says.
    pub fn of_block(&self, block: &ColumnBlock, position: usize) -> Result<ArrayRef> {
        let index = self.indexes[position];
        match block.values() {
            Values::Columns(batch, codec) => {
                let whole = |schema: &TableSchema| batch.num_columns() == schema.columns().fields().len();
                if codec.number() == self.target.version().number() {
                    let place = if whole(self.target.schema()) { index } else { position };
                    return Ok(Arc::clone(batch.column(place)));
                }
                let source = self.target.source(block)?;
                let number = |index: usize| self.target.schema().column_number(index);
                let own = |index: usize| source.schema.index_of_number(number(index));
                let Some(place) = own(index) else {
                    return self.target.missing(block, index);
                };
                // A part has those of the columns asked for that the run has.
                let place = match whole(&source.schema) {
                    true => place,
                    false => self.indexes[..position]
                        .iter()
                        .filter(|&&index| own(index).is_some())
                        .count(),
                };
                self.target.convert(&source, batch.column(place), index)
            }
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

/// The index of a column.
///
/// # Errors
/// `InvalidInput` if there is none of that name, listing those there are.
pub fn index_of(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let known = super::conform::names(schema.fields());
        Error::invalid_input(format!("there is no column \"{name}\"; the columns are {known}"))
    })
}

/// Collects rows in order.
pub struct Gather {
    columns: Columns,
    pieces: Pieces,
    /// Bytes that the rows take, about.
    bytes: usize,
    /// Bytes of a row of each block, about.
    row_bytes: Vec<usize>,
    /// How often a batch was made.
    round: u64,
}

impl Gather {
    /// Nothing collected.
    pub fn new(columns: Columns) -> Self {
        Self {
            columns,
            pieces: Pieces::default(),
            bytes: 0,
            row_bytes: Vec::new(),
            round: 0,
        }
    }

    /// The columns that it makes.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.pieces.rows()
    }

    /// Bytes collected, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes with every batch that is made: then blocks get other numbers.
    #[inline]
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Gives a block a number, for the batch at hand.
    pub fn add_block(&mut self, block: &Arc<ColumnBlock>) -> usize {
        self.row_bytes.push(value_bytes(block) / block.rows());
        self.pieces.add_block(block)
    }

    /// Adds rows `from..to` of the block with this number.
    #[inline]
    pub fn push(&mut self, number: usize, from: usize, to: usize) {
        self.pieces.push(number as u32, from, to);
        self.bytes += self.row_bytes[number] * (to - from);
    }

    /// Adds row `row` of the block with the number `over`, and puts a row of another block in its place.
    #[inline]
    pub fn push_over(&mut self, (over, row): (usize, usize), (number, with): (usize, usize)) {
        self.pieces.push(over as u32, row, row + 1);
        self.pieces.replace_last(number as u32, with);
        self.bytes += self.row_bytes[number];
    }

    /// Adds rows `from..to` of a block.
    pub fn push_rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) {
        let number = self.pieces.push_rows(block, from, to);
        if number == self.row_bytes.len() {
            self.row_bytes.push(value_bytes(block) / block.rows());
        }
        self.bytes += self.row_bytes[number] * (to - from);
    }

    /// Adds a row given as bytes.
    pub fn push_bytes(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.pieces.push_bytes(key, Some(value));
    }

    /// Makes a record batch of what was collected, and starts anew.
    ///
    /// # Errors
    /// `Corruption` for encoded rows that are none; `Unsupported` if a dictionary column has more values in these rows than
    /// its indexes can count.
    pub fn take(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        self.round += 1;
        self.row_bytes.clear();
        let columns = &self.columns;
        let rows = self.pieces.take().finish(&columns.target)?;
        let column = |(position, &index): (usize, &usize)| {
            let name = columns.output.field(position).name();
            rows.column(index, name, |block| columns.of_block(block, position))
        };
        columns.batch(
            columns.indexes.iter().enumerate().map(column).collect::<Result<_>>()?,
            rows.rows(),
        )
    }
}
