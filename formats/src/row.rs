//! `row`: Kodiak's own blocks of entries, key prefixes shared, with restart points.
//!
//! What LevelDB's family has used since 2011, in a layout of Kodiak's own: the yardstick for what the open formats cost.
//! A point read searches the restart points in place and then walks at most `restart_interval` entries; a scan decodes the
//! block to columns. See `docs/formats/row.md` for the bytes.

mod block;
mod file;
mod layout;

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use kodiak_core::block::{Block, Codecs};
use kodiak_core::format::{
    BlockDecoder, BlockFormat, BlockHandle, BlockWriter, Compression, FileLayout, FormatCapabilities, FormatFactory,
    Projection, WriteOptions,
};
use kodiak_core::options::{OptionKind, OptionSpec};
use kodiak_core::registry::Component;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::{ReadableFile, WritableFile};
use kodiak_core::{Error, Result};

use crate::columns::Outputs;

/// Rows.
pub static FACTORY: FormatFactory = FormatFactory {
    component: Component {
        name: "row",
        summary: "Prefix-compressed entries with restart points, for Kodiak alone: small and quick to search.",
        options: &[OptionSpec {
            name: RESTART_INTERVAL,
            kind: OptionKind::Int {
                default: 16,
                range: (1, 1024),
            },
            help: "Entries from one restart point, where a key is stored whole, to the next.",
        }],
    },
    capabilities: FormatCapabilities {
        random_access_without_decode: true,
        compressions: &Compression::ALL,
        statistics: false,
        open: false,
        extension: "row",
        refuses,
    },
    create: || Arc::new(Rows),
};

const RESTART_INTERVAL: &str = "restart_interval";

#[derive(Debug)]
struct Rows;

impl BlockFormat for Rows {
    fn create(
        &self,
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        options: &WriteOptions,
    ) -> Result<Box<dyn BlockWriter>> {
        FACTORY.capabilities.check(FACTORY.component.name, schema)?;
        let interval = options.options.size(RESTART_INTERVAL);
        Ok(Box::new(file::RowWriter::new(
            file,
            schema,
            options.compression,
            interval,
        )?))
    }

    fn open(
        &self,
        schema: &TableSchema,
        codecs: &Codecs,
        shared: &[Buffer],
        max_decoded: usize,
    ) -> Result<Arc<dyn BlockDecoder>> {
        if !shared.is_empty() {
            return Err(Error::corruption("a row file has no ranges shared by its blocks"));
        }
        let table = block::Table {
            schema: schema.clone(),
            codecs: codecs.clone(),
            outputs: Outputs::new(schema, codecs),
            max_decoded,
        };
        Ok(Arc::new(RowDecoder(Arc::new(table))))
    }

    fn recover(&self, file: &dyn ReadableFile, _schema: &TableSchema) -> Result<FileLayout> {
        file::recover(file)
    }
}

#[derive(Debug)]
struct RowDecoder(Arc<block::Table>);

impl BlockDecoder for RowDecoder {
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        let [part] = parts else {
            return Err(Error::corruption(format!(
                "a row block has one part, not {}",
                parts.len()
            )));
        };
        let block = block::RowBlock::decode(&self.0, part, projection)?;
        if block.rows() != handle.rows as usize {
            return Err(Error::corruption(format!(
                "a block has {} rows, not {}",
                block.rows(),
                handle.rows
            )));
        }
        Ok(Arc::new(block))
    }
}

/// Whatever the row codec encodes can be stored; it refuses the rest when the schema is made.
fn refuses(_data_type: &DataType) -> Option<String> {
    None
}
