use clap::Args;
use kodiak::Error;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::rows;
use crate::values::Values;

/// `kodiak put`
#[derive(Debug, Args)]
pub struct Put {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// Its value; in a table with the merge operator counter a number
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    encoding: Encoding,
}

impl Put {
    pub fn run(self) -> Result {
        let key = self.encoding.parse(&self.key)?;
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        if rows::by_columns(&table, self.encoding.hex) {
            let message = format!(
                "table \"{}\" has columns: put rows into it with kodiak import, from a file, or with kodiak update --or-insert",
                self.table
            );
            return Err(Error::invalid_input(message).into());
        }
        table.put(key, Values::of(&table, self.encoding).parse(&self.value)?)?;
        Ok(db.close()?)
    }
}
