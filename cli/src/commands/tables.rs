use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::schema::show_all;

/// `kodiak tables`
#[derive(Debug, Args)]
pub struct Tables {
    #[command(flatten)]
    db: Existing,
    /// Print the columns of this table, as --schema-file takes them, instead of the names of all tables
    table: Option<String>,
}

impl Tables {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open_read_only()?;
        match self.table {
            Some(table) => write!(out, "{}", show_all(&db.table(&table)?.schema()))?,
            None => {
                for table in db.tables() {
                    writeln!(out, "{table}")?;
                }
            }
        }
        Ok(())
    }
}
