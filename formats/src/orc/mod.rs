//! `orc`: ordinary ORC files, one stripe for each block.
//!
//! Stripes are written and decoded here; the `orc-rust` crate lends the messages of ORC's metadata, and reads the files in
//! the tests. Its own reader allocates what lengths claim and panics on what it does not expect, and its writer holds fewer
//! types. The encodings are the few that suit blocks: no dictionaries, integers in runs of constant difference or at whole
//! bytes, byte arrays as lengths and all bytes, which become an Arrow array without copying if they are not compressed.
//!
//! The file is described in `docs/formats/orc.md`.

mod chunks;
mod decode;
mod encode;
mod rle;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod times;
mod types;
mod writer;

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use kodiak_core::block::{Block, Codecs, ColumnBlock, Values};
use kodiak_core::format::{
    BlockDecoder, BlockFormat, BlockHandle, BlockWriter, Compression, FileLayout, FormatCapabilities, FormatFactory,
    Projection, WriteOptions,
};
use kodiak_core::registry::Component;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::{ReadableFile, WritableFile};
use kodiak_core::{Error, Result};

use crate::budget::Budget;
use crate::columns::{self, Outputs};
use decode::Stripe;
use types::Column;

/// The `orc` format.
pub const FACTORY: FormatFactory = FormatFactory {
    component: Component {
        name: "orc",
        summary: "ORC files with a stripe for each block: for tools that read ORC.",
        options: &[],
    },
    capabilities: FormatCapabilities {
        random_access_without_decode: false,
        compressions: &Compression::ALL,
        statistics: true,
        open: true,
        extension: "orc",
        refuses: types::refuses,
    },
    create: || Arc::new(Orc),
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
    Ok(Box::new(writer::Writer::of(
        file,
        types::columns_of(columns)?,
        options,
    )?))
}

#[derive(Debug)]
struct Orc;

impl BlockFormat for Orc {
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
        let [postscript] = shared else {
            return Err(Error::corruption(format!(
                "an ORC file has one shared part, not {}",
                shared.len()
            )));
        };
        let compression = tail::Postscript::read(postscript)?.compression;
        let columns = types::columns(schema)?;
        Ok(Arc::new(Decoder {
            outputs: Outputs::new(schema, codecs),
            columns,
            compression,
            max_decoded,
        }))
    }

    fn recover(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
        tail::recover(file, &types::columns(schema)?)
    }
}

#[derive(Debug)]
struct Decoder {
    outputs: Outputs,
    columns: Vec<Column>,
    compression: Compression,
    max_decoded: usize,
}

impl Decoder {
    fn block(&self, stripe: &Stripe, projection: &Projection, budget: &mut Budget) -> Result<ColumnBlock> {
        let needed = columns::needed(self.outputs.schema(), projection)?;
        let own = needed.len();
        let named = |index: usize, error: Error| {
            let message = format!(
                "column \"{}\" of an ORC stripe is damaged: {}",
                self.columns[index].name,
                error.message()
            );
            Error::new(error.kind(), message).with_source(error)
        };
        let number = |index: usize| self.columns[index].number;
        let seqs = stripe.longs(number(own), budget).map_err(|error| named(own, error))?;
        let ops = stripe
            .bytes8(number(own + 1), budget)
            .map_err(|error| named(own + 1, error))?;
        if self.outputs.schema().is_key_value() {
            let keys = stripe.binary(number(0), budget).map_err(|error| named(0, error))?;
            let values = match needed[1] {
                true => Values::Binary(stripe.binary(number(1), budget).map_err(|error| named(1, error))?),
                false => Values::Absent,
            };
            return ColumnBlock::new(keys, seqs, ops, values);
        }
        let mut arrays = Vec::with_capacity(own);
        for (index, &needed) in needed.iter().enumerate() {
            arrays.push(match needed {
                true => Some(
                    stripe
                        .array(&self.columns[index], budget)
                        .map_err(|error| named(index, error))?,
                ),
                false => None,
            });
        }
        self.outputs.assemble(projection, &arrays, seqs, ops)
    }
}

impl BlockDecoder for Decoder {
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        let [data, footer] = parts else {
            return Err(Error::corruption(format!(
                "a block of an ORC file has two parts, not {}",
                parts.len()
            )));
        };
        let mut budget = Budget::new(self.max_decoded);
        let block = Stripe::open(self.compression, data, footer, handle.rows as usize, &mut budget)
            .and_then(|stripe| self.block(&stripe, projection, &mut budget));
        match block {
            Ok(block) => Ok(Arc::new(block)),
            Err(error) => Err(match handle.parts.first() {
                Some(part) => error.with_offset(part.offset),
                None => error,
            }),
        }
    }
}
