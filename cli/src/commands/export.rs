use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use clap::{Args, ValueEnum};
use kodiak::core::format::Compression;
use kodiak::core::storage::WritableFile;
use kodiak::outside::FileKind;
use kodiak::{Batches, Error, Predicate, Table};

use crate::arguments::Existing;
use crate::export::{CsvWriter, JsonWriter, NewFile, Target, TextOut, entry_texts, typed};
use crate::failure::{Result, written};
use crate::import::{FileFormat, column_index, default_delimiter};
use crate::output::Output;
use crate::progress;

/// `kodiak export`
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// What is written [default: by the name of the output, or csv]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// The file to write [default: standard output, also as -, for csv and jsonl]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if there is one
    #[arg(long, requires = "output")]
    force: bool,
    /// Only these columns, in this order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    columns: Vec<String>,
    /// Only rows of which this is true, for example: "people > 1000 and (city like 'T%' or mayor is null)". Comparisons, in,
    /// between, like 'beginning%', is null, and, or, not, as in SQL
    #[arg(long, value_name = "CONDITION")]
    r#where: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// What a missing value is in a CSV file; a value that looks like it is written in quotes
    #[arg(long, value_name = "TEXT", default_value = "")]
    na: String,
    /// The character between the fields of a CSV file [default: a comma; a tab for .tsv]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,
    /// Write keys and values of a key-value table as hexadecimal digits, in csv and jsonl
    #[arg(long)]
    hex: bool,
    /// Compression of feather, parquet and orc files
    #[arg(long, value_enum, default_value_t = Packing::None)]
    compression: Packing,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Packing {
    None,
    Lz4,
    Zstd,
}

impl Export {
    pub fn run(mut self, out: &mut Output) -> Result {
        self.output = self.output.filter(|output| output.as_path() != Path::new("-"));
        let format = self.format.or_else(|| self.output.as_deref().and_then(FileFormat::of));
        let format = format.unwrap_or(FileFormat::Csv);
        if self.output.is_none() && !format.is_text() {
            return Err(
                Error::invalid_input("files with types are not written to standard output: say --output FILE").into(),
            );
        }
        let delimiter = match (self.delimiter, &self.output) {
            (Some(delimiter), _) => delimiter,
            (None, Some(output)) => default_delimiter(output),
            (None, None) => ',',
        };
        let delimiter = u8::try_from(delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\"\n\r".contains(byte))
            .ok_or_else(|| Error::invalid_input(format!("--delimiter takes one ASCII character, not {delimiter:?}")))?;
        if self
            .na
            .bytes()
            .any(|byte| byte == delimiter || b"\"\n\r".contains(&byte))
        {
            return Err(Error::invalid_input("--na takes a text without delimiters, quotes and line breaks").into());
        }
        let db = self.db.open_read_only()?;
        let table = db.table(&self.table)?;
        let begun = Instant::now();
        let Some(path) = &self.output else {
            let text = TextOut::Output(out);
            self.text(&table, format, delimiter, text).map_err(written)?;
            drop(table);
            return Ok(db.close()?);
        };
        let (new, file) = NewFile::create(path, self.force)?;
        let rows = match format.kind() {
            None => self.text(&table, format, delimiter, TextOut::File(file)),
            Some(kind) => self.typed(&table, kind, file),
        };
        let rows = rows.map_err(|error| error.with_file(path))?;
        new.finish()?;
        drop(table);
        db.close()?;
        let seconds = begun.elapsed().as_secs_f64();
        let rate = rows as f64 / seconds.max(1e-9);
        writeln!(
            out,
            "{rows} rows into {} in {seconds:.2} s, {rate:.0} rows/s",
            path.display()
        )?;
        Ok(())
    }

    fn text(&self, table: &Table, format: FileFormat, delimiter: u8, out: TextOut<'_>) -> Result<u64, Error> {
        let names: Vec<String> = self
            .columns(table)?
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        // What is wrong with the condition is told before a header is written.
        let batches = self.batches(table)?;
        let target = match format {
            FileFormat::Jsonl => Target::Json(JsonWriter::new(out)),
            _ => Target::Csv(CsvWriter::new(out, &names, delimiter, &self.na)?),
        };
        self.write(table, batches, target)
    }

    fn typed(&self, table: &Table, kind: FileKind, file: Box<dyn WritableFile>) -> Result<u64, Error> {
        let compression = match self.compression {
            Packing::None => Compression::None,
            Packing::Lz4 => Compression::Lz4,
            Packing::Zstd => Compression::Zstd,
        };
        let target = typed(kind, file, &self.columns(table)?, compression)?;
        self.write(table, self.batches(table)?, target)
    }

    fn columns(&self, table: &Table) -> Result<SchemaRef, Error> {
        let schema = table.schema();
        let own = schema.columns();
        if self.columns.is_empty() {
            return Ok(own.clone());
        }
        let indexes = self.columns.iter().map(|name| column_index(own, name));
        let indexes = indexes.collect::<Result<Vec<usize>, Error>>()?;
        let mut names = self.columns.iter().enumerate();
        if let Some((_, twice)) = names.find(|(place, name)| self.columns[..*place].contains(name)) {
            let message = format!("column \"{twice}\" is named twice, and no file with two of it could be imported");
            return Err(Error::invalid_input(message));
        }
        let columns = own.project(&indexes);
        columns
            .map(Arc::new)
            .map_err(|error| Error::invalid_input("the columns cannot be chosen").with_source(error))
    }

    fn batches(&self, table: &Table) -> Result<Batches, Error> {
        let mut read = table.read().without_cache();
        if !self.columns.is_empty() {
            read = read.project(&self.columns);
        }
        if let Some(condition) = &self.r#where {
            read = read.filter(condition.parse::<Predicate>()?);
        }
        if let Some(limit) = self.limit {
            read = read.limit(limit);
        }
        read.batches()
    }

    fn write(&self, table: &Table, batches: Batches, mut target: Target<'_>) -> Result<u64, Error> {
        let entries = table.schema().is_key_value() && !matches!(target, Target::Typed(_));
        let bar = progress::rows();
        let mut rows = 0;
        for batch in batches {
            let batch = batch?;
            match entries {
                true => target.write(&entry_texts(&batch, rows + 1, self.hex)?, rows + 1)?,
                false => target.write(&batch, rows + 1)?,
            }
            rows += batch.num_rows() as u64;
            bar.set_position(rows);
        }
        target.finish()?;
        bar.finish_and_clear();
        Ok(rows)
    }
}
