use clap::Args;
use kodiak::Error;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::rows;

/// `kodiak put`
#[derive(Debug, Args)]
pub struct Put {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key
    key: String,
    /// Its value
    value: String,
    #[command(flatten)]
    encoding: Encoding,
}

impl Put {
    pub fn run(self) -> Result {
        let (key, value) = (self.encoding.parse(&self.key)?, self.encoding.parse(&self.value)?);
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        if rows::by_columns(&table, self.encoding.hex) {
            let message = format!(
                "table \"{}\" has columns: put rows into it with kodiak import, from a file",
                self.table
            );
            return Err(Error::invalid_input(message).into());
        }
        table.put(key, value)?;
        Ok(db.close()?)
    }
}
