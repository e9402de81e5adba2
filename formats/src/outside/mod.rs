//! Files that others wrote: Feather (Arrow IPC), Parquet and ORC files with any columns, read as record batches.
//!
//! Nothing in such a file is trusted. Every length, offset and count is checked against the file before memory is taken for
//! it; blocks are decompressed here, into memory whose size is bounded beforehand, and only what is then known to fit is
//! handed to the decoders of Arrow, Parquet and ORC. Those are known to panic on some damaged input: they run behind a guard
//! that turns a panic into [`ErrorKind::Corruption`]. Programs must therefore not be
//! built with `panic = "abort"`; [`is_decoding`] lets their panic hooks stay quiet meanwhile.

mod codec;
mod feather;
mod guard;
mod orc;
mod parquet;
mod pieces;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result};

pub use guard::is_decoding;
use pieces::Pieces;

/// Bytes that a block may have once decompressed, whatever its form.
pub(crate) const MAX_DECODED: usize = 1 << 30;
/// Metadata longer than this is refused.
pub(crate) const MAX_METADATA: u64 = 64 << 20;
/// Blocks decompress to at most so many times their size ...
const MAX_RATIO: usize = 1000;
/// ... unless that is no more than this.
const RATIO_FREE: usize = 16 << 20;

/// The formats of files that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Arrow IPC files (Feather V2).
    Feather,
    /// Parquet.
    Parquet,
    /// ORC.
    Orc,
}

impl FileKind {
    /// What a file is, by its first bytes.
    ///
    /// # Errors
    /// `InvalidInput` if it is none of these; those of reading.
    pub fn of(file: &dyn ReadableFile) -> Result<Self> {
        let head = file.read(0, file.len().min(8) as usize)?;
        match head.as_slice() {
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Ok(Self::Feather),
            [b'P', b'A', b'R', b'1', ..] => Ok(Self::Parquet),
            [b'O', b'R', b'C', ..] => Ok(Self::Orc),
            [b'F', b'E', b'A', b'1', ..] => Err(Error::new(
                ErrorKind::Unsupported,
                "the file is in version 1 of Feather: write it anew in version 2 (Arrow IPC)",
            )),
            [b'P', b'A', b'R', b'E', ..] => Err(Error::new(ErrorKind::Unsupported, "the file is encrypted Parquet")),
            _ => Err(Error::invalid_input(
                "the file is neither Feather (Arrow IPC) nor Parquet nor ORC, by its first bytes",
            )),
        }
    }

    /// Its name, as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Feather => "feather",
            Self::Parquet => "parquet",
            Self::Orc => "orc",
        }
    }
}

/// What each format's reader does.
trait Blocks: Send {
    /// The file's columns, with the types that the file gives them.
    fn schema(&self) -> &SchemaRef;

    /// The next block's columns with these indexes, in this order; `None` after the last one. An error is final.
    fn next(&mut self, columns: &[usize]) -> Result<Option<RecordBatch>>;

    /// How much of the file has been read, about, in bytes.
    fn consumed(&self) -> u64;
}

/// A file that someone else wrote.
pub struct OutsideFile {
    kind: FileKind,
    schema: SchemaRef,
    blocks: Box<dyn Blocks>,
    bytes: u64,
}

impl OutsideFile {
    /// Reads what is in a file.
    ///
    /// # Errors
    /// `InvalidInput` for a file of another kind; `Corruption` for a damaged one; `Unsupported` for what cannot be read; those
    /// of reading.
    pub fn open(file: Arc<dyn ReadableFile>) -> Result<Self> {
        let kind = FileKind::of(&*file)?;
        let bytes = file.len();
        let blocks: Box<dyn Blocks> = match kind {
            FileKind::Feather => Box::new(feather::Feather::open(file)?),
            FileKind::Parquet => Box::new(parquet::Parquet::open(file)?),
            FileKind::Orc => Box::new(orc::Orc::open(file)?),
        };
        let raw = blocks.schema();
        let fields: Vec<_> = raw
            .fields()
            .iter()
            .map(|field| match pieces::offered(field.data_type()) {
                Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(data_type)),
                None => Arc::clone(field),
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            kind,
            schema,
            blocks,
            bytes,
        })
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Its columns. Dictionaries have the type of their values; columns of types that tables do not have are listed, but cannot be
    /// read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows of the columns with these indexes, in this order.
    ///
    /// # Errors
    /// `InvalidInput` for an index beyond the columns; `Unsupported` naming a column of a type that is not read.
    pub fn batches(self, columns: &[usize]) -> Result<OutsideBatches> {
        for &index in columns {
            let Some(field) = self.schema.fields().get(index) else {
                return Err(Error::invalid_input(format!("the file has no column {index}")));
            };
            if pieces::offered(field.data_type()).is_none() {
                let message = format!(
                    "column \"{}\" has type {}, which is not read",
                    field.name(),
                    field.data_type()
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        if columns.is_empty() {
            return Err(Error::invalid_input("at least one column must be read"));
        }
        let schema = Arc::new(
            self.schema
                .project(columns)
                .map_err(|error| Error::invalid_input("the columns cannot be chosen").with_source(error))?,
        );
        Ok(OutsideBatches {
            schema,
            blocks: self.blocks,
            columns: columns.to_vec(),
            pieces: None,
            done: false,
        })
    }
}

impl std::fmt::Debug for OutsideFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutsideFile")
            .field("kind", &self.kind)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// The rows of an [`OutsideFile`] in batches of bounded size. After an error it yields nothing more.
pub struct OutsideBatches {
    schema: SchemaRef,
    blocks: Box<dyn Blocks>,
    columns: Vec<usize>,
    pieces: Option<Pieces>,
    done: bool,
}

impl OutsideBatches {
    /// The columns that were asked for.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How much of the file has been read, about, in bytes.
    pub fn consumed(&self) -> u64 {
        self.blocks.consumed()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(pieces) = &mut self.pieces
                && let Some(batch) = guard::guarded(|| pieces.next(&self.schema))?
            {
                return Ok(Some(batch));
            }
            match self.blocks.next(&self.columns)? {
                Some(block) => self.pieces = Some(guard::guarded(|| Pieces::new(&block))?),
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for OutsideBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_batch().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::fmt::Debug for OutsideBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutsideBatches")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Checks that `bytes` may decompress to `len`.
///
/// # Errors
/// `Corruption` if that is more than such a block ever holds.
pub(crate) fn check_decoded(bytes: usize, len: usize, limit: usize) -> Result<()> {
    if len > limit || (len > RATIO_FREE && len / MAX_RATIO > bytes) {
        return Err(Error::corruption(format!(
            "a block of {bytes} bytes claims to decompress to {len}, more than is allowed"
        )));
    }
    Ok(())
}
