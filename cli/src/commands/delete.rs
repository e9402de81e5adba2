use clap::Args;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;

/// `kodiak delete`
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key; with --to, the first key of a range
    key: String,
    /// Delete all keys up to this one, which stays
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    #[command(flatten)]
    encoding: Encoding,
}

impl Delete {
    pub fn run(self) -> Result {
        let key = self.encoding.parse(&self.key)?;
        let to = self.to.map(|to| self.encoding.parse(&to)).transpose()?;
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        match to {
            None => table.delete(key)?,
            Some(to) => table.delete_range(key..to)?,
        }
        Ok(db.close()?)
    }
}
