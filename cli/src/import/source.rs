//! A file, with a progress bar: what its columns are, and its rows.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use clap::ValueEnum;
use indicatif::{HumanCount, ProgressBar, ProgressBarIter};
use kodiak::core::storage::Storage;
use kodiak::outside::{FileKind, OutsideBatches, OutsideFile};
use kodiak::{Error, LocalStorage, Result};

use super::csv::{self, CsvOptions, CsvRows};
use super::input::Input;
use super::json::{self, JsonRows, RawRows};
use super::records::Records;
use super::rows::{Chunk, Position, Rows};
use super::schema::column_index;
use super::text;
use crate::progress;

/// The bytes of a file; reading them moves the progress bar.
type Bytes = BufReader<ProgressBarIter<File>>;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// A header, then rows
    Csv,
    /// One JSON object per line
    Jsonl,
    /// Parquet
    Parquet,
    /// Feather, which is Arrow IPC
    Feather,
    /// ORC
    Orc,
}

impl FileFormat {
    /// By the ending of a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "csv" | "tsv" => Self::Csv,
            "jsonl" | "ndjson" | "json" => Self::Jsonl,
            "parquet" | "pq" => Self::Parquet,
            "feather" | "arrow" | "ipc" => Self::Feather,
            "orc" => Self::Orc,
            _ => return None,
        })
    }

    /// What the engine calls it, unless it is text.
    pub fn kind(self) -> Option<FileKind> {
        match self {
            Self::Csv | Self::Jsonl => None,
            Self::Parquet => Some(FileKind::Parquet),
            Self::Feather => Some(FileKind::Feather),
            Self::Orc => Some(FileKind::Orc),
        }
    }

    /// True if every column of such a file is text at first.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Jsonl)
    }
}

/// A file to import.
pub struct Source {
    input: Input,
    format: FileFormat,
    options: CsvOptions,
    /// The columns of the file that are read, by name; all of them if none are named.
    chosen: Vec<String>,
    /// Columns with a default, which objects of a JSON file may lack.
    defaults: Vec<String>,
    bar: ProgressBar,
    bytes: u64,
}

impl Source {
    /// A file of a format; `chosen` are the columns to read, or none for all.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `InvalidInput` for a file that is no text, though its format is.
    pub fn new(input: Input, format: FileFormat, options: CsvOptions, chosen: &[String]) -> Result<Self> {
        if format.is_text() {
            text::check(&input)?;
        }
        let bytes = std::fs::metadata(input.path())
            .map_err(|error| Error::io("read the rows", input.name(), error))?
            .len();
        Ok(Self {
            input,
            format,
            options,
            chosen: chosen.to_vec(),
            defaults: Vec::new(),
            bar: progress::bytes(bytes),
            bytes,
        })
    }

    /// The table's columns that have a default: rows may lack them.
    pub fn with_defaults(mut self, columns: Vec<String>) -> Self {
        self.defaults = columns;
        self
    }

    /// What it is.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    fn open(&self, offset: u64, message: &'static str) -> Result<Bytes> {
        let failed = |error| Error::io("read the rows", self.input.name(), error);
        let mut file = File::open(self.input.path()).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.bar.reset();
        self.bar.set_position(offset);
        self.bar.set_message(message);
        Ok(BufReader::with_capacity(256 << 10, self.bar.wrap_read(file)))
    }

    fn outside(&self) -> Result<OutsideFile> {
        // A link is followed here; the storage follows none.
        let failed = |error| Error::io("open the file", self.input.name(), error);
        let path = std::fs::canonicalize(self.input.path()).map_err(failed)?;
        OutsideFile::open(LocalStorage::new().open(&path)?)
    }

    fn header(&self) -> Result<(Records<Bytes>, Vec<String>)> {
        let mut records = Records::new(self.open(0, "reading")?, self.options.delimiter, 0, 1);
        let names = csv::header(&mut records)?;
        Ok((records, names))
    }

    /// The file's columns, of those chosen: with their types, which for text files takes reading all of it. Unless they are
    /// to be `typed`, it is only told of columns of JSON lines whether they hold texts.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` for a column that is chosen and not there.
    pub fn infer(&self, typed: bool) -> Result<SchemaRef> {
        let infer = || {
            let schema = match self.format {
                FileFormat::Csv => Arc::new(csv::infer(self.open(0, "looking for types")?, &self.options)?),
                FileFormat::Jsonl => {
                    let bytes = self.open(0, "looking for types")?;
                    Arc::new(json::infer(bytes, &self.chosen, typed)?)
                }
                _ => Arc::clone(self.outside()?.schema()),
            };
            self.choose(&schema)
        };
        infer().map_err(|error| error.with_file(self.input.name()))
    }

    /// The file's columns, of those chosen, without reading it all: those of CSV files are text. `None` for JSON lines.
    ///
    /// # Errors
    /// As [`infer`](Self::infer).
    pub fn columns(&self) -> Result<Option<SchemaRef>> {
        let columns = || {
            let schema = match self.format {
                FileFormat::Csv => {
                    let field = |name| Field::new(name, DataType::Utf8, true);
                    Arc::new(Schema::new(self.header()?.1.into_iter().map(field).collect::<Vec<_>>()))
                }
                FileFormat::Jsonl => return Ok(None),
                _ => Arc::clone(self.outside()?.schema()),
            };
            self.choose(&schema).map(Some)
        };
        columns().map_err(|error| error.with_file(self.input.name()))
    }

    fn choose(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        if self.chosen.is_empty() {
            return Ok(Arc::clone(schema));
        }
        let indexes = self.chosen.iter().map(|name| column_index(schema, name));
        let indexes = indexes.collect::<Result<Vec<usize>>>()?;
        let chosen = schema.project(&indexes);
        chosen
            .map(Arc::new)
            .map_err(|error| Error::invalid_input("the columns cannot be chosen").with_source(error))
    }

    /// The rows from a position on. JSON objects have the columns of `target` as texts; `as_written` these are JSON. `raw` keeps the
    /// texts of rows.
    ///
    /// # Errors
    /// Those of reading.
    pub fn rows(
        self,
        from: Position,
        target: &SchemaRef,
        as_written: bool,
        batch: usize,
        raw: bool,
    ) -> Result<Progressing> {
        let rows = || -> Result<Box<dyn Rows>> {
            Ok(match self.format {
                FileFormat::Csv => {
                    let (records, names) = self.header()?;
                    let schema = Schema::new(
                        names
                            .iter()
                            .map(|name| Field::new(name, DataType::Utf8, true))
                            .collect::<Vec<_>>(),
                    );
                    let chosen = match self.chosen.is_empty() {
                        true => (0..names.len()).collect(),
                        false => {
                            let index = |name: &String| column_index(&schema, name);
                            self.chosen.iter().map(index).collect::<Result<Vec<usize>>>()?
                        }
                    };
                    let records = match from.row {
                        0 => records,
                        _ => {
                            let bytes = self.open(from.offset, "reading")?;
                            Records::new(bytes, self.options.delimiter, from.offset, from.line)
                        }
                    };
                    Box::new(CsvRows::new(
                        records,
                        &self.options,
                        &names,
                        chosen,
                        from.row,
                        batch,
                        raw,
                    ))
                }
                FileFormat::Jsonl if as_written => {
                    let bytes = self.open(from.offset, "reading")?;
                    Box::new(RawRows::new(bytes, target, from, batch, raw))
                }
                FileFormat::Jsonl => {
                    let bytes = self.open(from.offset, "reading")?;
                    let all: Vec<String> = target.fields().iter().map(|field| field.name().clone()).collect();
                    let names = if self.chosen.is_empty() { &all } else { &self.chosen };
                    let columns = json::as_texts(names.iter(), target);
                    let rows = JsonRows::texts(bytes, columns, from, batch, raw).with_defaults(&self.defaults);
                    Box::new(if self.chosen.is_empty() {
                        rows
                    } else {
                        rows.among_others()
                    })
                }
                _ => Box::new(self.outside_rows(from)?),
            })
        };
        let rows = rows().map_err(|error| error.with_file(self.input.name()))?;
        Ok(Progressing {
            rows,
            input: self.input,
            bar: self.bar,
            begun: from.row,
        })
    }

    fn outside_rows(&self, from: Position) -> Result<OutsideRows> {
        let file = self.outside()?;
        let schema = self.choose(file.schema())?;
        let indexes: Vec<usize> = schema
            .fields()
            .iter()
            .filter_map(|field| file.schema().index_of(field.name()).ok())
            .collect();
        self.bar.set_length(self.bytes);
        Ok(OutsideRows {
            batches: file.batches(&indexes)?,
            skip: from.row,
            row: 0,
            bar: self.bar.clone(),
        })
    }
}

/// The rows of a file with types.
struct OutsideRows {
    batches: OutsideBatches,
    /// Rows that are done already.
    skip: u64,
    row: u64,
    bar: ProgressBar,
}

impl Rows for OutsideRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.batches.schema())
    }

    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let Some(mut rows) = self.batches.next().transpose()? else {
                return Ok(None);
            };
            self.bar.set_position(self.batches.consumed());
            let first = self.row;
            self.row += rows.num_rows() as u64;
            if self.row <= self.skip {
                continue;
            }
            let done = self.skip.saturating_sub(first);
            if done > 0 {
                rows = rows.slice(done as usize, rows.num_rows() - done as usize);
            }
            let numbers: Vec<u64> = (first + done + 1..=self.row).collect();
            return Ok(Some(Chunk {
                rows: Some(rows),
                lines: numbers.clone(),
                numbers,
                position: Position {
                    row: self.row,
                    ..Position::default()
                },
                ..Chunk::default()
            }));
        }
    }
}

/// The rows of a file, with a progress bar that tells the rows per second.
pub struct Progressing {
    rows: Box<dyn Rows>,
    input: Input,
    bar: ProgressBar,
    /// Rows that were done before.
    begun: u64,
}

impl Progressing {
    /// The next rows.
    ///
    /// # Errors
    /// As [`Rows::next`], naming the file.
    pub fn next(&mut self) -> Result<Option<Chunk>> {
        let chunk = self.rows.next().map_err(|error| error.with_file(self.input.name()))?;
        if let Some(chunk) = &chunk {
            let rows = chunk.position.row - self.begun;
            let rate = rows as f64 / self.bar.elapsed().as_secs_f64().max(1e-9);
            self.bar
                .set_message(format!("{} rows, {} rows/s", HumanCount(rows), HumanCount(rate as u64)));
        }
        Ok(chunk)
    }
}

impl Drop for Progressing {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
