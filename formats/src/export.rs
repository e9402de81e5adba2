//! Writing plain files for others: the columns of a table and nothing else.

mod dictionaries;
#[cfg(test)]
mod tests;

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc;
use kodiak_core::format::{BlockWriter, Compression, WriteOptions};
use kodiak_core::options::Options;
use kodiak_core::storage::WritableFile;
use kodiak_core::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;

use dictionaries::Dictionaries;

pub use crate::feather::plain_columns;
use crate::outside::FileKind;

/// Bytes at which rows are written, however few they are.
const BYTES: usize = 32 << 20;

/// A file being written.
pub struct Export {
    columns: SchemaRef,
    target: Target,
    /// Rows that wait until they are worth a block.
    waiting: Vec<RecordBatch>,
    rows: usize,
    block_rows: usize,
}

enum Target {
    Feather(Box<ipc::writer::FileWriter<Box<dyn WritableFile>>>, Dictionaries),
    Blocks(Box<dyn BlockWriter>),
}

impl Export {
    /// Begins a file of a kind with these columns in an empty `file`.
    ///
    /// # Errors
    /// `InvalidInput` naming a column of a type that the kind cannot hold; those of writing.
    pub fn create(
        kind: FileKind,
        file: Box<dyn WritableFile>,
        columns: &SchemaRef,
        compression: Compression,
    ) -> Result<Self> {
        let options = WriteOptions {
            compression,
            options: Options::default(),
        };
        let (target, block_rows) = match kind {
            FileKind::Feather => {
                let compression = match compression {
                    Compression::None => None,
                    Compression::Lz4 => Some(ipc::CompressionType::LZ4_FRAME),
                    Compression::Zstd => Some(ipc::CompressionType::ZSTD),
                };
                let options = ipc::writer::IpcWriteOptions::default()
                    .with_dictionary_handling(ipc::writer::DictionaryHandling::Delta)
                    .try_with_compression(compression)
                    .map_err(refused)?;
                let writer = ipc::writer::FileWriter::try_new_with_options(file, columns, options).map_err(refused)?;
                (Target::Feather(Box::new(writer), Dictionaries::new(columns)?), 64 << 10)
            }
            FileKind::Parquet => (Target::Blocks(crate::parquet::plain(file, columns, &options)?), 8 << 10),
            FileKind::Orc => (Target::Blocks(crate::orc::plain(file, columns, &options)?), 64 << 10),
        };
        Ok(Self {
            columns: SchemaRef::clone(columns),
            target,
            waiting: Vec::new(),
            rows: 0,
            block_rows,
        })
    }

    /// Writes rows with the columns that the file was begun with.
    ///
    /// # Errors
    /// `InvalidInput` for other columns; those of writing.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut at = 0;
        while at < rows.num_rows() {
            let count = (rows.num_rows() - at).min(self.block_rows - self.rows);
            self.waiting.push(rows.slice(at, count));
            self.rows += count;
            at += count;
            let bytes: usize = self.waiting.iter().map(RecordBatch::get_array_memory_size).sum();
            if self.rows == self.block_rows || bytes >= BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let block = concat_batches(&self.columns, &self.waiting).map_err(refused)?;
        self.waiting.clear();
        self.rows = 0;
        match &mut self.target {
            Target::Feather(writer, dictionaries) => writer.write(&dictionaries.unify(block)?).map_err(refused),
            Target::Blocks(writer) => writer.write(&block),
        }
    }

    /// Ends the file, which then survives a power loss if its directory does.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.target {
            Target::Feather(writer, _) => {
                let mut file = writer.into_inner().map_err(refused)?;
                file.flush()
                    .map_err(|error| Error::new(ErrorKind::Io, "cannot write the file").with_source(error))?;
                file.finish(true)
            }
            Target::Blocks(writer) => writer.finish(true).map(|_| ()),
        }
    }
}

/// A Parquet file with these rows, uncompressed, as bytes: for small files that are no tables' own, with whatever columns the
/// format has, nested ones too.
///
/// # Errors
/// `InvalidInput` for a column that Parquet files cannot have.
pub fn parquet_bytes(rows: &RecordBatch) -> Result<Vec<u8>> {
    let refused = |error| Error::invalid_input("the rows cannot be written to a Parquet file").with_source(error);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).map_err(refused)?;
    writer.write(rows).map_err(refused)?;
    writer.close().map_err(refused)?;
    Ok(bytes)
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

fn refused(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::new(ErrorKind::Io, "cannot write the file").with_source(source),
        error => Error::invalid_input("the rows cannot be written").with_source(error),
    }
}
