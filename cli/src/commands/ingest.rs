use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kodiak::core::storage::Storage;
use kodiak::outside::OutsideFile;
use kodiak::{Db, Error, ErrorKind, LocalStorage, Table};

use crate::arguments::SettingsArguments;
use crate::failure::Result;
use crate::import::{TableArguments, take_back};
use crate::output::Output;
use crate::progress;

/// `kodiak ingest`
#[derive(Debug, Args)]
pub struct Ingest {
    /// The directory of the database; made if there is none
    db: PathBuf,
    /// The table; made if there is none and --key or --key-value says what it is to be
    table: String,
    /// Feather (Arrow IPC), Parquet and ORC files, sorted by key within each and from each to the next
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    new: TableArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Ingest {
    pub fn run(self, out: &mut Output) -> Result {
        // The engine follows no links; here the user means what they lead to.
        let files = self
            .files
            .iter()
            .map(|file| std::fs::canonicalize(file).map_err(|error| Error::io("open the file", file, error)))
            .collect::<Result<Vec<PathBuf>, Error>>()?;
        let db = self.settings.builder(&self.db)?.open(&self.db)?;
        let existed = db.tables().contains(&self.table);
        let begun = Instant::now();
        let done = self
            .table(&db, &files[0])
            .and_then(|table| progress::busy("ingesting", || table.ingest_files(&files)));
        if done.is_err() && !existed {
            take_back(&db, &self.table);
        }
        let done = done?;
        db.close()?;
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(
            out,
            "{} rows into table {} in {seconds:.2} s, {:.0} rows/s: {} runs of {} bytes on level {}",
            done.entries,
            self.table,
            done.entries as f64 / seconds.max(1e-9),
            done.runs,
            done.bytes,
            done.level
        )?;
        Ok(())
    }

    fn table(&self, db: &Db, first: &Path) -> Result<Table, Error> {
        match db.table(&self.table) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.new.key_value => {
                db.create_table(&self.table, kodiak::TableSchema::key_value())
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !self.new.key.is_empty() => {
                let columns = match self.new.columns()? {
                    Some(columns) => columns,
                    None => OutsideFile::open(LocalStorage::new().open(first)?)
                        .map_err(|error| error.with_file(first))?
                        .schema()
                        .clone(),
                };
                db.create_table(&self.table, self.new.table(&columns)?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = format!("{}; say --key COLUMN,... or --key-value to make it", error.message());
                Err(Error::new(ErrorKind::NotFound, message))
            }
            found => found,
        }
    }
}
