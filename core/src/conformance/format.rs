//! Conformance of block formats.
//!
//! [`check`] runs everything for one format and one compression. Files live in memory, so that the suite needs no storage.
//!
//! # Panics
//! Every function here panics when the format breaks a promise of its trait, saying which.

mod damage;
mod kv;
mod nested;
mod typed;

use std::io;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;

use crate::block::{Block, Codecs};
use crate::format::{
    BlockDecoder, BlockHandle, Compression, FileLayout, FormatFactory, Part, Projection, WriteOptions,
};
use crate::options::Options;
use crate::schema::TableSchema;
use crate::storage::{ReadableFile, WritableFile};
use crate::{Error, Result};

pub use damage::{damage_never_panics, decoded_memory_is_bounded};
pub use kv::{blocks_round_trip, finds_agree_with_a_model, random_batches, the_layout_is_true};
pub use nested::{nested_columns_round_trip, nested_table, random_column, random_nested};
pub use typed::{refused_types_are_refused, typed_tables_round_trip};

/// A limit on decoded memory that no block of the suite reaches.
pub const AMPLE: usize = 64 << 20;

/// Runs the whole suite.
pub fn check(factory: &FormatFactory, compression: Compression) {
    blocks_round_trip(factory, compression);
    finds_agree_with_a_model(factory, compression);
    the_layout_is_true(factory, compression);
    typed_tables_round_trip(factory, compression);
    nested_columns_round_trip(factory, compression);
    refused_types_are_refused(factory, compression);
    damage_never_panics(factory, compression);
    decoded_memory_is_bounded(factory, compression);
}

/// A file in memory, being written.
#[derive(Debug, Clone, Default)]
pub struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryFile {
    /// What has been written.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no writer panicked").clone()
    }
}

impl io::Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WritableFile for MemoryFile {
    fn position(&self) -> u64 {
        self.0.lock().expect("no writer panicked").len() as u64
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _sync: bool) -> Result<()> {
        Ok(())
    }
}

/// A finished file in memory.
#[derive(Debug, Clone)]
pub struct MemoryBytes(pub Vec<u8>);

impl ReadableFile for MemoryBytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match start.checked_add(len).and_then(|end| self.0.get(start..end)) {
            Some(bytes) => Ok(Buffer::from(bytes)),
            None => Err(Error::corruption("the file ends before").with_offset(offset)),
        }
    }

    fn map(&self) -> Result<Option<Buffer>> {
        Ok(None)
    }
}

/// A written data file, and what is needed to read it.
#[derive(Debug)]
pub struct Written {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What the writer said of them.
    pub layout: FileLayout,
    /// Of the table.
    pub codecs: Codecs,
    decoder: Arc<dyn BlockDecoder>,
}

impl Written {
    /// Writes `batches` as one file, one block each, with default options.
    ///
    /// # Errors
    /// Those of the format.
    pub fn new(
        factory: &FormatFactory,
        compression: Compression,
        schema: &TableSchema,
        batches: &[RecordBatch],
        max_decoded: usize,
    ) -> Result<Self> {
        let options = WriteOptions {
            compression,
            options: Options::defaults(factory.component.options),
        };
        Self::with_options(factory, &options, schema, batches, max_decoded)
    }

    /// As [`new`](Self::new), with options of the caller's.
    ///
    /// # Errors
    /// Those of the format.
    pub fn with_options(
        factory: &FormatFactory,
        options: &WriteOptions,
        schema: &TableSchema,
        batches: &[RecordBatch],
        max_decoded: usize,
    ) -> Result<Self> {
        let format = (factory.create)();
        let file = MemoryFile::default();
        let mut writer = format.create(Box::new(file.clone()), schema, options)?;
        for batch in batches {
            let before = writer.estimated_bytes();
            writer.write(batch)?;
            assert!(writer.estimated_bytes() > before, "a block adds to the estimated size");
        }
        let layout = writer.finish(true)?;
        let bytes = file.bytes();
        let codecs = Codecs::new(schema);
        let shared: Vec<_> = layout.shared.iter().map(|part| fetch(&bytes, part)).collect();
        let decoder = format.open(schema, &codecs, &shared, max_decoded)?;
        Ok(Self {
            bytes,
            layout,
            codecs,
            decoder,
        })
    }

    /// Decodes a block as the engine does.
    ///
    /// # Errors
    /// Those of the decoder.
    pub fn block(&self, index: usize, projection: &Projection) -> Result<Arc<dyn Block>> {
        let handle = &self.layout.blocks[index];
        let parts: Vec<_> = handle.parts.iter().map(|part| fetch(&self.bytes, part)).collect();
        self.decode(handle, &parts, projection)
    }

    /// Decodes a block from bytes of the caller's.
    ///
    /// # Errors
    /// Those of the decoder.
    pub fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        self.decoder.decode(handle, parts, projection)
    }
}

/// The bytes of a part, in memory of their own.
pub fn fetch(file: &[u8], part: &Part) -> Buffer {
    Buffer::from(&file[part.offset as usize..(part.offset + part.len) as usize])
}

/// Small, seeded, good enough to draw test data (SplitMix64).
#[derive(Debug, Clone)]
pub struct Draw(pub u64);

impl Draw {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit.max(1) as u64) as usize
    }
}
