use clap::Args;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::rows::Nulls;

/// `kodiak delete`
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key; with --to, the first key of a range. In a table with columns the values of its key columns, separated by commas
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// Delete all keys up to this one, which stays; nothing if it is not after the first
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    to: Option<String>,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    nulls: Nulls,
}

impl Delete {
    pub fn run(self) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        match &self.to {
            Some(_) => {
                let range = self
                    .nulls
                    .bounds(&table, Some(&self.key), self.to.as_deref(), self.encoding)?;
                table.delete_range(range)?;
            }
            None if self.nulls.by_columns(&table, self.encoding.hex)? => {
                table.delete_keys(&self.nulls.key(&table, &self.key, true)?)?;
            }
            None => table.delete(self.encoding.parse(&self.key)?)?,
        }
        Ok(db.close()?)
    }
}
