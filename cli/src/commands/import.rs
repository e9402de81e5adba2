use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Schema};
use clap::{Args, ValueEnum};
use kodiak::{Error, ErrorKind, TableSchema};

use crate::arguments::SettingsArguments;
use crate::failure::Result;
use crate::import::{CsvOptions, RowKeys, Sink, Source};
use crate::output::Output;

/// `kodiak import`
#[derive(Debug, Args)]
pub struct Import {
    /// The directory of the database; made if there is none
    db: PathBuf,
    /// The table; made if there is none
    table: String,
    /// The file
    file: PathBuf,
    /// What the file is [default: by its name: .csv, .tsv, .jsonl, .ndjson]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// The columns that make up the key; -COLUMN is descending. A table made for the file then has its columns. Without
    /// them, and in a key-value table, a row is a JSON object, and its key these columns joined by / or the row number
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', allow_hyphen_values = true)]
    key: Vec<String>,
    /// Make a key-value table even with --key
    #[arg(long)]
    key_value: bool,
    /// Texts of a CSV file that stand for a missing value
    #[arg(long, value_name = "TEXT,...", value_delimiter = ',', default_values_t = ["".to_owned(), "NA".to_owned()])]
    na: Vec<String>,
    /// The character between the fields of a CSV file [default: a comma; a tab for .tsv]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,
    /// Rows written at once
    #[arg(long, value_name = "ROWS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// A header, then rows; the types of columns are found by reading all of them
    Csv,
    /// One JSON object per line
    Jsonl,
}

impl Import {
    pub fn run(self, out: &mut Output) -> Result {
        let source = self.source()?;
        let new = self.schema(&source)?;
        let db = self.settings.builder(&self.db)?.open(&self.db)?;
        let table = match db.table(&self.table) {
            Err(error) if error.kind() == ErrorKind::NotFound => db.create_table(&self.table, new)?,
            found => found?,
        };
        let mut sink = if table.schema().is_key_value() {
            Sink::key_value(&db, &table, RowKeys::new(source.schema(), &self.key)?)
        } else {
            Sink::typed(&db, &table)
        };
        let begun = Instant::now();
        for batch in source {
            sink.write(&batch?)?;
        }
        let (rows, seconds) = (sink.rows(), begun.elapsed().as_secs_f64());
        db.close()?;
        let rate = rows as f64 / seconds.max(1e-9);
        writeln!(
            out,
            "{rows} rows into table {} in {seconds:.2} s, {rate:.0} rows/s",
            self.table
        )?;
        Ok(())
    }

    /// The schema of a table that is made for the file.
    fn schema(&self, source: &Source) -> Result<TableSchema> {
        if self.key.is_empty() || self.key_value {
            return Ok(TableSchema::key_value());
        }
        let columns = source.schema();
        let names: Vec<String> = self
            .key
            .iter()
            .map(|key| key.strip_prefix('-').unwrap_or(key).to_owned())
            .collect();
        RowKeys::new(source.schema(), &names)?;
        let is_key = |name: &str| names.iter().any(|key| key == name);
        let fields: Vec<_> = columns
            .fields()
            .iter()
            .map(|field| {
                let field = field.as_ref().clone();
                // A column without any value could be anything.
                let field = if *field.data_type() == DataType::Null {
                    field.with_data_type(DataType::Utf8)
                } else {
                    field
                };
                let required = is_key(field.name());
                field.with_nullable(!required)
            })
            .collect();
        let key: Vec<&str> = self.key.iter().map(String::as_str).collect();
        Ok(TableSchema::new(Arc::new(Schema::new(fields)), &key)?)
    }

    fn source(&self) -> Result<Source> {
        let extension = self
            .file
            .extension()
            .and_then(|extension| extension.to_str())
            .map(str::to_ascii_lowercase);
        let format = match (self.format, extension.as_deref()) {
            (Some(format), _) => format,
            (None, Some("csv" | "tsv")) => FileFormat::Csv,
            (None, Some("jsonl" | "ndjson" | "json")) => FileFormat::Jsonl,
            _ => {
                let message = "its name does not tell what it is: say --format csv or --format jsonl";
                return Err(Error::invalid_input(message).with_file(&self.file).into());
            }
        };
        if format == FileFormat::Jsonl {
            return Ok(Source::json_lines(&self.file, self.batch as usize)?);
        }
        let delimiter = self
            .delimiter
            .unwrap_or(if extension.as_deref() == Some("tsv") { '\t' } else { ',' });
        let delimiter = u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
            Error::invalid_input(format!("--delimiter takes one ASCII character, not \"{delimiter}\""))
        })?;
        let options = CsvOptions {
            delimiter,
            missing: self.na.clone(),
        };
        Ok(Source::csv(&self.file, &options, self.batch as usize)?)
    }
}
