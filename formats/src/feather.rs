//! `feather`: Arrow IPC files (Feather V2), one record batch a block.
//!
//! The file is what any Arrow reader opens: schema message, record batches of the run's columns, end of stream, footer.
//! Every message and every buffer begins at a multiple of 64 bytes, so an uncompressed block is used where it lies, in a
//! mapped file or in memory, without copying. See `docs/formats/feather.md`.
//!
//! Messages are written and read here, not by arrow-ipc's readers: those panic and over-allocate on damaged input, and
//! cannot bound what an LZ4 frame decodes to. Their flatbuffer definitions, which verify what they are given, are used.

mod leaf;
mod read;
pub(crate) mod recover;
mod shape;
mod write;

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use kodiak_core::block::Codecs;
use kodiak_core::format::{
    BlockDecoder, BlockFormat, BlockWriter, Compression, FileLayout, FormatCapabilities, FormatFactory, WriteOptions,
};
use kodiak_core::registry::Component;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::{ReadableFile, WritableFile};
use kodiak_core::{Error, Result};

use shape::{Shape, stored};

/// Feather.
pub static FACTORY: FormatFactory = FormatFactory {
    component: Component {
        name: NAME,
        summary: "Arrow IPC (Feather) files, searched in place when uncompressed: the fastest to read and to write.",
        options: &[],
    },
    capabilities: CAPABILITIES,
    create: || Arc::new(Feather),
};

const NAME: &str = "feather";

const CAPABILITIES: FormatCapabilities = FormatCapabilities {
    random_access_without_decode: true,
    compressions: &Compression::ALL,
    statistics: false,
    open: true,
    extension: "feather",
    refuses,
};

/// The file begins and ends with it.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Messages and buffers begin at multiples of it.
const ALIGNMENT: usize = 64;
/// Before the length of each message.
const CONTINUATION: [u8; 4] = [0xFF; 4];

#[derive(Debug)]
struct Feather;

impl BlockFormat for Feather {
    fn create(
        &self,
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        options: &WriteOptions,
    ) -> Result<Box<dyn BlockWriter>> {
        CAPABILITIES.check(NAME, schema)?;
        Ok(Box::new(write::FeatherWriter::new(file, schema, options.compression)?))
    }

    fn open(
        &self,
        schema: &TableSchema,
        codecs: &Codecs,
        shared: &[Buffer],
        max_decoded: usize,
    ) -> Result<Arc<dyn BlockDecoder>> {
        CAPABILITIES.check(NAME, schema)?;
        if !shared.is_empty() {
            return Err(Error::corruption("a Feather file has no ranges shared by its blocks"));
        }
        Ok(Arc::new(read::FeatherDecoder::new(schema, codecs, max_decoded)))
    }

    fn recover(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
        CAPABILITIES.check(NAME, schema)?;
        recover::recover(file, schema)
    }

    fn check(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
        let layout = self.recover(file, schema)?;
        recover::check_stream(file, schema, &layout)?;
        Ok(layout)
    }
}

fn refuses(data_type: &DataType) -> Option<String> {
    stored(data_type).err()
}

/// The columns of a run as they lie in its file. The schema has passed [`FormatCapabilities::check`].
fn file_columns(schema: &TableSchema) -> SchemaRef {
    plain_columns(&schema.run_columns())
}

/// Columns with the types that they have in data files of this format: dictionaries have that of their values, views offsets.
pub fn plain_columns(columns: &SchemaRef) -> SchemaRef {
    let fields = columns.fields().iter().map(|field| match stored(field.data_type()) {
        Ok(stored) if stored != *field.data_type() => Arc::new(field.as_ref().clone().with_data_type(stored)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        columns.metadata().clone(),
    ))
}

/// The shapes of the columns of a file.
fn shapes(columns: &SchemaRef) -> Vec<Shape> {
    let fields = columns.fields().iter();
    fields.filter_map(|field| Shape::of(field.data_type())).collect()
}
