use clap::Args;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::values::Values;

/// `kodiak merge`
#[derive(Debug, Args)]
pub struct Merge {
    #[command(flatten)]
    db: Existing,
    /// The table, made with a merge operator
    table: String,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// What is merged into its value: for the operator counter a number to add
    #[arg(allow_hyphen_values = true)]
    operand: String,
    #[command(flatten)]
    encoding: Encoding,
}

impl Merge {
    pub fn run(self) -> Result {
        let key = self.encoding.parse(&self.key)?;
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        table.merge(key, Values::of(&table, self.encoding).parse(&self.operand)?)?;
        Ok(db.close()?)
    }
}
