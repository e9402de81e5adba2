use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kodiak::settings::units::parse_duration;
use kodiak::{Db, Error, ErrorKind, IndexOptions, MergeOperators, TableOptions, TableSchema};

use crate::arguments::{IndexArguments, SettingsArguments};
use crate::failure::Result;
use crate::import::TableArguments;
use crate::output::Output;

/// `kodiak create`
#[derive(Debug, Args)]
pub struct Create {
    /// The directory of the database; made if there is none
    db: PathBuf,
    /// Tables to make in it: key-value tables, or with the columns of --schema
    tables: Vec<String>,
    /// The columns that make up the key of these tables: a COLUMN, or "COLUMN desc" (or -COLUMN) for descending order
    #[arg(
        long,
        value_name = "COLUMN,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "tables"
    )]
    key: Vec<String>,
    /// The columns of these tables and their types: "id:int64 not null, name:text, at:timestamp(us, UTC)"; key columns, too, may be
    /// null unless it says otherwise
    #[arg(
        long,
        value_name = "COLUMN:TYPE,...",
        conflicts_with = "schema_file",
        requires = "key"
    )]
    schema: Option<String>,
    /// A file with the columns and their types, written alike, with a comma or a line break after each
    #[arg(long, value_name = "FILE", requires = "key")]
    schema_file: Option<PathBuf>,
    /// Entries of these tables vanish when they are this old: 5s, 2h, 30d
    #[arg(long, value_name = "DURATION", requires = "tables")]
    ttl: Option<String>,
    /// The merge operator of these tables: counter, append, last-non-null
    #[arg(long, value_name = "OPERATOR", requires = "tables")]
    merge: Option<String>,
    #[command(flatten)]
    indexes: IndexArguments,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Create {
    pub fn run(self, out: &mut Output) -> Result {
        // What is wrong with the arguments is told before a database is made.
        let (schema, options) = (self.schema()?, self.options()?);
        let builder = self.settings.builder(&self.db)?;
        let before = Before::of(&self.db);
        let (db, is_new) = match builder.clone().create_new().open(&self.db) {
            // Without a table to add, an existing database is probably a mistake.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !self.tables.is_empty() => {
                (builder.open(&self.db)?, false)
            }
            made => (made?, true),
        };
        if let Err(error) = self.fill(&db, &schema, &options) {
            drop(db);
            if is_new {
                before.restore(&self.db);
            }
            return Err(error.into());
        }
        db.close()?;
        match self.tables.as_slice() {
            [] => writeln!(out, "made the database {}", self.db.display())?,
            tables => writeln!(out, "made {} in {}", tables.join(", "), self.db.display())?,
        }
        Ok(())
    }

    fn fill(&self, db: &Db, schema: &TableSchema, options: &TableOptions) -> Result<(), Error> {
        self.check_names(db)?;
        for table in &self.tables {
            db.create_table_with(table, schema.clone(), options.clone())?;
        }
        Ok(())
    }

    fn schema(&self) -> Result<TableSchema, Error> {
        let columns = TableArguments {
            key: self.key.clone(),
            key_value: false,
            schema: self.schema.clone(),
            schema_file: self.schema_file.clone(),
        };
        match columns.columns()? {
            Some(written) => columns.table(&written),
            None if self.key.is_empty() => Ok(TableSchema::key_value()),
            None => Err(Error::invalid_input(
                "--key names columns of a table: say which it has with --schema or --schema-file",
            )),
        }
    }

    fn options(&self) -> Result<TableOptions, Error> {
        let mut options = TableOptions::new().indexes(self.indexes.apply(IndexOptions::new())?);
        if let Some(ttl) = &self.ttl {
            let ttl = parse_duration(ttl)?;
            if ttl.is_zero() {
                let message = "entries with a TTL of nothing would never be there; without --ttl they stay";
                return Err(Error::invalid_input(message));
            }
            options = options.ttl(ttl);
        }
        if let Some(operator) = &self.merge {
            MergeOperators::default().find(operator)?;
            options = options.merge_operator(operator);
        }
        Ok(options)
    }

    /// All tables are made, or none.
    fn check_names(&self, db: &Db) -> Result<(), Error> {
        let known = db.tables();
        match self.tables.iter().find(|table| known.contains(table)) {
            Some(table) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("there is a table \"{table}\" already"),
            )),
            None => Ok(()),
        }
    }
}

/// What was there before a database was made.
struct Before {
    /// The first directory of its path that was not.
    missing: Option<PathBuf>,
    /// What its directory held.
    names: BTreeSet<OsString>,
}

impl Before {
    fn of(path: &Path) -> Self {
        let missing = path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        Self {
            missing: missing.last().map(Path::to_owned),
            names: names_in(path).collect(),
        }
    }

    /// Removes a database that was made and is refused after all. What cannot be removed stays: the refusal is what is told.
    fn restore(&self, path: &Path) {
        if let Some(dir) = &self.missing {
            drop(std::fs::remove_dir_all(dir));
            return;
        }
        for name in names_in(path).filter(|name| !self.names.contains(name)) {
            let path = path.join(name);
            drop(match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            });
        }
    }
}

fn names_in(dir: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.file_name()))
}
