use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use clap::Args;
use kodiak::{Db, Error, ErrorKind, Table, TableSchema};

use crate::arguments::SettingsArguments;
use crate::failure::Result;
use crate::import::{
    CsvOptions, FileFormat, IMPORTS, Input, Layout, Position, Progress, Rejects, RowKeys, Sink, Source, TableArguments,
    Transfer, check_plain, count_rows, default_delimiter, defaults, is_entries, is_once, take_back, tell_replaced,
};
use crate::output::Output;
use crate::schema;

/// `kodiak import`
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Import {
    /// The directory of the database; made if there is none
    db: PathBuf,
    /// The table; made if there is none
    table: String,
    /// The file; - is standard input
    file: PathBuf,
    /// What the file is [default: by its name: .csv, .tsv, .jsonl, .ndjson, .parquet, .feather, .arrow, .orc]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    #[command(flatten)]
    new: TableArguments,
    /// Read only these columns of the file
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    columns: Vec<String>,
    /// Texts of a CSV file that stand for a missing value; a text in quotes never does
    #[arg(long, value_name = "TEXT,...", value_delimiter = ',', default_values_t = ["".to_owned(), "NA".to_owned()])]
    na: Vec<String>,
    /// The character between the fields of a CSV file [default: a comma; a tab for .tsv]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,
    /// Keys and values in a text file are hexadecimal digits, if the table is a key-value table
    #[arg(long)]
    hex: bool,
    /// Leave rows out that cannot be imported, and write them to this file, as JSON objects with line and reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Give up when more rows than this are rejected
    #[arg(long, value_name = "ROWS", default_value_t = 1000, requires = "rejects")]
    max_rejects: u64,
    /// Go on with an import of this file that was interrupted, exactly where it was
    #[arg(long)]
    resume: bool,
    /// Say how many rows replaced others in a table that had rows before, too: reads its keys before and after
    #[arg(long)]
    count_replaced: bool,
    /// Rows written at once
    #[arg(long, value_name = "ROWS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    #[command(flatten)]
    settings: SettingsArguments,
}

const HELP: &str = "\
Into a table with columns, the file's columns go by name. Columns that the file lacks (in JSON lines: that an object lacks) hold
their default, if they were added with one, and are missing otherwise; a value that is missing in a column that is there is
just missing. A table that is made has the columns of --schema or, without it, those of the file; types of text files are found
by reading all of it. A key-value table takes a file whose columns are key and value as it is; rows of other files become JSON
objects, whose keys are the --key columns joined by / or the row number.

The rows of a batch and how far the import is are written together, to the table and to the table _kodiak_imports, which is
dropped when no import is under way. With --resume, no row is lost or imported twice, whenever the import was killed.";

/// What rows are to become.
struct Plan {
    table: Table,
    layout: Layout,
    target: SchemaRef,
    /// The values of JSON lines go into JSON objects as they are written.
    as_written: bool,
}

impl Import {
    pub fn run(self, out: &mut Output) -> Result {
        if self.table == IMPORTS {
            return Err(Error::invalid_input(format!("{IMPORTS} is the table in which imports are recorded")).into());
        }
        let source = self.source()?;
        // What can be wrong with the file is told before a database is made for it.
        let columns = source.columns()?;
        let explicit = self.new.columns()?;
        let db = self.settings.builder(&self.db)?.open(&self.db)?;
        let existed = db.tables().contains(&self.table);
        let outcome = self.import(&db, source, columns.as_ref(), explicit, out);
        if outcome.is_err() && !existed {
            take_back(&db, &self.table);
        }
        outcome?;
        Ok(db.close()?)
    }

    fn import(
        &self,
        db: &Db,
        source: Source,
        columns: Option<&SchemaRef>,
        explicit: Option<SchemaRef>,
        out: &mut Output,
    ) -> Result {
        let begun = Instant::now();
        let format = source.format();
        let plan = self.plan(db, &source, columns, explicit);
        let plan = plan.map_err(|error| match error.file() {
            None if error.kind() == ErrorKind::InvalidInput => error.with_file(&self.file),
            _ => error,
        })?;
        let numbered = matches!(plan.layout, Layout::Objects(_)) && self.new.key.is_empty();
        let source = source.with_defaults(defaults(&plan.table)?);
        let hex = self.hex || !plan.table.schema().is_key_value();
        let sink = Sink::new(db, &plan.table, plan.layout, plan.target.clone(), format.is_text(), hex);
        let sink = if plan.as_written { sink.keeping_json() } else { sink };
        if let Some(columns) = columns {
            sink.check(columns).map_err(|error| error.with_file(&self.file))?;
        }
        // What cannot be read again is not gone on with.
        let progress = match is_once(&self.file)? {
            true => None,
            false => Some(Progress::open(db, &self.table, &self.file, self.how(format))?),
        };
        let done = match &progress {
            Some(progress) if self.resume => progress.resume()?,
            _ => None,
        };
        let place = if format.is_text() { "line" } else { "row" };
        let rejected = match (self.resume, done) {
            (true, Some((_, rejected))) => Some(rejected),
            // Whatever an import left that had not come to its first batch.
            (true, None) => Some((0, 0)),
            (false, _) => None,
        };
        let rejects = Rejects::open(self.rejects.as_deref(), place, self.max_rejects, rejected)?;
        let from = done.map_or(Position::default(), |(position, _)| position);
        let before = self.rows_before(&plan.table, done.is_some())?;
        let texts = rejects.wants_texts();
        let mut rows = source.rows(from, &plan.target, plan.as_written, self.batch as usize, texts)?;
        let mut transfer = Transfer {
            db,
            file: &self.file,
            sink,
            rejects,
            progress,
            at: from,
            imported: 0,
        };
        if let Err(error) = transfer.carry(&mut rows) {
            return Err(match transfer.left(place, numbered) {
                Some(left) => error.with_advice(&left).into(),
                None => error.into(),
            });
        }
        drop(rows);
        let (imported, rejected) = (transfer.imported, transfer.rejects.done().0);
        if let Some(progress) = transfer.progress {
            progress.finish(db)?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let rate = imported as f64 / seconds.max(1e-9);
        write!(
            out,
            "{imported} rows into table {} in {seconds:.2} s, {rate:.0} rows/s",
            self.table
        )?;
        if from.row > 0 {
            write!(out, ", after {} rows before", from.row)?;
        }
        if let Some(before) = before {
            let replaced = (before + imported).saturating_sub(count_rows(&plan.table)?);
            if replaced > 0 || self.count_replaced {
                write!(out, "; {}", tell_replaced(replaced))?;
            }
        }
        match (rejected, &self.rejects) {
            (count, Some(file)) if count > 0 => writeln!(out, "; {count} rejected, see {}", file.display())?,
            _ => writeln!(out)?,
        }
        Ok(())
    }

    /// How many rows the table has, if it is to be told how many the import replaces: else, only if it is empty is it cheap to know.
    fn rows_before(&self, table: &Table, resumed: bool) -> Result<Option<u64>, Error> {
        let ends = table.options().get_ttl().is_some();
        match self.count_replaced {
            true if ends => Err(Error::invalid_input(format!(
                "--count-replaced: rows of table \"{}\" end by its TTL while others are imported, so that counting them does not \
                 tell how many were replaced",
                self.table
            ))),
            true => count_rows(table).map(Some),
            false if ends || resumed || !table.is_empty()? => Ok(None),
            false => Ok(Some(0)),
        }
    }

    /// The table, and what rows become in it.
    fn plan(
        &self,
        db: &Db,
        source: &Source,
        columns: Option<&SchemaRef>,
        explicit: Option<SchemaRef>,
    ) -> Result<Plan, Error> {
        let found = match db.table(&self.table) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found?),
        };
        let key_value = match &found {
            Some(table) => table.schema().is_key_value(),
            None => self.new.key.is_empty() || self.new.key_value,
        };
        if let (Some(table), false) = (&found, key_value) {
            let target = table.schema().columns().clone();
            if let Some(explicit) = explicit {
                schema::check_same(&self.table, &self.new.table(&explicit)?, &table.schema())?;
            }
            self.new.check_key(&self.table, &table.schema())?;
            return Ok(Plan {
                table: table.clone(),
                layout: Layout::Typed,
                target,
                as_written: false,
            });
        }
        // Of JSON lines, even the columns are known only when all are read.
        let known = match columns {
            Some(columns) => Some(columns.clone()),
            None if explicit.is_none() => Some(source.infer(!key_value)?),
            None => None,
        };
        let entries = known.as_deref().is_some_and(is_entries);
        if key_value && self.new.key.is_empty() && explicit.is_none() && entries {
            let table = match found {
                Some(table) => table,
                None => db.create_table(&self.table, TableSchema::key_value())?,
            };
            return Ok(Plan {
                target: table.schema().columns().clone(),
                table,
                layout: Layout::Entries,
                as_written: false,
            });
        }
        let inferred = explicit.is_none();
        let target = match (explicit, known) {
            (Some(columns), _) => columns,
            (None, Some(known)) if source.format() != FileFormat::Csv => known,
            (None, _) => source.infer(!key_value)?,
        };
        if !key_value {
            let table = db.create_table(&self.table, self.new.table(&target)?)?;
            return Ok(Plan {
                target: table.schema().columns().clone(),
                table,
                layout: Layout::Typed,
                as_written: false,
            });
        }
        let names = self.new.key_names();
        let keys = RowKeys::new(target.clone(), &names)?;
        let table = match found {
            Some(table) if names.is_empty() && !self.resume && table.scan(..)?.next().is_some() => {
                let message = format!(
                    "table \"{}\" has entries, which rows that are numbered from 1 would replace: say the --key columns, \
                     --resume if an import of this file was interrupted, or a new table",
                    self.table
                );
                return Err(Error::invalid_input(message));
            }
            Some(table) => table,
            None => db.create_table(&self.table, TableSchema::key_value())?,
        };
        Ok(Plan {
            table,
            layout: Layout::Objects(keys),
            target,
            as_written: inferred && source.format() == FileFormat::Jsonl,
        })
    }

    /// The arguments that say what the rows of the file are: they must not change when an import goes on.
    fn how(&self, format: FileFormat) -> String {
        format!(
            "format {format:?}, columns {:?}, na {:?}, delimiter {:?}, key {:?}, hex {}",
            self.columns, self.na, self.delimiter, self.new.key, self.hex
        )
    }

    fn source(&self) -> Result<Source> {
        let Some(format) = self.format.or_else(|| FileFormat::of(&self.file)) else {
            if !is_once(&self.file)? {
                check_plain(&self.file)?;
            }
            let message = "its name does not tell what it is: say --format csv, jsonl, parquet, feather or orc";
            return Err(Error::invalid_input(message).with_file(&self.file).into());
        };
        let delimiter = self.delimiter.unwrap_or_else(|| default_delimiter(&self.file));
        let delimiter = u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
            Error::invalid_input(format!("--delimiter takes one ASCII character, not \"{delimiter}\""))
        })?;
        let options = CsvOptions {
            delimiter,
            missing: self.na.clone(),
        };
        if self.resume && is_once(&self.file)? {
            let message = "--resume needs a file: what comes from standard input or a pipe cannot be read again";
            return Err(Error::invalid_input(message).with_file(&self.file).into());
        }
        Ok(Source::new(Input::open(&self.file)?, format, options, &self.columns)?)
    }
}
