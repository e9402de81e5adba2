use clap::Args;
use kodiak::Table;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::rows;

/// `kodiak delete`
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key; with --to, the first key of a range. In a table with columns the values of its key columns, separated by commas
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// Delete all keys up to this one, which stays; nothing if it is not after the first
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    to: Option<String>,
    #[command(flatten)]
    encoding: Encoding,
}

impl Delete {
    pub fn run(self) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        if rows::by_columns(&table, self.encoding.hex) {
            self.delete_rows(&table)?;
            return Ok(db.close()?);
        }
        let key = self.encoding.parse(&self.key)?;
        let to = self.to.map(|to| self.encoding.parse(&to)).transpose()?;
        match to {
            None => table.delete(key)?,
            Some(to) => table.delete_range(key..to)?,
        }
        Ok(db.close()?)
    }

    fn delete_rows(&self, table: &Table) -> Result {
        let Some(to) = &self.to else {
            return Ok(table.delete_keys(&rows::key(table, &self.key, true)?)?);
        };
        let range = rows::key(table, &self.key, false)?..rows::key(table, to, false)?;
        for keys in table
            .read()
            .project(rows::key_names(table))
            .key_range(range)
            .batches()?
        {
            table.delete_keys(&keys?)?;
        }
        Ok(())
    }
}
