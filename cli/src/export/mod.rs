//! Writing tables as files that other programs, and `kodiak import`, read: the same rows come back, exactly.

mod encode;
mod far;
mod texts;

use std::fs::{File, Permissions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::core::format::Compression;
use kodiak::core::storage::{Storage, WritableFile};
use kodiak::export::Export;
use kodiak::outside::FileKind;
use kodiak::{Error, LocalStorage, Result};

use crate::output::Output;

pub use texts::{CsvWriter, JsonWriter};

/// What rows are written to.
pub enum Target<'o> {
    /// CSV.
    Csv(CsvWriter<TextOut<'o>>),
    /// JSON lines.
    Json(JsonWriter<TextOut<'o>>),
    /// A file with types.
    Typed(Box<Export>),
}

impl Target<'_> {
    /// Writes rows, the first of which is row `first` of the table, from 1.
    ///
    /// # Errors
    /// `InvalidInput` naming row and column of a value that the format cannot hold; those of writing.
    pub fn write(&mut self, rows: &RecordBatch, first: u64) -> Result<()> {
        match self {
            Self::Csv(writer) => writer.write(rows),
            Self::Json(writer) => writer.write(rows, first),
            Self::Typed(export) => export.write(rows),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Csv(writer) => writer.finish()?.finish(),
            Self::Json(writer) => writer.finish()?.finish(),
            Self::Typed(export) => export.finish(),
        }
    }
}

/// Where text goes.
pub enum TextOut<'o> {
    /// To standard output.
    Output(&'o mut Output),
    /// To a file.
    File(Box<dyn WritableFile>),
}

impl TextOut<'_> {
    fn finish(self) -> Result<()> {
        match self {
            Self::Output(_) => Ok(()),
            Self::File(file) => file.finish(true),
        }
    }
}

impl Write for TextOut<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Output(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Output(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// A target for a file with types.
///
/// # Errors
/// `InvalidInput` naming a column that the kind of file cannot hold; those of writing.
pub fn typed(
    kind: FileKind,
    file: Box<dyn WritableFile>,
    columns: &SchemaRef,
    compression: Compression,
) -> Result<Target<'static>> {
    Ok(Target::Typed(Box::new(Export::create(
        kind,
        file,
        columns,
        compression,
    )?)))
}

/// A file that gets its name when it is complete; without that it is removed.
pub struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    /// Those that a file of whoever exports has: only those of a database are for their owner alone.
    permissions: Permissions,
    done: bool,
}

impl NewFile {
    /// Begins a file.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one of the name, unless it may be replaced; those of making it.
    pub fn create(path: &Path, replace: bool) -> Result<(Self, Box<dyn WritableFile>)> {
        if !replace && path.symlink_metadata().is_ok() {
            let message = "there is a file of this name; --force replaces it";
            return Err(Error::new(kodiak::ErrorKind::AlreadyExists, message).with_file(path));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let storage = LocalStorage::new();
        // What an export that was killed has left.
        if storage.len(&partial)?.is_some() {
            storage.remove(&partial)?;
        }
        let failed = |error| Error::io("create the file", &partial, error);
        let usual = File::create_new(&partial).and_then(|file| file.metadata());
        let permissions = usual.map_err(failed)?.permissions();
        storage.remove(&partial)?;
        let file = storage.create(&partial)?;
        let new = Self {
            path: path.to_owned(),
            partial,
            permissions,
            done: false,
        };
        Ok((new, file))
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<()> {
        let storage = LocalStorage::new();
        std::fs::set_permissions(&self.partial, self.permissions.clone())
            .map_err(|error| Error::io("set the permissions of the file", &self.partial, error))?;
        storage.rename(&self.partial, &self.path)?;
        self.done = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        storage.sync_dir(dir.unwrap_or(Path::new(".")))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.done {
            // It is of no use to anyone; why the export failed is told already.
            let _ = LocalStorage::new().remove(&self.partial);
        }
    }
}

fn map_columns(rows: &RecordBatch, map: impl Fn(&Field, &ArrayRef) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let fields = rows.schema_ref().fields();
    let columns = fields
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| map(field, column))
        .collect::<Result<Vec<_>>>()?;
    let fields: Vec<Field> = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unwritable)
}

fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options).map_err(unwritable)
}

/// The entries of a key-value table as texts: as they are, or as hexadecimal digits.
///
/// # Errors
/// `InvalidInput` naming the row whose key or value is no text.
pub fn entry_texts(rows: &RecordBatch, first: u64, hex: bool) -> Result<RecordBatch> {
    use arrow::array::{AsArray, StringBuilder};
    map_columns(rows, |field, column| {
        let column = cast(column, &DataType::Binary)?;
        let mut texts = StringBuilder::new();
        for (row, bytes) in column.as_binary::<i32>().iter().enumerate() {
            let bytes = bytes.unwrap_or_default();
            if hex {
                let mut digits = String::new();
                crate::bytes::to_hex(bytes, &mut digits);
                texts.append_value(digits);
                continue;
            }
            match std::str::from_utf8(bytes) {
                Ok(text) => texts.append_value(text),
                Err(_) => {
                    return Err(Error::invalid_input(format!(
                        "the {} of row {} is no text: use --hex, here and when importing",
                        field.name(),
                        first + row as u64
                    )));
                }
            }
        }
        Ok(Arc::new(texts.finish()))
    })
}

fn unwritable(error: arrow::error::ArrowError) -> Error {
    Error::invalid_input("the rows cannot be written").with_source(error)
}
