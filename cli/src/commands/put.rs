use clap::Args;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;

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
        db.table(&self.table)?.put(key, value)?;
        Ok(db.close()?)
    }
}
