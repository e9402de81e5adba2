use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kodiak::settings::units::parse_duration;
use kodiak::{IndexOptions, TableOptions, TableSchema};

use crate::arguments::{IndexArguments, SettingsArguments};
use crate::failure::Result;
use crate::output::Output;

/// `kodiak create`
#[derive(Debug, Args)]
pub struct Create {
    /// The directory of the database; made if there is none
    db: PathBuf,
    /// Key-value tables to make in it
    tables: Vec<String>,
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
        let mut options = TableOptions::new().indexes(self.indexes.apply(IndexOptions::new())?);
        if let Some(ttl) = &self.ttl {
            options = options.ttl(parse_duration(ttl)?);
        }
        if let Some(operator) = self.merge {
            options = options.merge_operator(operator);
        }
        let db = self.settings.builder(&self.db)?;
        // Without a table to add, an existing database is probably a mistake.
        let db = if self.tables.is_empty() { db.create_new() } else { db };
        let db = db.open(&self.db)?;
        for table in &self.tables {
            db.create_table_with(table, TableSchema::key_value(), options.clone())?;
        }
        db.close()?;
        match self.tables.as_slice() {
            [] => writeln!(out, "made the database {}", self.db.display())?,
            tables => writeln!(out, "made {} in {}", tables.join(", "), self.db.display())?,
        }
        Ok(())
    }
}
