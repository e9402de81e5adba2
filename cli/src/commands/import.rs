use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kodiak::{Error, ErrorKind};

use crate::arguments::SettingsArguments;
use crate::failure::Result;
use crate::import::{CsvOptions, RowKeys, Sink, Source, TableArguments};
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
    #[command(flatten)]
    new: TableArguments,
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
        let new = self.new.table(&source.schema())?;
        let db = self.settings.builder(&self.db)?.open(&self.db)?;
        let table = match db.table(&self.table) {
            Err(error) if error.kind() == ErrorKind::NotFound => db.create_table(&self.table, new)?,
            found => found?,
        };
        let mut sink = if table.schema().is_key_value() {
            Sink::key_value(&db, &table, RowKeys::new(source.schema(), &self.new.key_names())?)
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
