//! Block formats: how a run's data file lays out its blocks.
//!
//! **Who checks what.** The writer reports the byte ranges of each block. The engine keeps them, with a CRC32 of each range,
//! in the run's sidecar; on reading it fetches the ranges, verifies lengths and CRCs, and only then calls the decoder. A
//! decoder so sees the bytes that were written, or is not called. It must nevertheless bound what it allocates.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;

use crate::Result;
use crate::block::{Block, Codecs};
use crate::options::Options;
use crate::registry::{Component, impl_factory};
use crate::schema::TableSchema;
use crate::storage::{ReadableFile, WritableFile};

/// Compression of data, where the format has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// LZ4.
    Lz4,
    /// Zstandard, level 3 unless the format says otherwise.
    Zstd,
}

impl Compression {
    /// Every compression, in the order of its numbers in stored settings.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// The name used in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A byte range of a data file, and the checksum of what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// CRC32 (IEEE) of its bytes.
    pub crc: u32,
}

/// Where a block's bytes are: one range, or one for each column where the format stores columns apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHandle {
    /// How many rows the block has.
    pub rows: u32,
    /// The ranges, in the order in which the decoder wants them.
    pub parts: Vec<Part>,
}

impl BlockHandle {
    /// Bytes of all ranges.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len).sum()
    }
}

/// What a finished data file consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileLayout {
    /// The blocks, in the order in which they were written.
    pub blocks: Vec<BlockHandle>,
    /// Ranges of the file that are no block but that [`BlockFormat::open`] needs (a footer); often none.
    pub shared: Vec<Part>,
    /// Length of the file.
    pub file_bytes: u64,
}

/// How a data file is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// Compression of the data.
    pub compression: Compression,
    /// The format's own options.
    pub options: Options,
}

/// Which columns a block must hold once decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// Everything.
    #[default]
    All,
    /// Keys, sequence numbers and operations.
    Keys,
    /// Besides keys, sequence numbers and operations, the table's columns with these indexes, in this order. A key-value
    /// table knows only `All` and `Keys`.
    Columns(Arc<[usize]>),
}

/// What a block format can do.
#[derive(Debug, Clone, Copy)]
pub struct FormatCapabilities {
    /// An uncompressed block is searched in the mapped file as it lies.
    pub random_access_without_decode: bool,
    /// The compressions it offers.
    pub compressions: &'static [Compression],
    /// The files carry statistics that outside readers can prune by.
    pub statistics: bool,
    /// Other tools read the data files.
    pub open: bool,
    /// The ending of data files, without the dot.
    pub extension: &'static str,
    /// Says why the format cannot hold a type, or `None` if it can.
    pub refuses: fn(&DataType) -> Option<String>,
}

impl FormatCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let compressions: Vec<_> = self.compressions.iter().map(|compression| compression.name()).collect();
        vec![
            (
                "random_access_without_decode",
                self.random_access_without_decode.to_string(),
            ),
            ("compressions", compressions.join(" ")),
            ("statistics", self.statistics.to_string()),
            ("open", self.open.to_string()),
            ("extension", self.extension.to_owned()),
        ]
    }

    /// Checks that the format can hold every column of a table.
    ///
    /// # Errors
    /// `InvalidInput` naming column and type.
    pub fn check(&self, format: &str, schema: &TableSchema) -> Result<()> {
        for field in schema.columns().fields() {
            if let Some(reason) = (self.refuses)(field.data_type()) {
                return Err(crate::Error::invalid_input(format!(
                    "format \"{format}\" cannot hold column \"{}\" of type {}: {reason}",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(())
    }
}

/// A block format.
pub trait BlockFormat: Send + Sync + Debug {
    /// Starts a data file for runs of a table.
    fn create(
        &self,
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        options: &WriteOptions,
    ) -> Result<Box<dyn BlockWriter>>;

    /// Makes a decoder for the blocks of one data file; `shared` holds the verified bytes of [`FileLayout::shared`].
    /// `max_decoded` bounds the memory of one decoded block, in bytes.
    ///
    /// # Errors
    /// `Corruption` if the shared bytes are not what the writer writes; `Unsupported` for a newer version.
    fn open(
        &self,
        schema: &TableSchema,
        codecs: &Codecs,
        shared: &[Buffer],
        max_decoded: usize,
    ) -> Result<Arc<dyn BlockDecoder>>;

    /// Finds the layout of a data file without its sidecar, for repair: reads the format's own footer, checks every length
    /// against the file before it allocates, and computes the CRCs anew.
    ///
    /// # Errors
    /// `Corruption` for a file that this format did not write or that is damaged.
    fn recover(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout>;

    /// As [`recover`](Self::recover), for verification: also looks at what the engine has no need of and readers of other programs go by.
    ///
    /// # Errors
    /// As there.
    fn check(&self, file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
        self.recover(file, schema)
    }
}

/// Writes the blocks of one data file.
pub trait BlockWriter: Send {
    /// Writes `batch` as one block; its columns are [`TableSchema::run_columns`]. It has at least one row.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Bytes written so far, buffered ones estimated: to tell when the file is large enough.
    fn estimated_bytes(&self) -> u64;

    /// Finishes the file, syncing it if asked.
    fn finish(self: Box<Self>, sync: bool) -> Result<FileLayout>;
}

/// Decodes the blocks of one data file. Used from any thread.
pub trait BlockDecoder: Send + Sync + Debug {
    /// Decodes one block from the verified bytes of its parts (one buffer for each of [`BlockHandle::parts`]; aligned to at
    /// least 8 bytes, possibly inside a mapped file). An uncompressed block of a format with `random_access_without_decode`
    /// refers to the buffers instead of copying.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not what the writer writes, or would decode to more than `max_decoded`.
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>>;

    /// As [`decode`](Self::decode), of a block that was decoded before without an error, from the same bytes and perhaps to other
    /// columns: what was found good then of sequence numbers and operations need not be looked at again.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_again(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        self.decode(handle, parts, projection)
    }
}

/// Makes a block format.
#[derive(Debug)]
pub struct FormatFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What it can do.
    pub capabilities: FormatCapabilities,
    /// The format. Options apply when writing; files written with any options can be read.
    pub create: fn() -> Arc<dyn BlockFormat>,
}

impl_factory!(FormatFactory, "block format");
