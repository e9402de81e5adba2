//! `parquet`: ordinary Parquet files, laid out so that a point read costs about as much as in a row block.
//!
//! A block is not a row group but a set of aligned pages: one data page for each column, all covering the same rows. A row
//! group holds many blocks, so the metadata stays small and other tools read in large strokes, while the engine fetches
//! just the pages of one block. The pages use encodings that need little or no decoding (no dictionaries): fixed-width
//! values as they are, byte arrays as packed lengths followed by all bytes, which become an Arrow array without copying
//! them. The decoder goes from page bytes to columns by itself, past the general reader of the `parquet` crate. Nested columns
//! have a page for each kind of value inside.
//!
//! The file is described in `docs/formats/parquet.md`.

mod assemble;
mod chunk;
mod codec;
mod decode;
mod delta;
mod encode;
pub(crate) mod footer;
mod index;
mod levels;
mod nulls;
mod page;
mod plan;
pub(crate) mod recover;
mod shred;
mod stats;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod thrift;
mod writer;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use kodiak_core::block::{Block, Codecs, ColumnBlock, Values};
use kodiak_core::format::{
    BlockDecoder, BlockFormat, BlockHandle, BlockWriter, Compression, FileLayout, FormatCapabilities, FormatFactory,
    Projection, WriteOptions,
};
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::Component;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::{ReadableFile, WritableFile};
use kodiak_core::{Error, Result};

use crate::budget::Budget;
use crate::columns::{self, Outputs};
use assemble::{Leaf, assemble};
use decode::Page;
use plan::{Column, Plan};

/// The `parquet` format.
pub const FACTORY: FormatFactory = FormatFactory {
    component: Component {
        name: "parquet",
        summary: "Parquet files whose pages line up with blocks: read by nearly every tool, with bounds and checksums.",
        options: &[OptionSpec {
            name: "row_group_bytes",
            kind: OptionKind::Bytes {
                default: 8 << 20,
                range: (64 << 10, 1 << 30),
            },
            help: "A row group ends once it has this many bytes; so much is held in memory for each file being written.",
        }],
    },
    capabilities: FormatCapabilities {
        random_access_without_decode: false,
        compressions: &Compression::ALL,
        statistics: true,
        open: true,
        extension: "parquet",
        refuses: plan::refuses,
    },
    create: || Arc::new(Parquet),
};

/// A writer of a file with these columns and no others.
///
/// # Errors
/// `InvalidInput` naming a column that cannot be held; those of writing.
pub(crate) fn plain(
    file: Box<dyn WritableFile>,
    columns: &SchemaRef,
    options: &WriteOptions,
) -> Result<Box<dyn BlockWriter>> {
    let options = WriteOptions {
        options: Options::defaults(FACTORY.component.options),
        ..options.clone()
    };
    let plan = Plan::of(SchemaRef::clone(columns), None)?;
    Ok(Box::new(writer::Writer::of(file, plan, None, &options)?))
}

#[derive(Debug)]
struct Parquet;

impl BlockFormat for Parquet {
    fn create(
        &self,
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        options: &WriteOptions,
    ) -> Result<Box<dyn BlockWriter>> {
        Ok(Box::new(writer::Writer::new(file, schema, options)?))
    }

    fn open(
        &self,
        schema: &TableSchema,
        codecs: &Codecs,
        shared: &[Buffer],
        max_decoded: usize,
    ) -> Result<Arc<dyn BlockDecoder>> {
        let [metadata] = shared else {
            return Err(Error::corruption(format!(
                "a Parquet file has one shared part, not {}",
                shared.len()
            )));
        };
        let plan = Plan::new(schema)?;
        let footer = footer::Footer::parse(metadata, true)?;
        footer.check(&plan)?;
        let codec = footer
            .groups
            .first()
            .and_then(|group| group.chunks.first())
            .map(|chunk| chunk.codec);
        let compression = codec.map_or(Ok(Compression::None), codec::from_number)?;
        Ok(Arc::new(Decoder {
            outputs: Outputs::new(schema, codecs),
            plan,
            compression,
            max_decoded,
        }))
    }

    fn recover(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
        recover::recover(file, &Plan::new(schema)?)
    }
}

#[derive(Debug)]
struct Decoder {
    outputs: Outputs,
    plan: Plan,
    compression: Compression,
    max_decoded: usize,
}

impl BlockDecoder for Decoder {
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        if parts.len() != self.plan.columns.len() {
            return Err(Error::corruption(format!(
                "a block has {} parts where the table's runs have {} columns of plain values",
                parts.len(),
                self.plan.columns.len()
            )));
        }
        let block = Pages {
            decoder: self,
            rows: handle.rows as usize,
            parts,
        };
        let mut budget = Budget::new(self.max_decoded);
        let block = if self.outputs.schema().is_key_value() {
            block.key_value(projection, &mut budget)
        } else {
            block.typed(projection, &mut budget)
        };
        block
            .map(|block| Arc::new(block) as Arc<dyn Block>)
            .map_err(|error| match handle.parts.first() {
                Some(part) => error.with_offset(part.offset),
                None => error,
            })
    }
}

/// The pages of one block.
struct Pages<'a> {
    decoder: &'a Decoder,
    rows: usize,
    parts: &'a [Buffer],
}

impl Pages<'_> {
    fn column(&self, index: usize) -> &Column {
        &self.decoder.plan.columns[index]
    }

    fn page(&self, index: usize, budget: &mut Budget) -> Result<Page> {
        Page::open(
            self.column(index),
            self.decoder.compression,
            &self.parts[index],
            self.rows,
            budget,
        )
    }

    /// Does `read` with the page of a column, naming the column should it fail.
    fn read<T>(
        &self,
        index: usize,
        budget: &mut Budget,
        read: impl FnOnce(Page, &mut Budget) -> Result<T>,
    ) -> Result<T> {
        self.page(index, budget)
            .and_then(|page| read(page, budget))
            .map_err(|error| self.damaged(index, error))
    }

    /// The table's column with this index.
    fn array(&self, index: usize, budget: &mut Budget) -> Result<ArrayRef> {
        let node = &self.decoder.plan.nodes[index];
        if node.is_flat() {
            let leaf = node.leaves.start;
            return self.read(leaf, budget, |page, budget| page.array(self.column(leaf), budget));
        }
        let mut leaves = Vec::with_capacity(node.leaves.len());
        for leaf in node.leaves.clone() {
            let read = |budget: &mut Budget| {
                let (column, part) = (self.column(leaf), &self.parts[leaf]);
                let (page, levels) = Page::open_nested(column, self.decoder.compression, part, self.rows, budget)?;
                Ok(Leaf {
                    values: page.array(column, budget)?,
                    levels,
                })
            };
            leaves.push(read(budget).map_err(|error| self.damaged(leaf, error))?);
        }
        assemble(node, &leaves, budget).map_err(|error| self.damaged(node.leaves.start, error))
    }

    fn damaged(&self, leaf: usize, error: Error) -> Error {
        let message = format!(
            "column \"{}\" of a Parquet block is damaged: {}",
            self.column(leaf).name,
            error.message()
        );
        Error::new(error.kind(), message).with_source(error)
    }

    fn key_value(&self, projection: &Projection, budget: &mut Budget) -> Result<ColumnBlock> {
        let needed = columns::needed(self.decoder.outputs.schema(), projection)?;
        let keys = self.read(0, budget, |page, budget| page.binary(budget))?;
        let values = match needed[1] {
            true => Values::Binary(self.read(1, budget, |page, budget| page.binary(budget))?),
            false => Values::Absent,
        };
        let seqs = self.read(2, budget, |page, budget| page.longs(budget))?;
        let ops = self.read(3, budget, |page, budget| page.bytes8(budget))?;
        ColumnBlock::new(keys, seqs, ops, values)
    }

    fn typed(&self, projection: &Projection, budget: &mut Budget) -> Result<ColumnBlock> {
        let outputs = &self.decoder.outputs;
        let needed = columns::needed(outputs.schema(), projection)?;
        let mut own = Vec::with_capacity(needed.len());
        for (index, &needed) in needed.iter().enumerate() {
            own.push(if needed { Some(self.array(index, budget)?) } else { None });
        }
        let hidden = self.parts.len() - 2;
        let seqs = self.read(hidden, budget, |page, budget| page.longs(budget))?;
        let ops = self.read(hidden + 1, budget, |page, budget| page.bytes8(budget))?;
        outputs.assemble(projection, &own, seqs, ops)
    }
}
